//! What one command changes, before it is certain: copies of the rows it touches and the events for people, in order.
//!
//! A refused command's draft is dropped, so a refusal changes nothing by construction. When it is kept, [`Tenant::commit`]
//! compares each touched row with what it replaces: indexes, timers and the queue manager's pictures follow from that
//! alone, each at most once per command, and cannot be forgotten by the code of a command.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::agent::Agent;
use super::conversation::{Alarm, Conversation, Stage};
use super::queue::Queue;
use super::tenant::{CalendarRow, Kept, Rules, Tenant};
use super::{agent, escalate, presence, report, returns};
use crate::command::{Due, Principal, Timer};
use crate::event::{AgentItem, AgentItemKind, Entry, EntryKind, Event, Receipt};
use crate::ids::{AgentId, CalendarId, ConversationId, Epoch, Millis, QueueId, Seq, SkillName};
use crate::limits;
use crate::rejection::Rejection;
use crate::settings::{PolicyVersion, Replaced, RoutingSettings};
use crate::view::{Presence, QueueRates};

/// Changes that are not certain yet.
pub(crate) struct Draft<'a> {
    base: &'a Tenant,
    pub index: u64,
    pub at_ms: Millis,
    /// Who gave the command, if it says so.
    by: Option<&'a Principal>,
    /// Who changes the policy, and what for, in words of the command itself.
    said: Option<(Principal, String)>,
    changes: Changes,
}

/// Changes that are certain.
#[derive(Default)]
pub(crate) struct Changes {
    pub at_ms: Millis,
    pub conversations: BTreeMap<ConversationId, Option<Arc<Conversation>>>,
    pub agents: BTreeMap<AgentId, Option<Arc<Agent>>>,
    pub queues: BTreeMap<QueueId, Option<Arc<Queue>>>,
    /// Of the KPIs.
    pub quarter_over: bool,
    name: Option<Arc<str>>,
    pub(super) skills: Option<Arc<BTreeMap<SkillName, String>>>,
    pub(super) rules: Option<Arc<Rules>>,
    pub(super) routing: Option<Arc<RoutingSettings>>,
    pub(super) calendars: BTreeMap<CalendarId, Option<Arc<CalendarRow>>>,
    policies: Option<Arc<Vec<PolicyVersion>>>,
    arrivals: u64,
    forget: Option<Vec<super::window::WindowKey>>,
    events: Vec<Event>,
}

impl<'a> Draft<'a> {
    /// `room`: empty, for the events.
    pub fn new(base: &'a Tenant, index: u64, at_ms: Millis, by: Option<&'a Principal>, room: Vec<Event>) -> Self {
        let changes = Changes {
            at_ms,
            arrivals: base.kept.arrivals,
            events: room,
            ..Changes::default()
        };
        Self {
            base,
            index,
            at_ms,
            by,
            said: None,
            changes,
        }
    }

