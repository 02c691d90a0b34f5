//! One agent, as they and their supervisors see it.
//!
//! What it is made of, and what must hold:
//! - *Presence*: what was said last, by sign-in, sign-out or a change. Of itself the system makes who is available or draining
//!   away, for its own two reasons, a suspect of anybody who is signed in (that is taken back, and shown in between), and offline
//!   of who does not come back in time. It makes nobody available, and takes nobody back from offline.
//! - *Offers* are made to, and taken by, those alone who are available; nothing is assigned to who is offline.
//! - *Conversations*: under one epoch each is offered, then owned, then wrapped up, then over, and never an earlier one of
//!   these again; an older epoch never comes back. What ends one (the customer, a deadline, a supervisor) is mostly not the
//!   agent's to say: [`Rules::ends_by_others`].
//! - *Capacity*: no answer shows more than [`Rules::capacity`] conversations (offers and wrap-ups count).
//! - *The stream's position* only rises.
//!
//! That a conversation has one owner among all agents (invariant C) is the other model's to judge. A history may begin in the middle
//! of an agent's life: what is not known yet contradicts nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::conversation::words;
use super::{Model, OperationOf};
use crate::history::{By, Held, Input, Name, Operation, Outcome, Output, Phase, Presence};

/// Why the system itself sends somebody away.
const OFFER_TIMEOUTS: &str = "offer_timeouts";
/// The same, of who was draining and has finished.
const DRAINED: &str = "drained";

/// What the system may do of itself, and what it may not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Who lets too many offers pass may be sent away.
    pub times_out: bool,
    /// Who is gone for long may be signed out.
    pub leases_end: bool,
    /// What an agent owns may end without their doing. If not (and nothing is paused), a desk that lacks it is wrong, and
    /// acknowledged accepts are counted against the capacity.
    pub ends_by_others: bool,
    /// Conversations at once, if that is known.
    pub capacity: Option<u32>,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            times_out: true,
            leases_end: true,
            ends_by_others: true,
            capacity: None,
        }
    }
}

/// How far a conversation has come under one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Offered,
    Owned,
    WrapUp,
    Over,
}

/// What is known of an agent at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// `None`: nothing has been said or read yet. Never suspect: what comes back with the connections.
    presence: Option<Presence>,
    agent_seq: u64,
    /// By conversation: the latest epoch, and how far it came at least.
    conversations: Arc<BTreeMap<Name, (u64, Stage)>>,
}

/// One agent.
#[derive(Clone, Debug)]
pub struct Agent {
    name: Name,
    rules: Rules,
}

/// The operations on each agent. What concerns two stands with both.
pub fn partitions(history: &[Operation]) -> BTreeMap<Name, Vec<OperationOf<Agent>>> {
    let mut parts: BTreeMap<Name, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        for agent in operation.input.agents() {
            parts.entry(Name::clone(agent)).or_default().push(operation.clone());
        }
    }
    parts
}

impl State {
    fn at(&self, conversation: &Name) -> Option<(u64, Stage)> {
        self.conversations.get(conversation).copied()
    }

    fn put(&mut self, conversation: &Name, epoch: u64, stage: Stage) {
        Arc::make_mut(&mut self.conversations).insert(Name::clone(conversation), (epoch, stage));
    }

    fn available(&self) -> Result<(), String> {
        match &self.presence {
            None | Some(Presence::Available) => Ok(()),
            Some(other) => Err(format!("the agent was {} before", words::presence(other))),
        }
    }

    fn signed_in(&self) -> Result<(), String> {
        match &self.presence {
            Some(Presence::Offline) => Err("the agent was offline before".to_owned()),
            _ => Ok(()),
        }
    }

    /// It has come so far under this epoch.
    fn come(&mut self, conversation: &Name, epoch: u64, stage: Stage) -> Result<(), String> {
        match self.at(conversation) {
            Some((known, _)) if epoch < known => Err(format!(
                "{conversation}: epoch {epoch} is over: there was {known} before"
            )),
            Some((known, before)) if epoch == known && stage < before => Err(format!(
                "{conversation} under epoch {epoch} was {} before",
                stage_word(before)
            )),
            _ => {
                self.put(conversation, epoch, stage);
                Ok(())
            }
        }
    }
}

fn stage_word(stage: Stage) -> &'static str {
    match stage {
        Stage::Offered => "offered",
        Stage::Owned => "owned",
        Stage::WrapUp => "closed",
        Stage::Over => "over",
    }
}

impl Agent {
    /// The model of this agent.
    pub fn of(name: Name, rules: Rules) -> Self {
        Self { name, rules }
    }

