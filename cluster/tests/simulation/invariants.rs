//! What must hold, by the letters of the project's list. One file per letter, one function per invariant; each takes what
//! was seen and says what does not hold.

pub(super) mod agreement;
pub(super) mod durability;
pub(super) mod fail_stop;
pub(super) mod origin;
pub(super) mod raft;
pub(super) mod reads;
pub(super) mod time;

/// What does not hold, if anything.
pub(super) type Verdict = Result<(), String>;

/// Holds, or does not for this reason.
pub(super) fn demand(holds: bool, reason: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(reason()) }
}
