//! Agents: they take offers, answer, pass on, close, wrap up, and take breaks.

use node::auth::Role;
use node::gateway::protocol::{ClientFrame, WantedPresence};
use rand::Rng;
use routing::event::Phase as LogPhase;
use routing::ids::{ConversationId, Epoch};

use super::customers::kind;
use super::{Agent, Phase, Task, World, lot};
use crate::run::account::Side;
use crate::run::line::{Purpose, What, Who};
use crate::run::record::{Count, Measure};
use crate::scenario::policy::agent_name;

impl World {
    /// Connects all agents; they are not signed in yet.
    pub fn agents_come(&mut self) -> anyhow::Result<Vec<node::client::Client>> {
        let scenario = std::sync::Arc::clone(&self.scenario);
        let (mut id, mut group) = (0, 0);
        for tenant in 0..self.tenants.len() {
            let kind = self.tenants[tenant].plan;
            for (plan, agents) in scenario
                .agents
                .iter()
                .enumerate()
                .filter(|(_, agents)| agents.tenant == kind)
            {
                for number in 0..agents.count {
                    id += 1;
                    if !self.share.has(id - 1) {
                        continue;
                    }
                    let token = self.tenants[tenant].token(Role::Agent, &agent_name(agents, number))?;
                    let client = self.wire.connect(&self.urls, token, Who::Agent(self.agents.len()));
                    let (available, broke_us, has) = (true, None, Vec::new());
                    self.agents.push(Agent {
                        id: id - 1,
                        plan,
                        tenant,
                        group,
                        client,
                        available,
                        has,
                        broke_us,
                    });
                }
                group += 1;
            }
        }
        Ok(self.agents.iter().map(|agent| agent.client.clone()).collect())
    }

    fn has(&mut self, agent: usize, number: u32) {
        let room = self.scenario.agents[self.agents[agent].plan].concurrency;
        let agent = &mut self.agents[agent];
        if agent.has.contains(&number) {
            return;
        }
        agent.has.push(number);
        self.tally.faults.over_capacity += u64::from(agent.has.len() > room);
        let (group, available) = (agent.group, agent.available);
        if available {
            self.frees(group, -1);
        }
    }

    fn has_not(&mut self, agent: usize, number: u32) {
        let agent = &mut self.agents[agent];
        let Some(at) = agent.has.iter().position(|had| *had == number) else {
            return;
        };
        agent.has.swap_remove(at);
        let (group, available) = (agent.group, agent.available);
        if available {
            self.frees(group, 1);
        }
    }

    pub(super) fn agent_hears(&mut self, agent: usize, what: What, at_us: u64) {
        match what {
            What::Offered {
                customer,
                conversation,
                epoch,
            } => {
                self.offered(agent, (customer, conversation, epoch), at_us);
            }
            What::Assigned {
                customer,
                conversation,
                epoch,
                at_ms,
            } => {
                self.assigned(agent, (customer, conversation, epoch), at_ms, at_us);
            }
            What::OfferGone { conversation } => {
                if let Some(&number) = self.ids.get(&conversation) {
                    self.has_not(agent, number);
                }
            }
            What::Unassigned {
                conversation,
                at_ms,
                wanted,
            } => {
                if let Some(&number) = self.ids.get(&conversation) {
                    self.unassigned(agent, number, at_ms, wanted);
                }
            }
            What::WrapUp { conversation, epoch } => {
                if let Some(&number) = self.ids.get(&conversation) {
                    self.wraps_up(agent, number, epoch, at_us);
                }
            }
            What::WrapUpEnded { conversation } => {
                if let Some(&number) = self.ids.get(&conversation) {
                    self.has_not(agent, number);
                }
            }
            What::Desk { at_ms, has } => self.desk(agent, at_ms, has, at_us),
            _ => {}
        }
    }

