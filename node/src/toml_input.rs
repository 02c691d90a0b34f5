//! Reading a TOML file that a person wrote: every mistake is found at once, each with its place and what would be right.

use std::collections::BTreeMap;
use std::fmt;

use toml::de::{DeTable, DeValue};

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file as a whole.
    File,
    /// In a line, from 1.
    Line(usize),
    /// In an environment variable.
    Env(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => f.write_str("file"),
            Self::Line(line) => write!(f, "line {line}"),
            Self::Env(name) => write!(f, "environment {name}"),
        }
    }
}

/// One mistake: where, what was given, what would be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// Path of the key, `node.id`; empty when no key is meant.
    pub path: String,
    /// What is wrong, with what was given.
    pub wrong: String,
    /// What would be right.
    pub right: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "`{}`: ", self.path)?;
        }
        f.write_str(&self.wrong)?;
        if !self.right.is_empty() {
            write!(f, "; {}", self.right)?;
        }
        Ok(())
    }
}

/// All mistakes of one input, in the order of the file.
#[derive(Clone, Debug, Default)]
pub struct Mistakes {
    found: Vec<Mistake>,
}

impl Mistakes {
    /// Adds one.
    pub fn add(&mut self, place: Place, path: &str, wrong: impl Into<String>, right: impl Into<String>) {
        self.found.push(Mistake {
            place,
            path: path.to_owned(),
            wrong: wrong.into(),
            right: right.into(),
        });
    }

    /// None so far.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All, sorted by place.
    pub fn into_sorted(mut self) -> Vec<Mistake> {
        self.found.sort_by(|a, b| a.place.cmp(&b.place));
        self.found
    }
}

/// A value with its line.
#[derive(Clone, Debug)]
pub struct Item {
    /// Line of the value, from 1; 0 for a value that is not from a file.
    pub line: usize,
    /// The value.
    pub value: Raw,
}

/// A TOML value.
#[derive(Clone, Debug)]
pub enum Raw {
    /// Text.
    Text(String),
    /// Whole number.
    Integer(i64),
    /// Number with a fraction, as written.
    Float(String),
    /// Truth.
    Flag(bool),
    /// Date or time, as written.
    Moment(String),
    /// List.
    List(Vec<Item>),
    /// Table.
    Table(Table),
}

/// A table: key to (line of the key, value).
pub type Table = BTreeMap<String, (usize, Item)>;

impl Raw {
    /// What was given, in words short enough for an error. Never used for secrets.
    pub fn describe(&self) -> String {
        match self {
            Self::Text(text) => format!("the text {:?}", shortened(text)),
            Self::Integer(number) => format!("the number {number}"),
            Self::Float(number) => format!("the fraction {number}"),
            Self::Flag(flag) => format!("`{flag}`"),
            Self::Moment(moment) => format!("the date {moment}"),
            Self::List(_) => "a list".to_owned(),
            Self::Table(_) => "a table".to_owned(),
        }
    }

    /// The kind alone, for where the value may be a secret.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::Float(_) => "a fraction",
            Self::Flag(_) => "true or false",
            Self::Moment(_) => "a date",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

fn shortened(text: &str) -> String {
    const SHOWN_CHARS: usize = 60;
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    text.chars().take(SHOWN_CHARS).chain(['…']).collect()
}

/// Parses a file. Syntax errors are added to `mistakes`; what could be read is returned all the same.
pub fn parse(text: &str, mistakes: &mut Mistakes) -> Table {
    let lines = Lines::of(text);
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let place = error
            .span()
            .map_or(Place::File, |span| Place::Line(lines.line(span.start)));
        mistakes.add(place, "", format!("not TOML: {}", error.message().trim()), "");
    }
    table_of(table.get_ref(), &lines)
}

/// Parses one TOML value, as an environment variable may hold it.
pub fn parse_value(text: &str) -> Option<Raw> {
    let value = DeValue::parse(text).ok()?;
    Some(value_of(value.get_ref(), &Lines::of("")))
}

struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    fn of(text: &str) -> Self {
        let ends = text
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(at, _)| at + 1);
        Self {
            starts: std::iter::once(0).chain(ends).collect(),
        }
    }

    fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|&start| start <= offset)
    }
}

fn table_of(table: &DeTable<'_>, lines: &Lines) -> Table {
    let entry = |(key, value): (&_, &_)| {
        let (key, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>) = (key, value);
        let item = Item {
            line: lines.line(value.span().start),
            value: value_of(value.get_ref(), lines),
        };
        (key.get_ref().to_string(), (lines.line(key.span().start), item))
    };
    table.iter().map(entry).collect()
}

fn value_of(value: &DeValue<'_>, lines: &Lines) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Float(number.as_str().to_owned()),
        },
        DeValue::Float(number) => Raw::Float(number.as_str().to_owned()),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Datetime(moment) => Raw::Moment(moment.to_string()),
        DeValue::Array(list) => Raw::List(
            list.iter()
                .map(|item| Item {
                    line: lines.line(item.span().start),
                    value: value_of(item.get_ref(), lines),
                })
                .collect(),
        ),
        DeValue::Table(table) => Raw::Table(table_of(table, lines)),
    }
}

/// The option that was probably meant by `given`, for "did you mean".
pub fn nearest<'a>(given: &str, options: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let given = given.to_lowercase();
    let distances = options
        .into_iter()
        .map(|option| (edits(&given, &option.to_lowercase()), option));
    distances
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, o)| *distance <= 1 + o.len() / 4)
        .map(|(_, o)| o)
}

/// What to say of an unknown name.
pub fn suggestion<'a>(given: &str, options: impl IntoIterator<Item = &'a str> + Clone) -> String {
    const LISTED: usize = 24;
    if let Some(option) = nearest(given, options.clone()) {
        return format!("did you mean `{option}`?");
    }
    let mut all: Vec<&str> = options.into_iter().take(LISTED + 1).collect();
    let more = if all.len() > LISTED { ", …" } else { "" };
    all.truncate(LISTED);
    if all.is_empty() {
        "there are none".to_owned()
    } else {
        format!("known are: {}{more}", all.join(", "))
    }
}

