//! Later (R33): put off until a time or an agent's return, and callbacks that keep the place.

use super::draft::Draft;
use crate::command::{Author, Schedule};
use crate::event::Receipt;
use crate::ids::ConversationId;
use crate::rejection::Rejection;

pub(crate) fn put_off(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: &Author,
    schedule: &Schedule,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, by, schedule);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn cancel(d: &mut Draft<'_>, id: ConversationId, by: &Author) -> Result<Receipt, Rejection> {
    let _ = (d, id, by);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn request_callback(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: &Author,
    contact: &str,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, by, contact);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn due(d: &mut Draft<'_>, id: ConversationId) -> Result<Receipt, Rejection> {
    let _ = (d, id);
    Err(super::valid::invalid("command", "not built yet"))
}