    /// The tenant before the command: for what no single row says.
    pub fn base(&self) -> &'a Tenant {
        self.base
    }

    pub fn kept(&self) -> &'a Kept {
        &self.base.kept
    }

    pub fn receipt(&self) -> Receipt {
        Receipt {
            at_ms: self.at_ms,
            ..Receipt::default()
        }
    }

    pub fn receipt_for(&self, conversation: ConversationId) -> Receipt {
        Receipt {
            conversation: Some(conversation),
            ..self.receipt()
        }
    }

    // ---- rows

    pub fn conversation(&self, id: ConversationId) -> Result<&Conversation, Rejection> {
        match self.changes.conversations.get(&id) {
            Some(changed) => changed.as_deref(),
            None => self.base.kept.conversations.get(&id).map(|row| &**row),
        }
        .ok_or(Rejection::UnknownConversation(id))
    }

    pub fn conversation_mut(&mut self, id: ConversationId) -> Result<&mut Conversation, Rejection> {
        let kept = &self.base.kept.conversations;
        let row = self.changes.conversations.entry(id);
        let row = row.or_insert_with(|| kept.get(&id).cloned());
        // Copied the first time, when the tenant has it, too.
        row.as_mut()
            .map(Arc::make_mut)
            .ok_or(Rejection::UnknownConversation(id))
    }

    pub fn put_conversation(&mut self, row: Conversation) {
        self.changes.conversations.insert(row.id, Some(Arc::new(row)));
    }

    pub fn remove_conversation(&mut self, id: ConversationId) {
        self.changes.conversations.insert(id, None);
    }

    pub fn agent(&self, id: AgentId) -> Result<&Agent, Rejection> {
        match self.changes.agents.get(&id) {
            Some(changed) => changed.as_deref(),
            None => self.base.kept.agents.get(&id).map(|row| &**row),
        }
        .ok_or(Rejection::UnknownAgent(id))
    }

    pub fn agent_mut(&mut self, id: AgentId) -> Result<&mut Agent, Rejection> {
        let kept = &self.base.kept.agents;
        let row = self.changes.agents.entry(id).or_insert_with(|| kept.get(&id).cloned());
        row.as_mut().map(Arc::make_mut).ok_or(Rejection::UnknownAgent(id))
    }

    pub fn put_agent(&mut self, id: AgentId, row: Option<Agent>) {
        self.changes.agents.insert(id, row.map(Arc::new));
    }

    pub fn queue(&self, id: QueueId) -> Result<Arc<Queue>, Rejection> {
        match self.changes.queues.get(&id) {
            Some(changed) => changed.clone(),
            None => self.base.kept.queues.get(&id).cloned(),
        }
        .ok_or(Rejection::UnknownQueue(id))
    }

    pub fn put_queue(&mut self, id: QueueId, row: Option<Arc<Queue>>) {
        self.changes.queues.insert(id, row);
    }

    pub fn put_name(&mut self, name: &str) {
        self.changes.name = Some(name.into());
        self.tell(Event::SettingsChanged);
    }

    pub fn skills(&self) -> &BTreeMap<SkillName, String> {
        self.changes.skills.as_ref().unwrap_or(&self.base.kept.skills)
    }

    pub fn put_skills(&mut self, skills: BTreeMap<SkillName, String>) {
        self.changes.skills = Some(Arc::new(skills));
        self.tell(Event::SettingsChanged);
    }

    pub fn put_rules(&mut self, rules: Rules) {
        self.changes.rules = Some(Arc::new(rules));
        self.tell(Event::SettingsChanged);
    }

    pub fn routing(&self) -> Arc<RoutingSettings> {
        self.changes
            .routing
            .clone()
            .unwrap_or_else(|| self.base.kept.routing.clone())
    }

    pub fn put_routing(&mut self, settings: RoutingSettings) {
        self.changes.routing = Some(Arc::new(settings));
    }

    pub fn calendar(&self, id: CalendarId) -> Result<Arc<CalendarRow>, Rejection> {
        match self.changes.calendars.get(&id) {
            Some(changed) => changed.clone(),
            None => self.base.kept.calendars.get(&id).cloned(),
        }
        .ok_or(Rejection::UnknownCalendar(id))
    }

    /// As they would be, by id.
    pub fn calendars(&self) -> Vec<(CalendarId, Arc<CalendarRow>)> {
        merged(&self.base.kept.calendars, &self.changes.calendars)
    }

    /// As they would be, by id.
    pub fn queues(&self) -> Vec<(QueueId, Arc<Queue>)> {
        merged(&self.base.kept.queues, &self.changes.queues)
    }

    pub fn put_calendar(&mut self, id: CalendarId, row: Option<CalendarRow>) {
        self.changes.calendars.insert(id, row.map(Arc::new));
    }

    /// Who changes the policy, and what for.
    pub fn note(&mut self, by: &Principal, note: &str) {
        self.said = Some((by.clone(), note.to_owned()));
    }

    /// Each change of the policy is a version, whichever command made it.
    fn policy_version(&mut self) {
        let replaced = super::policy::replaced(self.kept(), &self.changes);
        if replaced == Replaced::default() {
            return;
        }
        let versions = &self.base.kept.policies;
        let version = versions.last().map_or(1, |last| last.version + 1);
        let oldest = (versions.len() + 1).saturating_sub(limits::POLICY_VERSIONS_KEPT);
        let (by, note) = match self.said.take() {
            Some((by, note)) => (Some(by), note),
            None => (self.by.cloned(), String::new()),
        };
        let new = PolicyVersion {
            version,
            index: self.index,
            at_ms: self.at_ms,
            by,
            note,
            replaced: Arc::new(replaced),
        };
        self.changes.policies = Some(Arc::new(versions[oldest..].iter().cloned().chain([new]).collect()));
        self.tell(Event::PolicyActivated { version });
    }

    pub fn forget_windows(&mut self, keys: Vec<super::window::WindowKey>) {
        self.changes.forget = Some(keys);
    }

    /// A quarter hour of the KPIs.
    pub fn quarter_is_over(&mut self) {
        self.changes.quarter_over = true;
    }

    pub fn next_arrival(&mut self) -> u64 {
        self.changes.arrivals += 1;
        self.changes.arrivals
    }

    // ---- what more than one command does

    /// An event for people.
    pub fn tell(&mut self, event: Event) {
        self.changes.events.push(event);
    }

    /// A durable entry.
    pub fn entry(&mut self, id: ConversationId, kind: EntryKind) -> Result<Seq, Rejection> {
        let at_ms = self.at_ms;
        let row = self.conversation_mut(id)?;
        let (seq, prev_for_customer) = (row.last_seq + 1, row.last_seq_for_customer);
        row.last_seq = seq;
        if kind.for_customer() {
            row.last_seq_for_customer = seq;
        }
        let entry = Entry {
            conversation: id,
            seq,
            prev_for_customer,
            at_ms,
            kind,
        };
        row.entries_digest = super::digest::chain(row.entries_digest, &entry);
        self.tell(Event::Entry(entry));
        Ok(seq)
    }

    /// An item of an agent's own stream.
    pub fn agent_item(&mut self, agent: AgentId, kind: AgentItemKind) -> Result<(), Rejection> {
        let at_ms = self.at_ms;
        let row = self.agent_mut(agent)?;
        row.agent_seq += 1;
        let item = AgentItem {
            agent,
            agent_seq: row.agent_seq,
            at_ms,
            kind,
        };
        self.tell(Event::Agent(item));
        Ok(())
    }

    /// The only way from one stage to another: moves the load, and clears the alarms that do not belong there.
    pub fn enter(&mut self, id: ConversationId, stage: Stage) -> Result<&mut Conversation, Rejection> {
        if self.conversation(id)?.stage == Stage::Scheduled && stage != Stage::Scheduled {
            self.tell(Event::Scheduled {
                conversation: id,
                schedule: None,
            });
        }
        let at_ms = self.at_ms;
        self.occupying(id, |row| {
            if let Some(since_ms) = row.stage.assigned_at_ms()
                && stage.assigned_at_ms() != Some(since_ms)
            {
                row.served_ms = row.served_ms.saturating_add(at_ms.saturating_sub(since_ms));
            }
            row.stage = stage;
            row.alarms.retain(|(alarm, _)| stage.keeps(*alarm));
            if !stage.keeps(Alarm::OfferDeadline) {
                row.also_offered.clear();
            }
            if !stage.keeps(Alarm::PreferenceEnd) {
                row.only = None;
                row.expedited = false;
            }
            row.returns &= matches!(stage, Stage::Paused { .. });
            if !stage.keeps(Alarm::ExclusionEnd) {
                row.excluded.clear();
            }
            if stage != Stage::Scheduled
                && let Some(rare) = &mut row.rare
            {
                rare.schedule = None;
                row.tidy();
            }
        })?;
        self.conversation_mut(id)
    }

    /// Changes a conversation, and moves the load of those whose capacity it takes before, after, or both.
    pub fn occupying(&mut self, id: ConversationId, change: impl FnOnce(&mut Conversation)) -> Result<(), Rejection> {
        let row = self.conversation_mut(id)?;
        let before = row.occupants();
        change(row);
        let (after, channel) = (row.occupants(), row.channel.clone());
        for agent in before.iter().filter(|agent| !after.contains(agent)) {
            self.agent_mut(*agent)?.release(&channel);
        }
        for agent in after.iter().filter(|agent| !before.contains(agent)) {
            self.agent_mut(*agent)?.take(&channel);
        }
        Ok(())
    }

    /// A fence for what begins now.
    pub fn next_epoch(&mut self, id: ConversationId) -> Result<Epoch, Rejection> {
        let row = self.conversation_mut(id)?;
        row.epoch = Epoch(row.epoch.0 + 1);
        Ok(row.epoch)
    }

    /// Ends the draft of a command that is not refused.
    pub fn keep(mut self) -> Result<Changes, Rejection> {
        let queues: Vec<QueueId> = self.changes.queues.keys().copied().collect();
        for id in queues {
            if let (Some(before), true) = (self.base.kept.queues.get(&id), self.queue(id).is_ok()) {
                escalate::rearm(&mut self, id, &before.settings)?;
            }
        }
        let touched: Vec<AgentId> = self.changes.agents.keys().copied().collect();
        for id in &touched {
            if self.agent(*id).is_ok_and(Agent::here) {
                returns::to_whom_there_is_room(&mut self, *id)?;
            }
        }
        for id in touched {
            let Some(row) = self.changes.agents.get_mut(&id).and_then(Option::as_mut) else {
                continue;
            };
            let fits = row.fits();
            let before = self.base.kept.agents.get(&id);
            let lowered = before.is_some_and(|before| !Arc::ptr_eq(&before.settings, &row.settings));
            let over_capacity = !fits && (row.over_capacity || lowered);
            if over_capacity != row.over_capacity {
                Arc::make_mut(row).over_capacity = over_capacity;
            }
            if row.presence == Presence::Draining && row.load.is_empty() {
                presence::set(&mut self, id, Presence::Away(presence::DRAINED.to_owned()))?;
            }
        }
        self.policy_version();
        Ok(self.changes)
    }
}