    fn is_shown(&self, state: &mut State, presence: &Presence) -> Result<(), String> {
        let Some(before) = &state.presence else {
            if *presence != Presence::Suspect {
                state.presence = Some(presence.clone());
            }
            return Ok(());
        };
        let sent_away = match (before, presence) {
            (Presence::Available, Presence::Away(reason)) => self.rules.times_out && &**reason == OFFER_TIMEOUTS,
            (Presence::Draining, Presence::Away(reason)) => &**reason == DRAINED,
            _ => false,
        };
        let may_be = match presence {
            _ if before == presence || sent_away => true,
            Presence::Suspect => *before != Presence::Offline,
            Presence::Offline => self.rules.leases_end,
            _ => false,
        };
        if !may_be {
            let (is, was) = (words::presence(presence), words::presence(before));
            return Err(format!("it gives {is}, and the agent was {was} before"));
        }
        if *presence != Presence::Suspect {
            state.presence = Some(presence.clone());
        }
        Ok(())
    }

    fn within(&self, many: usize, what: &str) -> Result<(), String> {
        match self.rules.capacity {
            Some(capacity) if many > capacity as usize => Err(format!("{many} {what}, and room for {capacity}")),
            _ => Ok(()),
        }
    }

    fn desk(&self, state: &mut State, conversations: &[Held]) -> Result<(), String> {
        let occupy = |held: &&Held| held.own && !matches!(held.phase, Phase::Paused);
        self.within(conversations.iter().filter(occupy).count(), "conversations")?;
        for held in conversations.iter().filter(|held| held.own) {
            let stage = match held.phase {
                Phase::Offered => Stage::Offered,
                Phase::Assigned | Phase::Paused => Stage::Owned,
                Phase::WrapUp => Stage::WrapUp,
                Phase::Waiting | Phase::Closed | Phase::Scheduled => {
                    return Err(format!("{} is {}", held.conversation, words::phase(held.phase)));
                }
            };
            let offended = match held.phase {
                Phase::Offered => state.available(),
                Phase::Paused => Ok(()),
                _ => state.signed_in(),
            };
            offended.map_err(|why| format!("{} is {}, and {why}", held.conversation, words::phase(held.phase)))?;
            state.come(&held.conversation, held.epoch, stage)?;
        }
        let absent: Vec<(Name, u64, Stage)> = state
            .conversations
            .iter()
            .filter(|(_, (_, stage))| *stage != Stage::Over)
            .filter(|(id, _)| !conversations.iter().any(|held| held.own && held.conversation == **id))
            .map(|(id, (epoch, stage))| (Name::clone(id), *epoch, *stage))
            .collect();
        for (id, epoch, stage) in absent {
            if stage == Stage::Owned && !self.rules.ends_by_others {
                return Err(format!("it lacks {id}, owned under {epoch}"));
            }
            state.put(&id, epoch, Stage::Over);
        }
        Ok(())
    }

    /// It is theirs from now on.
    fn owns(&self, state: &mut State, conversation: &Name, epoch: u64) -> Result<(), String> {
        state.come(conversation, epoch, Stage::Owned)?;
        if self.rules.ends_by_others {
            return Ok(());
        }
        let owned = state.conversations.values().filter(|(_, stage)| *stage == Stage::Owned);
        self.within(owned.count(), "conversations owned")
    }

    fn accept(&self, state: &mut State, conversation: &Name, epoch: u64) -> Result<(), String> {
        // Who has it already is told so once more, whatever their presence.
        if state.at(conversation) != Some((epoch, Stage::Owned)) {
            state.available()?;
        }
        self.owns(state, conversation, epoch)
    }

    /// Theirs no longer, under the epoch they named or the latest known.
    fn gives_up(&self, state: &mut State, conversation: &Name, by: &By, stage: Stage) -> Result<(), String> {
        let By::Owner { agent, epoch } = by else { return Ok(()) };
        if *agent != self.name {
            return Ok(());
        }
        match (epoch, state.at(conversation)) {
            (Some(epoch), known) if known.is_some_and(|(at, stage)| at == *epoch && stage > Stage::Owned) => {
                Err(format!("{conversation} under epoch {epoch} was over before"))
            }
            (Some(epoch), _) => state.come(conversation, *epoch, stage),
            // Under which, only the node knew: if it is over here, it was a later one.
            (None, Some((epoch, before))) if before <= Stage::Owned => state.come(conversation, epoch, stage),
            (None, _) => Ok(()),
        }
    }

    fn record(&self, state: &mut State, presence: &Presence, (load, agent_seq): (u32, u64)) -> Result<(), String> {
        self.is_shown(state, presence)?;
        self.within(load as usize, "conversations by the load")?;
        if agent_seq < state.agent_seq {
            let before = state.agent_seq;
            return Err(format!("its agent seq is {agent_seq}, and there was {before} before"));
        }
        state.agent_seq = agent_seq;
        Ok(())
    }

    fn sign_out(&self, state: &mut State) {
        state.presence = Some(Presence::Offline);
        if !self.rules.ends_by_others {
            for (_, stage) in Arc::make_mut(&mut state.conversations).values_mut() {
                *stage = Stage::Over;
            }
        }
    }

