//! A verdict as a picture: one row for each client, a bar from call to return for each operation (open to the right when its
//! outcome is unknown), and the order that was found as a line through the bars. Of a long history the end of the order
//! is shown, with all that overlaps it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use super::{Model, Moment, OperationOf, Verdict};
use crate::history::Outcome;

/// Of the order, so many operations are drawn.
const DRAWN: usize = 150;
/// Between two moments of calls and returns: time is not to scale, so that what is close together can be told apart.
const STEP: f64 = 14.0;
const ROW: f64 = 26.0;
const LEFT: f64 = 250.0;
const TOP: f64 = 40.0;

const HEAD: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><style>
body{font:14px system-ui,sans-serif;margin:1rem;background:#fff;color:#222}
.frame{overflow-x:auto;border:1px solid #ccc}svg{font:11px system-ui,sans-serif}
pre{white-space:pre-wrap;background:#f6f6f6;padding:.7rem}
.done{fill:#bcd7f2;stroke:#4a7fb5}.refused{fill:#e4e4e4;stroke:#888}.unknown{fill:#fbe6bd;stroke:#c58b1b;stroke-dasharray:4 3}
.stuck{fill:#f6b8b3;stroke:#c0271a;stroke-width:2}.line{fill:none;stroke:#222;stroke-width:1.2}.point{fill:#222}
.grid{stroke:#eee}.time{fill:#777}</style>";

const LEGEND: &str = "<p>Blue: done. Grey: refused. Yellow: unknown, open to the right. Red: fits nowhere. \
Black: the order, each operation at a moment between its call and its return. Point at a bar to read it. Time is not to scale.</p>";

/// What is drawn, and where.
struct Canvas {
    /// Index of each drawn operation.
    drawn: Vec<usize>,
    /// Column of each moment.
    columns: BTreeMap<Duration, usize>,
    /// Row of each operation.
    rows: HashMap<usize, usize>,
    /// Clients, and where their rows begin.
    clients: Vec<(String, usize)>,
    height: f64,
}

pub(super) fn page<M: Model>(verdict: &Verdict, title: &str, model: &M, operations: &[OperationOf<M>]) -> String {
    let mut page = HEAD.to_owned();
    let title = escaped(title);
    let _ = write!(
        page,
        "<title>{title}</title></head><body><h1>{title}</h1>{LEGEND}<div class=\"frame\">"
    );
    let canvas = Canvas::new(verdict, operations);
    let _ = draw(&mut page, &canvas, verdict, model, operations);
    let text = escaped(&verdict.text(model, operations));
    let _ = writeln!(page, "</div><pre>{text}</pre></body></html>");
    page
}

impl Canvas {
    fn new<I, O>(verdict: &Verdict, operations: &[crate::history::Operation<I, O>]) -> Self {
        let drawn = drawn(verdict, operations);
        let mut columns = BTreeMap::new();
        for &at in &drawn {
            columns.insert(operations[at].call, 0);
            if let Some(returned) = operations[at].ends() {
                columns.insert(returned, 0);
            }
        }
        for (column, at) in columns.values_mut().enumerate() {
            *at = column;
        }
        let mut of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for &at in &drawn {
            of.entry(&operations[at].client).or_default().push(at);
        }
        let (mut rows, mut clients, mut next) = (HashMap::new(), Vec::new(), 0);
        for (client, its) in of {
            clients.push((client.to_owned(), next));
            // One client may have several out at once: each goes into the first row that is free again.
            let mut free: Vec<Duration> = Vec::new();
            for at in its {
                let until = operations[at].ends().unwrap_or(Duration::MAX);
                let row = free.iter().position(|busy| *busy < operations[at].call);
                let row = row.unwrap_or_else(|| {
                    free.push(until);
                    free.len() - 1
                });
                free[row] = until;
                rows.insert(at, next + row);
            }
            next += free.len();
        }
        let height = TOP + ROW * next as f64 + 10.0;
        Self {
            drawn,
            columns,
            rows,
            clients,
            height,
        }
    }

    fn width(&self) -> f64 {
        LEFT + STEP * (self.columns.len() + 3) as f64
    }

    fn x(&self, moment: Option<Duration>) -> f64 {
        let column = moment.and_then(|moment| self.columns.get(&moment));
        LEFT + STEP * column.map_or(self.columns.len() as f64 + 2.0, |column| *column as f64 + 0.5)
    }

    fn y(&self, operation: usize) -> f64 {
        TOP + ROW * self.rows.get(&operation).copied().unwrap_or(0) as f64
    }
}

/// The last of the order, what did not fit, and all with an answer that overlap these.
fn drawn<I, O>(verdict: &Verdict, operations: &[crate::history::Operation<I, O>]) -> Vec<usize> {
    let order = verdict.order();
    let last = &order[order.len().saturating_sub(DRAWN)..];
    let stuck = verdict.stuck().iter().map(|stuck| stuck.operation).take(DRAWN);
    let mut drawn: Vec<usize> = last.iter().copied().chain(stuck).collect();
    let known = |at: &&usize| operations[**at].ends().is_some();
    let from = drawn.iter().filter(known).map(|at| operations[*at].call).min();
    let until = drawn.iter().filter_map(|at| operations[*at].ends()).max();
    if let (Some(from), Some(until)) = (from, until) {
        let overlaps = |at: &usize| {
            let one = &operations[*at];
            one.call <= until && one.ends().is_some_and(|returned| returned >= from)
        };
        drawn.extend((0..operations.len()).filter(overlaps).take(2 * DRAWN));
    }
    drawn.sort_by_key(|at| (operations[*at].call, *at));
    drawn.dedup();
    drawn
}

fn draw<M: Model>(
    page: &mut String,
    canvas: &Canvas,
    verdict: &Verdict,
    model: &M,
    operations: &[OperationOf<M>],
) -> std::fmt::Result {
    let (width, height) = (canvas.width(), canvas.height);
    write!(
        page,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\">"
    )?;
    for (moment, column) in canvas.columns.iter().filter(|(_, column)| **column % 10 == 0) {
        let x = LEFT + STEP * (*column as f64 + 0.5);
        write!(
            page,
            "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"22\" y2=\"{height}\"/>"
        )?;
        write!(
            page,
            "<text class=\"time\" x=\"{x}\" y=\"16\">{}</text>",
            Moment(*moment)
        )?;
    }
    for (client, row) in &canvas.clients {
        let y = TOP + ROW * *row as f64 + 14.0;
        write!(page, "<text x=\"6\" y=\"{y}\">{}</text>", escaped(client))?;
    }
    let why: HashMap<usize, &str> = verdict.stuck().iter().map(|one| (one.operation, &*one.why)).collect();
    for &at in &canvas.drawn {
        let operation = &operations[at];
        let class = match (&operation.outcome, why.contains_key(&at)) {
            (_, true) => "stuck",
            (Outcome::Done(_), _) => "done",
            (Outcome::Refused(_), _) => "refused",
            (Outcome::Unknown, _) => "unknown",
        };
        let (x, y, end) = (canvas.x(Some(operation.call)), canvas.y(at), canvas.x(operation.ends()));
        let words = escaped(&model.words(&operation.input, &operation.outcome));
        let why = why
            .get(&at)
            .map(|why| format!("\n{}", escaped(why)))
            .unwrap_or_default();
        write!(
            page,
            "<g><title>{words}{why}</title><rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"18\" rx=\"3\"/></g>",
            (end - x).max(3.0)
        )?;
    }
    line_of_the_order(page, canvas, verdict, operations)?;
    write!(page, "</svg>")
}

/// Each operation as early as the order allows: not before its call, and not before the one before it.
fn line_of_the_order<I, O>(
    page: &mut String,
    canvas: &Canvas,
    verdict: &Verdict,
    operations: &[crate::history::Operation<I, O>],
) -> std::fmt::Result {
    let (mut points, mut x, mut crowd) = (Vec::new(), 0.0f64, 0u32);
    for (place, &at) in verdict.order().iter().enumerate() {
        if !canvas.rows.contains_key(&at) {
            continue;
        }
        let call = canvas.x(Some(operations[at].call)) + 2.0;
        crowd = if call > x { 0 } else { crowd + 1 };
        x = x.max(call);
        // Those at one moment lie side by side, within its column.
        let shift = (STEP - 5.0) * (1.0 - 1.0 / (1.0 + f64::from(crowd) / 4.0));
        points.push((place + 1, x + shift, canvas.y(at) + 9.0));
    }
    let path: Vec<String> = points.iter().map(|(_, x, y)| format!("{x:.1},{y}")).collect();
    write!(page, "<polyline class=\"line\" points=\"{}\"/>", path.join(" "))?;
    for (place, x, y) in points {
        write!(
            page,
            "<circle class=\"point\" cx=\"{x:.1}\" cy=\"{y}\" r=\"2.5\"><title>{place}.</title></circle>"
        )?;
    }
    Ok(())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