    fn offered(&mut self, agent: usize, (number, id, epoch): (u32, ConversationId, Epoch), at_us: u64) {
        self.has(agent, number);
        self.ids.insert(id, number);
        self.reached(number, id, at_us);
        let plan = self.agents[agent].plan;
        let mut rng = lot(self.seed, kind::ACCEPT, u64::from(number), epoch.0);
        let after_us = (self.scenario.agents[plan].accept.draw(&mut rng) * 1e3) as u64;
        self.conversations[number as usize].owner = Some((agent, epoch));
        if after_us == 0 {
            self.accept(number, epoch.0, at_us);
        } else {
            self.plan(at_us + after_us, Task::Accept(number, epoch.0));
        }
    }

    /// An agent's socket has heard of it for the first time.
    fn reached(&mut self, number: u32, id: ConversationId, at_us: u64) {
        let (standing, shared) = (self.standing(number), self.shared());
        if let Some(books) = self.books.as_mut().filter(|_| !standing) {
            books.offered.entry(number).or_insert(at_us);
        }
        let conversation = &mut self.conversations[number as usize];
        conversation.id = Some(id);
        if !conversation.offered {
            conversation.offered = true;
            // Of several generators, none knows alone who was free.
            if conversation.had_room && !standing && !shared {
                let intended_us = conversation.intended_us;
                self.record.took(Measure::StartOffer, intended_us, at_us);
            }
        }
    }

    pub(super) fn accept(&mut self, number: u32, epoch: u64, at_us: u64) {
        let conversation = &mut self.conversations[number as usize];
        let (Some((agent, at)), Some(id)) = (conversation.owner, conversation.id) else {
            return;
        };
        if at.0 != epoch || conversation.at_desk != Phase::Waiting {
            return;
        }
        conversation.accept_us = Some(at_us);
        self.done(at_us);
        let pending = self.agents[agent].client.accept(id, at);
        self.command(pending, Who::Agent(agent), Purpose::Other);
    }

    fn assigned(&mut self, agent: usize, who: (u32, ConversationId, Epoch), at_ms: u64, at_us: u64) {
        let (number, conversation, epoch) = who;
        self.has(agent, number);
        self.ids.insert(conversation, number);
        self.reached(number, conversation, at_us);
        let standing = self.standing(number);
        let id = self.agents[agent].id;
        let conversation = &mut self.conversations[number as usize];
        conversation.account.assigned(epoch.0, id, at_ms);
        if conversation.at_desk != Phase::Waiting {
            return;
        }
        conversation.owner = Some((agent, epoch));
        conversation.owned_ms = Some(at_ms);
        let accept_us = conversation.accept_us.take();
        self.desk_phase(number, Phase::Served);
        // Of several generators, the customer's own counts how long it was.
        let first = !self.shared() && self.answers(number, at_us);
        if standing {
            return;
        }
        if let Some(accept_us) = accept_us {
            self.record.took(Measure::OfferAssigned, accept_us, at_us);
        }
        self.record.count(Count::Assigned, at_us);
        self.begins_to_serve(number, (agent, epoch.0), at_us);
        if first {
            self.first_words(number, at_us);
        }
    }

    fn begins_to_serve(&mut self, number: u32, (agent, epoch): (usize, u64), at_us: u64) {
        let plan = &self.scenario.agents[self.agents[agent].plan];
        let mut rng = lot(self.seed, kind::HANDLE, u64::from(number), epoch);
        let handle_us = (plan.handle.draw(&mut rng) * 1e3) as u64;
        let to_say = plan.messages.draw(&mut rng).round() as u32;
        self.conversations[number as usize].to_say[1] += to_say;
        self.plan(at_us + handle_us, Task::HandleOver(number, epoch));
        if to_say > 0 {
            let next_us = at_us + self.thinks(number, Side::Agent);
            self.plan(next_us, Task::AgentSays(number, epoch));
        }
    }

