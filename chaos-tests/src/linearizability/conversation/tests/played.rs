//! A conversation that is really played: every step that the system takes of itself is one, no seq is known in advance, and all
//! orders are tried. Much too slow for anything but a handful of operations, and therefore simple enough to be right.

use std::collections::BTreeSet;

use crate::history::{By, Input, Name, Operation, Outcome, Output, Phase, Shown};

/// Where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    Waiting,
    /// To whom it is not offered any more.
    Offered(BTreeSet<Name>),
    Assigned(Name),
    Closed,
}

/// All of it: entry n of the list has seq n + 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Played {
    pub(super) entries: Vec<Option<Name>>,
    pub(super) epoch: u64,
    pub(super) stage: Stage,
}

impl Played {
    pub(super) fn new() -> Self {
        Self {
            entries: Vec::new(),
            epoch: 0,
            stage: Stage::Waiting,
        }
    }

    /// What the system may do next: an entry, an offer or its end, taking it from its owner, closing.
    pub(super) fn moves(&self) -> Vec<Self> {
        let mut moves = Vec::new();
        let mut to = |entry: bool, epoch: u64, stage: Stage| {
            let mut next = self.clone();
            next.entries.extend(entry.then_some(None));
            (next.epoch, next.stage) = (epoch, stage);
            moves.push(next);
        };
        to(true, self.epoch, self.stage.clone());
        match &self.stage {
            Stage::Waiting => to(false, self.epoch + 1, Stage::Offered(BTreeSet::new())),
            Stage::Offered(_) => to(false, self.epoch, Stage::Waiting),
            Stage::Assigned(_) => to(false, self.epoch + 1, Stage::Waiting),
            Stage::Closed => return moves,
        }
        to(false, self.epoch, Stage::Closed);
        moves
    }

    fn owner(&self, by: &By) -> Result<(), &'static str> {
        let By::Owner {
            agent,
            epoch: Some(epoch),
        } = by
        else {
            return Ok(());
        };
        match &self.stage {
            // Nobody names an epoch that they have not been told.
            _ if *epoch > self.epoch => Err("not_begun"),
            _ if *epoch < self.epoch => Err("stale_epoch"),
            Stage::Assigned(owner) if owner == agent => Ok(()),
            Stage::Assigned(_) => Err("not_permitted"),
            _ => Err("wrong_state"),
        }
    }

    fn says(&mut self, text: Option<&Name>) -> Option<u64> {
        self.entries.push(text.cloned());
        Some(self.entries.len() as u64)
    }

    fn look(&self) -> Output {
        let (phase, agent) = match &self.stage {
            Stage::Waiting => (Phase::Waiting, None),
            Stage::Offered(_) => (Phase::Offered, None),
            Stage::Assigned(agent) => (Phase::Assigned, Some(agent.clone())),
            Stage::Closed => (Phase::Closed, None),
        };
        Output::Look {
            phase,
            agent,
            epoch: self.epoch,
            last_seq: self.entries.len() as u64,
        }
    }

    /// Does it, or refuses.
    pub(super) fn apply(&mut self, input: &Input) -> Result<Output, &'static str> {
        let mut ack = (None, None);
        match input {
            Input::Entries { .. } => {
                let entries = (1..).zip(self.entries.iter().cloned());
                return Ok(Output::Entries {
                    entries: entries.map(|(seq, text)| Shown { seq, text }).collect(),
                    more: false,
                });
            }
            Input::Look { .. } => return Ok(self.look()),
            Input::Reopen { .. } => {
                if self.stage != Stage::Closed {
                    return Err("wrong_state");
                }
                (self.epoch, self.stage) = (self.epoch + 1, Stage::Waiting);
                ack.0 = self.says(None);
            }
            Input::Accept { agent, epoch, .. } => {
                match &self.stage {
                    Stage::Assigned(owner) if owner == agent && *epoch == self.epoch => {}
                    Stage::Offered(passed) if *epoch == self.epoch && !passed.contains(agent) => {
                        self.stage = Stage::Assigned(agent.clone());
                    }
                    _ if *epoch > self.epoch => return Err("nothing_outstanding"),
                    Stage::Assigned(owner) if owner != agent => return Err("offer_taken"),
                    _ => return Err("offer_over"),
                }
                ack.1 = Some(*epoch);
            }
            Input::Decline { agent, epoch, .. } => match &mut self.stage {
                Stage::Offered(passed) if *epoch == self.epoch && !passed.contains(agent) => {
                    passed.insert(agent.clone());
                    ack.1 = Some(*epoch);
                }
                _ => return Err("offer_over"),
            },
            _ if self.stage == Stage::Closed => return Err("wrong_state"),
            Input::Post { text, by, .. } => {
                self.owner(by)?;
                ack.0 = self.says(Some(text));
            }
            Input::Close { by, .. } => {
                self.owner(by)?;
                self.stage = Stage::Closed;
                ack.0 = self.says(None);
            }
            Input::Transfer { by, .. } => {
                self.owner(by)?;
                (self.epoch, self.stage) = (self.epoch + 1, Stage::Waiting);
                ack = (self.says(None), Some(self.epoch));
            }
            other => panic!("not played: {other:?}"),
        }
        Ok(Output::Ack {
            seq: ack.0,
            epoch: ack.1,
        })
    }
}

