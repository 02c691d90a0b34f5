//! The metrics of this module, one function each.

use std::io;
use std::time::Duration;

/// `kind`: `log`, `rows` or `snapshot`.
pub(super) fn fsync_took(kind: &'static str, took: Duration) {
    metrics::histogram!("kaiwa_storage_fsync_duration_seconds", "kind" => kind).record(took.as_secs_f64());
}

/// From the call of `append` to its callback.
pub(super) fn append_took(took: Duration) {
    metrics::histogram!("kaiwa_storage_append_duration_seconds").record(took.as_secs_f64());
}

/// An operation failed; `kind` is the system's kind of error.
pub(super) fn failed(op: &'static str, error: &io::Error) {
    metrics::counter!("kaiwa_storage_errors_total", "op" => op, "kind" => error.kind().to_string()).increment(1);
}

/// Damage was found; `file`: `log`, `rows` or `snapshot`.
pub(super) fn corruption(file: &'static str) {
    metrics::counter!("kaiwa_storage_corruptions_total", "file" => file).increment(1);
}
