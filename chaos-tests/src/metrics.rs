//! What a node's `/metrics` says.

/// One reading: rows of (name, labels, value).
#[derive(Clone, Debug, Default)]
pub struct Scrape(Vec<(String, String, f64)>);

impl Scrape {
    /// Reads the text format; lines that are none are left out.
    pub fn read(text: &str) -> Self {
        let row = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let (name, labels) = series.split_once('{').unwrap_or((series, ""));
            let labels = labels.trim_end_matches('}');
            Some((name.to_owned(), labels.to_owned(), value.parse().ok()?))
        };
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(row).collect())
    }

    /// Labels and values of one metric.
    pub fn rows(&self, name: &str) -> impl Iterator<Item = (&str, f64)> {
        let rows = self.0.iter().filter(move |(of, _, _)| of == name);
        rows.map(|(_, labels, value)| (labels.as_str(), *value))
    }

    /// A metric over all its labels; 0 when it is not there.
    pub fn sum(&self, name: &str) -> f64 {
        self.rows(name).map(|(_, value)| value).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::Scrape;

    #[test]
    fn rows_are_read_with_their_labels() {
        let scrape = Scrape::read("# HELP a b\na{x=\"1\",y=\"2\"} 3\na{x=\"2\"} 4\nb 0.5\n");
        assert_eq!(
            scrape.rows("a").collect::<Vec<_>>(),
            [("x=\"1\",y=\"2\"", 3.0), ("x=\"2\"", 4.0)]
        );
        assert_eq!((scrape.sum("a"), scrape.sum("b"), scrape.sum("c")), (7.0, 0.5, 0.0));
    }
}