    fn serves(&self, number: u32, epoch: u64) -> bool {
        let conversation = &self.conversations[number as usize];
        conversation.at_desk == Phase::Served && conversation.owner.is_some_and(|(_, at)| at.0 == epoch)
    }

    pub(super) fn agent_says(&mut self, number: u32, epoch: u64, at_us: u64) {
        if !self.serves(number, epoch) {
            return;
        }
        self.say(number, Side::Agent, at_us);
        let conversation = &self.conversations[number as usize];
        if conversation.said[1] < conversation.to_say[1] {
            let next_us = at_us + self.thinks(number, Side::Agent);
            self.plan(next_us, Task::AgentSays(number, epoch));
        }
    }

    /// The agent has done: passes it on, or closes.
    pub(super) fn handle_over(&mut self, number: u32, epoch: u64, at_us: u64) {
        if !self.serves(number, epoch) {
            return;
        }
        self.done(at_us);
        let conversation = &mut self.conversations[number as usize];
        let (Some((agent, _)), Some(id)) = (conversation.owner, conversation.id) else {
            return;
        };
        let tenant = &self.tenants[self.agents[agent].tenant];
        let plan = &self.scenario.agents[self.agents[agent].plan];
        let to = plan
            .transfer_to
            .and_then(|queue| tenant.queues.get(&self.scenario.queues[queue].name));
        let passes_on = lot(self.seed, kind::HANDLE, u64::from(number), !epoch).random::<f64>() < plan.transfer_share;
        let client = self.agents[agent].client.clone();
        match to.filter(|_| passes_on && !conversation.transferred) {
            Some(&queue) => {
                conversation.transferred = true;
                conversation.owner = None;
                self.waits_again(number);
                self.moves(number, at_us);
                self.tally.transfers += 1;
                let pending = client.transfer_to_queue(id, queue);
                self.command(pending, Who::Agent(agent), Purpose::Other);
            }
            None => {
                self.desk_phase(number, Phase::Closing);
                self.moves(number, at_us);
                let pending = client.close_conversation(id);
                self.command(pending, Who::Agent(agent), Purpose::Close(number));
            }
        }
    }

    fn unassigned(&mut self, agent: usize, number: u32, at_ms: u64, wanted: bool) {
        self.has_not(agent, number);
        let id = self.agents[agent].id;
        let conversation = &mut self.conversations[number as usize];
        conversation.account.unassigned(id, at_ms);
        let owns = conversation.at_desk == Phase::Served && conversation.owner.is_some_and(|(owner, _)| owner == agent);
        if wanted {
            if owns && self.shared() {
                // A customer who is played elsewhere has closed it.
                self.desk_phase(number, Phase::Gone);
            }
            return;
        }
        self.tally.owners_lost += 1;
        if owns {
            let conversation = &mut self.conversations[number as usize];
            conversation.owner = None;
            conversation.transferred = true;
            self.waits_again(number);
            // When it was lost is not known: whatever was refused may have been for it.
            self.moves(number, 0);
        }
    }

    /// It is nobody's any more, and in a queue once more.
    fn waits_again(&mut self, number: u32) {
        self.desk_phase(number, Phase::Waiting);
        if !self.shared() {
            self.waits(number, 1);
        }
    }

    fn wraps_up(&mut self, agent: usize, number: u32, epoch: Epoch, at_us: u64) {
        let Some(law) = self.scenario.agents[self.agents[agent].plan].wrap_up else {
            return;
        };
        let mut rng = lot(self.seed, kind::WRAP_UP, u64::from(number), epoch.0);
        let after_us = (law.draw(&mut rng) * 1e3) as u64;
        self.plan(at_us + after_us, Task::WrapUpOver(number, agent, epoch.0));
    }

    pub(super) fn wrap_up_over(&mut self, number: u32, agent: usize, epoch: u64, at_us: u64) {
        let Some(id) = self.conversations[number as usize].id else {
            return;
        };
        self.done(at_us);
        let pending = self.agents[agent].client.finish_wrap_up(id, Epoch(epoch));
        self.command(pending, Who::Agent(agent), Purpose::Other);
    }

