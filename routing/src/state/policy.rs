//! Policies: changed as a whole at one index, versioned.

use super::draft::Draft;
use crate::command::Principal;
use crate::event::Receipt;
use crate::ids::Millis;
use crate::rejection::Rejection;
use crate::settings::{Policy, RoutingSettings};

pub(crate) fn activate(
    d: &mut Draft<'_>,
    policy: &Policy,
    expected: Option<u64>,
    by: &Principal,
    note: &str,
) -> Result<Receipt, Rejection> {
    let _ = (d, policy, expected, by, note);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn put_routing(d: &mut Draft<'_>, settings: &RoutingSettings) -> Result<Receipt, Rejection> {
    let _ = (d, settings);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn extend_days(d: &mut Draft<'_>, starts_ms: &[Millis]) -> Result<Receipt, Rejection> {
    let _ = (d, starts_ms);
    Err(super::valid::invalid("command", "not built yet"))
}
