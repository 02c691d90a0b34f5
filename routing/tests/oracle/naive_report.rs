//! The KPIs once more, from nothing but the events, command by command, without any of the state's bookkeeping.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use routing::event::{
    AgentItem, AgentItemKind, CloseOutcome, ConversationView, EntryKind, Event, OfferOutcome, Phase, UnassignReason,
};
use routing::ids::{AgentId, Channel, ConversationId, Millis, QueueId};
use routing::report::{ATTENTION_ONE, Figures, QUARTER_HOUR_MS, RowKey, Subject, quarter_hour_of};
use routing::view::{Presence, Supply};

/// Divisible by every number of conversations that an agent has here.
const WHOLE: u64 = 720_720;

#[derive(Default)]
struct Conversation {
    view: Option<ConversationView>,
    answered: bool,
    left_at_ms: Option<Millis>,
    visit: Option<(Option<QueueId>, Millis)>,
    leg: Option<Leg>,
}

struct Leg {
    agent: AgentId,
    /// (phase, from, to)
    stretches: Vec<(Phase, Millis, Millis)>,
    phase: Phase,
    since_ms: Millis,
}

/// What an agent is, from when.
#[derive(Clone, Default)]
struct Span {
    from_ms: Millis,
    signed_in: bool,
    available: bool,
    held: u64,
    used: u64,
    offered: u64,
}

#[derive(Default)]
pub struct NaiveReport {
    pub rows: BTreeMap<RowKey, Figures>,
    /// Attention in `WHOLE`ths of a millisecond, instead of the rows', and how often it was rounded there.
    pub attention: BTreeMap<RowKey, (u64, u64)>,
    conversations: BTreeMap<ConversationId, Conversation>,
    targets: BTreeMap<QueueId, u64>,
    supplies: BTreeMap<AgentId, Supply>,
    spans: BTreeMap<AgentId, Vec<Span>>,
}

impl NaiveReport {
    /// One command's events.
    pub fn hear(&mut self, at_ms: Millis, events: &[Event]) {
        let mut touched = BTreeSet::new();
        for event in events {
            match event {
                Event::Queue(view) => _ = self.targets.insert(view.queue, view.settings.answer_target_ms),
                Event::Supply(supply) => _ = self.supplies.insert(supply.agent, supply.clone()),
                Event::SupplyEnded { agent } => _ = self.supplies.remove(agent),
                Event::Conversation(view) => {
                    let known = self.conversations.entry(view.conversation).or_default();
                    known.left_at_ms = match (view.customer_present, known.left_at_ms) {
                        (true, _) => None,
                        (false, before) => before.or(Some(at_ms)),
                    };
                    known.view = Some((**view).clone());
                    touched.insert(view.conversation);
                }
                _ => {}
            }
        }
        for id in touched {
            self.leg(at_ms, id, events);
            self.visit(at_ms, id, events);
        }
        events.iter().for_each(|event| self.count(at_ms, event));
        self.spans(at_ms);
    }

    /// Time up to the end.
    pub fn end(&mut self, at_ms: Millis) {
        for (agent, spans) in self.spans.clone() {
            let ends = spans.iter().skip(1).map(|span| span.from_ms).chain([at_ms]);
            for (span, until_ms) in spans.iter().zip(ends) {
                let mut from_ms = span.from_ms;
                while from_ms < until_ms {
                    let quarter_ms = quarter_hour_of(from_ms);
                    let to_ms = until_ms.min(quarter_ms + QUARTER_HOUR_MS);
                    let ms = to_ms - from_ms;
                    from_ms = to_ms;
                    if !span.signed_in && span.held == 0 {
                        continue;
                    }
                    let time = &mut self.row(quarter_ms, Subject::Time { agent }).time;
                    time.signed_in_ms += if span.signed_in { ms } else { 0 };
                    time.available_ms += if span.available { ms } else { 0 };
                    time.handling_ms += if span.held > 0 { ms } else { 0 };
                    time.idle_ms += if span.held == 0 && span.available { ms } else { 0 };
                    time.concurrency_ms += ms * span.held;
                    time.used_unit_ms += ms * span.used;
                    time.offered_unit_ms += ms * span.offered;
                }
            }
        }
    }

    fn row(&mut self, quarter_ms: Millis, subject: Subject) -> &mut Figures {
        self.rows.entry(RowKey { quarter_ms, subject }).or_default()
    }

    fn view(&self, id: ConversationId) -> &ConversationView {
        self.conversations[&id].view.as_ref().expect("it has begun")
    }

