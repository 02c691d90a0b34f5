//! What happens, in sentences: the last few hundred.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde::Serialize;

use crate::wall_clock::now_ms;

/// Lines kept.
const LINES_MAX: usize = 300;

/// What a line is about; the page colours by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Kind {
    Started,
    Offered,
    OfferEnded,
    Assigned,
    Transferred,
    Closed,
    Left,
    Agent,
    Node,
    Election,
    Fault,
}

/// A line.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    /// Grows by one.
    pub id: u64,
    /// Unix milliseconds.
    pub at_ms: u64,
    /// What it is about.
    pub kind: Kind,
    /// The sentence.
    pub text: String,
}

/// The last lines.
#[derive(Default)]
pub struct Ticker {
    lines: Mutex<(u64, VecDeque<Line>)>,
}

impl Ticker {
    /// Adds a line.
    pub fn tell(&self, kind: Kind, text: impl Into<String>) {
        let mut lines = self.lines.lock();
        lines.0 += 1;
        let line = Line {
            id: lines.0,
            at_ms: now_ms(),
            kind,
            text: text.into(),
        };
        lines.1.push_back(line);
        if lines.1.len() > LINES_MAX {
            lines.1.pop_front();
        }
    }

    /// Lines after `after`, at most `most` of the newest.
    pub fn after(&self, after: u64, most: usize) -> Vec<Line> {
        let lines = self.lines.lock();
        let fresh = lines.1.iter().filter(|line| line.id > after).count();
        let fresh = lines.1.iter().skip(lines.1.len() - fresh.min(most));
        fresh.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_given_once() {
        let ticker = Ticker::default();
        for n in 1..=LINES_MAX + 5 {
            ticker.tell(Kind::Started, n.to_string());
        }
        let all = ticker.after(0, usize::MAX);
        assert_eq!((all.len(), all[0].text.as_str()), (LINES_MAX, "6"));
        let last = ticker.after(303, 100);
        assert_eq!(last.iter().map(|line| line.id).collect::<Vec<_>>(), [304, 305]);
        assert_eq!(ticker.after(0, 2)[0].id, 304);
        assert!(ticker.after(305, 10).is_empty());
    }
}
