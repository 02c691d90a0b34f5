//! The replicated state of one shard: many tenants, each with its queues, agents and conversations.
//!
//! [`State::apply`] owns the control flow: stamp, idempotency window, the command itself on a [`draft::Draft`], commit. What a
//! command does is in the files beside this one, by what it is about; none of them chooses (see [`crate::queue_manager`]).
//!
//! Rules that the words of the commands leave open:
//!
//! - An accepted offer keeps its epoch: the assignment is fenced by the number under which it was offered.
//! - Only who is `available` has offers outstanding: going away, draining or suspect withdraws them.
//! - An offer may be accepted until it has been expired by [`Timer::OfferDeadline`]: the log's order decides, not the clock.
//! - A queue's length counts who waits and who is offered. Whoever was in it before (declined, lost agent, override) comes back
//!   in beyond the cap; newcomers, transfers, reopened conversations and escalations obey it.
//! - A customer's message to a paused conversation resumes it, at its owner or as the queue says (`returns.rs`). An agent's own
//!   resume is refused when there is no room.
//! - Escalation, abandonment and exclusions by time run while the conversation waits, not while it is offered.

mod admission;
mod agent;
mod arrive;
mod calendar;
mod conversation;
mod digest;
mod draft;
mod end;
mod escalate;
mod hand_over;
mod index;
mod offers;
mod participants;
mod policy;
mod presence;
mod put;
mod queue;
mod queue_settings;
mod relax;
mod report;
mod returns;
mod rows;
mod schedule;
mod silence;
mod snapshot;
mod sound;
mod talk;
mod tenant;
mod timers;
mod valid;
mod window;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

pub use agent::{AgentView, StreamGap};
pub use index::PhaseCounts;
pub use report::WaitingClass;
pub use snapshot::{Captured, STATE_SCHEMA};
pub(crate) use tenant::Rules;
pub use tenant::Tenant;

use crate::command::{COMMAND_SCHEMA, Command, Envelope, IdempotencyKey, Principal};
use crate::event::{Event, Receipt, TenantEvent};
use crate::ids::{Millis, TenantId};
use crate::known_bugs;
use crate::limits;
use crate::rejection::Rejection;
use draft::{Changes, Draft};

/// One shard's state.
#[derive(Debug, Default)]
pub struct State {
    tenants: BTreeMap<TenantId, Tenant>,
    /// Index of the last entry that was applied.
    index: u64,
    at_ms: Millis,
    digest: u64,
    spare: Spare,
}

/// Room for one command, kept for the next one: nothing in it outlives a command.
#[derive(Debug, Default)]
struct Spare {
    events: Vec<Event>,
    encoded: Vec<u8>,
}

impl State {
    /// Of an empty log.
    pub fn new() -> Self {
        Self::default()
    }

    /// Applies one command of the entry `index`, stamped `at_ms` (clamped to be monotonic). Its events are appended to `events`;
    /// a repeat of an idempotency key gives the first answer again, and no events.
    ///
    /// # Errors
    /// A deterministic refusal: nothing has changed but the clock and the digest, and nothing was appended.
    pub fn apply(
        &mut self,
        index: u64,
        at_ms: Millis,
        envelope: &Envelope,
        events: &mut Vec<TenantEvent>,
    ) -> Result<Receipt, Rejection> {
        self.at_ms = self.at_ms.max(at_ms);
        if known_bugs::put_in("routing::clock_unclamped") {
            self.at_ms = at_ms; // a known bug, for the tests of the tests
        }
        if known_bugs::put_in("routing::diverges") && self.spare.events.capacity() == 0 {
            self.digest = 0; // a known bug, for the tests of the tests: what no snapshot holds decides
        }
        self.index = self.index.max(index);
        let told = events.len();
        let result = self.apply_stamped(envelope, events);
        let new = (index, self.at_ms, &result, &events[told..]);
        self.digest = digest::chain_in(&mut self.spare.encoded, self.digest, &new);
        result
    }

    fn apply_stamped(&mut self, envelope: &Envelope, events: &mut Vec<TenantEvent>) -> Result<Receipt, Rejection> {
        if envelope.schema != COMMAND_SCHEMA {
            return Err(Rejection::UnsupportedVersion(envelope.schema));
        }
        if matches!(envelope.command, Command::PutTenant { .. }) && !self.tenants.contains_key(&envelope.tenant) {
            return self.found(envelope, events);
        }
        let tenant = self.tenants.get_mut(&envelope.tenant).ok_or(Rejection::UnknownTenant)?;
        if let Some(first) = envelope
            .key
            .as_ref()
            .map(|key| tenant.answer(key))
            .transpose()?
            .flatten()
            // A known bug, for the tests of the tests.
            .filter(|_| !known_bugs::put_in("routing::repeat_done_again"))
        {
            return Ok(first);
        }
        let room = std::mem::take(&mut self.spare.events);
        let (receipt, changes) = decide(tenant, self.index, self.at_ms, envelope, room)?;
        self.spare.events = finish(envelope, tenant, changes, &receipt, events);
        Ok(receipt)
    }