    fn both(
        &self,
        at_ms: Millis,
        (queue, channel): (Option<QueueId>, &Channel),
        agent: Option<AgentId>,
    ) -> Vec<RowKey> {
        let (quarter_ms, channel) = (quarter_hour_of(at_ms), Arc::new(channel.clone()));
        let of_agent = agent.map(|agent| Subject::Agent {
            agent,
            channel: channel.clone(),
        });
        let subjects = [
            Some(Subject::Queue {
                queue,
                channel: channel.clone(),
            }),
            of_agent,
        ];
        let keys = subjects.into_iter().flatten();
        keys.map(|subject| RowKey { quarter_ms, subject }).collect()
    }

    fn visit(&mut self, at_ms: Millis, id: ConversationId, events: &[Event]) {
        let of =
            |event: &&Event| matches!(event, Event::Assigned { conversation, first: true, .. } if *conversation == id);
        let first = events.iter().find(of).is_some();
        let reopened = events.iter().any(|event| {
            matches!(event, Event::Entry(entry) if entry.conversation == id && entry.kind == EntryKind::Reopened)
        });
        let outcome = events.iter().find_map(|event| match event {
            Event::Closed {
                conversation, outcome, ..
            } if *conversation == id => Some(*outcome),
            _ => None,
        });
        let known = self.conversations.get_mut(&id).expect("touched");
        known.answered = (known.answered && !reopened) || first;
        let view = known.view.clone().expect("touched");
        let waits = matches!(view.phase, Phase::Waiting | Phase::Offered) && !known.answered;
        let (was, left_at_ms) = (known.visit, known.left_at_ms);
        known.visit = waits.then_some((view.queue, view.since_ms));
        let is = known.visit;
        let channel = Arc::new(view.channel.clone());
        let key = |(queue, since_ms): (Option<QueueId>, Millis)| {
            let channel = channel.clone();
            (quarter_hour_of(since_ms), Subject::Queue { queue, channel })
        };
        if outcome == Some(CloseOutcome::Offline) {
            let (quarter_ms, subject) = key((view.queue, view.since_ms));
            self.row(quarter_ms, subject).visits.offline += 1;
        }
        let here = match (was, is) {
            (None, None) if !first => return,
            (None, is) => {
                let here = is.unwrap_or((view.queue, view.since_ms));
                let (quarter_ms, subject) = key(here);
                self.row(quarter_ms, subject).visits.arrived += 1;
                here
            }
            (Some(was), is) => {
                let here = is.unwrap_or((view.queue, was.1));
                if here != was {
                    let (quarter_ms, subject) = key(was);
                    self.row(quarter_ms, subject).visits.moved_out += 1;
                    let (quarter_ms, subject) = key(here);
                    self.row(quarter_ms, subject).visits.moved_in += 1;
                }
                here
            }
        };
        if is.is_some() {
            return;
        }
        let target_ms = here.0.and_then(|queue| self.targets.get(&queue).copied()).unwrap_or(0);
        let (quarter_ms, subject) = key(here);
        let row = self.row(quarter_ms, subject);
        let (visits, waited_ms) = (&mut row.visits, at_ms - here.1);
        if first {
            visits.answered += 1;
            visits.answered_within += u64::from(waited_ms <= target_ms);
            visits.answered_wait_ms += waited_ms;
            row.wait_max_ms = row.wait_max_ms.max(waited_ms);
            row.waits.record(waited_ms);
            return;
        }
        match outcome {
            Some(CloseOutcome::Abandoned | CloseOutcome::ShortAbandoned) => {
                let waited_ms = left_at_ms.unwrap_or(at_ms).saturating_sub(here.1);
                visits.abandoned += 1;
                visits.short_abandoned += u64::from(outcome == Some(CloseOutcome::ShortAbandoned));
                visits.abandoned_within += u64::from(waited_ms <= target_ms);
                visits.abandoned_wait_ms += waited_ms;
                row.wait_max_ms = row.wait_max_ms.max(waited_ms);
            }
            _ if view.phase == Phase::Scheduled => visits.put_off += 1,
            _ => visits.cancelled += 1,
        }
    }

