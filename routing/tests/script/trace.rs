//! Events as lines of a trace.

use routing::command::{Author, Principal, Reader, Schedule, ScheduleUntil, Timer, Value};
use routing::event::{AgentItemKind, ConversationView, EntryKind, Event, OfferOutcome};
use routing::ids::Millis;
use routing::report::{Figures, RowKey, Subject};
use routing::view::{Demand, Presence, Supply};

use crate::parse::Names;

/// `12.5s`
pub fn time(ms: Millis) -> String {
    let (s, ms) = (ms / 1000, ms % 1000);
    if ms == 0 {
        format!("{s}s")
    } else {
        format!("{}s", format!("{s}.{ms:03}").trim_end_matches('0'))
    }
}

fn presence(presence: &Presence) -> String {
    match presence {
        Presence::Offline => "offline".to_owned(),
        Presence::Available => "available".to_owned(),
        Presence::Away(reason) => format!("away({reason})"),
        Presence::Draining => "draining".to_owned(),
        Presence::Suspect { until_ms, was } => {
            format!("suspect(until {}, was {})", time(*until_ms), self::presence(was))
        }
    }
}

fn outcome(outcome: &OfferOutcome) -> String {
    match outcome {
        OfferOutcome::Accepted => "accepted".to_owned(),
        OfferOutcome::Declined { reason } => format!("declined({reason})"),
        OfferOutcome::Expired => "expired".to_owned(),
        OfferOutcome::Withdrawn { why } => format!("withdrawn({why})"),
        OfferOutcome::TakenByAnother => "taken by another".to_owned(),
    }
}

fn value(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
    }
}

impl Names {
    pub fn timer(&self, timer: &Timer) -> String {
        match timer {
            Timer::OfferDeadline { conversation, epoch } => {
                format!("offer_deadline {} epoch={}", self.c(*conversation), epoch.0)
            }
            Timer::WrapUpEnd { conversation, epoch } => {
                format!("wrap_up_end {} epoch={}", self.c(*conversation), epoch.0)
            }
            Timer::Escalation { conversation, step } => format!("escalation {} step={step}", self.c(*conversation)),
            Timer::NoReply { conversation, epoch } => format!("no_reply {} epoch={}", self.c(*conversation), epoch.0),
            Timer::AbandonHold { conversation } => format!("abandon_hold {}", self.c(*conversation)),
            Timer::PreferenceEnd { conversation } => format!("preference_end {}", self.c(*conversation)),
            Timer::ExclusionEnd { conversation } => format!("exclusion_end {}", self.c(*conversation)),
            Timer::Archive { conversation } => format!("archive {}", self.c(*conversation)),
            Timer::LeaseEnd { agent } => format!("lease_end {}", self.a(*agent)),
            Timer::ForgetWindows => "forget_windows".to_owned(),
            Timer::Relaxation { conversation, step } => format!("relaxation {} step={step}", self.c(*conversation)),
            Timer::RingOpens { conversation, ring } => format!("ring_opens {} ring={ring}", self.c(*conversation)),
            Timer::IdlePause { conversation, epoch } => {
                format!("idle_pause {} epoch={}", self.c(*conversation), epoch.0)
            }
            Timer::SilentAbandon { conversation, epoch } => {
                format!("silent_abandon {} epoch={}", self.c(*conversation), epoch.0)
            }
            Timer::Scheduled { conversation } => format!("scheduled {}", self.c(*conversation)),
            Timer::InvitationEnd { conversation, agent } => {
                format!("invitation_end {} {}", self.c(*conversation), self.a(*agent))
            }
            Timer::CalendarEdge { calendar } => format!("calendar_edge {}", self.k(*calendar)),
            Timer::QuarterHour => "quarter_hour".to_owned(),
        }
    }

    fn principal(&self, who: &Principal) -> String {
        match who {
            Principal::Agent(agent) => self.a(*agent).to_owned(),
            Principal::Customer(customer) => customer.0.clone(),
            Principal::Admin(admin) => format!("admin:{admin}"),
        }
    }

