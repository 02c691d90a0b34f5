//! What is measured of a model while it runs, in batches of arrivals that follow each other.

use routing::event::{CloseOutcome, Event};
use routing::ids::{ConversationId, Millis};
use routing::simulation::{Counts, End, Outcome, Sink};
use routing::state::Tenant;

use super::model::{Model, TICKS, arrival_of, group_of};
use super::statistics::Batches;

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Arrivals that count.
    pub arrivals: u64,
    /// Batches that they make.
    pub batches: u64,
    pub seed: u64,
}

impl Size {
    /// Arrivals before, that do not count: the system begins empty.
    pub fn warm_up(&self) -> u64 {
        self.arrivals / 50
    }

    /// With some afterwards, so that the last that count meet the same company as the others.
    pub fn all(&self) -> u64 {
        self.warm_up() + self.arrivals + self.arrivals / 200 + 1
    }

    fn batch_of(&self, arrival: u64) -> Option<usize> {
        let counted = arrival.checked_sub(self.warm_up())?;
        (counted < self.arrivals).then(|| (counted * self.batches / self.arrivals) as usize)
    }
}

/// Of one class, in one batch.
#[derive(Clone, Copy, Debug, Default)]
struct ClassSums {
    arrivals: f64,
    waited: f64,
    wait: f64,
    abandoned: f64,
    in_target: f64,
    served: f64,
    service: f64,
    /// Waiting, over time, by the events.
    queue: f64,
}

#[derive(Clone, Debug)]
struct Batch {
    time: f64,
    /// Waiting, over time, by the state's own count.
    queue: f64,
    classes: Vec<ClassSums>,
    /// Busy slots of each group, over time.
    busy: Vec<f64>,
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// P(W > 0); of all classes, or of one. So are the others.
    WaitProbability(Option<usize>),
    /// E\[W\] over all who come.
    Wait(Option<usize>),
    /// Share that leaves.
    Abandonment(Option<usize>),
    /// Share of all who come that is served within the target.
    ServiceLevel(Option<usize>),
    /// E\[Q\]; of all, by the state's own count.
    Queue(Option<usize>),
    /// E\[Qᵢ\] / E\[Q\].
    QueueShare(usize),
    /// Busy share of a group's slots.
    Occupancy(usize),
    /// E\[Qᵢ\] − λᵢE\[Wᵢ\]: 0 for any policy (Little 1961).
    LittlesLaw(usize),
    /// P_ab,ᵢ − θᵢE\[Wᵢ\]: 0 for any policy where patience is exponential.
    AbandonmentLaw(usize),
}

/// Takes the measures.
pub struct Measure {
    size: Size,
    target: u64,
    lambdas: Vec<f64>,
    mus: Vec<f64>,
    thetas: Vec<f64>,
    slots: Vec<f64>,
    queues: Vec<routing::ids::QueueId>,
    batches: Vec<Batch>,
    /// Of the last that came.
    batch: Option<usize>,
    waiting: Vec<u32>,
    busy: Vec<u32>,
    /// Conversations that ended otherwise than models know.
    strange: u64,
}

impl Measure {
    pub fn new(model: &Model, size: Size) -> Self {
        let batch = Batch {
            time: 0.0,
            queue: 0.0,
            classes: vec![ClassSums::default(); model.classes.len()],
            busy: vec![0.0; model.groups.len()],
        };
        Self {
            size,
            target: (model.target * TICKS).round() as u64,
            lambdas: model.classes.iter().map(|class| class.rate.mean()).collect(),
            mus: model.classes.iter().map(|class| class.mu).collect(),
            thetas: model.classes.iter().map(|class| class.theta).collect(),
            slots: (0..model.groups.len()).map(|group| model.slots(group)).collect(),
            queues: model.queue_ids().collect(),
            batches: vec![batch; size.batches as usize],
            batch: None,
            waiting: vec![0; model.classes.len()],
            busy: vec![0; model.groups.len()],
            strange: 0,
        }
    }

    /// Whether everything went as in a model: nobody was refused, nothing of the queue manager's was refused.
    pub fn orderly(&self, counts: &Counts) -> bool {
        self.strange == 0 && counts.refused_decisions.is_empty() && counts.refused_deeds.is_empty()
    }

    /// Batches of a quantity.
    pub fn of(&self, quantity: Quantity) -> Batches {
        let sums = self
            .batches
            .iter()
            .map(|batch| self.of_batch(batch, quantity))
            .collect();
        let controls = match quantity {
            Quantity::LittlesLaw(_) | Quantity::AbandonmentLaw(_) => Vec::new(),
            _ => self.batches.iter().map(|batch| self.controls(batch)).collect(),
        };
        Batches { sums, controls }
    }