/// Whether any order of the operations, with any moves of the system in between, gives what was answered.
pub(super) struct BruteForce<'a> {
    operations: &'a [Operation],
    /// Beyond these no answer tells anything.
    last_max: usize,
    epoch_max: u64,
}

impl<'a> BruteForce<'a> {
    pub(super) fn new(operations: &'a [Operation]) -> Self {
        let (mut last_max, mut epoch_max) = (0, 0);
        for operation in operations {
            let (last, epoch) = match &operation.outcome {
                Outcome::Done(Output::Ack { seq, epoch }) => (seq.unwrap_or(0), epoch.unwrap_or(0)),
                Outcome::Done(Output::Entries { entries, .. }) => (entries.last().map_or(0, |entry| entry.seq), 0),
                Outcome::Done(Output::Look { epoch, last_seq, .. }) => (*last_seq, *epoch),
                _ => (0, 0),
            };
            let named = match &operation.input {
                Input::Accept { epoch, .. } | Input::Decline { epoch, .. } => *epoch,
                Input::Post { by, .. } | Input::Transfer { by, .. } => match by {
                    By::Owner { epoch, .. } => epoch.unwrap_or(0),
                    _ => 0,
                },
                _ => 0,
            };
            last_max = last_max.max(last as usize);
            epoch_max = epoch_max.max(epoch).max(named);
        }
        Self {
            operations,
            last_max,
            // Past the highest one it may be a few further on, so that a refusal can be late.
            epoch_max: epoch_max + 2,
        }
    }

    pub(super) fn linearizable(&self) -> bool {
        self.from(0, &self.all_after(BTreeSet::from([Played::new()])))
    }

    fn from(&self, placed: u32, states: &BTreeSet<Played>) -> bool {
        let left = |at: &usize| placed & (1 << at) == 0;
        let rest = || (0..self.operations.len()).filter(left);
        let first_return = rest().filter_map(|at| self.operations[at].ends()).min();
        let Some(first_return) = first_return else {
            return true;
        };
        rest().any(|at| {
            let one = &self.operations[at];
            if one.call > first_return {
                return false;
            }
            let after = states.iter().filter_map(|state| {
                let mut after = state.clone();
                match (after.apply(&one.input), &one.outcome) {
                    (Ok(given), Outcome::Done(output)) => (given == *output).then_some(after),
                    (Err(given), Outcome::Refused(code)) => (given == code).then_some(after),
                    (Ok(_), Outcome::Unknown) => Some(after),
                    _ => None,
                }
            });
            let after = self.all_after(after.collect());
            !after.is_empty() && self.from(placed | 1 << at, &after)
        })
    }

    /// All that the system can make of these.
    fn all_after(&self, mut states: BTreeSet<Played>) -> BTreeSet<Played> {
        let mut new: Vec<Played> = states.iter().cloned().collect();
        while let Some(state) = new.pop() {
            for next in state.moves() {
                // An unknown message may come after everything that is seen.
                if next.entries.len() <= self.last_max + 1
                    && next.epoch <= self.epoch_max
                    && states.insert(next.clone())
                {
                    new.push(next);
                }
            }
        }
        states
    }
}