    fn author(&self, author: &Author) -> String {
        match author {
            Author::Customer => "customer".to_owned(),
            Author::Agent { agent, epoch } => format!("{} (epoch {})", self.a(*agent), epoch.0),
            Author::Supervisor(who) => format!("supervisor {}", self.principal(who)),
            Author::System => "system".to_owned(),
            Author::Participant { agent } => format!("participant {}", self.a(*agent)),
        }
    }

    pub fn demand(&self, demand: &Demand) -> String {
        let mut line = format!(
            "demand {} in {} {} priority={} since={} arrival={}",
            self.c(demand.conversation),
            self.q(demand.queue),
            demand.channel.0,
            demand.priority,
            time(demand.since_ms),
            demand.arrival
        );
        for (flag, set) in [("expedited", demand.expedited), ("held", demand.held)] {
            if set {
                line += &format!(" {flag}");
            }
        }
        for (word, asked) in [("required", &demand.required), ("wished", &demand.preferred)] {
            for one in asked.iter() {
                line += &format!(" {word}={}:{}", one.skill.0, one.level);
            }
        }
        if let Some(only) = demand.only {
            line += &format!(" only={}", self.a(only));
        }
        for excluded in &demand.excluded {
            line += &format!(" excluded={}", self.a(*excluded));
        }
        if demand.rings != 0 {
            line += &format!(" rings={:b}", demand.rings);
        }
        line
    }

    pub fn supply(&self, supply: &Supply) -> String {
        let load: Vec<String> = supply
            .load
            .iter()
            .map(|(channel, n)| format!("{}:{n}", channel.0))
            .collect();
        let load = if load.is_empty() {
            "none".to_owned()
        } else {
            load.join(",")
        };
        let (who, is) = (self.a(supply.agent), presence(&supply.presence));
        let mut line = format!(
            "supply {who} {is} load={load} used={} idle_since={}",
            supply.used,
            time(supply.idle_since_ms)
        );
        if !supply.recent.is_empty() {
            let recent: Vec<String> = supply.recent.iter().map(|at_ms| time(*at_ms)).collect();
            line += &format!(" recent={}", recent.join(","));
        }
        if supply.handled_today > 0 {
            line += &format!(" today={}", supply.handled_today);
        }
        for (level, handle_ms) in supply.speeds.handle_ms.iter().enumerate() {
            if supply.speeds.seen[level] > 0 {
                line += &format!(" speed{}={}", level + 1, time(*handle_ms));
            }
        }
        line
    }

    pub fn view(&self, view: &ConversationView) -> String {
        let mut line = format!("conversation {} {:?}", self.c(view.conversation), view.phase).to_lowercase();
        if let Some(queue) = view.queue {
            line += &format!(" in {}", self.q(queue));
        }
        if let Some(agent) = view.agent {
            line += &format!(" with {}", self.a(agent));
        }
        line += &format!(
            " epoch={} priority={} since={}",
            view.epoch.0,
            view.priority,
            time(view.since_ms)
        );
        if let Some(deadline_ms) = view.deadline_ms {
            line += &format!(" deadline={}", time(deadline_ms));
        }
        if !view.customer_present {
            line += " customer_absent";
        }
        for (key, is) in view.attributes.iter() {
            line += &format!(" {key}={}", value(is));
        }
        if let Some(disposition) = &view.disposition {
            line += &format!(" disposition={disposition}");
        }
        for agent in &view.also_offered {
            line += &format!(" also={}", self.a(*agent));
        }
        for (agent, role) in &view.participants {
            line += &format!(" {role:?}={}", self.a(*agent)).to_lowercase();
        }
        for (agent, role, until_ms) in &view.invited {
            line += &format!(" invited={}:{role:?}:{}", self.a(*agent), time(*until_ms)).to_lowercase();
        }
        if let Some(schedule) = &view.schedule {
            line += &format!(" {}", self.schedule(schedule));
        }
        if let Some(contact) = &view.callback {
            line += &format!(" callback={contact}");
        }
        if view.relaxed != 0 {
            line += &format!(" relaxed={:b}", view.relaxed);
        }
        if let Some(rating) = view.rating {
            line += &format!(" rating={rating}");
        }
        line
    }