impl Tenant {
    /// Makes changes part of the tenant; gives their events: those for people first, in the order of the command's doing.
    pub(crate) fn commit(&mut self, mut changes: Changes) -> Vec<Event> {
        let mut events = std::mem::take(&mut changes.events);
        for item in events.iter().filter_map(|event| {
            if let Event::Agent(item) = event {
                Some(item)
            } else {
                None
            }
        }) {
            self.kept.streams.change(item.agent, |stream| stream.push(item.clone()));
        }
        let mut pictures = Pictures::default();
        let quarter_hour = self.kept.report.timer();
        report::fold(&mut self.kept, &mut changes, &mut events);
        pictures.timers(quarter_hour.as_slice(), self.kept.report.timer().as_slice());
        for (id, after) in changes.queues {
            self.commit_queue(id, after, &mut pictures);
        }
        if let Some(routing) = changes.routing {
            pictures.changed.push(Event::Routing(routing.clone()));
            self.kept.routing = routing;
        }
        for (id, after) in changes.conversations {
            self.commit_conversation(id, after, &mut events, &mut pictures);
        }
        for (id, after) in changes.agents {
            self.commit_agent(id, after, &mut pictures);
        }
        self.kept.arrivals = changes.arrivals;
        replace(&mut self.kept.name, changes.name);
        replace(&mut self.kept.skills, changes.skills);
        replace(&mut self.kept.rules, changes.rules);
        for (id, row) in changes.calendars {
            let before = self.kept.calendars.get(&id).and_then(|row| row.timer(id));
            let after = row.as_ref().and_then(|row| row.timer(id));
            pictures.timers(before.as_slice(), after.as_slice());
            match row {
                Some(row) => _ = self.kept.calendars.insert(id, row),
                None => _ = self.kept.calendars.remove(&id),
            }
        }
        replace(&mut self.kept.policies, changes.policies);
        if let Some(keys) = changes.forget {
            self.forget_windows(&keys, &mut pictures);
        }
        pictures.append_to(&mut events);
        events
    }