    /// An offer, or a wrap-up, is over by the agent's word: it was not before.
    fn ends(&self, state: &mut State, conversation: &Name, epoch: u64, last: Stage) -> Result<(), String> {
        match state.at(conversation) {
            Some((at, stage)) if at == epoch && stage > last => Err(format!(
                "{conversation} under epoch {epoch} was {} before",
                stage_word(stage)
            )),
            _ => state.come(conversation, epoch, Stage::Over),
        }
    }

    fn done(&self, state: &mut State, input: &Input, output: Option<&Output>) -> Result<(), String> {
        let given = match output {
            Some(Output::Ack { epoch, .. }) => *epoch,
            _ => None,
        };
        match (input, output) {
            (Input::SignIn { presence, .. }, _) => state.presence = Some(presence.clone()),
            (Input::SignOut { .. }, _) => self.sign_out(state),
            (Input::SetPresence { presence, .. }, _) => {
                state.signed_in()?;
                state.presence = Some(presence.clone());
            }
            (
                Input::Record { .. },
                Some(Output::Record {
                    presence,
                    load,
                    agent_seq,
                }),
            ) => self.record(state, presence, (*load, *agent_seq))?,
            (Input::Desk { .. }, Some(Output::Desk { conversations })) => self.desk(state, conversations)?,
            (
                Input::Accept {
                    conversation, epoch, ..
                },
                _,
            ) => self.accept(state, conversation, *epoch)?,
            (
                Input::Decline {
                    conversation, epoch, ..
                },
                _,
            ) => {
                state.available()?;
                self.ends(state, conversation, *epoch, Stage::Offered)?;
            }
            (Input::Assign { conversation, .. }, _) => {
                state.signed_in()?;
                if let Some(epoch) = given {
                    self.owns(state, conversation, epoch)?;
                }
            }
            (Input::Transfer { conversation, by }, _) => self.gives_up(state, conversation, by, Stage::Over)?,
            (Input::Close { conversation, by }, _) => self.gives_up(state, conversation, by, Stage::WrapUp)?,
            (Input::CompleteTransfer { conversation, by, to }, _) => {
                self.gives_up(state, conversation, by, Stage::Over)?;
                if let (true, Some(epoch)) = (*to == self.name, given) {
                    state.signed_in()?;
                    self.owns(state, conversation, epoch)?;
                }
            }
            (
                Input::FinishWrapUp {
                    conversation, epoch, ..
                },
                _,
            ) => {
                self.ends(state, conversation, *epoch, Stage::WrapUp)?;
            }
            _ => return Err("this is no answer to that".to_owned()),
        }
        Ok(())
    }
}

impl Model for Agent {
    type State = State;
    type Input = Input;
    type Output = Output;

    fn start(&self) -> State {
        State {
            presence: None,
            agent_seq: 0,
            conversations: Arc::default(),
        }
    }

    fn step(&self, state: &State, input: &Input, outcome: &Outcome<Output>) -> Result<Vec<State>, String> {
        let mut after = state.clone();
        match (outcome, input) {
            (Outcome::Done(output), _) => self.done(&mut after, input, Some(output))?,
            (Outcome::Unknown, _) => self.done(&mut after, input, None)?,
            // Only who is offline is refused so.
            (Outcome::Refused(code), Input::SetPresence { .. }) if code == "wrong_presence" => {
                self.is_shown(&mut after, &Presence::Offline)?;
            }
            (Outcome::Refused(_), _) => {}
        }
        Ok(vec![after])
    }

    fn observes(&self, input: &Input, outcome: &Outcome<Output>) -> bool {
        match (input, outcome) {
            (_, Outcome::Refused(_)) => true,
            (Input::SignIn { .. } | Input::SignOut { .. } | Input::SetPresence { .. }, _) => false,
            // The system may do the same of itself.
            (Input::Decline { .. } | Input::Transfer { .. } | Input::CompleteTransfer { .. }, _) => {
                self.rules.ends_by_others
            }
            (Input::Close { .. } | Input::FinishWrapUp { .. }, _) => self.rules.ends_by_others,
            // All others only forbid what would have been possible.
            _ => true,
        }
    }

    fn words(&self, input: &Input, outcome: &Outcome<Output>) -> String {
        let operation = words::operation(input, outcome);
        match input.conversation() {
            Some(conversation) => format!("{conversation}: {operation}"),
            None => operation,
        }
    }

    fn state_words(&self, state: &State) -> String {
        let here = state
            .conversations
            .iter()
            .filter(|(_, (_, stage))| *stage != Stage::Over);
        let here: Vec<String> = here
            .map(|(id, (epoch, stage))| format!("{id} {} under {epoch}", stage_word(*stage)))
            .collect();
        let presence = state.presence.as_ref();
        format!(
            "{}, agent seq at least {}, last known: [{}]",
            presence.map_or_else(|| "presence not known".to_owned(), words::presence),
            state.agent_seq,
            here.join(", ")
        )
    }
}

#[cfg(test)]
mod tests;