    fn schedule(&self, schedule: &Schedule) -> String {
        let until = match schedule.until {
            ScheduleUntil::At { at_ms } => format!("until={}", time(at_ms)),
            ScheduleUntil::AgentReturns { agent, latest_ms } => {
                format!("until={}-returns latest={}", self.a(agent), time(latest_ms))
            }
        };
        if schedule.keep_age { until + " keep_age" } else { until }
    }

    fn entry(&self, kind: &EntryKind) -> String {
        match kind {
            EntryKind::Message { author, body } => format!("{} says \"{}\"", self.author(author), body.text),
            EntryKind::Note { agent, body } => format!("{} notes \"{}\"", self.a(*agent), body.text),
            EntryKind::Joined { agent } => format!("{} joined", self.a(*agent)),
            EntryKind::Left { agent, reason } => format!("{} left ({reason:?})", self.a(*agent)),
            EntryKind::Moved { queue } => format!("moved to {}", self.q(*queue)),
            EntryKind::Paused => "paused".to_owned(),
            EntryKind::Resumed => "resumed".to_owned(),
            EntryKind::Closed { outcome } => format!("closed ({outcome:?})"),
            EntryKind::Reopened => "reopened".to_owned(),
            EntryKind::Whisper { agent, body } => format!("{} whispers \"{}\"", self.a(*agent), body.text),
            EntryKind::ParticipantJoined { agent, role } => format!("{} joined as {role:?}", self.a(*agent)),
            EntryKind::ParticipantLeft { agent, role } => format!("{} left as {role:?}", self.a(*agent)),
            EntryKind::Scheduled { schedule } => format!("scheduled {}", self.schedule(schedule)),
            EntryKind::CallbackRequested { contact } => format!("asks to be called back at {contact}"),
            EntryKind::Rated { rating, comment } => format!("rated {rating} {}", comment.as_deref().unwrap_or("")),
        }
    }

    fn item(&self, kind: &AgentItemKind) -> String {
        match kind {
            AgentItemKind::Offered {
                conversation,
                epoch,
                deadline_ms,
                queue,
                ..
            } => {
                let (c, q) = (self.c(*conversation), self.q(*queue));
                format!("offered {c} of {q} epoch={} deadline={}", epoch.0, time(*deadline_ms))
            }
            AgentItemKind::OfferEnded {
                conversation,
                epoch,
                outcome: how,
            } => {
                format!(
                    "offer of {} ended epoch={}: {}",
                    self.c(*conversation),
                    epoch.0,
                    outcome(how)
                )
            }
            AgentItemKind::Assigned {
                conversation, epoch, ..
            } => {
                format!("assigned {} epoch={}", self.c(*conversation), epoch.0)
            }
            AgentItemKind::Unassigned {
                conversation,
                epoch,
                reason,
            } => {
                format!("unassigned {} epoch={}: {reason:?}", self.c(*conversation), epoch.0)
            }
            AgentItemKind::WrapUp {
                conversation,
                epoch,
                deadline_ms,
            } => {
                format!(
                    "wrap-up of {} epoch={} until {}",
                    self.c(*conversation),
                    epoch.0,
                    time(*deadline_ms)
                )
            }
            AgentItemKind::WrapUpEnded { conversation, epoch } => {
                format!("wrap-up of {} ended epoch={}", self.c(*conversation), epoch.0)
            }
            AgentItemKind::Presence { presence: is } => format!("is {}", presence(is)),
            AgentItemKind::Invited {
                conversation,
                role,
                by,
                deadline_ms,
            } => {
                let (c, by) = (self.c(*conversation), self.a(*by));
                format!("invited to {c} as {role:?} by {by} deadline={}", time(*deadline_ms))
            }
            AgentItemKind::InvitationEnded {
                conversation,
                outcome: how,
            } => format!("invitation to {} ended: {}", self.c(*conversation), outcome(how)),
            AgentItemKind::Joined { conversation, role } => format!("joined {} as {role:?}", self.c(*conversation)),
            AgentItemKind::Left {
                conversation,
                role,
                why,
            } => format!("left {} as {role:?}: {why}", self.c(*conversation)),
        }
    }

