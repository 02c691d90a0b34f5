//! KPIs as they are shown: one flat row, the same in JSON and as columns of CSV.

use routing::report::Ratio;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::reports::{LiveReport, ReportLine};

/// A line of a report. Shares are fractions of 1; what there is nothing to tell of is `null`. Visits (from `arrived` to
/// `within_p90`, and all service levels, waits and abandonment) belong to the quarter hour in which the customer began to wait;
/// everything else to the one in which it was done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportRow {
    /// First moment of the quarter hour, Unix milliseconds; absent: of the whole period.
    pub quarter_ms: Option<u64>,
    /// Queue (`que_…`); `none`: never admitted to one; absent: of all.
    pub queue: Option<String>,
    /// Agent (`agt_…`); absent: of all.
    pub agent: Option<String>,
    /// Name of the queue or agent, while it is there.
    pub name: Option<String>,
    /// Channel; absent: of all.
    pub channel: Option<String>,
    /// Service level, abandonment within the target ignored (the default): A_T / (A + B − B_T).
    pub service_level: Option<f64>,
    /// Service level of the answered only: A_T / A.
    pub service_level_answered: Option<f64>,
    /// Service level, every abandonment counted against it: A_T / (A + B).
    pub service_level_abandon_negative: Option<f64>,
    /// Service level, abandonment within the target counted for it: (A_T + B_T) / (A + B).
    pub service_level_abandon_positive: Option<f64>,
    /// ASA: Σ wait of the answered / A.
    pub average_speed_of_answer_ms: Option<u64>,
    /// Median wait of the answered; at most an eighth too high.
    pub wait_p50_ms: Option<u64>,
    /// Nine of ten of the answered waited no longer; at most an eighth too high.
    pub wait_p90_ms: Option<u64>,
    /// Longest wait of who was answered or abandoned.
    pub wait_max_ms: u64,
    /// B / offered.
    pub abandonment: Option<f64>,
    /// (B − s) / (offered − s).
    pub abandonment_without_short: Option<f64>,
    /// AHT: Σ(talk + hold + wrap-up) / handled.
    pub average_handling_time_ms: Option<u64>,
    /// Median of the handled legs; at most an eighth too high.
    pub handling_time_p50_ms: Option<u64>,
    /// Attention-adjusted handling time: Σ∫dt/k(t) / handled, k the conversations that the agent had at once.
    pub attention_time_ms: Option<u64>,
    /// Mean time from a conversation's start to the first human reply.
    pub first_reply_ms: Option<u64>,
    /// Its median; at most an eighth too high.
    pub first_reply_p50_ms: Option<u64>,
    /// Nine of ten; at most an eighth too high.
    pub first_reply_p90_ms: Option<u64>,
    /// Mean time from a conversation's start to its resolution.
    pub full_resolution_ms: Option<u64>,
    /// Its median; at most an eighth too high.
    pub full_resolution_p50_ms: Option<u64>,
    /// Handling time / (handling time + idle time); idle: available without a conversation.
    pub occupancy: Option<f64>,
    /// ∫used capacity / ∫offered capacity.
    pub utilisation: Option<f64>,
    /// Conversations at once, on average over the time with at least one.
    pub concurrency: Option<f64>,
    /// Resolved with no return of the customer within the repeat window / resolved. Final once the window is over.
    pub first_contact_resolution: Option<f64>,
    /// Resolved, and an agent had answered / closed.
    pub resolution_by_agent: Option<f64>,
    /// Resolved without an agent / closed.
    pub resolution_without_agent: Option<f64>,
    /// CSAT: ratings of 4 and 5 / ratings.
    pub satisfaction: Option<f64>,
    /// Offers accepted / (accepted + declined + expired).
    pub offer_acceptance: Option<f64>,
    /// Offers expired / (accepted + declined + expired).
    pub offer_timeouts: Option<f64>,
    /// Legs that went back to the queue (no reply, agent lost or signed out, no room) / assignments.
    pub requeues: Option<f64>,
    /// Transfers, cold and warm / assignments.
    pub transfers: Option<f64>,
    /// Skill levels that the agents had / levels asked for, required and preferred.
    pub skill_match: Option<f64>,
    /// Waited no longer than the estimated P50 / answered after an estimate. Good estimates give 0.5.
    pub estimate_coverage_p50: Option<f64>,
    /// The same of the P90. Good estimates give 0.9.
    pub estimate_coverage_p90: Option<f64>,
    /// Offered: arrived + moved_in − moved_out − put_off.
    pub offered: u64,
    /// Began to wait.
    pub arrived: u64,
    /// Came from another queue while waiting (its quarter hour is that in which it began to wait).
    pub moved_in: u64,
    /// Went to another queue while waiting.
    pub moved_out: u64,
    /// Put off to a later time while waiting (R33); arrives again then.
    pub put_off: u64,
    /// A: met an agent.
    pub answered: u64,
    /// A_T: after at most the queue's `answer_target_ms`.
    pub answered_within: u64,
    /// B: the customer left before the answer.
    pub abandoned: u64,
    /// B_T: after at most the queue's `answer_target_ms`.
    pub abandoned_within: u64,
    /// s: sooner than the queue's `short_abandon_ms`. Part of `abandoned`.
    pub short_abandoned: u64,
    /// R32: met an agent, and the customer had gone. Part of `answered`.
    pub silent_abandoned: u64,
    /// Taken at the cap or outside hours, for later. Not part of `offered`.
    pub offline: u64,
    /// Closed before the answer by a supervisor or a rule.
    pub cancelled: u64,
    /// Waits of the answered, in milliseconds.
    pub answered_wait_ms: u64,
    /// Waits of those who abandoned, in milliseconds: until they left.
    pub abandoned_wait_ms: u64,
    /// R35: answered, and a wait had been estimated.
    pub estimated: u64,
    /// R35: of them, waited no longer than the estimate's P50.
    pub within_p50: u64,
    /// R35: no longer than its P90.
    pub within_p90: u64,
    /// Offers made.
    pub offers_made: u64,
    /// Accepted.
    pub offers_accepted: u64,
    /// Declined.
    pub offers_declined: u64,
    /// Not answered in time.
    pub offers_expired: u64,
    /// Taken back.
    pub offers_withdrawn: u64,
    /// R9: accepted by another agent first.
    pub offers_taken: u64,
    /// R41: offers and assignments that were chosen in a batch.
    pub batched: u64,
    /// R41: by how much the scores of the batches were better than one by one.
    pub batch_gain: u64,
    /// Conversations given to an agent: accepted, pulled, assigned, transferred to.
    pub assignments: u64,
    /// Levels that the assigned conversations asked for, required and preferred.
    pub levels_asked: u64,
    /// Of them, what the agents had (at most what was asked of each skill).
    pub levels_met: u64,
    /// Legs that ended by closing (after wrap-up) or by transfer.
    pub handled: u64,
    /// Milliseconds of all ended legs: with the agent.
    pub talk_ms: u64,
    /// Paused.
    pub hold_ms: u64,
    /// In wrap-up.
    pub wrap_ms: u64,
    /// Legs that ended because the agent did not reply, was lost, signed out, or had no room: back to the queue.
    pub requeued: u64,
    /// Legs that a supervisor ended by giving the conversation to somebody else.
    pub reassigned: u64,
    /// Cold transfers: to an agent or a queue, through waiting.
    pub transferred_cold: u64,
    /// Warm transfers: to an agent who had been asked in.
    pub transferred_warm: u64,
    /// R4: steps of relaxation taken.
    pub relaxed: u64,
    /// R5: rings opened.
    pub rings_opened: u64,
    /// First human replies.
    pub replied: u64,
    /// From the conversation's start to the first human reply, in milliseconds.
    pub first_reply_sum_ms: u64,
    /// Conversations that ended, whatever the outcome; again after each reopening.
    pub closed: u64,
    /// Of them, helped, and an agent had answered.
    pub resolved_by_agent: u64,
    /// Helped without one.
    pub resolved_without_agent: u64,
    /// From the conversation's start to its resolution, in milliseconds.
    pub resolution_ms: u64,
    /// Resolutions (of this quarter hour) whose customer came back within the tenant's repeat window.
    pub repeated: u64,
    /// Ratings given.
    pub ratings: u64,
    /// Of them, 4 and 5.
    pub satisfied: u64,
    /// Sum of the ratings.
    pub rating_sum: u64,
    /// Signed in, suspects included.
    pub signed_in_ms: u64,
    /// Available.
    pub available_ms: u64,
    /// With at least one conversation: assigned, in wrap-up, consulted or conferring.
    pub handling_ms: u64,
    /// Available, without one.
    pub idle_ms: u64,
    /// ∫k(t)dt of the conversations that they had at once.
    pub concurrency_ms: u64,
    /// Units of capacity in use, offers outstanding included.
    pub used_unit_ms: u64,
    /// Units of capacity offered: all of it while available, else what is still in use.
    pub offered_unit_ms: u64,
}