    /// All that an agent has, after a connection on which too much was missed.
    fn desk(&mut self, agent: usize, at_ms: u64, has: Vec<(ConversationId, u32, LogPhase, Epoch)>, at_us: u64) {
        let agent_id = self.agents[agent].id;
        for number in self.agents[agent].has.clone() {
            if !has.iter().any(|(_, there, ..)| *there == number) {
                self.has_not(agent, number);
                // When it ended is not known: not held against anybody.
                self.conversations[number as usize].account.unassigned(agent_id, 0);
            }
        }
        for (id, number, phase, epoch) in has {
            let known = self.conversations[number as usize].owner == Some((agent, epoch));
            match phase {
                LogPhase::Offered if !known => self.offered(agent, (number, id, epoch), at_us),
                LogPhase::Assigned if self.conversations[number as usize].at_desk == Phase::Waiting => {
                    self.assigned(agent, (number, id, epoch), at_ms, at_us);
                }
                LogPhase::Offered | LogPhase::Assigned | LogPhase::WrapUp => self.has(agent, number),
                _ => {}
            }
        }
    }

    pub(super) fn plan_break(&mut self, agent: usize, at_us: u64) {
        if let Some(every) = self.scenario.agents[self.agents[agent].plan].break_every {
            let mut rng = lot(self.seed, kind::BREAK, self.agents[agent].id as u64, at_us);
            let after_us = (every.draw(&mut rng) * 1e3) as u64;
            self.plan(at_us + after_us.max(1_000), Task::Break(agent));
        }
    }

    pub(super) fn plan_reconnect(&mut self, agent: usize, at_us: u64) {
        if let Some(every) = self.scenario.agents[self.agents[agent].plan].reconnect_every {
            let mut rng = lot(
                self.seed,
                kind::RECONNECT,
                self.agents[agent].id as u64,
                at_us ^ 1 << 63,
            );
            let after_us = (every.draw(&mut rng) * 1e3) as u64;
            self.plan(at_us + after_us.max(1_000), Task::ReconnectAgent(agent));
        }
    }

    pub(super) fn reconnect_agent(&mut self, agent: usize, at_us: u64) {
        if self.agents[agent].broke_us.is_none() {
            self.agents[agent].broke_us = Some(at_us);
            self.agents[agent].client.break_connection();
        }
        self.plan_reconnect(agent, at_us);
    }

    fn presence(&mut self, agent: usize, presence: WantedPresence, at_us: u64) {
        self.done(at_us);
        let frame = ClientFrame::Presence { number: 0, presence };
        let pending = self.agents[agent].client.command(frame);
        self.command(pending, Who::Agent(agent), Purpose::Other);
    }

    fn free_places(&self, agent: usize) -> i64 {
        let agent = &self.agents[agent];
        self.scenario.agents[agent.plan].concurrency as i64 - agent.has.len() as i64
    }

    pub(super) fn take_break(&mut self, agent: usize, at_us: u64) {
        self.frees(self.agents[agent].group, -self.free_places(agent));
        self.agents[agent].available = false;
        self.presence(
            agent,
            WantedPresence::Away {
                reason: "break".to_owned(),
            },
            at_us,
        );
        let law = self.scenario.agents[self.agents[agent].plan].break_length;
        let mut rng = lot(self.seed, kind::BREAK, self.agents[agent].id as u64, at_us ^ 1 << 63);
        let after_us = (law.draw(&mut rng) * 1e3) as u64;
        self.plan(at_us + after_us, Task::Back(agent));
    }

    pub(super) fn come_back(&mut self, agent: usize, at_us: u64) {
        self.frees(self.agents[agent].group, self.free_places(agent));
        self.agents[agent].available = true;
        self.presence(agent, WantedPresence::Available, at_us);
        self.plan_break(agent, at_us);
    }
}
