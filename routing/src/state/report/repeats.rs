//! First contact resolution: who was helped, and comes back within the tenant's window, was not helped the first time.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::{Fold, Report};
use crate::ids::{AgentId, Channel, CustomerId, Millis, QueueId};
use crate::limits;
use crate::report::{Subject, quarter_hour_of};
use crate::state::conversation::Conversation;
use crate::state::rows::Rows;

/// A customer's name, as a number: the state keeps no name for longer than its conversations.
pub(crate) type CustomerKey = u128;

fn key_of(customer: &CustomerId) -> CustomerKey {
    xxh3_128(customer.0.as_bytes())
}

/// The last time a customer was helped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resolution {
    at_ms: Millis,
    queue: Option<QueueId>,
    channel: Arc<Channel>,
    agent: Option<AgentId>,
}

/// Last resolutions, by customer and by age.
#[derive(Clone, Debug, Default)]
pub(crate) struct Resolutions {
    by_customer: Rows<CustomerKey, Resolution>,
    by_age: Rows<(Millis, CustomerKey), ()>,
}

impl Resolutions {
    /// All of them: what a snapshot holds.
    pub fn rows(&self) -> &Rows<CustomerKey, Resolution> {
        &self.by_customer
    }

    /// From what a snapshot held.
    pub fn of(by_customer: Rows<CustomerKey, Resolution>) -> Self {
        let mut by_age = Rows::default();
        for (customer, last) in by_customer.iter() {
            by_age.put((last.at_ms, *customer), Arc::new(()));
        }
        Self { by_customer, by_age }
    }

    /// Whether both orders tell the same.
    pub fn is_sound(&self) -> bool {
        self.by_customer.len() == self.by_age.len()
            && (self.by_customer.iter()).all(|(customer, last)| self.by_age.contains(&(last.at_ms, *customer)))
    }

    fn take(&mut self, customer: CustomerKey) -> Option<Arc<Resolution>> {
        let last = self.by_customer.remove(&customer)?;
        self.by_age.remove(&(last.at_ms, customer));
        Some(last)
    }

    fn put(&mut self, customer: CustomerKey, last: Resolution) {
        self.take(customer);
        self.by_age.put((last.at_ms, customer), Arc::new(()));
        self.by_customer.put(customer, Arc::new(last));
        while self.by_customer.len() > limits::RESOLUTIONS_MAX {
            self.forget_oldest();
        }
    }

    fn oldest(&self) -> Option<(Millis, CustomerKey)> {
        self.by_age.iter().next().map(|(key, _)| *key)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, customer)) = self.oldest() {
            self.take(customer);
        }
    }
}

impl Report {
    /// Who has not come back within the window will not count as a repeat any more.
    pub(super) fn forget_resolutions(&mut self, before_ms: Millis) {
        while (self.resolutions.oldest()).is_some_and(|(at_ms, _)| at_ms < before_ms) {
            self.resolutions.forget_oldest();
        }
    }
}

impl Fold<'_> {
    fn window_ms(&self) -> u64 {
        match self.routing.repeat_window_ms {
            0 => limits::REPEAT_WINDOW_MS,
            given => given,
        }
    }

    pub(super) fn helped(&mut self, row: &Conversation, agent: Option<AgentId>) {
        let last = Resolution {
            at_ms: self.at_ms,
            queue: row.queue,
            channel: row.channel.clone(),
            agent,
        };
        self.report.resolutions.put(key_of(&row.customer), last);
    }

    /// A customer is here again: counted once, and against the resolution that did not hold, in its quarter hour.
    pub(super) fn came_back(&mut self, customer: &CustomerId) {
        let Some(last) = self.report.resolutions.take(key_of(customer)) else {
            return;
        };
        if self.at_ms.saturating_sub(last.at_ms) > self.window_ms() {
            return;
        }
        let quarter_ms = quarter_hour_of(last.at_ms);
        let (queue, channel) = (last.queue, last.channel.clone());
        self.book(quarter_ms, Subject::Queue { queue, channel }, |row| {
            row.work.repeated += 1
        });
        if let Some(agent) = last.agent {
            let channel = last.channel.clone();
            self.book(quarter_ms, Subject::Agent { agent, channel }, |row| {
                row.work.repeated += 1
            });
        }
    }

    pub(super) fn forget_resolutions(&mut self) {
        let before_ms = self.at_ms.saturating_sub(self.window_ms());
        self.report.forget_resolutions(before_ms);
    }
}