    /// One event, one line.
    pub fn event(&self, event: &Event) -> String {
        match event {
            Event::Demand(demand) => self.demand(demand),
            Event::DemandEnded { conversation } => format!("demand {} ended", self.c(*conversation)),
            Event::Supply(supply) => self.supply(supply),
            Event::SupplyEnded { agent } => format!("supply {} ended", self.a(*agent)),
            Event::Queue(view) => {
                let closed = if view.open { "" } else { " closed" };
                format!("queue {} version={}{closed}", self.q(view.queue), view.version)
            }
            Event::QueueEnded { queue } => format!("queue {} ended", self.q(*queue)),
            Event::TimerSet(due) => format!("timer {} at {}", self.timer(&due.timer), time(due.at_ms)),
            Event::TimerCleared { timer } => format!("timer {} cleared", self.timer(timer)),
            Event::SettingsChanged => "settings changed".to_owned(),
            Event::Started {
                conversation,
                customer,
                channel,
                queue,
            } => {
                let queue = queue.map_or("no queue", |queue| self.q(queue));
                format!(
                    "started {} of {} by {} in {queue}",
                    self.c(*conversation),
                    customer.0,
                    channel.0
                )
            }
            Event::Entry(entry) => {
                let (c, seq, prev) = (self.c(entry.conversation), entry.seq, entry.prev_for_customer);
                format!("{c} #{seq} (prev {prev}): {}", self.entry(&entry.kind))
            }
            Event::Read {
                conversation,
                reader,
                seq,
            } => {
                let reader = match reader {
                    Reader::Customer => "customer",
                    Reader::Agent(agent) => self.a(*agent),
                };
                format!("{} read by {reader} up to {seq}", self.c(*conversation))
            }
            Event::Conversation(view) => self.view(view),
            Event::Agent(item) => format!("{} #{}: {}", self.a(item.agent), item.agent_seq, self.item(&item.kind)),
            other => self.measured(other),
        }
    }

