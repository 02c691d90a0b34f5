//! Lists out of which items are taken and put back again, last out first in.

use std::time::Duration;

/// A doubly linked list of the numbers below its size, in order. Node 0 is before the first and after the last.
pub(super) struct Links {
    next: Vec<u32>,
    previous: Vec<u32>,
}

impl Links {
    pub(super) fn new(size: usize) -> Self {
        let nodes = u32::try_from(size + 1).expect("fewer than four thousand million operations");
        Self {
            next: (0..nodes).map(|node| (node + 1) % nodes).collect(),
            previous: (0..nodes).map(|node| (node + nodes - 1) % nodes).collect(),
        }
    }

    pub(super) fn first(&self) -> u32 {
        self.next[0]
    }

    pub(super) fn after(&self, node: u32) -> u32 {
        self.next[node as usize]
    }

    /// The number at a node; `None`: the list is over.
    pub(super) fn item(node: u32) -> Option<u32> {
        node.checked_sub(1)
    }

    pub(super) fn lift(&mut self, number: u32) {
        let node = number as usize + 1;
        let (previous, next) = (self.previous[node], self.next[node]);
        self.next[previous as usize] = next;
        self.previous[next as usize] = previous;
    }

    pub(super) fn put_back(&mut self, number: u32) {
        let node = number + 1;
        let (previous, next) = (self.previous[node as usize], self.next[node as usize]);
        self.next[previous as usize] = node;
        self.previous[next as usize] = node;
    }
}

/// Calls and returns of the operations that have an answer, by time. Operations are numbered in the order of their calls.
pub(super) struct Timeline {
    operations: Vec<usize>,
    /// Of each event.
    time: Vec<Duration>,
    /// Of each event: the number of the operation that is called.
    call: Vec<Option<u32>>,
    /// Of each operation: call and return.
    events: Vec<(u32, u32)>,
    list: Links,
}

impl Timeline {
    /// Of (operation, call, return).
    pub(super) fn new(mut spans: Vec<(usize, Duration, Duration)>) -> Self {
        spans.sort_by_key(|(_, call, _)| *call);
        let mut events: Vec<(Duration, bool, u32)> = Vec::with_capacity(spans.len() * 2);
        for (number, (_, call, returned)) in (0u32..).zip(&spans) {
            events.push((*call, false, number));
            events.push((*returned.max(call), true, number));
        }
        // At one moment calls come before returns: what touches may have overlapped.
        events.sort_unstable();
        let mut of = vec![(0, 0); spans.len()];
        for (event, (_, returns, number)) in (0u32..).zip(&events) {
            match returns {
                false => of[*number as usize].0 = event,
                true => of[*number as usize].1 = event,
            }
        }
        Self {
            operations: spans.iter().map(|(operation, ..)| *operation).collect(),
            time: events.iter().map(|(time, ..)| *time).collect(),
            call: events
                .iter()
                .map(|(_, returns, number)| (!returns).then_some(*number))
                .collect(),
            events: of,
            list: Links::new(events.len()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    /// Nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.list.first() == 0
    }

    pub(super) fn operation(&self, number: u32) -> usize {
        self.operations[number as usize]
    }

    pub(super) fn first(&self) -> u32 {
        self.list.first()
    }

    pub(super) fn after(&self, node: u32) -> u32 {
        self.list.after(node)
    }

    /// The operation that is called at this node; `None`: it is a return, or there is nothing left.
    pub(super) fn call_of(&self, node: u32) -> Option<u32> {
        self.call[Links::item(node)? as usize]
    }

    /// The moment of a node; after the last: for ever.
    pub(super) fn time(&self, node: u32) -> Duration {
        Links::item(node).map_or(Duration::MAX, |event| self.time[event as usize])
    }

    pub(super) fn lift(&mut self, number: u32) {
        let (call, returned) = self.events[number as usize];
        self.list.lift(call);
        self.list.lift(returned);
    }

    pub(super) fn put_back(&mut self, number: u32) {
        let (call, returned) = self.events[number as usize];
        self.list.put_back(returned);
        self.list.put_back(call);
    }
}