    fn leg(&mut self, at_ms: Millis, id: ConversationId, events: &[Event]) {
        let known = self.conversations.get_mut(&id).expect("touched");
        let view = known.view.clone().expect("touched");
        let begun = events
            .iter()
            .any(|event| matches!(event, Event::Assigned { conversation, .. } if *conversation == id));
        let has = matches!(view.phase, Phase::Assigned | Phase::Paused | Phase::WrapUp);
        let was = known.leg.take();
        let mut ended = None;
        if let Some(mut leg) = was {
            leg.stretches.push((leg.phase, leg.since_ms, at_ms));
            if has && !begun {
                (leg.phase, leg.since_ms) = (view.phase, at_ms);
                known.leg = Some(leg);
            } else {
                ended = Some(leg);
            }
        }
        if let (None, true, Some(agent)) = (&known.leg, has, view.agent) {
            known.leg = Some(Leg {
                agent,
                stretches: Vec::new(),
                phase: view.phase,
                since_ms: at_ms,
            });
        }
        if let Some(leg) = ended {
            self.end_leg(at_ms, id, &leg, events);
        }
    }

    fn end_leg(&mut self, at_ms: Millis, id: ConversationId, leg: &Leg, events: &[Event]) {
        let handled = events
            .iter()
            .any(|event| matches!(event, Event::Handled { conversation, .. } if *conversation == id));
        let lost = events.iter().find_map(|event| match event {
            Event::Unassigned {
                conversation,
                queue,
                reason,
                ..
            } if *conversation == id => Some((*queue, reason.clone())),
            _ => None,
        });
        let of_handled = events.iter().find_map(|event| match event {
            Event::Handled {
                conversation, queue, ..
            } if *conversation == id => Some(*queue),
            _ => None,
        });
        let queue = of_handled.or(lost.as_ref().map(|(queue, _)| *queue));
        let reason = lost.map(|(_, reason)| reason);
        let warm = self.conversations[&id].leg.is_some() && reason == Some(UnassignReason::Transferred);
        let transferred = !handled && reason == Some(UnassignReason::Transferred);
        let of = |phase: Phase| -> u64 {
            let stretches = leg.stretches.iter().filter(|(is, ..)| *is == phase);
            stretches.map(|(_, from_ms, to_ms)| to_ms - from_ms).sum()
        };
        let (mut attention, mut roundings) = (0, 0);
        let spans = &self.spans[&leg.agent];
        let ends = spans.iter().skip(1).map(|span| span.from_ms).chain([at_ms]);
        for (span, until_ms) in spans.iter().zip(ends) {
            for (phase, from_ms, to_ms) in &leg.stretches {
                let (from_ms, to_ms) = (span.from_ms.max(*from_ms), until_ms.min(*to_ms));
                if *phase != Phase::Paused && from_ms < to_ms {
                    attention += (to_ms - from_ms) * WHOLE / span.held;
                    roundings += 1 + (to_ms / QUARTER_HOUR_MS - from_ms / QUARTER_HOUR_MS);
                }
            }
        }
        let channel = self.view(id).channel.clone();
        for key in self.both(at_ms, (queue, &channel), Some(leg.agent)) {
            let sum = self.attention.entry(key.clone()).or_default();
            *sum = (sum.0 + attention, sum.1 + roundings);
            let work = &mut self.rows.entry(key).or_default().work;
            work.talk_ms += of(Phase::Assigned);
            work.hold_ms += of(Phase::Paused);
            work.wrap_ms += of(Phase::WrapUp);
            work.handled += u64::from(handled || transferred);
            work.transferred_warm += u64::from(transferred && warm);
            work.transferred_cold += u64::from(transferred && !warm);
            if handled {
                continue;
            }
            match &reason {
                Some(UnassignReason::Reassigned) => work.reassigned += 1,
                Some(
                    UnassignReason::NoReply
                    | UnassignReason::LeaseLost
                    | UnassignReason::SignedOut
                    | UnassignReason::OwnerFull,
                ) => work.requeued += 1,
                _ => {}
            }
        }
    }

    fn count(&mut self, at_ms: Millis, event: &Event) {
        let (id, agent) = match event {
            Event::Agent(AgentItem {
                agent,
                kind: AgentItemKind::Offered { conversation, .. },
                ..
            }) => (*conversation, Some(*agent)),
            Event::OfferEnded {
                conversation, agent, ..
            }
            | Event::Assigned {
                conversation, agent, ..
            } => (*conversation, Some(*agent)),
            Event::FirstReply { conversation, .. } => (*conversation, self.view(*conversation).agent),
            Event::Relaxed { conversation, .. } | Event::RingOpened { conversation, .. } => (*conversation, None),
            _ => return,
        };
        let view = self.view(id);
        let (queue, channel) = (view.queue, view.channel.clone());
        for key in self.both(at_ms, (queue, &channel), agent) {
            let work = &mut self.rows.entry(key).or_default().work;
            *match event {
                Event::Agent(_) => &mut work.offers_made,
                Event::OfferEnded { outcome, .. } => match outcome {
                    OfferOutcome::Accepted => &mut work.offers_accepted,
                    OfferOutcome::Declined { .. } => &mut work.offers_declined,
                    OfferOutcome::Expired => &mut work.offers_expired,
                    OfferOutcome::Withdrawn { .. } => &mut work.offers_withdrawn,
                    OfferOutcome::TakenByAnother => &mut work.offers_taken,
                },
                Event::Assigned { .. } => &mut work.assignments,
                Event::FirstReply { .. } => &mut work.replied,
                Event::Relaxed { .. } => &mut work.relaxed,
                _ => &mut work.rings_opened,
            } += 1;
        }
    }

