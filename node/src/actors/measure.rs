//! What the shard's leader counts of its events. Each event is counted once in the cluster: by who leads when it is applied.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cluster::state_machine::ShardId;
use parking_lot::Mutex;
use routing::event::{CloseOutcome, Event, OfferOutcome, TenantEvent, UnassignReason};
use routing::ids::{QueueId, TenantId};
use routing::limits::PRIORITY_MAX;
use routing::queue_manager::QueueFigures;
use routing::report::{Figures, Ratio};
use routing::settings::QueueSettings;
use routing::state::State;
use routing::view::QueueRates;

use crate::metrics;
use crate::reports::{LiveQueue, LiveReport};

/// Names for labels, and targets, of the queues of a shard.
#[derive(Default)]
pub struct Measures {
    tenants: HashMap<TenantId, String>,
    queues: HashMap<(TenantId, QueueId), Arc<QueueSettings>>,
}

impl Measures {
    /// Learns the names that a state has now.
    pub fn of(state: &State) -> Self {
        let mut measures = Self::default();
        for (id, tenant) in state.tenants() {
            measures.tenants.insert(id, tenant.name().to_owned());
            measures
                .queues
                .extend(tenant.queues().map(|queue| ((id, queue.queue), queue.settings)));
        }
        measures
    }

    fn with(&self, tenant: TenantId, queue: QueueId, count: impl FnOnce(&str, &QueueSettings)) {
        if let Some(settings) = self.queues.get(&(tenant, queue)) {
            let name = self
                .tenants
                .get(&tenant)
                .map_or_else(|| tenant.to_string(), Clone::clone);
            count(&name, settings);
        }
    }

    /// Counts one event. `name` gives the name of a tenant that came after the start.
    pub fn count(&mut self, TenantEvent { tenant, event }: &TenantEvent, name: impl FnOnce() -> String) {
        let tenant = *tenant;
        match event {
            Event::Queue(view) => {
                self.tenants.entry(tenant).or_insert_with(name);
                self.queues.insert((tenant, view.queue), view.settings.clone());
            }
            Event::QueueEnded { queue } => {
                self.queues.remove(&(tenant, *queue));
            }
            Event::Started { queue: Some(queue), .. } => {
                self.with(tenant, *queue, |tenant, queue| {
                    metrics::conversation_offered(tenant, &queue.name)
                });
            }
            Event::Assigned {
                queue,
                waited_ms,
                first: true,
                ..
            } => self.with(tenant, *queue, |tenant, queue| {
                metrics::waited(tenant, &queue.name, "answered", Duration::from_millis(*waited_ms));
                if *waited_ms <= queue.answer_target_ms {
                    metrics::answered_in_threshold(tenant, &queue.name);
                }
            }),
            Event::Closed {
                queue: Some(queue),
                outcome,
                waited_ms,
                ..
            } => self.with(tenant, *queue, |tenant, queue| {
                metrics::conversation_closed(tenant, &queue.name, outcome_label(*outcome));
                if matches!(outcome, CloseOutcome::Abandoned | CloseOutcome::ShortAbandoned) {
                    metrics::waited(tenant, &queue.name, "abandoned", Duration::from_millis(*waited_ms));
                }
            }),
            Event::Handled { queue, handled_ms, .. } => self.with(tenant, *queue, |tenant, queue| {
                metrics::handled(tenant, &queue.name, Duration::from_millis(*handled_ms));
            }),
            Event::FirstReply { queue, after_ms, .. } => self.with(tenant, *queue, |tenant, queue| {
                metrics::first_response(tenant, &queue.name, Duration::from_millis(*after_ms));
            }),
            Event::OfferEnded {
                outcome: OfferOutcome::Expired,
                ..
            } => metrics::offer_timeout(),
            Event::Unassigned { reason, .. } => {
                if let Some(reason) = reassignment_label(reason) {
                    metrics::reassignment(reason);
                }
            }
            _ => {}
        }
    }
}

/// The gauges of one queue.
pub fn report_queue(tenant: &str, queue: &str, figures: &QueueFigures, now_ms: u64) {
    for (priority, depth) in (0u8..).zip(figures.depth) {
        metrics::queue_depth(tenant, queue, priority, u64::from(depth));
    }
    let age_ms = figures
        .oldest_since_ms
        .map_or(0, |since_ms| now_ms.saturating_sub(since_ms));
    metrics::queue_oldest_wait_seconds(tenant, queue, Duration::from_millis(age_ms));
    metrics::queue_eligible_free_slots(tenant, queue, u64::from(figures.eligible_free_slots));
    let agents = &figures.agents;
    for (state, count) in [
        ("available", agents.available),
        ("away", agents.away),
        ("draining", agents.draining),
        ("suspect", agents.suspect),
        ("offline", agents.offline),
    ] {
        metrics::queue_agents(tenant, queue, state, u64::from(count));
    }
    metrics::queue_slots(tenant, queue, "free", u64::from(figures.free_slots));
    metrics::queue_slots(
        tenant,
        queue,
        "used",
        u64::from(figures.slots.saturating_sub(figures.free_slots)),
    );
}