/// Levenshtein's distance, with a swap of neighbours as one edit.
fn edits(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

/// Reads the keys of one table; [`Reader::finish`] reports those that nobody asked for.
pub struct Reader<'a> {
    path: String,
    line: usize,
    table: &'a Table,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Reads `table`, whose path is `path` and which begins in `line`.
    pub fn new(path: impl Into<String>, line: usize, table: &'a Table) -> Self {
        Self {
            path: path.into(),
            line,
            table,
            known: Vec::new(),
        }
    }

    /// Line in which the table begins.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Path of a key of this table.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Line of a key's value; the table's own when it is absent.
    pub fn line_of(&self, key: &str) -> usize {
        self.table.get(key).map_or(self.line, |(line, _)| *line)
    }

    /// Adds a mistake about a key of this table.
    pub fn wrong(&self, key: &str, mistakes: &mut Mistakes, wrong: impl Into<String>, right: impl Into<String>) {
        mistakes.add(Place::Line(self.line_of(key)), &self.path_of(key), wrong, right);
    }

    /// The value of a key, if it is there.
    pub fn item(&mut self, key: &'static str) -> Option<&'a Item> {
        self.known.push(key);
        self.table.get(key).map(|(_, item)| item)
    }

    /// A text.
    pub fn text(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<&'a str> {
        let item = self.item(key)?;
        if let Raw::Text(text) = &item.value {
            return Some(text);
        }
        self.wrong(
            key,
            mistakes,
            format!("{} is no text", item.value.describe()),
            "write it in quotation marks",
        );
        None
    }

    /// A text that must be there and must not be empty.
    pub fn needed_text(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<&'a str> {
        if !self.table.contains_key(key) {
            self.known.push(key);
            self.wrong(key, mistakes, "missing", "a text is needed");
            return None;
        }
        let text = self.text(key, mistakes)?;
        if text.is_empty() {
            self.wrong(key, mistakes, "empty", "a text is needed");
            return None;
        }
        Some(text)
    }

    /// A whole number of a range.
    pub fn integer(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u64>,
        mistakes: &mut Mistakes,
    ) -> Option<u64> {
        let item = self.item(key)?;
        if let Raw::Integer(number) = item.value
            && let Ok(number) = u64::try_from(number)
            && range.contains(&number)
        {
            return Some(number);
        }
        let right = format!("a whole number from {} to {} is wanted", range.start(), range.end());
        self.wrong(key, mistakes, format!("{} does not fit", item.value.describe()), right);
        None
    }

    /// True or false.
    pub fn flag(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<bool> {
        let item = self.item(key)?;
        if let Raw::Flag(flag) = item.value {
            return Some(flag);
        }
        self.wrong(
            key,
            mistakes,
            format!("{} is no truth value", item.value.describe()),
            "write `true` or `false`",
        );
        None
    }

    /// A duration (`"20s"`, `"1m30s"`, `"250ms"`, `"24h"`, `"30d"`), in milliseconds, at most `most_ms`.
    pub fn duration_ms(&mut self, key: &'static str, most_ms: u64, mistakes: &mut Mistakes) -> Option<u64> {
        let item = self.item(key)?;
        let parsed = match &item.value {
            Raw::Text(text) => duration_ms(text),
            _ => None,
        };
        match parsed {
            Some(ms) if ms <= most_ms => return Some(ms),
            Some(_) => {
                let right = format!("at most {} is allowed", humane(most_ms));
                self.wrong(key, mistakes, format!("{} is too long", item.value.describe()), right);
            }
            None => {
                let right = "a duration is written like \"20s\", \"250ms\", \"1m30s\", \"24h\" or \"7d\"";
                self.wrong(
                    key,
                    mistakes,
                    format!("{} is no duration", item.value.describe()),
                    right,
                );
            }
        }
        None
    }

    /// A list of texts, each with its line.
    pub fn texts(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<Vec<(usize, &'a str)>> {
        let item = self.item(key)?;
        let Raw::List(list) = &item.value else {
            self.wrong(
                key,
                mistakes,
                format!("{} is no list", item.value.describe()),
                "write [\"…\", \"…\"]",
            );
            return None;
        };
        let mut texts = Vec::new();
        for item in list {
            match &item.value {
                Raw::Text(text) => texts.push((item.line, text.as_str())),
                other => {
                    let wrong = format!("{} is no text", other.describe());
                    mistakes.add(
                        Place::Line(item.line),
                        &self.path_of(key),
                        wrong,
                        "write it in quotation marks",
                    );
                }
            }
        }
        Some(texts)
    }

    /// A table under a key.
    pub fn table(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Option<Reader<'a>> {
        let line = self.line_of(key);
        let item = self.item(key)?;
        if let Raw::Table(table) = &item.value {
            return Some(Reader::new(self.path_of(key), line, table));
        }
        let right = format!("write a table, `[{}]` or `{{ … }}`", self.path_of(key));
        self.wrong(key, mistakes, format!("{} is no table", item.value.describe()), right);
        None
    }

    /// A list of tables under a key (`[[key]]`).
    pub fn tables(&mut self, key: &'static str, mistakes: &mut Mistakes) -> Vec<Reader<'a>> {
        let Some(item) = self.item(key) else { return Vec::new() };
        let path = self.path_of(key);
        let right = format!("write `[[{path}]]`");
        let Raw::List(list) = &item.value else {
            self.wrong(
                key,
                mistakes,
                format!("{} is no list of tables", item.value.describe()),
                right,
            );
            return Vec::new();
        };
        let mut readers = Vec::new();
        for (at, item) in list.iter().enumerate() {
            match &item.value {
                Raw::Table(table) => readers.push(Reader::new(format!("{path}[{at}]"), item.line, table)),
                other => {
                    let wrong = format!("{} is no table", other.describe());
                    mistakes.add(Place::Line(item.line), &path, wrong, right.clone());
                }
            }
        }
        readers
    }

    /// All entries, for a table whose keys are the writer's own names.
    pub fn entries(&mut self) -> impl Iterator<Item = (&'a str, usize, &'a Item)> + use<'a> {
        self.table.iter().map(|(key, (line, item))| (key.as_str(), *line, item))
    }

    /// Reports every key that was not asked for.
    pub fn finish(self, mistakes: &mut Mistakes) {
        for (key, (line, _)) in self.table {
            if !self.known.contains(&key.as_str()) {
                let right = suggestion(key, self.known.iter().copied());
                mistakes.add(Place::Line(*line), &self.path_of(key), "unknown key", right);
            }
        }
    }
}

/// Parses a duration into milliseconds: numbers with units `ms`, `s`, `m`, `h`, `d`, larger units first.
pub fn duration_ms(text: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 5] = [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = text.trim();
    let mut total: u64 = 0;
    let mut next_unit = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let at = UNITS.iter().position(|(unit, _)| *unit == &rest[..unit_end])?;
        if at < next_unit {
            return None;
        }
        next_unit = at + 1;
        total = total.checked_add(number.checked_mul(UNITS[at].1)?)?;
        rest = &rest[unit_end..];
    }
    Some(total)
}

/// Writes milliseconds as [`duration_ms`] reads them.
pub fn humane(ms: u64) -> String {
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut rest = ms;
    let mut text = String::new();
    for (unit, length) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ] {
        if rest >= length {
            text.push_str(&format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, ms) in [
            ("250ms", 250),
            ("20s", 20_000),
            ("1m30s", 90_000),
            ("24h", 86_400_000),
            ("0s", 0),
            ("7d", 604_800_000),
        ] {
            assert_eq!(duration_ms(text), Some(ms), "{text}");
            assert_eq!(duration_ms(&humane(ms)), Some(ms), "{text}");
        }
        for text in [
            "",
            "20",
            "s",
            "20 s",
            "1s1m",
            "-1s",
            "1.5s",
            "1w",
            "99999999999999999999s",
        ] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn the_nearest_name_is_suggested() {
        assert_eq!(nearest("lisen", ["listen", "advertise"]), Some("listen"));
        assert_eq!(
            nearest("cluster_lsiten", ["cluster_listen", "api_listen"]),
            Some("cluster_listen")
        );
        assert_eq!(nearest("zebra", ["listen", "advertise"]), None);
    }

    #[test]
    fn every_syntax_error_has_a_line() {
        let mut mistakes = Mistakes::default();
        parse("a = 1\nb = = 2\nc = 3\nd = 'x\n", &mut mistakes);
        let found = mistakes.into_sorted();
        assert!(found.iter().any(|m| m.place == Place::Line(2)), "{found:?}");
        assert!(found.iter().any(|m| m.place == Place::Line(4)), "{found:?}");
    }

    #[test]
    fn all_mistakes_of_a_table_are_reported() {
        let mut mistakes = Mistakes::default();
        let table = parse("name = 3\nsise = 4\nfast = \"yes\"\nwait = \"20 s\"\n", &mut mistakes);
        let mut reader = Reader::new("", 1, &table);
        reader.needed_text("name", &mut mistakes);
        reader.integer("size", 1..=9, &mut mistakes);
        reader.flag("fast", &mut mistakes);
        reader.duration_ms("wait", 1_000, &mut mistakes);
        reader.finish(&mut mistakes);
        let texts: Vec<String> = mistakes.into_sorted().iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), 4, "{texts:#?}");
        assert_eq!(texts[1], "line 2: `sise`: unknown key; did you mean `size`?");
    }
}
