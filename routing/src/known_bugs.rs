//! Bugs that are known, to be put back in by the tests of the tests (`tests/known_bugs.rs`): a search for bugs that does not find
//! these is not a search. Without the feature `failpoints` of the crate `fail`, which tests alone have, nothing of it is compiled.

/// Whether this bug is put in.
pub(crate) fn put_in(bug: &'static str) -> bool {
    // Not used where the macro is nothing.
    let _ = bug;
    fail::fail_point!(bug, |_| true);
    false
}