/// To four places.
fn share(ratio: Ratio) -> Option<f64> {
    (ratio.all > 0).then(|| (ratio.of as f64 / ratio.all as f64 * 10_000.0).round() / 10_000.0)
}

/// Thousandths as a fraction.
fn thousandths(of: Option<u64>) -> Option<f64> {
    of.map(|of| of as f64 / 1_000.0)
}

impl From<&ReportLine> for ReportRow {
    fn from(line: &ReportLine) -> Self {
        let f = &line.figures;
        Self {
            quarter_ms: line.key.quarter_ms,
            queue: line
                .key
                .queue
                .map(|queue| queue.map_or_else(|| "none".to_owned(), |queue| queue.to_string())),
            agent: line.key.agent.map(|agent| agent.to_string()),
            name: line.name.clone(),
            channel: line.key.channel.as_ref().map(|channel| channel.0.clone()),
            service_level: share(f.service_level()),
            service_level_answered: share(f.service_level_answered()),
            service_level_abandon_negative: share(f.service_level_abandon_negative()),
            service_level_abandon_positive: share(f.service_level_abandon_positive()),
            average_speed_of_answer_ms: f.average_speed_of_answer_ms().mean(),
            wait_p50_ms: f.waits.percentile_ms(50),
            wait_p90_ms: f.waits.percentile_ms(90),
            wait_max_ms: f.wait_max_ms,
            abandonment: share(f.abandonment()),
            abandonment_without_short: share(f.abandonment_without_short()),
            average_handling_time_ms: f.average_handling_time_ms().mean(),
            handling_time_p50_ms: f.handle_times.percentile_ms(50),
            attention_time_ms: f.attention_time_ms().mean(),
            first_reply_ms: f.first_reply_ms().mean(),
            first_reply_p50_ms: f.first_replies.percentile_ms(50),
            first_reply_p90_ms: f.first_replies.percentile_ms(90),
            full_resolution_ms: f.full_resolution_ms().mean(),
            full_resolution_p50_ms: f.resolutions.percentile_ms(50),
            occupancy: share(f.occupancy()),
            utilisation: share(f.utilisation()),
            concurrency: share(f.concurrency()),
            first_contact_resolution: share(f.first_contact_resolution()),
            resolution_by_agent: share(f.resolution_by_agent()),
            resolution_without_agent: share(f.resolution_without_agent()),
            satisfaction: share(f.satisfaction()),
            offer_acceptance: share(f.offer_acceptance()),
            offer_timeouts: share(f.offer_timeouts()),
            requeues: share(f.requeues()),
            transfers: share(f.transfers()),
            skill_match: share(f.skill_match()),
            estimate_coverage_p50: share(f.coverage_p50()),
            estimate_coverage_p90: share(f.coverage_p90()),
            offered: f.offered(),
            arrived: f.visits.arrived,
            moved_in: f.visits.moved_in,
            moved_out: f.visits.moved_out,
            put_off: f.visits.put_off,
            answered: f.visits.answered,
            answered_within: f.visits.answered_within,
            abandoned: f.visits.abandoned,
            abandoned_within: f.visits.abandoned_within,
            short_abandoned: f.visits.short_abandoned,
            silent_abandoned: f.visits.silent_abandoned,
            offline: f.visits.offline,
            cancelled: f.visits.cancelled,
            answered_wait_ms: f.visits.answered_wait_ms,
            abandoned_wait_ms: f.visits.abandoned_wait_ms,
            estimated: f.visits.estimated,
            within_p50: f.visits.within_p50,
            within_p90: f.visits.within_p90,
            offers_made: f.work.offers_made,
            offers_accepted: f.work.offers_accepted,
            offers_declined: f.work.offers_declined,
            offers_expired: f.work.offers_expired,
            offers_withdrawn: f.work.offers_withdrawn,
            offers_taken: f.work.offers_taken,
            batched: f.work.batched,
            batch_gain: f.work.batch_gain,
            assignments: f.work.assignments,
            levels_asked: f.work.levels_asked,
            levels_met: f.work.levels_met,
            handled: f.work.handled,
            talk_ms: f.work.talk_ms,
            hold_ms: f.work.hold_ms,
            wrap_ms: f.work.wrap_ms,
            requeued: f.work.requeued,
            reassigned: f.work.reassigned,
            transferred_cold: f.work.transferred_cold,
            transferred_warm: f.work.transferred_warm,
            relaxed: f.work.relaxed,
            rings_opened: f.work.rings_opened,
            replied: f.work.replied,
            first_reply_sum_ms: f.work.first_reply_ms,
            closed: f.work.closed,
            resolved_by_agent: f.work.resolved_by_agent,
            resolved_without_agent: f.work.resolved_without_agent,
            resolution_ms: f.work.resolution_ms,
            repeated: f.work.repeated,
            ratings: f.work.ratings,
            satisfied: f.work.satisfied,
            rating_sum: f.work.rating_sum,
            signed_in_ms: f.time.signed_in_ms,
            available_ms: f.time.available_ms,
            handling_ms: f.time.handling_ms,
            idle_ms: f.time.idle_ms,
            concurrency_ms: f.time.concurrency_ms,
            used_unit_ms: f.time.used_unit_ms,
            offered_unit_ms: f.time.offered_unit_ms,
        }
    }
}