    /// What was drawn for a batch, against what is drawn in the long run: who came, class by class, and how much work those who
    /// were served brought. Neither depends on how they were served.
    fn controls(&self, batch: &Batch) -> Vec<f64> {
        let came = batch
            .classes
            .iter()
            .zip(&self.lambdas)
            .map(|(sums, lambda)| sums.arrivals - lambda * batch.time);
        let work = batch
            .classes
            .iter()
            .zip(&self.mus)
            .map(|(sums, mu)| mu * sums.service - sums.served);
        came.chain([work.sum()]).collect()
    }

    fn of_batch(&self, batch: &Batch, quantity: Quantity) -> (f64, f64) {
        let sum = |class: Option<usize>, of: fn(&ClassSums) -> f64| match class {
            Some(class) => of(&batch.classes[class]),
            None => batch.classes.iter().map(of).sum(),
        };
        let of_arrivals = |class, of| (sum(class, of), sum(class, |c| c.arrivals));
        match quantity {
            Quantity::WaitProbability(class) => of_arrivals(class, |c| c.waited),
            Quantity::Wait(class) => of_arrivals(class, |c| c.wait),
            Quantity::Abandonment(class) => of_arrivals(class, |c| c.abandoned),
            Quantity::ServiceLevel(class) => of_arrivals(class, |c| c.in_target),
            Quantity::Queue(None) => (batch.queue, batch.time),
            Quantity::Queue(class) => (sum(class, |c| c.queue), batch.time),
            Quantity::QueueShare(class) => (sum(Some(class), |c| c.queue), sum(None, |c| c.queue)),
            Quantity::Occupancy(group) => (batch.busy[group], batch.time * self.slots[group]),
            Quantity::LittlesLaw(class) => {
                let (queue, wait) = (sum(Some(class), |c| c.queue), sum(Some(class), |c| c.wait));
                (queue - wait, batch.time)
            }
            Quantity::AbandonmentLaw(class) => {
                let (wait, arrivals) = of_arrivals(Some(class), |c| c.wait);
                (sum(Some(class), |c| c.abandoned) - self.thetas[class] * wait, arrivals)
            }
        }
    }

    fn waits(&mut self, conversation: ConversationId, more: bool) {
        let waiting = &mut self.waiting[arrival_of(conversation).1];
        *waiting = if more { *waiting + 1 } else { *waiting - 1 };
    }
}

impl Sink for Measure {
    fn ended(&mut self, outcome: &Outcome) {
        let (arrival, class) = arrival_of(outcome.conversation);
        let in_target = match outcome.end {
            End::Closed(CloseOutcome::Answered) => outcome.waited_ms <= self.target,
            End::Closed(CloseOutcome::Abandoned) => false,
            _ => return self.strange += 1,
        };
        let Some(batch) = self.size.batch_of(arrival) else {
            return;
        };
        let sums = &mut self.batches[batch].classes[class];
        sums.arrivals += 1.0;
        sums.waited += f64::from(u8::from(!outcome.offered_at_once));
        sums.wait += outcome.waited_ms as f64 / TICKS;
        sums.abandoned += f64::from(u8::from(outcome.answered_at_ms.is_none()));
        sums.in_target += f64::from(u8::from(in_target));
        if outcome.answered_at_ms.is_some() {
            sums.served += 1.0;
            sums.service += outcome.served_ms as f64 / TICKS;
        }
    }

    fn stood(&mut self, from_ms: Millis, until_ms: Millis, tenant: &Tenant) {
        let Some(batch) = self.batch else { return };
        let batch = &mut self.batches[batch];
        let time = (until_ms - from_ms) as f64 / TICKS;
        batch.time += time;
        let in_queues: u32 = self
            .queues
            .iter()
            .map(|queue| tenant.queue_counts(*queue).in_queue())
            .sum();
        batch.queue += time * f64::from(in_queues);
        for (sums, waiting) in batch.classes.iter_mut().zip(&self.waiting) {
            sums.queue += time * f64::from(*waiting);
        }
        for (sum, busy) in batch.busy.iter_mut().zip(&self.busy) {
            *sum += time * f64::from(*busy);
        }
    }

    fn event(&mut self, _: Millis, event: &Event) {
        match event {
            Event::Started { conversation, .. } => {
                self.batch = self.size.batch_of(arrival_of(*conversation).0);
                self.waits(*conversation, true);
            }
            Event::Assigned {
                conversation,
                agent,
                first,
                ..
            } => {
                self.busy[group_of(*agent)] += 1;
                if *first {
                    self.waits(*conversation, false);
                }
            }
            Event::Unassigned { agent, .. } => self.busy[group_of(*agent)] -= 1,
            Event::Closed {
                conversation,
                outcome: CloseOutcome::Abandoned,
                ..
            } => self.waits(*conversation, false),
            _ => {}
        }
    }
}