/// The KPIs of a tenant's last quarter hours. What there is nothing to tell of is NaN.
pub fn report_kpis(tenant: &str, live: &LiveReport) {
    let share = |ratio: Ratio| ratio.of as f64 / ratio.all as f64;
    let thousandths = |of: Option<u64>| of.map_or(f64::NAN, |of| of as f64 / 1_000.0);
    metrics::tenant_occupancy_ratio(tenant, share(live.all.occupancy()));
    metrics::tenant_occupancy_jain_ratio(tenant, thousandths(live.occupancy_jain_per_mille));
    for queue in &live.queues {
        let (name, figures) = (queue.name.as_str(), &queue.figures);
        for (formula, ratio) in [
            ("abandon_ignored", figures.service_level()),
            ("answered_only", figures.service_level_answered()),
            ("abandon_negative", figures.service_level_abandon_negative()),
            ("abandon_positive", figures.service_level_abandon_positive()),
        ] {
            metrics::service_level_ratio(tenant, name, formula, share(ratio));
        }
        metrics::answer_speed_seconds(tenant, name, share(figures.average_speed_of_answer_ms()) / 1_000.0);
        metrics::abandonment_ratio(tenant, name, share(figures.abandonment()));
        metrics::estimate_coverage_ratio(tenant, name, "50", share(figures.coverage_p50()));
        metrics::estimate_coverage_ratio(tenant, name, "90", share(figures.coverage_p90()));
        metrics::batch_gain(tenant, name, figures.work.batch_gain);
        metrics::occupancy_ratio(tenant, name, share(figures.occupancy()));
        metrics::occupancy_jain_ratio(tenant, name, thousandths(queue.occupancy_jain_per_mille));
        for priority in 0..=PRIORITY_MAX {
            let class = queue.waiting.iter().find(|(of, _, _)| *of == priority);
            let waited_ms = class.map_or(0, |(_, _, waited_ms)| *waited_ms);
            metrics::queue_longest_wait_seconds(tenant, name, priority, Duration::from_millis(waited_ms));
        }
    }
}

/// Another node reports the KPIs from now on: here there is nothing to tell.
pub fn report_kpis_gone<'a>(tenant: &str, queues: impl Iterator<Item = &'a str>) {
    let queue = |name: &str| LiveQueue {
        queue: QueueId(0),
        name: name.to_owned(),
        figures: Figures::default(),
        occupancy_jain_per_mille: None,
        rates: QueueRates::default(),
        waiting: Vec::new(),
    };
    let nothing = LiveReport {
        at_ms: 0,
        from_ms: 0,
        all: Figures::default(),
        occupancy_jain_per_mille: None,
        agents: [0; 5],
        queues: queues.map(queue).collect(),
    };
    report_kpis(tenant, &nothing);
}

/// Another node reports the queue from now on: here its gauges fall to zero.
pub fn report_queue_gone(tenant: &str, queue: &str) {
    let nothing = QueueFigures {
        queue: QueueId(0),
        depth: [0; 10],
        oldest_since_ms: None,
        agents: Default::default(),
        slots: 0,
        free_slots: 0,
        eligible_free_slots: 0,
    };
    report_queue(tenant, queue, &nothing, 0);
}

/// Actors of all shards together, by type: (how many, messages in their mailboxes).
#[derive(Clone, Default)]
pub struct ActorFigures(Arc<Mutex<BTreeMap<&'static str, ByShard>>>);

type ByShard = BTreeMap<ShardId, (usize, usize)>;

impl ActorFigures {
    /// Replaces one shard's figures and reports the sums.
    pub fn report(&self, shard: ShardId, actor_type: &'static str, count: usize, depth: usize) {
        let mut types = self.0.lock();
        let shards = types.entry(actor_type).or_default();
        shards.insert(shard, (count, depth));
        metrics::actors(actor_type, shards.values().map(|f| f.0 as u64).sum());
        metrics::actor_mailbox_depth(actor_type, shards.values().map(|f| f.1 as u64).sum());
    }
}

fn outcome_label(outcome: CloseOutcome) -> &'static str {
    match outcome {
        CloseOutcome::Answered => "answered",
        CloseOutcome::Abandoned => "abandoned",
        CloseOutcome::ShortAbandoned => "short_abandoned",
        CloseOutcome::Offline => "offline",
        CloseOutcome::Cancelled => "cancelled",
        CloseOutcome::SilentAbandoned => "silent_abandoned",
    }
}

fn reassignment_label(reason: &UnassignReason) -> Option<&'static str> {
    Some(match reason {
        UnassignReason::Closed => return None,
        UnassignReason::Transferred => "transfer",
        UnassignReason::NoReply => "no_reply",
        UnassignReason::LeaseLost => "lease_lost",
        UnassignReason::SignedOut => "sign_out",
        UnassignReason::Reassigned => "reassigned",
        UnassignReason::Scheduled => "scheduled",
        UnassignReason::OwnerFull => "owner_full",
    })
}