/// A report.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Report {
    /// First moment of its first quarter hour, Unix milliseconds.
    pub from_ms: u64,
    /// Quarter hours that begin before it.
    pub until_ms: u64,
    /// Lines, in order of quarter hour, queue, agent, channel.
    pub rows: Vec<ReportRow>,
}

/// Who waits with one priority.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct WaitingClassBody {
    /// 0–9.
    pub priority: u8,
    /// How many wait or are offered.
    pub waiting: u32,
    /// How long the first of them has waited.
    pub longest_wait_ms: u64,
}

/// A queue now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveQueueBody {
    /// Of the quarter hours that are told of. Occupancy is that of the queue's agents, whatever queues they work for.
    pub row: ReportRow,
    /// Who waits, by priority (R42: the longest wait per class).
    pub waiting: Vec<WaitingClassBody>,
    /// R42: Jain's index of its agents' occupancy, (Σx)² / (n Σx²): 1 when all are equally busy, 1/n when one does everything.
    pub occupancy_jain: Option<f64>,
    /// Observed handling time (smoothed, weight 1/16); 0: not observed.
    pub observed_handle_ms: u64,
    /// Observed patience: waiting time per abandonment (smoothed, weight 1/16); 0: not observed.
    pub observed_patience_ms: u64,
}

