//! J: the bound on overtaking that accumulating priority promises (R13).
//!
//! Credit grows at rate bᵢ (L. Kleinrock, "A delay dependent queue discipline", 1964; D. A. Stanford, P. Taylor, I. Ziedins,
//! "Waiting time distributions in the accumulating priority queue", Queueing Systems 77, 2014). If j is served before i although it
//! came later, then at that moment t its credit is as great: b_j (t − a_j) ≥ bᵢ (t − aᵢ). With b_j ≤ b_max and t ≤ aᵢ + W this gives
//! a_j ≤ aᵢ + W (1 − bᵢ / b_max): nobody who came later than that was served before i.
//!
//! It holds among conversations of one queue while its rates stay, for i and j that
//! - were of the same priority, and could be offered, all the time (neither put off nor held for a customer who is away),
//! - are not expedited: what is goes first, and does not count,
//! - the agent who took j could have taken as well (i's skills, channel and exclusions allowed it, nobody else was waited for).

use super::{Violation, holds};
use crate::ids::{ConversationId, Millis};
use crate::limits::PRIORITIES;

/// A conversation that was served, under the conditions above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Service {
    /// Which.
    pub conversation: ConversationId,
    /// 0–9.
    pub priority: u8,
    /// Since when it waited.
    pub since_ms: Millis,
    /// When it was decided who gets it.
    pub at_ms: Millis,
}

/// Checks all pairs of what one queue served, in the order in which it was served.
///
/// # Errors
/// J: somebody was overtaken by one who came later than the bound allows.
pub fn check(rates: &[u32; PRIORITIES], served: &[Service]) -> Result<(), Violation> {
    let highest = u128::from(rates.iter().copied().max().unwrap_or(0));
    for (at, last) in served.iter().enumerate() {
        let rate = u128::from(rates[usize::from(last.priority)]);
        let waited_ms = u128::from(last.at_ms.saturating_sub(last.since_ms));
        for before in &served[..at] {
            // Later than the bound: (a_j − aᵢ) × b_max > W × (b_max − bᵢ).
            let later_ms = u128::from(before.since_ms.saturating_sub(last.since_ms));
            holds('J', later_ms * highest <= waited_ms * (highest - rate), || {
                format!("{last:?} was overtaken by {before:?}, who came later than rates {rates:?} allow")
            })?;
        }
    }
    Ok(())
}
