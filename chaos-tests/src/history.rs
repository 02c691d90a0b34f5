//! What clients asked for and what they were told, each with the moments of call and return: what [`crate::linearizability`]
//! judges. Written as JSON lines, one operation a line, in the order of the calls, so that the history of a run that failed
//! can be read, cut down by hand, and judged again.
//!
//! Three things can become of an operation. *Done*: it was acknowledged or answered, and took effect between call and return.
//! *Refused*: nothing has changed. *Unknown* (no answer ever came): it took effect at some time after the call, however late,
//! or never. What has not returned yet stands here as unknown already, so a recorder can be looked at in the middle of a run.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

mod deed;

pub use deed::{By, Held, Input, Name, Output, Phase, Presence, Shown};

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome<O> {
    /// It was done, or answered.
    Done(O),
    /// It was refused with this code: certainly not done.
    Refused(String),
    /// No answer: done at any time after the call, or never.
    Unknown,
}

/// One operation of one client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation<I = Input, O = Output> {
    /// Who called.
    pub client: Name,
    /// When, since the start of the run.
    #[serde(rename = "call_ns", with = "nanoseconds")]
    pub call: Duration,
    /// When the answer was there. Of an unknown one: when the client gave up, or nothing at all; it does not count.
    #[serde(rename = "return_ns", with = "maybe_nanoseconds", default)]
    pub returned: Option<Duration>,
    /// What was asked for.
    pub input: I,
    /// What became of it.
    pub outcome: Outcome<O>,
}

impl<I, O> Operation<I, O> {
    /// When it is over: never, as long as its outcome is unknown.
    pub fn ends(&self) -> Option<Duration> {
        match self.outcome {
            Outcome::Unknown => None,
            // Without the moment of return nothing is known of when, and any time after the call is right.
            _ => self.returned,
        }
    }
}

/// Operations in the order of their calls.
pub type History = Vec<Operation>;

/// Writes operations down. A cheap clone that many tasks share.
#[derive(Clone, Debug)]
pub struct Recorder {
    start: Instant,
    operations: Arc<Mutex<History>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::since(Instant::now())
    }
}

impl Recorder {
    /// Begins; the run starts now.
    pub fn new() -> Self {
        Self::default()
    }

    /// The run started then: for several recorders of one run.
    pub fn since(start: Instant) -> Self {
        Self {
            start,
            operations: Arc::default(),
        }
    }

    /// How old the run is.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// A call goes out now. Dropping what this gives leaves the outcome unknown.
    pub fn call(&self, client: impl Into<Name>, input: Input) -> Pending {
        let (client, call) = (client.into(), self.now());
        let mut operations = self.lock();
        operations.push(Operation {
            client,
            call,
            returned: None,
            input,
            outcome: Outcome::Unknown,
        });
        Pending {
            recorder: self.clone(),
            index: operations.len() - 1,
        }
    }

    /// An operation that is over, whose input was not known before its answer (a start, which makes the conversation's id).
    pub fn record(&self, operation: Operation) {
        self.lock().push(operation);
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether nothing was called.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them as they are now, in the order of their calls.
    pub fn history(&self) -> History {
        let mut history = self.lock().clone();
        history.sort_by_key(|operation| operation.call);
        history
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        // A task that panicked has not left half an operation behind.
        self.operations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, index: usize, outcome: Outcome<Output>) {
        let returned = Some(self.now());
        if let Some(operation) = self.lock().get_mut(index) {
            (operation.returned, operation.outcome) = (returned, outcome);
        }
    }
}

/// A call that is out.
#[derive(Debug)]
#[must_use = "dropped, its outcome stays unknown"]
pub struct Pending {
    recorder: Recorder,
    index: usize,
}

impl Pending {
    /// It was done, or answered.
    pub fn done(self, output: Output) {
        self.recorder.settle(self.index, Outcome::Done(output));
    }

    /// It was refused, for good: a refusal that says `outcome_unknown` is none.
    pub fn refused(self, code: impl Into<String>) {
        self.recorder.settle(self.index, Outcome::Refused(code.into()));
    }

    /// Nobody knows.
    pub fn unknown(self) {
        self.recorder.settle(self.index, Outcome::Unknown);
    }
}

/// Writes a history as JSON lines.
pub fn write(history: &[Operation], path: &Path) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for operation in history {
        serde_json::to_writer(&mut file, operation)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// Reads it again. Empty lines are passed over.
pub fn read(path: &Path) -> io::Result<History> {
    let lines = BufReader::new(File::open(path)?).lines();
    let mut history = History::new();
    for (number, line) in lines.enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let operation = serde_json::from_str(&line).map_err(|error| {
            let why = format!("line {}: {error}", number + 1);
            io::Error::new(io::ErrorKind::InvalidData, why)
        })?;
        history.push(operation);
    }
    history.sort_by_key(|operation| operation.call);
    Ok(history)
}

mod nanoseconds {
    use super::{Deserialize, Duration};
    use serde::{Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_nanos)
    }
}

mod maybe_nanoseconds {
    use super::{Deserialize, Duration};
    use serde::{Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(time: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        let nanoseconds = time.map(|time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        nanoseconds.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_nanos))
    }
}

#[cfg(test)]
mod tests;
