//! What a conversation asks for is lowered as it waits (R4), and further agents join (R5, R6).

use super::draft::Draft;
use crate::event::Receipt;
use crate::ids::{ConversationId, QueueId};
use crate::rejection::Rejection;

pub(crate) fn share_ring(
    d: &mut Draft<'_>,
    queue: QueueId,
    ring: u8,
    shared: bool,
    why: &str,
) -> Result<Receipt, Rejection> {
    let _ = (d, queue, ring, shared, why);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn relax(d: &mut Draft<'_>, id: ConversationId, step: u8) -> Result<Receipt, Rejection> {
    let _ = (d, id, step);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn ring_opens(d: &mut Draft<'_>, id: ConversationId, ring: u8) -> Result<Receipt, Rejection> {
    let _ = (d, id, ring);
    Err(super::valid::invalid("command", "not built yet"))
}
