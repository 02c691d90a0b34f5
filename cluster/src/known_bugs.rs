//! Bugs that a store of this kind could have. Tests put them back in, to see that they are found.
//!
//! Each is named where it would be made. They are switched by crate `fail`: in a test by `fail::cfg(name, "return")`, in a
//! process by `FAILPOINTS="name=return"` and `fail::FailScenario::setup()`. Without the feature `failpoints`, which is on
//! for tests alone, nothing of this is compiled.

/// Whether the bug of this name is put in.
#[inline]
pub(crate) fn put_in(name: &str) -> bool {
    fail::fail_point!(name, |_| true);
    // Without the feature the macro is empty.
    let _ = name;
    false
}