    /// A tenant's first command.
    fn found(&mut self, envelope: &Envelope, events: &mut Vec<TenantEvent>) -> Result<Receipt, Rejection> {
        let mut tenant = Tenant::default();
        let (receipt, changes) = decide(&tenant, self.index, self.at_ms, envelope, Vec::new())?;
        finish(envelope, &mut tenant, changes, &receipt, events);
        self.tenants.insert(envelope.tenant, tenant);
        Ok(receipt)
    }

    /// The log's time: that of the last command, never less than before.
    pub fn at_ms(&self) -> Millis {
        self.at_ms
    }

    /// Index of the last entry that was applied.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Chained over every command's index, stamp, answer and events, bodies included: equal for equal logs.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// Over the encoded state; reads all of it.
    pub fn full_hash(&self) -> u64 {
        let mut hash = digest::HashWriter(xxhash_rust::xxh3::Xxh3::new());
        // Writing to a hash does not fail; were it to, all replicas would agree on the prefix.
        let _ = self.capture().write(&mut hash);
        hash.0.digest()
    }

    /// Over the rows alone, without clock and digest: a refused command leaves it as it was.
    pub fn rows_hash(&self) -> u64 {
        let mut hash = digest::HashWriter(xxhash_rust::xxh3::Xxh3::new());
        let _ = Captured {
            index: 0,
            at_ms: 0,
            digest: 0,
            ..self.capture()
        }
        .write(&mut hash);
        hash.0.digest()
    }

    /// The state as it is now, sharing its rows: about a millisecond for a million conversations.
    pub fn capture(&self) -> Captured {
        let tenants = self
            .tenants
            .iter()
            .map(|(id, tenant)| (*id, tenant.kept.as_captured()))
            .collect();
        Captured {
            tenants,
            index: self.index,
            at_ms: self.at_ms,
            digest: self.digest,
        }
    }

    /// What [`Captured::write`] wrote.
    ///
    /// # Errors
    /// Whatever `from` fails with, and `InvalidData` for anything that is not a whole state of a known version.
    pub fn read(from: &mut dyn io::Read) -> io::Result<Self> {
        let Captured {
            tenants,
            index,
            at_ms,
            digest,
        } = snapshot::read(from)?;
        let tenants = tenants.into_iter().map(|(id, kept)| (id, Tenant::of(kept))).collect();
        Ok(Self {
            tenants,
            index,
            at_ms,
            digest,
            spare: Spare::default(),
        })
    }

    /// All tenants, by id.
    pub fn tenants(&self) -> impl Iterator<Item = (TenantId, &Tenant)> {
        self.tenants.iter().map(|(id, tenant)| (*id, tenant))
    }

    /// One tenant.
    pub fn tenant(&self, id: TenantId) -> Option<&Tenant> {
        self.tenants.get(&id)
    }
}

#[cfg(test)]
impl State {
    /// To be broken on purpose.
    pub(crate) fn tenant_mut(&mut self, id: TenantId) -> Option<&mut Tenant> {
        self.tenants.get_mut(&id)
    }
}

/// Commits, remembers the answer, and hands the events on; gives back their room.
fn finish(
    envelope: &Envelope,
    tenant: &mut Tenant,
    changes: Changes,
    receipt: &Receipt,
    events: &mut Vec<TenantEvent>,
) -> Vec<Event> {
    let mut told = tenant.commit(changes);
    if let Some(key) = &envelope.key {
        tenant.remember(key, receipt, &mut told);
    }
    events.extend(told.drain(..).map(|event| TenantEvent {
        tenant: envelope.tenant,
        event,
    }));
    told
}

