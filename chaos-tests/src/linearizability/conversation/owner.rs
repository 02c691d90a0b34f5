//! Who owns a conversation, under which epoch.
//!
//! The state knows a lower bound of the epoch, and who owns it under exactly that one. Everything that names a higher epoch
//! says that the system has gone on meanwhile.

use super::{Conversation, Holder, State, must_be_open};
use crate::history::{By, Name};

impl State {
    pub(super) fn new_epoch(&mut self, epoch: u64, holder: Holder) {
        (self.epoch, self.holder) = (epoch, holder);
        self.passed.clear();
    }
}

impl Conversation {
    /// The epoch is this one, or a higher one.
    pub(super) fn reach_epoch(&self, state: &mut State, epoch: u64) -> Result<(), String> {
        if epoch < state.epoch {
            return Err(format!("epoch {epoch} is over: there was {} before", state.epoch));
        }
        if epoch > state.epoch {
            if let (Holder::Agent(agent), true, false) = (&state.holder, state.open, self.rules.unassigns) {
                return Err(format!(
                    "epoch {epoch}: nobody took it from {agent}, who has {}",
                    state.epoch
                ));
            }
            let lost = matches!(state.holder, Holder::Agent(_)) && epoch == state.epoch + 1;
            state.new_epoch(epoch, if lost { Holder::Lost } else { Holder::Unknown });
        }
        Ok(())
    }

    /// This epoch is over.
    pub(super) fn past(&self, state: &mut State, epoch: u64) -> Result<(), String> {
        match epoch < state.epoch {
            true => Ok(()),
            false => self.reach_epoch(state, epoch + 1),
        }
    }

    /// Under the epoch of the state it is this agent's.
    pub(super) fn holds(&self, state: &mut State, agent: &Name) -> Result<(), String> {
        let epoch = state.epoch;
        match &state.holder {
            Holder::Agent(holder) if holder == agent => Ok(()),
            Holder::Agent(holder) => Err(format!("epoch {epoch} is {holder}'s, not {agent}'s")),
            Holder::Nobody => Err(format!("nobody has it under epoch {epoch}, {agent} neither")),
            Holder::Unknown | Holder::Lost => {
                state.holder = Holder::Agent(Name::clone(agent));
                Ok(())
            }
        }
    }

    /// Under the epoch of the state it is nobody's now.
    pub(super) fn nobody_holds(&self, state: &mut State, then: Holder) -> Result<(), String> {
        if let Holder::Agent(holder) = &state.holder {
            return Err(format!(
                "it has no owner, and epoch {} was {holder}'s before",
                state.epoch
            ));
        }
        state.holder = then;
        Ok(())
    }

    /// Somebody acts; who does so as the owner, is the owner.
    pub(super) fn act(&self, state: &mut State, by: &By) -> Result<(), String> {
        match by {
            By::Customer | By::Other => Ok(()),
            By::Owner {
                agent,
                epoch: Some(epoch),
            } => {
                self.reach_epoch(state, *epoch)?;
                self.holds(state, agent)
            }
            By::Owner { agent, epoch: None } => match &state.holder {
                Holder::Unknown | Holder::Lost => Ok(()),
                Holder::Agent(holder) if holder == agent => Ok(()),
                // Under some higher epoch, which nobody named.
                _ => self.reach_epoch(state, state.epoch + 1),
            },
        }
    }

    /// It is offered under this epoch, or was.
    pub(super) fn reach_offer(&self, state: &mut State, epoch: u64) -> Result<(), String> {
        self.reach_epoch(state, epoch)?;
        match state.holder {
            Holder::Nobody => Err(format!(
                "it was waiting under epoch {epoch}, and is offered under a later one"
            )),
            Holder::Lost => Err(format!(
                "under epoch {epoch} it was taken from its owner, and is offered under a later one"
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn accept(&self, state: &mut State, agent: &Name, epoch: u64) -> Result<(), String> {
        must_be_open(state)?;
        self.reach_offer(state, epoch)?;
        if state.passed.contains(agent) {
            return Err(format!("the offer of epoch {epoch} to {agent} was over before"));
        }
        self.holds(state, agent)
    }

    pub(super) fn decline(&self, state: &mut State, agent: &Name, epoch: u64) -> Result<(), String> {
        must_be_open(state)?;
        self.reach_offer(state, epoch)?;
        if let Holder::Agent(holder) = &state.holder {
            return Err(format!("epoch {epoch} was {holder}'s before"));
        }
        pass(state, agent);
        Ok(())
    }

    /// Given to an agent without an offer.
    pub(super) fn assign(&self, state: &mut State, agent: &Name, given: Option<u64>) -> Result<(), String> {
        must_be_open(state)?;
        match given {
            Some(epoch) if epoch <= state.epoch => {
                Err(format!("its epoch is {epoch}, and there was {} before", state.epoch))
            }
            Some(epoch) => {
                state.new_epoch(epoch, Holder::Agent(Name::clone(agent)));
                Ok(())
            }
            None => {
                state.new_epoch(state.epoch + 1, Holder::Unknown);
                Ok(())
            }
        }
    }

    /// From its owner to the queue or another agent, under a new epoch.
    pub(super) fn hand_over(&self, state: &mut State, by: &By, given: Option<u64>, to: Holder) -> Result<(), String> {
        must_be_open(state)?;
        self.act(state, by)?;
        let exact = matches!(by, By::Owner { epoch: Some(_), .. });
        match given {
            Some(epoch) if epoch <= state.epoch => {
                Err(format!("its epoch is {epoch}, and there was {} before", state.epoch))
            }
            Some(epoch) => {
                state.new_epoch(epoch, to);
                Ok(())
            }
            None => {
                let known = exact || to == Holder::Nobody;
                state.new_epoch(state.epoch + 1, if known { to } else { Holder::Unknown });
                Ok(())
            }
        }
    }

    /// A refusal says that this agent does not own it under this epoch.
    pub(super) fn not_held_by(&self, state: &mut State, agent: &Name, epoch: u64) -> Result<(), String> {
        if epoch > state.epoch {
            return self.reach_epoch(state, epoch);
        }
        match &state.holder {
            Holder::Agent(holder) if holder == agent && epoch == state.epoch => {
                Err(format!("epoch {epoch} is {agent}'s"))
            }
            _ => Ok(()),
        }
    }

    /// An accept was refused: another has it now.
    pub(super) fn taken(&self, state: &mut State, agent: &Name, epoch: u64) -> Result<(), String> {
        if epoch > state.epoch {
            self.reach_epoch(state, epoch)?;
        }
        match &state.holder {
            Holder::Agent(holder) if holder == agent => self.past(state, state.epoch),
            Holder::Nobody => self.past(state, state.epoch),
            Holder::Agent(_) => Ok(()),
            Holder::Unknown | Holder::Lost => {
                if epoch == state.epoch {
                    pass(state, agent);
                }
                Ok(())
            }
        }
    }

    /// An accept was refused: there is no such offer any more.
    pub(super) fn over(&self, state: &mut State, agent: &Name, epoch: u64) -> Result<(), String> {
        if epoch > state.epoch {
            self.reach_epoch(state, epoch)?;
        }
        // Who has it already is told the same.
        if epoch == state.epoch && state.holder == Holder::Unknown {
            pass(state, agent);
        }
        Ok(())
    }
}

fn pass(state: &mut State, agent: &Name) {
    if let Err(at) = state.passed.binary_search(agent) {
        state.passed.insert(at, Name::clone(agent));
    }
}
