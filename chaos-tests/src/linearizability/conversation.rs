//! One conversation, as its clients see it.
//!
//! What it is made of, and what must hold:
//! - *Entries* share one `seq`, which rises with every one of them, also with those of the system, of which nobody tells us. So the
//!   seq of an acknowledged entry is above every seq acknowledged or read before, and no more is known of it.
//! - *Messages*: a read gives all of those, and only those, that come before it (of its page).
//! - *Epochs* only rise, and each has at most one owner for as long as it lasts: who acts under one that is over, or that another
//!   owns, is refused. Under which an offer is made the system chooses.
//! - *Open or closed*: nothing is said in a closed one; only a reopening opens it.
//!
//! What the system does of itself, and [`Rules`] can take away: it closes (a customer who left, silence, the archive), and it takes
//! the conversation from its owner (a lease that ended, a sign-out, no reply, somebody else's order), under a new epoch each time. It
//! never reopens, never gives an epoch to two, never takes a message back, and never gives an old epoch again.
//!
//! The model knows in advance where each message will be: its acknowledgement says so, or the first read that shows it. The seqs are
//! the system's own word about its order, so there is nothing to guess: the messages that are placed are a beginning of the
//! known ones, and the state needs only their number. A message whose outcome is unknown and that no read shows is never needed.
//!
//! A history must begin with the conversation, and hold all of its messages, whoever wrote them.

use std::collections::{BTreeMap, HashMap};

use super::{Model, OperationOf};
use crate::history::{By, Input, Name, Operation, Outcome, Output, Phase, Shown};

mod owner;
pub(super) mod words;

/// What the system may do of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// It may close.
    pub closes: bool,
    /// It may take the conversation from its owner.
    pub unassigns: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            closes: true,
            unassigns: true,
        }
    }
}

/// Who owns it under the epoch of the state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// This agent.
    Agent(Name),
    /// Nobody, and nobody will.
    Nobody,
    /// It was taken from its owner when this epoch began: nobody is offered it; it may have gone to one who took part.
    Lost,
    /// Not known: nobody so far, or somebody who has not been seen to act.
    Unknown,
}

/// What is known of the conversation at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// How many of the known messages there are.
    messages: usize,
    /// There is an entry of this seq.
    last: u64,
    /// The epoch is this or a higher one.
    epoch: u64,
    holder: Holder,
    /// To whom it is not offered any more under this epoch.
    passed: Vec<Name>,
    open: bool,
}

/// One conversation.
#[derive(Clone, Debug)]
pub struct Conversation {
    rules: Rules,
    /// All messages that were acknowledged or read, by seq.
    messages: Vec<(u64, Name)>,
    /// Where a message is read first.
    seen: HashMap<Name, u64>,
}

/// The operations on each conversation.
pub fn partitions(history: &[Operation]) -> BTreeMap<Name, Vec<Operation>> {
    let mut parts: BTreeMap<Name, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        if let Some(conversation) = operation.input.conversation() {
            parts
                .entry(Name::clone(conversation))
                .or_default()
                .push(operation.clone());
        }
    }
    parts
}

impl Conversation {
    /// The model for these operations, all of one conversation.
    pub fn of(operations: &[OperationOf<Self>], rules: Rules) -> Self {
        let mut seen = HashMap::new();
        for operation in operations {
            if let Outcome::Done(Output::Entries { entries, .. }) = &operation.outcome {
                for Shown { seq, text } in entries {
                    if let Some(text) = text {
                        seen.entry(Name::clone(text)).or_insert(*seq);
                    }
                }
            }
        }
        let mut messages = BTreeMap::new();
        for operation in operations {
            let Input::Post { text, .. } = &operation.input else {
                continue;
            };
            let seq = match &operation.outcome {
                Outcome::Done(Output::Ack { seq, .. }) => *seq,
                Outcome::Unknown => seen.get(text).copied(),
                _ => None,
            };
            if let Some(seq) = seq {
                messages.entry(seq).or_insert_with(|| Name::clone(text));
            }
        }
        Self {
            rules,
            messages: messages.into_iter().collect(),
            seen,
        }
    }

    fn post(&self, state: &mut State, text: &Name, by: &By, ack: Option<u64>) -> Result<(), String> {
        must_be_open(state)?;
        self.act(state, by)?;
        let Some(seq) = ack.or_else(|| self.seen.get(text).copied()) else {
            return Err("it was acknowledged without a seq, or is nowhere to be read".to_owned());
        };
        if seq <= state.last {
            return Err(format!("its seq is {seq}, and there was {} before", state.last));
        }
        match self.messages.get(state.messages) {
            Some((next, known)) if *next == seq && known == text => {
                (state.messages, state.last) = (state.messages + 1, seq);
                Ok(())
            }
            Some((next, known)) if *next == seq => Err(format!("at {seq} there is `{known}`")),
            Some((next, known)) => Err(format!("its seq is {seq}, and `{known}` at {next} has not come yet")),
            None => Err(format!("at {seq} there is another")),
        }
    }

