//! Who takes part beside customer and owner (R31): consult, confer, monitor, whisper, barge, and the warm transfer.

use super::draft::Draft;
use crate::command::{Body, Role};
use crate::event::Receipt;
use crate::ids::{AgentId, ConversationId, Epoch};
use crate::rejection::Rejection;

pub(crate) fn invite(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: (AgentId, Epoch),
    agent: AgentId,
    role: Role,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, by, agent, role);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn answer(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    accept: bool,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, agent, accept);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn join_as(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, role: Role) -> Result<Receipt, Rejection> {
    let _ = (d, id, agent, role);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn leave(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<Receipt, Rejection> {
    let _ = (d, id, agent);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn remove(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: (AgentId, Epoch),
    agent: AgentId,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, by, agent);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn complete_transfer(
    d: &mut Draft<'_>,
    id: ConversationId,
    by: (AgentId, Epoch),
    to: AgentId,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, by, to);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn whisper(
    d: &mut Draft<'_>,
    id: ConversationId,
    agent: AgentId,
    body: &Body,
) -> Result<Receipt, Rejection> {
    let _ = (d, id, agent, body);
    Err(super::valid::invalid("command", "not built yet"))
}

pub(crate) fn invitation_end(d: &mut Draft<'_>, id: ConversationId, agent: AgentId) -> Result<Receipt, Rejection> {
    let _ = (d, id, agent);
    Err(super::valid::invalid("command", "not built yet"))
}