    /// Who is what from now on.
    fn spans(&mut self, at_ms: Millis) {
        let mut held: BTreeMap<AgentId, u64> = BTreeMap::new();
        for view in self.conversations.values().filter_map(|known| known.view.as_ref()) {
            let owner = view
                .agent
                .filter(|_| matches!(view.phase, Phase::Assigned | Phase::WrapUp));
            let beside = view.participants.iter().filter(|(_, role)| !role.supervises());
            for agent in owner.into_iter().chain(beside.map(|(agent, _)| *agent)) {
                *held.entry(agent).or_default() += 1;
            }
        }
        let known: BTreeSet<AgentId> = self.supplies.keys().chain(self.spans.keys()).copied().collect();
        for agent in known {
            let mut now = Span {
                from_ms: at_ms,
                held: held.get(&agent).copied().unwrap_or(0),
                ..Span::default()
            };
            if let Some(supply) = self.supplies.get(&agent) {
                let capacity = &supply.settings.capacity;
                let all = capacity
                    .channels
                    .values()
                    .map(|c| u64::from(c.cost) * u64::from(c.concurrent_max));
                let usable = all.sum::<u64>().min(u64::from(capacity.total));
                now.signed_in = supply.presence != Presence::Offline;
                now.available = supply.presence == Presence::Available;
                now.used = u64::from(supply.used);
                now.offered = if now.available { usable.max(now.used) } else { now.used };
            }
            self.spans.entry(agent).or_default().push(now);
        }
    }
}

/// What was told must be what was counted.
pub fn compare(naive: &NaiveReport, counted: &BTreeMap<RowKey, Figures>) {
    let nothing = Figures::default();
    let keys: BTreeSet<&RowKey> = naive.rows.keys().chain(counted.keys()).collect();
    for key in keys {
        let (told, is) = (
            naive.rows.get(key).unwrap_or(&nothing),
            counted.get(key).unwrap_or(&nothing),
        );
        assert_eq!(told.time, is.time, "time of {key:?}");
        if matches!(key.subject, Subject::Queue { .. }) {
            assert_eq!(
                told.visits.list().filter(|v| !estimates(v.0)).collect::<Vec<_>>(),
                is.visits.list().filter(|v| !estimates(v.0)).collect::<Vec<_>>(),
                "visits of {key:?}"
            );
            assert_eq!(
                (told.wait_max_ms, &told.waits),
                (is.wait_max_ms, &is.waits),
                "waits of {key:?}"
            );
        }
        let (a, b) = (&told.work, &is.work);
        let of = |w: &routing::report::Work| {
            [
                w.offers_made,
                w.offers_accepted,
                w.offers_declined,
                w.offers_expired,
                w.offers_withdrawn,
                w.offers_taken,
                w.assignments,
                w.handled,
                w.talk_ms,
                w.hold_ms,
                w.wrap_ms,
                w.requeued,
                w.reassigned,
                w.transferred_cold,
                w.transferred_warm,
                w.relaxed,
                w.rings_opened,
                w.replied,
            ]
        };
        assert_eq!(of(a), of(b), "work of {key:?}");
        let (exact, roundings) = naive.attention.get(key).copied().unwrap_or_default();
        let counted = u128::from(b.attention) * u128::from(WHOLE) / u128::from(ATTENTION_ONE);
        let slack = u128::from(roundings * WHOLE / ATTENTION_ONE + roundings + 1);
        assert!(
            counted <= u128::from(exact) + 1 && counted + slack >= u128::from(exact),
            "attention of {key:?}: {counted} counted, {exact} is exact, {roundings} roundings"
        );
    }
}

/// And what the customer said of silence: those are told by other events than the walk above looks at.
fn estimates(name: &str) -> bool {
    matches!(name, "estimated" | "within_p50" | "within_p90" | "silent_abandoned")
}
