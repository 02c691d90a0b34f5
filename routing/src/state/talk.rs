//! What is said and read: messages, notes, cursors, attributes. Invariant E: one `seq` for all entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conversation::{Alarm, Stage};
use super::draft::Draft;
use super::{arrive, participants, returns, silence, valid};
use crate::command::{Author, Body, Reader, Value};
use crate::event::{EntryKind, Event, Receipt};
use crate::ids::{AgentId, ConversationId, Seq};
use crate::limits;
use crate::rejection::Rejection;

pub(crate) fn message(
    d: &mut Draft<'_>,
    id: ConversationId,
    author: &Author,
    body: &Body,
) -> Result<Receipt, Rejection> {
    valid::body(body)?;
    let row = d.conversation(id)?;
    if !row.open() {
        return Err(valid::wrong_state(row, "open"));
    }
    let seq = match author {
        Author::Customer => customer_says(d, id, body)?,
        Author::Agent { agent, epoch } => {
            valid::owner(d, id, *agent, *epoch)?;
            let seq = d.entry(
                id,
                EntryKind::Message {
                    author: author.clone(),
                    body: body.clone(),
                },
            )?;
            agent_has_replied(d, id)?;
            seq
        }
        Author::Supervisor(principal) => {
            valid::supervisor(d, principal)?;
            d.entry(
                id,
                EntryKind::Message {
                    author: author.clone(),
                    body: body.clone(),
                },
            )?
        }
        Author::Participant { agent } => {
            let answers = participants::may_speak(d, id, *agent)?;
            let seq = d.entry(
                id,
                EntryKind::Message {
                    author: author.clone(),
                    body: body.clone(),
                },
            )?;
            if answers {
                agent_has_replied(d, id)?;
            }
            seq
        }
        Author::System => d.entry(
            id,
            EntryKind::Message {
                author: author.clone(),
                body: body.clone(),
            },
        )?,
    };
    if *author != Author::System {
        silence::broken(d, id)?;
    }
    Ok(Receipt {
        seq: Some(seq),
        ..d.receipt_for(id)
    })
}

/// The customer writes: they are here, they want an answer (R26), and what was paused goes on (R21).
pub(crate) fn customer_says(d: &mut Draft<'_>, id: ConversationId, body: &Body) -> Result<Seq, Rejection> {
    arrive::is_present(d, id)?;
    let seq = d.entry(
        id,
        EntryKind::Message {
            author: Author::Customer,
            body: body.clone(),
        },
    )?;
    silence::answered(d, id)?;
    let at_ms = d.at_ms;
    let row = d.conversation_mut(id)?;
    row.awaiting_reply = true;
    let (stage, queue, running) = (row.stage, row.queue, row.alarm(Alarm::NoReply).is_some());
    match (stage, queue) {
        (Stage::Assigned { .. }, Some(queue)) if !running => {
            if let Some(no_reply) = &d.queue(queue)?.settings.no_reply {
                let due_ms = at_ms.saturating_add(no_reply.after_ms);
                d.conversation_mut(id)?.set_alarm(Alarm::NoReply, due_ms);
            }
        }
        (Stage::Paused { .. }, _) => returns::go_on(d, id)?,
        _ => {}
    }
    Ok(seq)
}

fn agent_has_replied(d: &mut Draft<'_>, id: ConversationId) -> Result<(), Rejection> {
    let at_ms = d.at_ms;
    let row = d.conversation_mut(id)?;
    row.awaiting_reply = false;
    row.clear_alarm(Alarm::NoReply);
    if let (false, Some(queue)) = (row.replied, row.queue) {
        row.replied = true;
        let after_ms = at_ms.saturating_sub(row.started_at_ms);
        d.tell(Event::FirstReply {
            conversation: id,
            queue,
            after_ms,
        });
    }
    silence::asked(d, id)
}

pub(crate) fn note(d: &mut Draft<'_>, id: ConversationId, agent: AgentId, body: &Body) -> Result<Receipt, Rejection> {
    valid::body(body)?;
    let row = d.conversation(id)?;
    let who = d.agent(agent)?;
    let serves = row.queue.is_some_and(|queue| who.settings.queues.contains_key(&queue));
    let had = row.stage.agent() == Some(agent)
        || row.is_offered_to(agent)
        || row.last_agent == Some(agent)
        || row.role_of(agent).is_some();
    if !(serves || had || who.settings.supervisor) {
        return Err(valid::not_yours());
    }
    let seq = d.entry(
        id,
        EntryKind::Note {
            agent,
            body: body.clone(),
        },
    )?;
    Ok(Receipt {
        seq: Some(seq),
        ..d.receipt_for(id)
    })
}

pub(crate) fn read(d: &mut Draft<'_>, id: ConversationId, reader: Reader, seq: Seq) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    let last = match reader {
        Reader::Customer => row.last_seq_for_customer,
        Reader::Agent(agent) => d.agent(agent).map(|_| row.last_seq)?,
    };
    if seq > last {
        return Err(Rejection::Invalid {
            what: "seq".to_owned(),
            why: format!("the last entry is {last}"),
        });
    }
    let place = row.read.binary_search_by_key(&reader, |(who, _)| *who);
    match place {
        Ok(at) if row.read[at].1 >= seq => {}
        Ok(at) => {
            d.conversation_mut(id)?.read[at].1 = seq;
            d.tell(Event::Read {
                conversation: id,
                reader,
                seq,
            });
        }
        Err(at) => {
            valid::at_most("number of readers", row.read.len() + 1, limits::READERS_MAX)?;
            d.conversation_mut(id)?.read.insert(at, (reader, seq));
            d.tell(Event::Read {
                conversation: id,
                reader,
                seq,
            });
        }
    }
    Ok(Receipt {
        seq: Some(seq),
        ..d.receipt_for(id)
    })
}

pub(crate) fn attributes(
    d: &mut Draft<'_>,
    id: ConversationId,
    changes: &BTreeMap<String, Option<Value>>,
) -> Result<Receipt, Rejection> {
    let row = d.conversation(id)?;
    if !row.open() {
        return Err(valid::wrong_state(row, "open"));
    }
    let mut attributes = (*row.attributes).clone();
    for (key, value) in changes {
        match value {
            Some(value) => _ = attributes.insert(key.clone(), value.clone()),
            None => _ = attributes.remove(key),
        }
    }
    valid::attributes(&attributes)?;
    if attributes != *row.attributes {
        d.conversation_mut(id)?.attributes = Arc::new(attributes);
    }
    Ok(d.receipt_for(id))
}
