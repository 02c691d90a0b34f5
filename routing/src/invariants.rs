//! Invariants that a state, or a state with its history of events, can show. Tests call [`check`] after every command; a
//! running node samples [`check_some`].
//!
//! | Letter | Here |
//! |---|---|
//! | C | one owner per conversation, who exists, under an epoch; offers only to who is available |
//! | D | each agent's load is what the conversations say, and within the capacity unless that was lowered |
//! | E | entries and agents' items are dense, cursors never point past the end |
//! | H | what is derived from the rows equals what a restored replica would derive |
//! | I | each phase has the deadlines that end it: nothing can be stuck; the queue manager was told all there is |
//! | J | overtaking stays within its bound ([`overtaking`]); a conversation keeps its age until it is reopened, or put off without it |
//! | L | what is bounded is within its bounds |

pub mod overtaking;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::command::{Due, Timer};
use crate::event::{AgentItem, AgentItemKind, EntryKind, Event, Phase};
use crate::ids::{AgentId, Channel, ConversationId, Epoch, Millis, QueueId, Seq, TenantId};
use crate::limits;
use crate::settings::{ChannelCapacity, RoutingSettings};
use crate::state::{State, Tenant};
use crate::view::{Demand, QueueRates, QueueView, Supply, Views};

/// What does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant {letter} is violated: {what}")]
pub struct Violation {
    /// Which of A–L.
    pub letter: char,
    /// How.
    pub what: String,
}

pub(crate) fn holds(letter: char, condition: bool, what: impl FnOnce() -> String) -> Result<(), Violation> {
    if condition {
        Ok(())
    } else {
        Err(Violation { letter, what: what() })
    }
}

/// All of them, on the whole state: a pass over every row.
///
/// # Errors
/// The first that does not hold.
pub fn check(state: &State) -> Result<(), Violation> {
    state
        .tenants()
        .try_for_each(|(id, tenant)| in_tenant(id, check_tenant(tenant)))
}

/// Those of single rows, on at most `rows` conversations per tenant after `after`, and on their agents: cheap, for a running node.
/// A cursor drawn at random lets repeated calls see everything.
///
/// # Errors
/// The first that does not hold.
pub fn check_some(state: &State, after: ConversationId, rows: usize) -> Result<(), Violation> {
    state
        .tenants()
        .try_for_each(|(id, tenant)| in_tenant(id, tenant.check_rows(after, rows)))
}

fn in_tenant(id: TenantId, result: Result<(), Violation>) -> Result<(), Violation> {
    result.map_err(|violation| Violation {
        what: format!("{id}: {}", violation.what),
        ..violation
    })
}

fn check_tenant(tenant: &Tenant) -> Result<(), Violation> {
    tenant.check_rows(ConversationId(0), usize::MAX)?;
    tenant.check_agents()?;
    tenant.check_calendars()?;
    tenant.check_index()
}

/// E: what follows `last` in an order without gap or duplicate.
pub(crate) fn follows(what: &str, last: u64, next: u64) -> Result<(), Violation> {
    holds('E', next == last + 1, || format!("{what}: {next} follows {last}"))
}

/// What the events of one tenant have told so far: folded from [`Event`]s alone, it must equal the state.
#[derive(Clone, Debug, Default)]
pub struct History {
    queues: BTreeMap<QueueId, QueueView>,
    supplies: BTreeMap<AgentId, Supply>,
    demands: BTreeMap<ConversationId, Demand>,
    timers: BTreeMap<Timer, Millis>,
    entries: BTreeMap<ConversationId, Entries>,
    items: BTreeMap<AgentId, u64>,
    ages: BTreeMap<ConversationId, Millis>,
    owners: BTreeMap<ConversationId, Owner>,
    /// R9: offers that have begun and not ended.
    offers: BTreeSet<(ConversationId, AgentId, Epoch)>,
    routing: Arc<RoutingSettings>,
    rates: BTreeMap<QueueId, QueueRates>,
    policy_version: u64,
}

