//! Failures, one type per cause.
