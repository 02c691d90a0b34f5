//! R40: what has happened, again, under another policy.

pub mod trace;