/// The last who had a conversation; `now` while they have it.
#[derive(Clone, Copy, Debug)]
struct Owner {
    agent: AgentId,
    epoch: Epoch,
    now: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Entries {
    last: Seq,
    last_for_customer: Seq,
}

impl History {
    /// Learns the next event.
    ///
    /// # Errors
    /// C: a second owner, or an epoch that is not greater. D: a load raised beyond the capacity. E: an entry or an item out of
    /// order. I: an end of what never began. J: an age that changed.
    pub fn observe(&mut self, event: &Event) -> Result<(), Violation> {
        let known =
            |is: bool, what: &dyn std::fmt::Debug| holds('I', is, || format!("the end of what was not: {what:?}"));
        match event {
            Event::Queue(view) => _ = self.queues.insert(view.queue, view.clone()),
            Event::QueueEnded { queue } => {
                self.rates.remove(queue);
                known(self.queues.remove(queue).is_some(), queue)?;
            }
            Event::Supply(supply) => {
                let before = self.supplies.insert(supply.agent, supply.clone());
                raised_within_capacity(before.as_ref(), supply)?;
            }
            Event::SupplyEnded { agent } => {
                self.items.remove(agent);
                known(self.supplies.remove(agent).is_some(), agent)?;
            }
            Event::Demand(demand) => {
                let since_ms = *self.ages.entry(demand.conversation).or_insert(demand.since_ms);
                holds('J', since_ms == demand.since_ms, || {
                    format!(
                        "{} waits since {} and waited since {since_ms}",
                        demand.conversation, demand.since_ms
                    )
                })?;
                self.demands.insert(demand.conversation, demand.clone());
            }
            Event::DemandEnded { conversation } => known(self.demands.remove(conversation).is_some(), conversation)?,
            Event::Routing(settings) => self.routing = settings.clone(),
            Event::PolicyActivated { version } => self.policy_version = *version,
            // As the views have it: of whom nothing is observed any more, nothing is said.
            Event::Rates(rates) if rates.observed() => _ = self.rates.insert(rates.queue, *rates),
            Event::Rates(rates) => _ = self.rates.remove(&rates.queue),
            Event::TimerSet(Due { at_ms, timer }) => _ = self.timers.insert(*timer, *at_ms),
            Event::TimerCleared { timer } => known(self.timers.remove(timer).is_some(), timer)?,
            Event::Entry(entry) => {
                let so_far = self.entries.entry(entry.conversation).or_default();
                follows("entry", so_far.last, entry.seq)?;
                holds('E', entry.prev_for_customer == so_far.last_for_customer, || {
                    format!(
                        "{} entry {} has prev {}",
                        entry.conversation, entry.seq, entry.prev_for_customer
                    )
                })?;
                so_far.last = entry.seq;
                if entry.kind.for_customer() {
                    so_far.last_for_customer = entry.seq;
                }
                // R33: put off without its age, it begins to wait when its time comes.
                let put_off = matches!(&entry.kind, EntryKind::Scheduled { schedule } if !schedule.keep_age);
                if put_off || entry.kind == EntryKind::Reopened {
                    self.ages.remove(&entry.conversation);
                }
            }
            Event::Agent(item) => {
                let last = self.items.entry(item.agent).or_default();
                follows("agent item", *last, item.agent_seq)?;
                *last = item.agent_seq;
                self.observe_offer(item)?;
            }
            Event::Assigned {
                conversation,
                agent,
                epoch,
                ..
            } => {
                let owner = Owner {
                    agent: *agent,
                    epoch: *epoch,
                    now: true,
                };
                let before = self.owners.insert(*conversation, owner);
                holds(
                    'C',
                    before.is_none_or(|before| !before.now && before.epoch < *epoch),
                    || format!("{conversation} goes to {agent} under {epoch:?} after {before:?}"),
                )?;
            }
            Event::Unassigned {
                conversation,
                agent,
                epoch,
                ..
            } => {
                let before = self.owners.get_mut(conversation);
                let theirs = before.is_some_and(|before| {
                    std::mem::replace(&mut before.now, false) && (before.agent, before.epoch) == (*agent, *epoch)
                });
                holds('C', theirs, || {
                    format!("{conversation} leaves {agent}, who did not have it under {epoch:?}")
                })?;
            }
            Event::Archived { conversation, .. } => {
                self.owners.remove(conversation);
                self.entries.remove(conversation);
                self.ages.remove(conversation);
            }
            _ => {}
        }
        Ok(())
    }

    /// C: each offer begins once and ends once, and none outlasts the assignment.
    fn observe_offer(&mut self, item: &AgentItem) -> Result<(), Violation> {
        let agent = item.agent;
        match &item.kind {
            AgentItemKind::Offered {
                conversation, epoch, ..
            } => {
                let new = self.offers.insert((*conversation, agent, *epoch));
                holds('C', new, || {
                    format!("{conversation} is offered to {agent} twice under {epoch:?}")
                })
            }
            AgentItemKind::OfferEnded {
                conversation, epoch, ..
            } => {
                let was = self.offers.remove(&(*conversation, agent, *epoch));
                holds('C', was, || {
                    format!("{conversation} was not offered to {agent} under {epoch:?}")
                })
            }
            AgentItemKind::Assigned { conversation, .. } => {
                let of_it =
                    (*conversation, AgentId(0), Epoch(0))..=(*conversation, AgentId(u128::MAX), Epoch(u64::MAX));
                holds('C', self.offers.range(of_it).next().is_none(), || {
                    format!("{conversation} goes to {agent} and is still offered")
                })
            }
            _ => Ok(()),
        }
    }

