//! What a reader gets of a conversation or of an agent's stream: each thing once and in order, whatever pushes do.
//!
//! Pushes may be lost, doubled, or overtake each other; reads are complete. A cursor passes on what follows on the last
//! thing that it has passed on, holds what came too early, drops what it has, and says when a read is needed. One read at
//! a time; pushes that come meanwhile are judged like any other. Nothing here waits or does I/O: [`super::connection`]
//! reads.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing::event::{AgentItem, Entry};
use routing::ids::Seq;

use super::protocol::EntryFrame;

/// Early entries that are kept; others are read again.
pub const HELD_MAX: usize = 64;

/// Reading of one conversation by one connection.
#[derive(Debug)]
pub struct EntryCursor {
    for_customer: bool,
    /// Everything up to here has been passed on, or is not for this reader.
    have: Seq,
    held: BTreeMap<Seq, Arc<Entry>>,
    reading: Reading,
}

#[derive(Debug, Default)]
struct Reading {
    wanted: bool,
    under_way: bool,
}

impl Reading {
    fn may_start(&self) -> bool {
        self.wanted && !self.under_way
    }

    fn started(&mut self) {
        *self = Self {
            wanted: false,
            under_way: true,
        };
    }

    fn ended(&mut self, again: bool) {
        self.under_way = false;
        self.wanted |= again;
    }
}

impl EntryCursor {
    /// From after `have` on. Wants a read at once.
    pub fn new(for_customer: bool, have: Seq) -> Self {
        Self {
            for_customer,
            have,
            held: BTreeMap::new(),
            reading: Reading {
                wanted: true,
                under_way: false,
            },
        }
    }

    /// Where it stands.
    pub fn have(&self) -> Seq {
        self.have
    }

    /// A push came; what may go out now is appended to `out`.
    pub fn pushed(&mut self, entry: Arc<Entry>, out: &mut Vec<EntryFrame>) {
        if entry.seq <= self.have || (self.for_customer && !entry.kind.for_customer()) {
            return;
        }
        if self.prev(&entry) <= self.have {
            self.pass_on(&entry, out);
            self.release(out);
        } else {
            self.reading.wanted = true;
            if self.held.len() < HELD_MAX {
                self.held.insert(entry.seq, entry);
            }
        }
    }

    /// Pushes may have been missed.
    pub fn resync(&mut self) {
        self.reading.wanted = true;
    }

    /// A read is needed, of what comes after the given seq; the caller makes it.
    pub fn start_read(&mut self) -> Option<Seq> {
        self.reading.may_start().then(|| {
            self.reading.started();
            self.have
        })
    }

    /// Whether [`Self::start_read`] would give something.
    pub fn wants_read(&self) -> bool {
        self.reading.may_start()
    }

    /// The read's page: entries after its seq, in order, without gap; `more` when the page was full.
    pub fn read(&mut self, page: &[Entry], more: bool, out: &mut Vec<EntryFrame>) {
        for entry in page {
            if entry.seq > self.have {
                self.pass_on(entry, out);
            }
        }
        self.release(out);
        self.reading.ended(more || !self.held.is_empty());
    }

    /// The read gave nothing: try again.
    pub fn read_failed(&mut self) {
        self.reading.ended(true);
    }

    fn prev(&self, entry: &Entry) -> Seq {
        if self.for_customer {
            entry.prev_for_customer
        } else {
            entry.seq.saturating_sub(1)
        }
    }

    fn pass_on(&mut self, entry: &Entry, out: &mut Vec<EntryFrame>) {
        self.have = entry.seq;
        out.extend(EntryFrame::of(entry, self.for_customer));
    }

    fn release(&mut self, out: &mut Vec<EntryFrame>) {
        while let Some((seq, entry)) = self.held.pop_first() {
            if seq > self.have && self.prev(&entry) > self.have {
                self.held.insert(seq, entry);
                return;
            }
            if seq > self.have {
                self.pass_on(&entry, out);
            }
        }
    }
}

/// Reading of an agent's own stream by one connection. While a read is under way all pushes are held, so that a desk is
/// never older than the items before it.
#[derive(Debug)]
pub struct AgentCursor {
    /// `None` until the first read is there.
    have: Option<u64>,
    asked: u64,
    held: BTreeMap<u64, Arc<AgentItem>>,
    reading: Reading,
    desk_wanted: bool,
}

/// What a read of an agent's stream changes for the reader.
#[derive(Debug, PartialEq, Eq)]
pub struct AgentRead {
    /// Items to pass on, before the desk.
    pub items: Vec<Arc<AgentItem>>,
    /// Pass on the desk of this answer (the first, and after a gap).
    pub desk: bool,
    /// Items to pass on after it.
    pub later: Vec<Arc<AgentItem>>,
}

impl AgentCursor {
    /// From after `asked` on. Wants a read at once.
    pub fn new(asked: u64) -> Self {
        let reading = Reading {
            wanted: true,
            under_way: false,
        };
        Self {
            have: None,
            asked,
            held: BTreeMap::new(),
            reading,
            desk_wanted: true,
        }
    }

    /// A push came; gives what may go out now.
    pub fn pushed(&mut self, item: Arc<AgentItem>) -> Vec<Arc<AgentItem>> {
        match self.have {
            Some(have) if item.agent_seq <= have => return Vec::new(),
            Some(have) if !self.reading.under_way && item.agent_seq == have + 1 => {
                self.have = Some(item.agent_seq);
                let mut out = vec![item];
                out.extend(self.release());
                return out;
            }
            _ => {}
        }
        let full = self.held.len() >= HELD_MAX;
        if !full {
            self.held.insert(item.agent_seq, item);
        }
        self.reading.wanted |= full || !self.reading.under_way;
        Vec::new()
    }

    /// Pushes may have been missed.
    pub fn resync(&mut self) {
        self.reading.wanted = true;
    }

    /// A read is needed, of what comes after the given item; the caller makes it.
    pub fn start_read(&mut self) -> Option<u64> {
        self.reading.may_start().then(|| {
            self.reading.started();
            self.have.unwrap_or(self.asked)
        })
    }

    /// The read's answer: items after its cursor, or `gap`, and where the stream stands.
    pub fn read(&mut self, items: &[AgentItem], gap: bool, agent_seq: u64) -> AgentRead {
        let have = self.have.unwrap_or(self.asked);
        let items = if gap { &[] } else { items };
        let items: Vec<_> = items
            .iter()
            .filter(|item| item.agent_seq > have)
            .cloned()
            .map(Arc::new)
            .collect();
        let desk = gap || std::mem::take(&mut self.desk_wanted);
        self.have = Some(agent_seq);
        let later = self.release();
        self.reading.ended(!self.held.is_empty());
        AgentRead { items, desk, later }
    }

    /// The read gave nothing: try again.
    pub fn read_failed(&mut self) {
        self.reading.ended(true);
    }

    fn release(&mut self) -> Vec<Arc<AgentItem>> {
        let mut out = Vec::new();
        let mut have = self.have.unwrap_or(self.asked);
        while let Some((seq, item)) = self.held.pop_first() {
            if seq > have + 1 {
                self.held.insert(seq, item);
                break;
            }
            if seq == have + 1 {
                have = seq;
                out.push(item);
            }
        }
        self.have = Some(have);
        out
    }
}

#[cfg(test)]
mod tests;
