//! One queue at a time: times that do not fit each other, rings, weights.

use routing::ids::QueueId;
use routing::settings::{
    CrossQueue, CrossQueueTerms, EscalateAction, EscalateWhen, Order, QueueSettings, ReturnWhenFull, RingOpens,
};

use super::{Look, Thing, spot, step};

impl Look<'_> {
    pub(super) fn queues(&mut self) {
        let policy = self.policy;
        for (id, settings) in &policy.queues {
            self.times(*id, settings);
            self.steps(*id, settings);
            self.order(*id, settings);
            self.names(*id, settings);
            if !self.agents.is_empty() {
                self.rings(*id, settings);
            }
        }
        self.terms();
    }

    fn times(&mut self, id: QueueId, s: &QueueSettings) {
        let at = |key| spot(Thing::Queue(id), key);
        if s.answer_target_ms > 0 && s.offer_timeout_ms > s.answer_target_ms && !s.auto_accept {
            let (offer, target) = (s.offer_timeout_ms, s.answer_target_ms);
            let why = format!("one offer may take {offer} ms, longer than the answer target of {target} ms");
            self.warning("offer_timeout_beyond_target", at("offer_timeout"), why);
        }
        if let ReturnWhenFull::WaitForOwnerMs(wait_ms) = s.return_when_full
            && s.wait_max_ms > 0
            && wait_ms > s.wait_max_ms
        {
            let why = format!(
                "the owner is waited for {wait_ms} ms, longer than anybody is let wait ({} ms)",
                s.wait_max_ms
            );
            self.warning("return_wait_beyond_wait_max", at("return_wait"), why);
        }
        if s.silent_abandon_ms > 0 && s.idle_pause_ms > 0 && s.idle_pause_ms <= s.silent_abandon_ms {
            let why = "it is paused before a silent abandonment can be noticed";
            self.warning("silent_abandon_after_idle_pause", at("silent_abandon"), why);
        }
        if s.short_abandon_ms > s.answer_target_ms && s.answer_target_ms > 0 {
            let why = "who leaves within the answer target counts as a short abandon: the service level looks better than it is";
            self.warning("short_abandon_beyond_target", at("short_abandon"), why);
        }
    }

    /// Steps that come after the conversation has gone.
    fn steps(&mut self, id: QueueId, s: &QueueSettings) {
        let mut gone: Option<(u64, &str)> = None;
        for one in &s.escalations {
            let how = match one.action {
                EscalateAction::Close { .. } => "is closed",
                EscalateAction::MoveQueue(_) => "is moved",
                _ => continue,
            };
            if let EscalateWhen::WaitedMs(ms) = one.when
                && gone.is_none_or(|(earlier, _)| ms < earlier)
            {
                gone = Some((ms, how));
            }
        }
        let Some((gone_ms, how)) = gone else { return };
        let why = |ms: u64| format!("after {ms} ms nobody is here: after {gone_ms} ms who waits {how}");
        for (at, one) in s.escalations.iter().enumerate() {
            if let EscalateWhen::WaitedMs(ms) = one.when
                && ms > gone_ms
            {
                self.warning("step_never_reached", step(Thing::Queue(id), "escalations", at), why(ms));
            }
        }
        for (at, one) in s
            .relaxations
            .iter()
            .enumerate()
            .filter(|(_, one)| one.after_ms >= gone_ms)
        {
            self.warning(
                "step_never_reached",
                step(Thing::Queue(id), "relaxations", at),
                why(one.after_ms),
            );
        }
        for (at, one) in s.rings.iter().enumerate() {
            if let RingOpens::AfterMs(ms) = one.opens
                && ms >= gone_ms
            {
                self.warning("step_never_reached", step(Thing::Queue(id), "rings", at), why(ms));
            }
        }
    }

    fn order(&mut self, id: QueueId, s: &QueueSettings) {
        if let Order::AccumulatingPriority { rates } = s.order {
            if rates.iter().all(|rate| *rate == 0) {
                self.error(
                    "weights_all_zero",
                    spot(Thing::Queue(id), "credit"),
                    "nobody earns anything while waiting",
                );
            } else if rates[0] == 0 {
                let why = "priority 0 earns nothing: it is served only when nobody else waits";
                self.warning("priority_without_credit", spot(Thing::Queue(id), "credit"), why);
            }
        }
    }

    /// What it names must be there.
    fn names(&mut self, id: QueueId, s: &QueueSettings) {
        let thing = Thing::Queue(id);
        for one in s.relaxations.iter().filter_map(|one| one.skill.as_ref()) {
            if !self.policy.skills.contains_key(one) {
                let why = format!("there is no skill `{}` in the policy", one.0);
                self.error("unknown_skill", spot(thing.clone(), "relaxations"), why);
            }
        }
        for one in &s.escalations {
            if let EscalateAction::Reclassify { required, preferred } = &one.action {
                self.known_skills(&thing, "escalations", required);
                self.known_skills(&thing, "escalations", preferred);
            }
        }
        if s.calendar
            .is_some_and(|calendar| !self.policy.calendars.contains_key(&calendar))
        {
            self.error(
                "unknown_calendar",
                spot(thing, "calendar"),
                "its calendar is not in the policy",
            );
        }
    }

    fn rings(&mut self, id: QueueId, s: &QueueSettings) {
        let here = spot(Thing::Queue(id), "");
        let tiers: Vec<u8> = self.members(id).iter().map(|(_, how)| how.tier).collect();
        if tiers.is_empty() {
            self.warning("queue_without_agents", here, "nobody serves it");
            return;
        }
        if !tiers.contains(&0) {
            let why = "nobody serves it from the start: all its agents are in rings";
            self.warning("queue_without_first_tier", here, why);
        }
        for (at, _) in s.rings.iter().enumerate() {
            if !tiers.iter().any(|tier| usize::from(*tier) == at + 1) {
                let why = format!("nobody is in it: no agent of the queue has tier {}", at + 1);
                self.warning("ring_without_members", step(Thing::Queue(id), "rings", at), why);
            }
        }
        if usize::from(s.offers_at_once) > tiers.len() {
            let why = format!("{} offers at once, and {} agents", s.offers_at_once, tiers.len());
            self.warning("offers_beyond_agents", spot(Thing::Queue(id), "offers_at_once"), why);
        }
    }

    /// Terms of the choice among queues, and whether that choice asks for them.
    fn terms(&mut self) {
        let policy = self.policy;
        let cross_queue = policy.routing.cross_queue;
        if cross_queue == CrossQueue::FixedQueueRatio
            && !policy.queues.is_empty()
            && policy.queues.values().all(|queue| queue.cross_queue.ratio == 0)
        {
            let why = "no queue has a ratio above 0";
            self.error("weights_all_zero", spot(Thing::Routing, "cross_queue"), why);
        }
        let usual = CrossQueueTerms::default();
        for (id, queue) in &policy.queues {
            let is = queue.cross_queue;
            for (key, set, asks) in [
                ("weight", is.weight != usual.weight, CrossQueue::Weighted),
                ("rank", is.rank != usual.rank, CrossQueue::StrictRank),
                ("ratio", is.ratio != usual.ratio, CrossQueue::FixedQueueRatio),
                ("cost", is.cost != usual.cost, CrossQueue::GeneralisedCmu),
            ] {
                if set && cross_queue != asks {
                    let why = format!("its {key} counts for nothing: the choice among queues does not ask for it");
                    self.warning("terms_not_asked_for", spot(Thing::Queue(*id), key), why);
                }
            }
        }
    }
}