/// Agents by presence.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct PresenceCounts {
    /// Ready for work.
    pub available: u32,
    /// Not ready.
    pub away: u32,
    /// Finishing.
    pub draining: u32,
    /// Connections lost, held.
    pub suspect: u32,
    /// Signed out.
    pub offline: u32,
}

/// The tenant now.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveBody {
    /// As of this moment of the log.
    pub at_ms: u64,
    /// From this quarter hour on: the current one and the last four.
    pub from_ms: u64,
    /// All queues together.
    pub all: ReportRow,
    /// R42: Jain's index of all agents' occupancy.
    pub occupancy_jain: Option<f64>,
    /// Agents.
    pub agents: PresenceCounts,
    /// By id.
    pub queues: Vec<LiveQueueBody>,
}

impl From<LiveReport> for LiveBody {
    fn from(live: LiveReport) -> Self {
        let [available, away, draining, suspect, offline] = live.agents;
        let queue = |queue: crate::reports::LiveQueue| {
            let mut line = ReportLine {
                name: Some(queue.name),
                figures: queue.figures,
                ..ReportLine::default()
            };
            line.key.queue = Some(Some(queue.queue));
            let class = |(priority, waiting, longest_wait_ms)| WaitingClassBody {
                priority,
                waiting,
                longest_wait_ms,
            };
            LiveQueueBody {
                row: ReportRow::from(&line),
                waiting: queue.waiting.into_iter().map(class).collect(),
                occupancy_jain: thousandths(queue.occupancy_jain_per_mille),
                observed_handle_ms: queue.rates.handle_ms,
                observed_patience_ms: queue.rates.patience_ms,
            }
        };
        let all = ReportLine {
            figures: live.all,
            ..ReportLine::default()
        };
        Self {
            at_ms: live.at_ms,
            from_ms: live.from_ms,
            all: ReportRow::from(&all),
            occupancy_jain: thousandths(live.occupancy_jain_per_mille),
            agents: PresenceCounts {
                available,
                away,
                draining,
                suspect,
                offline,
            },
            queues: live.queues.into_iter().map(queue).collect(),
        }
    }
}