    /// What the KPIs are made of.
    fn measured(&self, event: &Event) -> String {
        match event {
            Event::OfferEnded {
                conversation,
                queue,
                agent,
                epoch,
                outcome: how,
                offered_at_ms,
            } => {
                let (c, q, a) = (self.c(*conversation), self.q(*queue), self.a(*agent));
                format!(
                    "offer {c} of {q} to {a} epoch={} from {} {}",
                    epoch.0,
                    time(*offered_at_ms),
                    outcome(how)
                )
            }
            Event::Assigned {
                conversation,
                queue,
                agent,
                epoch,
                waited_ms,
                first,
            } => {
                let (c, q, a) = (self.c(*conversation), self.q(*queue), self.a(*agent));
                let first = if *first { " first" } else { "" };
                format!(
                    "assigned {c} of {q} to {a} epoch={} waited={}{first}",
                    epoch.0,
                    time(*waited_ms)
                )
            }
            Event::Unassigned {
                conversation,
                queue,
                agent,
                epoch,
                reason,
            } => {
                let (c, q, a) = (self.c(*conversation), self.q(*queue), self.a(*agent));
                format!("unassigned {c} of {q} from {a} epoch={}: {reason:?}", epoch.0)
            }
            Event::FirstReply {
                conversation,
                queue,
                after_ms,
            } => {
                format!(
                    "first reply in {} of {} after {}",
                    self.c(*conversation),
                    self.q(*queue),
                    time(*after_ms)
                )
            }
            Event::Closed {
                conversation,
                queue,
                outcome,
                waited_ms,
            } => {
                let queue = queue.map_or("no queue", |queue| self.q(queue));
                format!(
                    "closed {} of {queue} {outcome:?} waited={}",
                    self.c(*conversation),
                    time(*waited_ms)
                )
            }
            Event::Handled {
                conversation,
                queue,
                agent,
                handled_ms,
            } => {
                let (c, q, a) = (self.c(*conversation), self.q(*queue), self.a(*agent));
                format!("handled {c} of {q} by {a} in {}", time(*handled_ms))
            }
            Event::Archived { conversation, .. } => format!("archived {}", self.c(*conversation)),
            Event::Routing(settings) => format!("routing {:?} batch={}", settings.cross_queue, settings.batch_max),
            Event::Rates(rates) => format!(
                "rates of {}: handle={} patience={} handled={} within={}/{}",
                self.q(rates.queue),
                time(rates.handle_ms),
                time(rates.patience_ms),
                rates.handled,
                rates.recent_within,
                rates.recent_offered
            ),
            Event::PolicyActivated { version } => format!("policy version={version}"),
            Event::CalendarChanged { calendar, open } => {
                format!(
                    "calendar {} {}",
                    self.k(*calendar),
                    if *open { "open" } else { "closed" }
                )
            }
            Event::RingShared {
                queue,
                ring,
                shared,
                why,
            } => {
                let (q, is) = (self.q(*queue), if *shared { "shared" } else { "not shared any more" });
                format!("ring {ring} of {q} {is}: {why}")
            }
            Event::Relaxed { conversation, step, .. } => format!("relaxed {} step={step}", self.c(*conversation)),
            Event::RingOpened { conversation, ring, .. } => format!("ring {ring} opened for {}", self.c(*conversation)),
            Event::Scheduled { conversation, schedule } => match schedule {
                Some(schedule) => format!("scheduled {} {}", self.c(*conversation), self.schedule(schedule)),
                None => format!("no longer scheduled {}", self.c(*conversation)),
            },
            Event::Participant {
                conversation,
                agent,
                role,
                joined,
            } => {
                let (c, a, did) = (
                    self.c(*conversation),
                    self.a(*agent),
                    if *joined { "joined" } else { "left" },
                );
                format!("{a} {did} {c} as {role:?}")
            }
            Event::Rated {
                conversation, rating, ..
            } => format!("rated {} {rating}", self.c(*conversation)),
            Event::ReportClosed { key, figures } => self.report(key, figures),
            other => format!("{other:?}"),
        }
    }

    /// A row of the KPIs: what is not zero.
    pub fn report(&self, key: &RowKey, figures: &Figures) -> String {
        let subject = match &key.subject {
            Subject::Queue { queue, channel } => {
                format!("{} {}", queue.map_or("no queue", |queue| self.q(queue)), channel.0)
            }
            Subject::Agent { agent, channel } => format!("{} {}", self.a(*agent), channel.0),
            Subject::Time { agent } => format!("{}'s time", self.a(*agent)),
        };
        let mut line = format!("report of {subject} from {}:", time(key.quarter_ms));
        let sums = figures
            .visits
            .list()
            .chain(figures.work.list())
            .chain(figures.time.list());
        for (name, value) in sums.filter(|(_, value)| *value > 0) {
            line += &match name.strip_suffix("_ms").filter(|_| !name.ends_with("_unit_ms")) {
                Some(what) => format!(" {what}={}", time(value)),
                None => format!(" {name}={value}"),
            };
        }
        line
    }
}

/// Whether the event is one of the queue manager's.
pub fn for_queue_manager(event: &Event) -> bool {
    matches!(
        event,
        Event::Demand(_)
            | Event::DemandEnded { .. }
            | Event::Supply(_)
            | Event::SupplyEnded { .. }
            | Event::Queue(_)
            | Event::QueueEnded { .. }
            | Event::TimerSet(_)
            | Event::TimerCleared { .. }
            | Event::Routing(_)
            | Event::Rates(_)
    )
}