    /// An acknowledged act has made an entry.
    fn entry(&self, state: &mut State, seq: Option<u64>) -> Result<(), String> {
        let Some(seq) = seq else { return Ok(()) };
        if seq <= state.last {
            return Err(format!("its seq is {seq}, and there was {} before", state.last));
        }
        self.reach(state, seq)
    }

    /// Entries up to there exist; no message that has not come yet is among them.
    fn reach(&self, state: &mut State, seq: u64) -> Result<(), String> {
        match self.messages.get(state.messages) {
            Some((next, text)) if *next <= seq => {
                return Err(format!(
                    "there are entries up to {seq}, and `{text}` at {next} has not come yet"
                ));
            }
            _ => state.last = state.last.max(seq),
        }
        Ok(())
    }

    fn read(
        &self,
        state: &mut State,
        (after, staff): (u64, bool),
        entries: &[Shown],
        more: bool,
    ) -> Result<(), String> {
        let up_to = entries.last().map_or(after, |entry| entry.seq);
        let rises = entries.iter().try_fold(after, |before, entry| match entry.seq {
            seq if staff && seq != before + 1 => Err(format!("it gives {seq} after {before}")),
            seq if seq <= before => Err(format!("it gives {seq} after {before}")),
            seq => Ok(seq),
        });
        rises?;
        // Of the messages there are, those of the page.
        let there = &self.messages[..state.messages];
        let from = there.partition_point(|(seq, _)| *seq <= after);
        let to = match more {
            true => there.partition_point(|(seq, _)| *seq <= up_to),
            false => there.len(),
        };
        let mut expected = there[from.min(to)..to].iter();
        let shown = entries
            .iter()
            .filter_map(|entry| Some((entry.seq, entry.text.as_ref()?)));
        for (seq, text) in shown {
            match expected.next() {
                Some((at, known)) if *at == seq && known == text => {}
                Some((at, known)) if *at < seq => return Err(format!("it lacks `{known}` at {at}")),
                _ => return Err(format!("it gives `{text}` at {seq}, which has not been said there yet")),
            }
        }
        if let Some((at, known)) = expected.next() {
            return Err(format!("it lacks `{known}` at {at}"));
        }
        if staff && !more && up_to < state.last && after < state.last {
            return Err(format!("it ends with {up_to}, and there was {} before", state.last));
        }
        match entries.is_empty() {
            true => Ok(()),
            false => self.reach(state, up_to),
        }
    }

    /// The header says so.
    fn look(
        &self,
        state: &mut State,
        phase: Phase,
        agent: Option<&Name>,
        (epoch, last_seq): (u64, u64),
    ) -> Result<(), String> {
        if last_seq < state.last {
            return Err(format!(
                "its last seq is {last_seq}, and there was {} before",
                state.last
            ));
        }
        self.reach(state, last_seq)?;
        if phase.open() && !state.open {
            return Err("it is open, and was closed before".to_owned());
        }
        match phase {
            Phase::Offered => self.reach_offer(state, epoch)?,
            _ => self.reach_epoch(state, epoch)?,
        }
        match (phase, agent) {
            (Phase::Waiting | Phase::Scheduled, _) => self.nobody_holds(state, Holder::Nobody)?,
            (Phase::Offered, _) => self.nobody_holds(state, Holder::Unknown)?,
            (Phase::Assigned | Phase::Paused | Phase::WrapUp, Some(agent)) => self.holds(state, agent)?,
            _ => {}
        }
        match phase.open() {
            true => Ok(()),
            false => self.close(state),
        }
    }

    fn close(&self, state: &mut State) -> Result<(), String> {
        if state.open && !self.rules.closes {
            return Err("it is closed, and nobody closed it".to_owned());
        }
        state.open = false;
        Ok(())
    }

    fn done(&self, state: &mut State, input: &Input, output: Option<&Output>) -> Result<(), String> {
        let (seq, given) = match output {
            Some(Output::Ack { seq, epoch }) => (*seq, *epoch),
            _ => (None, None),
        };
        match (input, output) {
            (Input::Post { text, by, .. }, _) => self.post(state, text, by, seq),
            (Input::Entry { by, .. }, _) => {
                // A note or a rating is for closed ones too, and who owns it is asked only of some.
                if let (By::Owner { epoch: Some(_), .. }, true) = (by, state.open) {
                    self.act(state, by)?;
                }
                self.entry(state, seq)
            }
            (Input::Entries { after, staff, .. }, Some(Output::Entries { entries, more })) => {
                self.read(state, (*after, *staff), entries, *more)
            }
            (
                Input::Look { .. },
                Some(Output::Look {
                    phase,
                    agent,
                    epoch,
                    last_seq,
                }),
            ) => self.look(state, *phase, agent.as_ref(), (*epoch, *last_seq)),
            (Input::Accept { agent, epoch, .. }, _) => self.accept(state, agent, *epoch),
            (Input::Decline { agent, epoch, .. }, _) => self.decline(state, agent, *epoch),
            (Input::Assign { agent, .. }, _) => self.assign(state, agent, given),
            (Input::Transfer { by, .. }, _) => {
                self.hand_over(state, by, given, Holder::Nobody)?;
                self.entry(state, seq)
            }
            (Input::CompleteTransfer { by, to, .. }, _) => {
                self.hand_over(state, by, given, Holder::Agent(Name::clone(to)))?;
                self.entry(state, seq)
            }
            (Input::Close { by, .. }, _) => {
                must_be_open(state)?;
                self.act(state, by)?;
                state.open = false;
                self.entry(state, seq)
            }
            (Input::Reopen { .. }, _) => self.reopen(state, seq, output.is_some()),
            (Input::FinishWrapUp { agent, epoch, .. }, _) => {
                self.reach_epoch(state, *epoch)?;
                self.holds(state, agent)?;
                self.close(state)
            }
            _ => Err("this is no answer to that".to_owned()),
        }
    }

