//! K: fail-stop: nothing is acknowledged after a flush that failed, none is tried again, and the replica stops.

use std::time::Duration;

use super::{Verdict, demand};

/// A replica whose log failed stops within this.
pub(in super::super) const STOPS_WITHIN: Duration = Duration::from_secs(1);

/// `failures`: of the disk, since the log was opened.
pub(in super::super) fn nothing_is_flushed_after_a_failure(node: u64, failures: u64) -> Verdict {
    demand(failures == 0, || {
        format!("K: the log of node {node} said that it had flushed, after a flush had failed")
    })
}

pub(in super::super) fn a_failed_replica_stops(node: u64, failed_for: Duration, has_stopped: bool) -> Verdict {
    demand(has_stopped || failed_for < STOPS_WITHIN, || {
        format!("K: node {node} goes on {failed_for:?} after its disk failed")
    })
}

/// `troubled`: its disk was full or failed in this life.
pub(in super::super) fn no_replica_stops_by_itself(node: u64, has_stopped: bool, troubled: bool) -> Verdict {
    demand(!has_stopped || troubled, || {
        format!("K: the raft core of node {node} stopped by itself")
    })
}
