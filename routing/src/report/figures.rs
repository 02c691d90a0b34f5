//! What is counted and summed.

use serde::{Deserialize, Serialize};

use super::Histogram;

/// A struct of sums, which can be added, and listed by name (for tables and CSV). One list of fields serves all three, so that none can be
/// forgotten in one of them.
macro_rules! sums {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: u64,)+
        }

        impl $name {
            /// All of another.
            pub fn add(&mut self, other: &Self) {
                $(self.$field = self.$field.saturating_add(other.$field);)+
            }

            /// Names and values, in order.
            pub fn list(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($field), self.$field)),+].into_iter()
            }
        }
    };
}

sums! {
    /// Waits for a first answer, by the quarter hour in which they began.
    Visits {
        /// Began to wait.
        arrived,
        /// Came from another queue while waiting (its quarter hour is that in which it began to wait).
        moved_in,
        /// Went to another queue while waiting.
        moved_out,
        /// Put off to a later time while waiting (R33); arrives again then.
        put_off,
        /// A: met an agent.
        answered,
        /// A_T: after at most the queue's `answer_target_ms`.
        answered_within,
        /// B: the customer left before the answer.
        abandoned,
        /// B_T: after at most the queue's `answer_target_ms`.
        abandoned_within,
        /// s: sooner than the queue's `short_abandon_ms`. Part of `abandoned`.
        short_abandoned,
        /// R32: met an agent, and the customer had gone. Part of `answered`.
        silent_abandoned,
        /// Taken at the cap or outside hours, for later. Not part of `offered`.
        offline,
        /// Closed before the answer by a supervisor or a rule.
        cancelled,
        /// Waits of the answered, in milliseconds.
        answered_wait_ms,
        /// Waits of those who abandoned, in milliseconds: until they left.
        abandoned_wait_ms,
        /// R35: answered, and a wait had been estimated.
        estimated,
        /// R35: of them, waited no longer than the estimate's P50.
        within_p50,
        /// R35: no longer than its P90.
        within_p90,
    }
}

sums! {
    /// What was done, by the quarter hour in which it was.
    Work {
        /// Offers made.
        offers_made,
        /// Accepted.
        offers_accepted,
        /// Declined.
        offers_declined,
        /// Not answered in time.
        offers_expired,
        /// Taken back.
        offers_withdrawn,
        /// R9: accepted by another agent first.
        offers_taken,
        /// R41: offers and assignments that were chosen in a batch.
        batched,
        /// R41: by how much the scores of the batches were better than one by one.
        batch_gain,
        /// Conversations given to an agent: accepted, pulled, assigned, transferred to.
        assignments,
        /// Levels that the assigned conversations asked for, required and preferred.
        levels_asked,
        /// Of them, what the agents had (at most what was asked of each skill).
        levels_met,
        /// Legs that ended by closing (after wrap-up) or by transfer.
        handled,
        /// Milliseconds of all ended legs: with the agent.
        talk_ms,
        /// Paused.
        hold_ms,
        /// In wrap-up.
        wrap_ms,
        /// Talk and wrap-up shared among the agent's conversations, ∫dt/k(t), in 1/[`super::ATTENTION_ONE`] ms.
        attention,
        /// Legs that ended because the agent did not reply, was lost, signed out, or had no room: back to the queue.
        requeued,
        /// Legs that a supervisor ended by giving the conversation to somebody else.
        reassigned,
        /// Cold transfers: to an agent or a queue, through waiting.
        transferred_cold,
        /// Warm transfers: to an agent who had been asked in.
        transferred_warm,
        /// R4: steps of relaxation taken.
        relaxed,
        /// R5: rings opened.
        rings_opened,
        /// First human replies.
        replied,
        /// From the conversation's start to the first human reply, in milliseconds.
        first_reply_ms,
        /// Conversations that ended, whatever the outcome; again after each reopening.
        closed,
        /// Of them, helped, and an agent had answered.
        resolved_by_agent,
        /// Helped without one.
        resolved_without_agent,
        /// From the conversation's start to its resolution, in milliseconds.
        resolution_ms,
        /// Resolutions (of this quarter hour) whose customer came back within the tenant's repeat window.
        repeated,
        /// Ratings given.
        ratings,
        /// Of them, 4 and 5.
        satisfied,
        /// Sum of the ratings.
        rating_sum,
    }
}

sums! {
    /// An agent's time. Milliseconds, or units of capacity × milliseconds.
    AgentTime {
        /// Signed in, suspects included.
        signed_in_ms,
        /// Available.
        available_ms,
        /// With at least one conversation: assigned, in wrap-up, consulted or conferring.
        handling_ms,
        /// Available, without one.
        idle_ms,
        /// ∫k(t)dt of the conversations that they had at once.
        concurrency_ms,
        /// Units of capacity in use, offers outstanding included.
        used_unit_ms,
        /// Units of capacity offered: all of it while available, else what is still in use.
        offered_unit_ms,
    }
}

/// All of one row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Of the quarter hour in which the customers began to wait.
    pub visits: Visits,
    /// Of the quarter hour in which it was done.
    pub work: Work,
    /// Agents' time.
    pub time: AgentTime,
    /// Longest wait of who was answered or abandoned, in milliseconds.
    pub wait_max_ms: u64,
    /// Waits of the answered.
    pub waits: Histogram,
    /// Times to the first human reply.
    pub first_replies: Histogram,
    /// Handling times of the legs that count as handled: talk, hold and wrap-up.
    pub handle_times: Histogram,
    /// Times from start to resolution.
    pub resolutions: Histogram,
}

impl Figures {
    /// All of another row.
    pub fn add(&mut self, other: &Self) {
        self.visits.add(&other.visits);
        self.work.add(&other.work);
        self.time.add(&other.time);
        self.wait_max_ms = self.wait_max_ms.max(other.wait_max_ms);
        self.waits.add(&other.waits);
        self.first_replies.add(&other.first_replies);
        self.handle_times.add(&other.handle_times);
        self.resolutions.add(&other.resolutions);
    }
}