/// What the command does, or why it is refused; the tenant is as it was. `room`: for its events.
fn decide(
    tenant: &Tenant,
    index: u64,
    at_ms: Millis,
    envelope: &Envelope,
    room: Vec<Event>,
) -> Result<(Receipt, Changes), Rejection> {
    let by = envelope.key.as_ref().map(|key| &key.principal);
    let mut draft = Draft::new(tenant, index, at_ms, by, room);
    let d = &mut draft;
    let receipt = match &envelope.command {
        Command::PutTenant { name } => put::tenant(d, name),
        Command::PutQueue { queue, settings } => put::queue(d, *queue, settings),
        Command::RemoveQueue { queue } => put::remove_queue(d, *queue),
        Command::PutSkill { skill, description } => put::skill(d, skill, description),
        Command::RemoveSkill { skill } => put::remove_skill(d, skill),
        Command::PutAgent { agent, settings } => put::agent(d, *agent, settings),
        Command::RemoveAgent { agent } => put::remove_agent(d, *agent),
        Command::PutRules { rules, fallback } => put::rules(d, rules, fallback.as_ref()),

        Command::StartConversation {
            conversation,
            channel,
            customer,
            attributes,
            classification,
            message,
            schedule,
            callback,
        } => {
            let newcomer = arrive::Newcomer {
                id: *conversation,
                channel,
                customer,
                attributes,
                classification,
                schedule: schedule.as_ref(),
                callback: callback.as_deref(),
            };
            arrive::start(d, newcomer, message.as_ref())
        }
        Command::PostMessage {
            conversation,
            author,
            body,
        } => talk::message(d, *conversation, author, body),
        Command::PostNote {
            conversation,
            agent,
            body,
        } => talk::note(d, *conversation, *agent, body),
        Command::MarkRead {
            conversation,
            reader,
            seq,
        } => talk::read(d, *conversation, *reader, *seq),
        Command::SetAttributes {
            conversation,
            attributes,
        } => talk::attributes(d, *conversation, attributes),
        Command::Pause {
            conversation,
            agent,
            epoch,
        } => hand_over::pause(d, *conversation, *agent, *epoch),
        Command::Resume { conversation, by } => hand_over::resume(d, *conversation, by),
        Command::Close {
            conversation,
            by,
            disposition,
            resolved,
        } => end::close(d, *conversation, by, disposition.as_deref(), *resolved),
        Command::Reopen { conversation, by } => end::reopen(d, *conversation, by),
        Command::CustomerLeft { conversation } => arrive::customer_left(d, *conversation),
        Command::CustomerReturned { conversation } => arrive::customer_returned(d, *conversation),
        Command::OverrideConversation {
            conversation,
            by,
            change,
        } => hand_over::change(d, *conversation, by, change),
        Command::Transfer {
            conversation,
            by,
            epoch,
            target,
        } => hand_over::transfer(d, *conversation, *by, *epoch, target),
        Command::Pull { conversation, agent } => offers::pull(d, *conversation, *agent),
        Command::AssignByHand {
            conversation,
            agent,
            by,
        } => offers::assign_by_hand(d, *conversation, *agent, by),

        Command::SignIn { agent, presence } => presence::sign_in(d, *agent, presence),
        Command::SignOut { agent } => presence::sign_out(d, *agent),
        Command::SetPresence { agent, presence } => presence::change(d, *agent, presence),
        Command::ConnectionsLost { agent } => presence::lost(d, *agent),
        Command::ConnectionsBack { agent } => presence::back(d, *agent),
        Command::AcceptOffer {
            conversation,
            agent,
            epoch,
        } => offers::accept(d, *conversation, *agent, *epoch),
        Command::DeclineOffer {
            conversation,
            agent,
            epoch,
            reason,
        } => offers::decline(d, *conversation, *agent, *epoch, reason),
        Command::FinishWrapUp {
            conversation,
            agent,
            epoch,
            disposition,
        } => end::finish_wrap_up(d, *conversation, *agent, *epoch, disposition.as_deref()),
        Command::ExtendWrapUp {
            conversation,
            agent,
            epoch,
            by_ms,
        } => end::extend_wrap_up(d, *conversation, *agent, *epoch, *by_ms),

        Command::Offer {
            conversation,
            agent,
            explanation,
        } => offers::offer(d, *conversation, *agent, explanation),
        Command::Fire { timer } => timers::fire(d, *timer),
        Command::OfferToMany {
            conversation,
            agents,
            explanation,
        } => offers::offer_to_many(d, *conversation, agents, explanation),
        Command::ShareRing {
            queue,
            ring,
            shared,
            why,
        } => relax::share_ring(d, *queue, *ring, *shared, why),

        Command::ActivatePolicy {
            policy,
            expected,
            by,
            note,
        } => policy::activate(d, policy, *expected, by, note),
        Command::PutRouting { settings } => policy::put_routing(d, settings),
        Command::PutCalendar { calendar, given } => calendar::put(d, *calendar, given),
        Command::RemoveCalendar { calendar } => calendar::remove(d, *calendar),
        Command::ExtendCalendar {
            calendar,
            version,
            hours,
            covered_until_ms,
        } => calendar::extend(d, *calendar, *version, hours, *covered_until_ms),
        Command::ExtendDays { starts_ms } => policy::extend_days(d, starts_ms),

        Command::Invite {
            conversation,
            by,
            epoch,
            agent,
            role,
        } => participants::invite(d, *conversation, (*by, *epoch), *agent, *role),
        Command::AnswerInvitation {
            conversation,
            agent,
            accept,
        } => participants::answer(d, *conversation, *agent, *accept),
        Command::JoinAs {
            conversation,
            agent,
            role,
        } => participants::join_as(d, *conversation, *agent, *role),
        Command::LeaveConversation { conversation, agent } => participants::leave(d, *conversation, *agent),
        Command::RemoveParticipant {
            conversation,
            by,
            epoch,
            agent,
        } => participants::remove(d, *conversation, (*by, *epoch), *agent),
        Command::CompleteTransfer {
            conversation,
            by,
            epoch,
            to,
        } => participants::complete_transfer(d, *conversation, (*by, *epoch), *to),
        Command::PostWhisper {
            conversation,
            agent,
            body,
        } => participants::whisper(d, *conversation, *agent, body),

        Command::Schedule {
            conversation,
            by,
            schedule,
        } => schedule::put_off(d, *conversation, by, schedule),
        Command::CancelSchedule { conversation, by } => schedule::cancel(d, *conversation, by),
        Command::RequestCallback {
            conversation,
            by,
            contact,
        } => schedule::request_callback(d, *conversation, by, contact),
        Command::Rate {
            conversation,
            rating,
            comment,
        } => end::rate(d, *conversation, *rating, comment.as_deref()),
    }?;
    Ok((receipt, draft.keep()?))
}

