//! Business hours (R34): intervals that were made before the log, and their edges.

use super::draft::Draft;
use crate::event::Receipt;
use crate::ids::{CalendarId, Millis};
use crate::rejection::Rejection;
use crate::settings::{Calendar, OpenHours};

pub(crate) fn put(d: &mut Draft<'_>, id: CalendarId, given: &Calendar) -> Result<Receipt, Rejection> {
    let _ = (d, id, given);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn remove(d: &mut Draft<'_>, id: CalendarId) -> Result<Receipt, Rejection> {
    let _ = (d, id);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn extend(
    d: &mut Draft<'_>,
    id: CalendarId,
    version: u64,
    hours: &[OpenHours],
    covered_until_ms: Millis,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, version, hours, covered_until_ms);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn edge(d: &mut Draft<'_>, id: CalendarId) -> Result<Receipt, Rejection> {
    let _ = (d, id);
    Err(super::valid::invalid("command", "not built yet"))
}