    fn commit_queue(&mut self, id: QueueId, after: Option<Arc<Queue>>, pictures: &mut Pictures) {
        let before = self.kept.queues.get(&id).cloned();
        self.index.queue(id, before.as_deref(), after.as_deref());
        match after {
            Some(row) => {
                let view = row.view(id);
                if before.as_ref().is_none_or(|before| before.view(id) != view) {
                    pictures.changed.push(Event::Queue(view));
                }
                let rates = before.map_or(
                    QueueRates {
                        queue: id,
                        ..QueueRates::default()
                    },
                    |before| before.rates,
                );
                if rates != row.rates {
                    pictures.changed.push(Event::Rates(row.rates));
                }
                self.kept.queues.insert(id, row);
            }
            None => {
                if self.kept.queues.remove(&id).is_some() {
                    pictures.ended.push(Event::QueueEnded { queue: id });
                }
            }
        }
    }

    fn commit_conversation(
        &mut self,
        id: ConversationId,
        after: Option<Arc<Conversation>>,
        events: &mut Vec<Event>,
        pictures: &mut Pictures,
    ) {
        let before = match &after {
            Some(row) => self.kept.conversations.put(id, row.clone()),
            None => self.kept.conversations.remove(&id),
        };
        let (before, after) = (before.as_deref(), after.as_deref());
        self.index.conversation(before, after);
        if before.map(|row| (&row.alarms, row.epoch)) != after.map(|row| (&row.alarms, row.epoch)) {
            let timers =
                |row: Option<&Conversation>| row.map(|row| row.timers().collect::<Vec<_>>()).unwrap_or_default();
            pictures.timers(&timers(before), &timers(after));
        }
        let was = before.and_then(Conversation::demand);
        match after.and_then(Conversation::demand) {
            Some(demand) if was.as_ref() != Some(&demand) => pictures.changed.push(Event::Demand(demand)),
            None if was.is_some() => pictures.changed.push(Event::DemandEnded { conversation: id }),
            _ => {}
        }
        if let Some(row) = after
            && before.is_none_or(|before| row.shows_change(before))
        {
            events.push(Event::Conversation(Box::new(row.view())));
        }
    }