impl Tenant {
    /// The first answer to a command that was applied before.
    fn answer(&self, key: &IdempotencyKey) -> Result<Option<Receipt>, Rejection> {
        match self.kept.windows.get(&(key.principal.clone(), key.instance)) {
            Some(window) => window.answer(key.number),
            None => Ok(None),
        }
    }

    fn remember(&mut self, key: &IdempotencyKey, receipt: &Receipt, told: &mut Vec<Event>) {
        let window = (key.principal.clone(), key.instance);
        if !self.kept.windows.contains(&window) {
            self.make_room_for(&key.principal);
            self.kept
                .windows
                .put(window.clone(), Arc::new(window::Window::default()));
        }
        if let Some(row) = self.kept.windows.get_mut(&window) {
            row.remember(key.number, receipt, receipt.at_ms);
        }
        if self.kept.forget_at_ms.is_none() {
            self.kept.forget_at_ms = Some(window::forget_at_ms(receipt.at_ms));
            told.extend(window::forget_timer(self.kept.forget_at_ms).map(Event::TimerSet));
        }
    }

    /// L: who makes ever new instances pushes out their own oldest windows, nobody else's.
    fn make_room_for(&mut self, principal: &Principal) {
        let theirs = self
            .kept
            .windows
            .iter_from((principal.clone(), 0))
            .take_while(|((whose, _), _)| whose == principal);
        let theirs: Vec<_> = theirs.map(|(key, window)| (window.last_used_ms, key.1)).collect();
        if theirs.len() >= limits::WINDOWS_PER_PRINCIPAL_MAX
            && let Some((_, instance)) = theirs.iter().min()
        {
            self.kept.windows.remove(&(principal.clone(), *instance));
        }
    }

    /// From its rows alone.
    fn of(mut kept: tenant::Kept) -> Self {
        let mut index = index::Index::default();
        let ids: Vec<_> = kept.conversations.iter().map(|(id, _)| *id).collect();
        for id in ids {
            let Some(row) = kept.conversations.get(&id) else {
                continue;
            };
            let mut row = conversation::Conversation::clone(row);
            row.channel = index.channels.share(row.channel);
            row.asked_required = index.requirements.share(row.asked_required);
            row.asked_preferred = index.requirements.share(row.asked_preferred);
            row.selectors = index.selectors.share(row.selectors);
            row.required = index.requirements.share(row.required);
            row.preferred = index.requirements.share(row.preferred);
            // A known bug, for the tests of the tests.
            if row.stage != conversation::Stage::Waiting || !known_bugs::put_in("routing::index_not_rebuilt") {
                index.conversation(None, Some(&row));
            }
            kept.conversations.put(id, Arc::new(row));
        }
        for (id, row) in kept.agents.iter() {
            index.agent(*id, None, Some(row));
        }
        for (id, row) in &kept.queues {
            index.queue(*id, None, Some(row));
        }
        Self { kept, index }
    }
}

const _: () = assert!(
    limits::ESCALATIONS_MAX <= u8::BITS as usize,
    "done steps are bits of one byte"
);
