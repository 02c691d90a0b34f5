//! Situations that are in flight when nodes die. Each is begun, is left alone while its deadline passes, and then tells
//! whether what should have happened did, once and in time.

pub mod later;
pub mod offered;
pub mod silence;
pub mod together;
pub mod waiting;

use std::collections::BTreeMap;
use std::fmt;

/// How many of each situation came out as they should.
#[derive(Debug, Default)]
pub struct Tally(BTreeMap<&'static str, usize>);

impl Tally {
    /// So many more.
    pub fn add(&mut self, what: &'static str, many: usize) {
        *self.0.entry(what).or_default() += many;
    }

    /// What and how many.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, usize)> + '_ {
        self.0.iter().map(|(what, many)| (*what, *many))
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.all().map(|(what, many)| format!("{what} {many}")).collect();
        f.write_str(&all.join(", "))
    }
}