    fn commit_agent(&mut self, id: AgentId, after: Option<Arc<Agent>>, pictures: &mut Pictures) {
        let before = match &after {
            Some(row) => self.kept.agents.put(id, row.clone()),
            None => self.kept.agents.remove(&id),
        };
        self.index.agent(id, before.as_deref(), after.as_deref());
        let timer = |row: Option<&Agent>| row.and_then(|row| presence::lease_timer(id, row));
        pictures.timers(timer(before.as_deref()).as_slice(), timer(after.as_deref()).as_slice());
        match after {
            Some(row) => {
                if before.is_none_or(|before| row.supply_changed(&before)) {
                    pictures.changed.push(Event::Supply(row.supply(id)));
                }
            }
            None => {
                self.kept.streams.remove(&id);
                if before.is_some() {
                    pictures.ended.push(Event::SupplyEnded { agent: id });
                }
            }
        }
    }

    fn forget_windows(&mut self, keys: &[super::window::WindowKey], pictures: &mut Pictures) {
        for key in keys {
            self.kept.windows.remove(key);
        }
        let before = super::window::forget_timer(self.kept.forget_at_ms);
        let oldest = self.kept.windows.iter().map(|(_, window)| window.last_used_ms).min();
        self.kept.forget_at_ms = oldest.map(super::window::forget_at_ms);
        pictures.timers(
            before.as_slice(),
            super::window::forget_timer(self.kept.forget_at_ms).as_slice(),
        );
    }
}

fn replace<T>(row: &mut T, by: Option<T>) {
    if let Some(by) = by {
        *row = by;
    }
}

fn merged<K: Ord + Copy, V: Clone>(kept: &BTreeMap<K, V>, changed: &BTreeMap<K, Option<V>>) -> Vec<(K, V)> {
    let unchanged = kept.iter().filter(|(id, _)| !changed.contains_key(id));
    let unchanged = unchanged.map(|(id, row)| (*id, row.clone()));
    let changed = changed.iter().filter_map(|(id, row)| Some((*id, row.clone()?)));
    let mut all: Vec<_> = unchanged.chain(changed).collect();
    all.sort_unstable_by_key(|(id, _)| *id);
    all
}

/// The queue manager's part of a command's events, in the order that suits it.
#[derive(Default)]
struct Pictures {
    /// Of queues and the whole tenant, then of conversations, then of agents: as they are committed.
    changed: Vec<Event>,
    ended: Vec<Event>,
    timers: Vec<Event>,
}

impl Pictures {
    fn timers(&mut self, before: &[Due], after: &[Due]) {
        let set = |dues: &[Due], timer: Timer| dues.iter().any(|due| due.timer == timer);
        for due in before.iter().filter(|due| !set(after, due.timer)) {
            self.timers.push(Event::TimerCleared { timer: due.timer });
        }
        self.timers.extend(
            after
                .iter()
                .filter(|due| !before.contains(due))
                .map(|due| Event::TimerSet(*due)),
        );
    }

    fn append_to(self, events: &mut Vec<Event>) {
        for mut part in [self.changed, self.ended, self.timers] {
            events.append(&mut part);
        }
    }
}

/// What an agent must be to be given work by hand or by choice: signed in, and not suspect.
pub(crate) fn must_be_here(row: &Agent) -> Result<(), Rejection> {
    if row.here() {
        return Ok(());
    }
    Err(Rejection::WrongPresence {
        is: agent::presence_word(&row.presence).to_owned(),
        needs: "signed in".to_owned(),
    })
}
