//! The parts of [`crate::invariants`] that look at rows.

use std::collections::BTreeMap;

use super::agent::Agent;
use super::conversation::{Alarm, Conversation, Rare, Stage};
use super::index::Index;
use super::report::WaitingClass;
use super::tenant::Tenant;
use crate::command::Reader;
use crate::ids::{AgentId, Channel, ConversationId, QueueId};
use crate::invariants::{Violation, bounded, follows, holds};
use crate::limits;
use crate::view::Presence;

impl Tenant {
    /// C, E, I, L of at most `rows` conversations after `after`.
    pub(crate) fn check_rows(&self, after: ConversationId, rows: usize) -> Result<(), Violation> {
        self.kept
            .conversations
            .iter_after(after)
            .take(rows)
            .try_for_each(|(id, row)| {
                holds('H', *id == row.id, || format!("{id} is kept as {}", row.id))?;
                self.check_owner(row)?;
                self.check_participants(row)?;
                check_alarms(row)?;
                check_cursors(row)?;
                check_relaxed(row)?;
                bounded("exclusions", row.excluded.len(), limits::DECLINES_MAX)?;
                bounded("readers", row.read.len(), limits::READERS_MAX)?;
                bounded("attributes", row.attributes.len(), limits::ATTRIBUTES_MAX)
            })
    }

    fn check_owner(&self, row: &Conversation) -> Result<(), Violation> {
        let id = row.id;
        if let Some(queue) = row.queue.filter(|_| row.open()) {
            holds('C', self.kept.queues.contains_key(&queue), || {
                format!("{id} is in {queue}, which is not")
            })?;
        }
        let offered = row.offered_to();
        let sorted = row.also_offered.windows(2).all(|pair| pair[0] < pair[1]);
        let apart = row.also_offered.is_empty() || offered.first().is_some_and(|first| !offered[1..].contains(first));
        holds('C', sorted && apart, || {
            format!(
                "{id} is {} and also offered to {:?}",
                row.stage.word(),
                row.also_offered
            )
        })?;
        bounded("offers at once", offered.len(), limits::OFFERS_AT_ONCE_MAX)?;
        for agent in &row.also_offered {
            let available = self.kept.agents.get(agent);
            let available = available.is_some_and(|who| who.presence == Presence::Available);
            holds('C', available, || {
                format!("{id} is also offered to {agent}, who is not available")
            })?;
        }
        let Some(agent) = row.stage.agent() else { return Ok(()) };
        let owner = self.kept.agents.get(&agent);
        holds('C', row.epoch.0 > 0, || format!("{id} has {agent} without an epoch"))?;
        holds('C', row.queue.is_some(), || format!("{id} has {agent} without a queue"))?;
        let Some(owner) = owner else {
            return holds('C', false, || format!("{id} has {agent}, who is not"));
        };
        let fit = match row.stage {
            Stage::Offered { .. } => owner.presence == Presence::Available,
            Stage::Assigned { .. } | Stage::WrapUp { .. } => owner.presence != Presence::Offline,
            _ => true,
        };
        holds('C', fit, || {
            format!("{id} is {} and {agent} is {:?}", row.stage.word(), owner.presence)
        })
    }

    /// C, I, L: who takes part beside the owner may, and nobody does twice.
    fn check_participants(&self, row: &Conversation) -> Result<(), Violation> {
        let Some(rare) = &row.rare else { return Ok(()) };
        let id = row.id;
        holds('H', **rare != Rare::default(), || format!("{id} keeps nothing"))?;
        let owned = matches!(row.stage, Stage::Assigned { .. } | Stage::Paused { .. });
        let mut seen: Vec<AgentId> = row.owner().into_iter().collect();
        for (agent, role) in &rare.participants {
            let may = self.kept.agents.get(agent).is_some_and(|who| {
                who.presence != Presence::Offline && (who.settings.supervisor || !role.supervises())
            });
            let here = if role.supervises() { row.open() } else { owned };
            holds('C', may && here && !seen.contains(agent), || {
                format!("{id} is {} and has {agent} as {role:?}", row.stage.word())
            })?;
            seen.push(*agent);
        }
        for (agent, role, until_ms) in &rare.invited {
            let may = owned && !role.supervises() && !seen.contains(agent) && self.kept.agents.contains(agent);
            holds('C', may, || format!("{id} has asked {agent} in as {role:?}"))?;
            holds('I', row.alarm(Alarm::InvitationEnd(*agent)) == Some(*until_ms), || {
                format!("{id} has asked {agent} in without end")
            })?;
            seen.push(*agent);
        }
        bounded(
            "participants",
            rare.participants.len() + rare.invited.len(),
            limits::PARTICIPANTS_MAX,
        )
    }