    fn reopen(&self, state: &mut State, seq: Option<u64>, known: bool) -> Result<(), String> {
        match (state.open, known) {
            // Where it is open, an unknown one has changed nothing.
            (true, false) => return Err("it is open".to_owned()),
            (true, true) => self.close(state)?,
            _ => {}
        }
        state.open = true;
        state.new_epoch(state.epoch + 1, Holder::Nobody);
        self.entry(state, seq)
    }

    /// What a refusal tells. Others tell nothing.
    fn refused(&self, state: &State, input: &Input, code: &str) -> Result<Vec<State>, String> {
        let one = |change: &dyn Fn(&mut State) -> Result<(), String>| {
            let mut after = state.clone();
            change(&mut after).map(|()| vec![after])
        };
        match (input, code) {
            (Input::Post { by, .. } | Input::Close { by, .. }, "wrong_state" | "unknown_conversation") => match by {
                By::Owner {
                    agent,
                    epoch: Some(epoch),
                } => {
                    let closed = one(&|after| self.close(after));
                    let not_theirs = one(&|after| self.not_held_by(after, agent, *epoch));
                    match (closed, not_theirs) {
                        (Err(closed), Err(not_theirs)) => Err(format!("{closed}; {not_theirs}")),
                        (closed, not_theirs) => Ok([closed, not_theirs].into_iter().flatten().flatten().collect()),
                    }
                }
                By::Owner { epoch: None, .. } => Ok(vec![state.clone()]),
                By::Customer | By::Other => one(&|after| self.close(after)),
            },
            (_, "stale_epoch") => match named(input) {
                Some((_, epoch)) => one(&|after| self.past(after, epoch)),
                None => Ok(vec![state.clone()]),
            },
            (Input::Reopen { .. }, "wrong_state") => must_be_open(state).map(|()| vec![state.clone()]),
            (Input::Accept { agent, epoch, .. }, "offer_taken") => one(&|after| self.taken(after, agent, *epoch)),
            (Input::Accept { agent, epoch, .. }, "offer_over") => one(&|after| self.over(after, agent, *epoch)),
            _ => Ok(vec![state.clone()]),
        }
    }
}

fn must_be_open(state: &State) -> Result<(), String> {
    match state.open {
        true => Ok(()),
        false => Err("the conversation was closed before".to_owned()),
    }
}

/// The owner's act, and the epoch that they named.
fn named(input: &Input) -> Option<(&Name, u64)> {
    match input {
        Input::Post { by, .. }
        | Input::Entry { by, .. }
        | Input::Transfer { by, .. }
        | Input::CompleteTransfer { by, .. }
        | Input::Close { by, .. } => match by {
            By::Owner {
                agent,
                epoch: Some(epoch),
            } => Some((agent, *epoch)),
            _ => None,
        },
        Input::FinishWrapUp { agent, epoch, .. } => Some((agent, *epoch)),
        _ => None,
    }
}

impl Model for Conversation {
    type State = State;
    type Input = Input;
    type Output = Output;

    fn start(&self) -> State {
        State {
            messages: 0,
            last: 0,
            epoch: 0,
            holder: Holder::Nobody,
            passed: Vec::new(),
            open: true,
        }
    }

    fn step(&self, state: &State, input: &Input, outcome: &Outcome<Output>) -> Result<Vec<State>, String> {
        let output = match outcome {
            Outcome::Done(output) => Some(output),
            Outcome::Unknown => None,
            Outcome::Refused(code) => return self.refused(state, input, code),
        };
        let mut after = state.clone();
        self.done(&mut after, input, output)?;
        Ok(vec![after])
    }

    fn observes(&self, input: &Input, outcome: &Outcome<Output>) -> bool {
        match (input, outcome) {
            (_, Outcome::Refused(_)) => true,
            (Input::Post { text, .. }, Outcome::Unknown) => !self.seen.contains_key(text),
            (Input::Post { .. } | Input::Reopen { .. }, _) => false,
            // The system may do the same of itself.
            (Input::Transfer { .. } | Input::CompleteTransfer { .. } | Input::Assign { .. }, _) => self.rules.unassigns,
            (Input::Close { .. }, _) => self.rules.closes,
            // All others only forbid what would have been possible.
            _ => true,
        }
    }

    fn words(&self, input: &Input, outcome: &Outcome<Output>) -> String {
        words::operation(input, outcome)
    }

    fn state_words(&self, state: &State) -> String {
        words::state(state)
    }
}

#[cfg(test)]
mod tests;