    /// What a queue manager that heard every event knows, in the order of [`Tenant::views`].
    pub fn views(&self) -> Views {
        let mut timers: Vec<Due> = self
            .timers
            .iter()
            .map(|(timer, at_ms)| Due {
                at_ms: *at_ms,
                timer: *timer,
            })
            .collect();
        timers.sort_unstable();
        Views {
            queues: self.queues.values().cloned().collect(),
            supplies: self.supplies.values().cloned().collect(),
            demands: self.demands.values().cloned().collect(),
            timers,
            routing: self.routing.clone(),
            rates: self.rates.values().copied().collect(),
            policy_version: self.policy_version,
        }
    }

    /// Compares with the state.
    ///
    /// # Errors
    /// C: offers that were told are not those that are out. I: the queue manager was not told something, or was told what is not
    /// so. E: headers and entries differ.
    pub fn check(&self, tenant: &Tenant) -> Result<(), Violation> {
        let (told, is) = (self.views(), tenant.views());
        holds('I', told.queues == is.queues, || {
            format!("queues told {:?}, are {:?}", told.queues, is.queues)
        })?;
        holds('I', told.supplies == is.supplies, || {
            format!("supplies told {:?}, are {:?}", told.supplies, is.supplies)
        })?;
        holds('I', told.demands == is.demands, || {
            format!("demands told {:?}, are {:?}", told.demands, is.demands)
        })?;
        holds('I', told.routing == is.routing && told.rates == is.rates, || {
            format!(
                "told {:?} and {:?}, are {:?} and {:?}",
                told.routing, told.rates, is.routing, is.rates
            )
        })?;
        holds('I', told.timers == is.timers, || {
            format!("timers told {:?}, are {:?}", told.timers, is.timers)
        })?;
        let mut offers = BTreeSet::new();
        for view in tenant.conversations(None) {
            if view.phase == Phase::Offered {
                let agents = view.agent.iter().chain(&view.also_offered);
                offers.extend(agents.map(|agent| (view.conversation, *agent, view.epoch)));
            }
            let told = self.entries.get(&view.conversation).copied().unwrap_or_default();
            holds(
                'E',
                (told.last, told.last_for_customer) == (view.last_seq, view.last_seq_for_customer),
                || {
                    format!(
                        "{}: entries told up to {told:?}, its header says {}",
                        view.conversation, view.last_seq
                    )
                },
            )?;
        }
        holds('C', offers == self.offers, || {
            format!("offers told {:?}, are {offers:?}", self.offers)
        })
    }
}

/// D: what was added fits; what was there before the capacity was lowered may stay.
fn raised_within_capacity(before: Option<&Supply>, after: &Supply) -> Result<(), Violation> {
    let held = |channel| before.and_then(|before| before.load.get(channel)).copied().unwrap_or(0);
    let Some((raised, _)) = after.load.iter().find(|(channel, n)| **n > held(channel)) else {
        return Ok(());
    };
    let lasting = |channel: &&Channel| {
        let limits = after.settings.capacity.channels.get(*channel);
        limits.is_none_or(|limits| !limits.interruptible)
    };
    let (capacity, total) = (
        &after.settings.capacity,
        after
            .load
            .iter()
            .filter(|(channel, _)| lasting(channel))
            .map(|(_, n)| u32::from(*n))
            .sum::<u32>(),
    );
    let interruptible = after
        .load
        .iter()
        .filter(|(channel, _)| !lasting(channel))
        .map(|(channel, n)| {
            let limits = capacity.channels.get(channel);
            limits.map_or(0, |limits| limits.cost.saturating_mul(u32::from(*n)))
        });
    let within_pool = match lasting(&raised) {
        true => after.used <= capacity.total,
        false => interruptible.fold(0, u32::saturating_add) <= capacity.interruptible,
    };
    let fits = within_pool
        && after.load.iter().all(|(channel, n)| {
            let limits = capacity.channels.get(channel);
            let within = |limits: &ChannelCapacity| *n <= limits.concurrent_max && (!limits.exclusive || total == 1);
            channel != raised && limits.is_none_or(|limits| !limits.exclusive) || limits.is_some_and(within)
        });
    holds('D', fits, || {
        format!("{} takes more {raised:?} than fits: {:?}", after.agent, after.load)
    })
}

/// L, for lists that the limits bound.
pub(crate) fn bounded(what: &str, is: usize, max: usize) -> Result<(), Violation> {
    holds('L', is <= max, || format!("{what}: {is} of at most {max}"))
}

const _: () = assert!(limits::IDEMPOTENCY_WINDOW > 0 && limits::AGENT_STREAM_WINDOW > 0);

#[cfg(test)]
#[path = "invariants_tests.rs"]
mod tests;