    /// D, E, L of every agent.
    pub(crate) fn check_agents(&self) -> Result<(), Violation> {
        let mut loads: BTreeMap<AgentId, BTreeMap<Channel, u16>> = BTreeMap::new();
        for (_, row) in self.kept.conversations.iter() {
            for agent in row.occupants() {
                *loads
                    .entry(agent)
                    .or_default()
                    .entry(Channel::clone(&row.channel))
                    .or_default() += 1;
            }
        }
        for (id, agent) in self.kept.agents.iter() {
            let counted = loads.remove(id).unwrap_or_default();
            holds('D', counted == agent.load, || {
                format!("{id} holds {counted:?}, kept is {:?}", agent.load)
            })?;
            holds('D', agent.fits() || agent.over_capacity, || {
                format!("{id} holds {counted:?}, beyond its capacity")
            })?;
            let drained = agent.presence == Presence::Draining && agent.load.is_empty();
            let waits_for_room = self.index.returning.range((*id, 0, 0, ConversationId(0))..);
            let mut theirs = waits_for_room.take_while(|(owner, ..)| owner == id);
            let has_room = |channel: &Channel| agent.here() && agent.supply(*id).no_room(channel).is_none();
            let late = theirs.find(|(.., c)| {
                let row = self.kept.conversations.get(c);
                agent.presence == Presence::Offline || row.is_none_or(|row| has_room(&row.channel))
            });
            holds('I', late.is_none(), || {
                format!("{id} has room and {late:?} has not gone on")
            })?;
            let counted = agent.settings.rate.map_or(0, |rate| usize::from(rate.max));
            bounded("offers within the rate's window", agent.recent.len(), counted)?;
            holds('I', !drained, || format!("{id} has drained and is not away"))?;
            self.check_stream(*id, agent)?;
        }
        for (key, window) in self.kept.windows.iter() {
            bounded("answers of a window", window.len(), limits::IDEMPOTENCY_WINDOW)?;
            holds('L', self.kept.forget_at_ms.is_some(), || {
                format!("{key:?} would never be forgotten")
            })?;
        }
        Ok(())
    }

    fn check_stream(&self, id: AgentId, agent: &Agent) -> Result<(), Violation> {
        let Some(stream) = self.kept.streams.get(&id) else {
            return holds('E', agent.agent_seq == 0, || format!("{id} has lost its stream"));
        };
        let mut last = None;
        for item in stream.items() {
            if let Some(last) = last {
                follows("agent item", last, item.agent_seq)?;
            }
            last = Some(item.agent_seq);
        }
        holds('E', last == Some(agent.agent_seq), || {
            format!("{id} is at {}, stream at {last:?}", agent.agent_seq)
        })?;
        bounded("items of a stream", stream.items().count(), limits::AGENT_STREAM_WINDOW)
    }

    /// H, I, L: everybody's attention is measured as the rows say, and what is counted leaves in time.
    fn check_report(&self) -> Result<(), Violation> {
        let report = &self.kept.report;
        let mut held: BTreeMap<AgentId, u32> = BTreeMap::new();
        for (_, row) in self.kept.conversations.iter() {
            for agent in super::report::working(Some(row)) {
                *held.entry(agent).or_default() += 1;
            }
        }
        for (id, agent) in self.kept.agents.iter() {
            let meter = report.meters.get(id);
            let (counted, kept) = (held.remove(id).unwrap_or(0), meter.map_or(0, |meter| meter.held));
            holds('H', counted == kept, || {
                format!("{id} has {counted} conversations, measured are {kept}")
            })?;
            let measured = meter.is_some_and(|meter| meter.signed_in);
            holds('H', measured == (agent.presence != Presence::Offline), || {
                format!("{id} is {:?}, measured: {measured}", agent.presence)
            })?;
        }
        holds('H', report.resolutions.is_sound(), || {
            "resolutions by age differ from those by customer".to_owned()
        })?;
        let some = report.rows.len() > 0 || report.meters.len() > 0;
        holds('I', !some || report.due_ms.is_some(), || {
            "a report would never leave".to_owned()
        })?;
        bounded("rows of the report", report.rows.len(), limits::REPORT_ROWS_MAX)?;
        bounded("resolutions", report.resolutions.rows().len(), limits::RESOLUTIONS_MAX)
    }

    /// H: each queue is what its calendar says.
    pub(crate) fn check_calendars(&self) -> Result<(), Violation> {
        bounded("calendars", self.kept.calendars.len(), limits::CALENDARS_MAX)?;
        for (id, queue) in &self.kept.queues {
            let says = match queue.settings.calendar {
                Some(calendar) => self.kept.calendars.get(&calendar).map(|row| row.open),
                None => Some(true),
            };
            holds('H', says == Some(queue.open), || {
                format!("{id} is open: {}; its calendar says {says:?}", queue.open)
            })?;
        }
        Ok(())
    }

    /// H: who waits is what a look at every row gives.
    fn check_waiting(&self) -> Result<(), Violation> {
        let mut scanned: BTreeMap<(QueueId, u8), WaitingClass> = BTreeMap::new();
        for (_, row) in self.kept.conversations.iter() {
            let Some(queue) = row.queue.filter(|_| row.in_queue()) else {
                continue;
            };
            let class = scanned.entry((queue, row.priority)).or_insert(WaitingClass {
                waiting: 0,
                oldest_since_ms: row.since_ms,
            });
            class.waiting += 1;
            class.oldest_since_ms = class.oldest_since_ms.min(row.since_ms);
        }
        let told: Vec<_> = self.waiting_classes().collect();
        let scanned: Vec<_> = scanned.into_iter().collect();
        holds('H', told == scanned, || format!("{scanned:?} wait, told are {told:?}"))
    }

    /// H: the index is what the rows say.
    pub(crate) fn check_index(&self) -> Result<(), Violation> {
        let mut index = Index::default();
        for (_, row) in self.kept.conversations.iter() {
            index.conversation(None, Some(row));
        }
        for (id, row) in self.kept.agents.iter() {
            index.agent(*id, None, Some(row));
        }
        for (id, row) in &self.kept.queues {
            index.queue(*id, None, Some(row));
        }
        self.check_report()?;
        self.check_waiting()?;
        holds('H', index == self.index, || "an index differs from its rows".to_owned())
    }
}

/// I: the alarms that belong to a stage, and those without which it would never end.
fn check_alarms(row: &Conversation) -> Result<(), Violation> {
    let id = row.id;
    for (alarm, _) in &row.alarms {
        holds('I', row.stage.keeps(*alarm), || {
            format!("{id} is {} and has {alarm:?}", row.stage.word())
        })?;
    }
    let sorted = row.alarms.windows(2).all(|pair| pair[0].0 < pair[1].0);
    holds('I', sorted, || format!("{id} has alarms {:?}", row.alarms))?;
    let needs = |alarm: Alarm, due: Option<u64>| {
        let is = row.alarm(alarm);
        holds('I', is == due, || {
            format!("{id} is {} and its {alarm:?} is {is:?}, not {due:?}", row.stage.word())
        })
    };
    match row.stage {
        Stage::Offered { deadline_ms, .. } => needs(Alarm::OfferDeadline, Some(deadline_ms))?,
        Stage::WrapUp { deadline_ms, .. } => needs(Alarm::WrapUpEnd, Some(deadline_ms))?,
        Stage::Closed { until_ms } => needs(Alarm::Archive, Some(until_ms))?,
        Stage::Scheduled => {
            let due = row.alarm(Alarm::Scheduled).is_some();
            let until = row.rare.as_ref().is_some_and(|rare| rare.schedule.is_some());
            holds('I', due && until, || format!("{id} is scheduled without end"))?;
        }
        Stage::Waiting => {
            let held = row.alarm(Alarm::AbandonHold).is_some();
            holds('I', held == row.held(), || {
                format!("{id} is held without end, or not held and ends")
            })?;
        }
        Stage::Assigned { .. } | Stage::Paused { .. } => {}
    }
    let waited_for = row.alarm(Alarm::PreferenceEnd).is_some();
    holds('I', waited_for == row.only.is_some(), || {
        format!("{id} waits for {:?} without end", row.only)
    })?;
    needs(Alarm::ExclusionEnd, row.excluded.iter().map(|(_, until)| *until).min())
}

/// C: relaxation only ever lowers what was asked for, and only by its steps (R4).
fn check_relaxed(row: &Conversation) -> Result<(), Violation> {
    let id = row.id;
    let as_asked = row.required == row.asked_required && row.preferred == row.asked_preferred;
    holds('C', row.relaxed != 0 || as_asked, || {
        format!("{id} asks for something else than it did, without a step")
    })?;
    let asked = |one: &crate::settings::Requirement| {
        row.asked_required
            .iter()
            .any(|asked| asked.skill == one.skill && one.level <= asked.level)
    };
    holds('C', row.required.iter().all(asked), || {
        format!("{id} needs {:?} and asked for {:?}", row.required, row.asked_required)
    })
}

/// E: nobody has read what is not there.
fn check_cursors(row: &Conversation) -> Result<(), Violation> {
    let id = row.id;
    let ordered = row.last_seq_for_customer <= row.last_seq;
    holds('E', ordered, || {
        format!("{id}: {} is past {}", row.last_seq_for_customer, row.last_seq)
    })?;
    for (reader, seq) in &row.read {
        let last = if *reader == Reader::Customer {
            row.last_seq_for_customer
        } else {
            row.last_seq
        };
        holds('E', *seq <= last, || {
            format!("{id}: {reader:?} has read {seq} of {last}")
        })?;
    }
    Ok(())
}
