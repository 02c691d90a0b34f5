//! Customers: they come, wait, lose patience, speak, and go.

use std::collections::BTreeMap;

use node::auth::Role;
use node::gateway::protocol::Attribute;
use rand::Rng;

use super::{CUSTOMERS_MAX, Class, Conversation, Phase, Task, World, lot};
use crate::run::account::{Account, Side};
use crate::run::line::{Purpose, Who, customer_name, text_of};
use crate::run::record::{Count, Measure};
use crate::scenario::{Comes, policy::KIND};

/// Standing conversations are started so far apart.
const STANDING_EVERY_US: u64 = 3_000;
/// After a conversation's end, until its client goes; as often as messages are not settled, at most this often.
const RETIRE_AFTER_US: u64 = 1_000_000;
const RETIRE_TRIES: u32 = 20;

/// Kinds of lots.
pub(super) mod kind {
    pub const ARRIVALS: u64 = 1;
    pub const PATIENCE: u64 = 2;
    pub const CUSTOMER: u64 = 3;
    pub const AGENT: u64 = 4;
    pub const HANDLE: u64 = 5;
    pub const ACCEPT: u64 = 6;
    pub const WRAP_UP: u64 = 7;
    pub const TALK: u64 = 8;
    pub const BREAK: u64 = 9;
    pub const RECONNECT: u64 = 10;
    pub const DISCONNECT: u64 = 11;
}

impl World {
    /// Classes of all tenants, and the queues they use.
    pub(super) fn make_classes(&mut self) {
        let scenario = std::sync::Arc::clone(&self.scenario);
        let mut groups = 0;
        for (tenant, made) in self.tenants.iter().enumerate() {
            let of_tenant = || scenario.agents.iter().filter(|agents| agents.tenant == made.plan);
            for (plan, customers) in scenario.customers.iter().enumerate() {
                if customers.tenant != made.plan {
                    continue;
                }
                let able = of_tenant().enumerate().filter(|(_, agents)| {
                    let knows = |(name, level): &(String, u64)| {
                        agents.skills.iter().any(|(known, at)| known == name && at >= level)
                    };
                    agents.queues.contains(&customers.queue) && customers.skills.iter().all(knows)
                });
                let times: Box<dyn Iterator<Item = f64> + Send> = match &customers.comes {
                    Comes::Arriving(arrivals)
                    | Comes::Standing {
                        talk: Some(arrivals), ..
                    } => {
                        let number = (self.classes.len() as u64) << 8;
                        let seed = lot(self.seed, kind::ARRIVALS, number, 0).random();
                        Box::new(arrivals.schedule(self.scale, self.until_us as f64 / 1e6, seed))
                    }
                    Comes::Standing { talk: None, .. } => Box::new(std::iter::empty()),
                };
                self.classes.push(Class {
                    plan,
                    tenant,
                    groups: able.map(|(n, _)| groups + n).collect(),
                    queue: tenant * scenario.queues.len() + customers.queue,
                    times,
                    standing: Vec::new(),
                });
            }
            groups += of_tenant().count();
        }
        self.waiting = vec![0; self.tenants.len() * scenario.queues.len()];
    }

    /// Plans the first of everything.
    pub(super) fn open_doors(&mut self) {
        let scenario = std::sync::Arc::clone(&self.scenario);
        for class in 0..self.classes.len() {
            let plan = &scenario.customers[self.classes[class].plan];
            let arriving = matches!(plan.comes, Comes::Arriving(_));
            if let Some(at_s) = self.classes[class].times.next() {
                let at_us = (at_s * 1e6) as u64;
                if arriving {
                    self.comes_at(class, at_us);
                } else {
                    self.plan(at_us, Task::Talk(class));
                }
            }
            if !arriving && plan.messages.mean() > 0.0 {
                for number in self.classes[class].standing.clone() {
                    self.first_words(number, 0);
                }
            }
        }
        for (number, disconnects) in scenario.disconnects.iter().enumerate() {
            self.plan(disconnects.at_ms * 1_000, Task::Disconnects(number));
        }
        for agent in 0..self.agents.len() {
            self.plan_break(agent, 0);
            self.plan_reconnect(agent, 0);
        }
        self.plan(self.record.interval_us(), Task::Tick);
    }

    /// Standing conversations begin before the run. Gives how many there are.
    pub(super) fn start_standing(&mut self) -> usize {
        let scenario = std::sync::Arc::clone(&self.scenario);
        let mut count = 0;
        for class in 0..self.classes.len() {
            let Comes::Standing { count: wanted, .. } = scenario.customers[self.classes[class].plan].comes else {
                continue;
            };
            for _ in 0..wanted {
                let number = self.conversation(class, 0);
                self.classes[class].standing.push(number);
                count += 1;
                self.plan(count * STANDING_EVERY_US, Task::Start(number));
            }
        }
        count as usize
    }

    fn comes_at(&mut self, class: usize, start_us: u64) {
        let ahead_us = self.scenario.customers[self.classes[class].plan].connect_ahead_ms * 1_000;
        // The task's time is that of the start; who connects ahead does so as early as there is time for.
        let number = if self.present < CUSTOMERS_MAX {
            Some(self.conversation_later(class, start_us))
        } else {
            self.tally.dropped += 1;
            None
        };
        let connect_us = start_us.saturating_sub(ahead_us);
        if let Some(number) = number {
            self.plan(connect_us, Task::ReconnectCustomer(number));
            self.plan(start_us, Task::Start(number));
        }
        self.plan(connect_us, Task::Comes(class));
    }

    /// The next one's time is looked up when the one before connects.
    pub(super) fn comes(&mut self, class: usize, _at_us: u64) {
        if let Some(at_s) = self.classes[class].times.next() {
            self.comes_at(class, (at_s * 1e6) as u64);
        }
    }

    fn conversation_later(&mut self, class: usize, intended_us: u64) -> u32 {
        let number = self.conversations.len() as u32;
        let plan = &self.scenario.customers[self.classes[class].plan];
        let mut rng = lot(self.seed, kind::CUSTOMER, u64::from(number), 0);
        let to_say = plan.messages.draw(&mut rng).round() as u32;
        self.present += 1;
        self.tally.customers_most = self.tally.customers_most.max(self.present);
        self.conversations.push(Conversation {
            class,
            phase: Phase::Coming,
            intended_us,
            id: None,
            client: None,
            had_room: false,
            offered: false,
            accept_us: None,
            answered: false,
            abandoned: false,
            transferred: false,
            owner: None,
            account: Account::default(),
            said: [0; 2],
            to_say: [to_say, 0],
            broke_us: None,
            retire_tries: 0,
        });
        number
    }

    fn conversation(&mut self, class: usize, intended_us: u64) -> u32 {
        let number = self.conversation_later(class, intended_us);
        self.connect_customer(number);
        number
    }

    fn connect_customer(&mut self, number: u32) {
        let tenant = &self.tenants[self.classes[self.conversations[number as usize].class].tenant];
        match tenant.token(Role::Customer, &customer_name(self.wire.nonce, number)) {
            Ok(token) => {
                let client = self.wire.connect(&self.urls, token, Who::Customer(number));
                self.conversations[number as usize].client = Some(client);
            }
            Err(error) => *self.tally.ended.entry(format!("no token: {error}")).or_default() += 1,
        }
    }

    pub(super) fn standing(&self, number: u32) -> bool {
        let class = &self.classes[self.conversations[number as usize].class];
        matches!(self.scenario.customers[class.plan].comes, Comes::Standing { .. })
    }

    pub(super) fn start(&mut self, number: u32, at_us: u64) {
        let standing = self.standing(number);
        let class = self.conversations[number as usize].class;
        let (plan, queue) = (self.classes[class].plan, self.classes[class].queue);
        let room = self.classes[class].groups.iter().any(|group| self.free[*group] > 0) && self.waiting[queue] == 0;
        self.waiting[queue] += 1;
        if !standing {
            self.done(at_us);
            self.record.count(Count::Arrivals, at_us);
        }
        let patience = self.scenario.customers[plan].patience;
        if let Some(patience) = patience.filter(|_| !standing) {
            let mut rng = lot(self.seed, kind::PATIENCE, u64::from(number), 0);
            let after_us = (patience.draw(&mut rng) * 1e3) as u64;
            self.plan(at_us + after_us, Task::LosesPatience(number));
        }
        let name = self.scenario.customers[plan].name.clone();
        let conversation = &mut self.conversations[number as usize];
        conversation.had_room = room;
        conversation.phase = Phase::Waiting;
        let Some(client) = &conversation.client else { return };
        let pending = client.start(BTreeMap::from([(KIND.to_owned(), Attribute::Text(name))]), None);
        self.command(pending, Who::Customer(number), Purpose::Start(number));
        if let Some(every) = self.scenario.customers[plan].reconnect_every {
            let mut rng = lot(self.seed, kind::RECONNECT, u64::from(number), 1);
            let after_us = (every.draw(&mut rng) * 1e3) as u64;
            self.plan(at_us + after_us.max(1_000), Task::ReconnectCustomer(number));
        }
    }

    pub(super) fn command(&mut self, pending: node::client::PendingAck, who: Who, purpose: Purpose) {
        self.outstanding += 1;
        self.tally.commands += 1;
        self.wire.expect(pending, who, purpose);
    }

    pub(super) fn loses_patience(&mut self, number: u32, at_us: u64) {
        let conversation = &mut self.conversations[number as usize];
        if conversation.phase != Phase::Waiting || conversation.answered {
            return;
        }
        let (Some(id), Some(client)) = (conversation.id, conversation.client.clone()) else {
            // Not even acknowledged: goes as soon as it is.
            return self.plan(at_us + 10_000, Task::LosesPatience(number));
        };
        conversation.phase = Phase::Closing;
        conversation.abandoned = true;
        let (class, intended_us) = (conversation.class, conversation.intended_us);
        self.waiting[self.classes[class].queue] -= 1;
        self.record.count(Count::Abandoned, intended_us);
        self.done(at_us);
        let pending = client.close_conversation(id);
        self.command(pending, Who::Customer(number), Purpose::Close(number));
    }

    /// The customer's first message is due a think time after the first answer.
    pub(super) fn first_words(&mut self, number: u32, at_us: u64) {
        let conversation = &self.conversations[number as usize];
        if conversation.said[0] < conversation.to_say[0] {
            let next_us = at_us + self.thinks(number, Side::Customer);
            self.plan(next_us, Task::CustomerSays(number));
        }
    }

    /// How long somebody thinks before their next message, µs.
    pub(super) fn thinks(&self, number: u32, side: Side) -> u64 {
        let conversation = &self.conversations[number as usize];
        let turn = u64::from(conversation.said[side as usize]) + 1;
        let (law, kind) = match side {
            Side::Customer => (
                self.scenario.customers[self.classes[conversation.class].plan].think,
                kind::CUSTOMER,
            ),
            Side::Agent => match conversation.owner {
                Some((agent, _)) => (self.scenario.agents[self.agents[agent].plan].think, kind::AGENT),
                None => return 0,
            },
        };
        (law.draw(&mut lot(self.seed, kind, u64::from(number), turn)) * 1e3) as u64
    }

    pub(super) fn customer_says(&mut self, number: u32, at_us: u64) {
        if self.conversations[number as usize].phase != Phase::Served {
            return;
        }
        self.say(number, Side::Customer, at_us);
        let conversation = &self.conversations[number as usize];
        if conversation.said[0] < conversation.to_say[0] {
            let next_us = at_us + self.thinks(number, Side::Customer);
            self.plan(next_us, Task::CustomerSays(number));
        }
    }

    /// The next message of a class's schedule: in a conversation, from a side, drawn by lot.
    pub(super) fn talk(&mut self, class: usize, at_us: u64) {
        let turn = self.tally.commands;
        let mut rng = lot(self.seed, kind::TALK, class as u64, at_us ^ turn << 40);
        let standing = &self.classes[class].standing;
        if !standing.is_empty() {
            let number = standing[rng.random_range(0..standing.len())];
            let side = if rng.random::<bool>() {
                Side::Customer
            } else {
                Side::Agent
            };
            if self.conversations[number as usize].phase == Phase::Served {
                self.say(number, side, at_us);
            }
        }
        if let Some(at_s) = self.classes[class].times.next() {
            self.plan((at_s * 1e6) as u64, Task::Talk(class));
        }
    }

    /// Sends one message.
    pub(super) fn say(&mut self, number: u32, side: Side, at_us: u64) {
        self.done(at_us);
        let nonce = self.wire.nonce;
        let conversation = &mut self.conversations[number as usize];
        let plan = self.classes[conversation.class].plan;
        let (Some(id), Some(customer), Some((agent, epoch))) =
            (conversation.id, conversation.client.as_ref(), conversation.owner)
        else {
            return;
        };
        let law = match side {
            Side::Customer => self.scenario.customers[plan].bytes,
            Side::Agent => self.scenario.agents[self.agents[agent].plan].bytes,
        };
        let said = u64::from(conversation.said[side as usize]);
        conversation.said[side as usize] += 1;
        let mut rng = lot(self.seed, kind::TALK + 100 + side as u64, u64::from(number), said);
        let bytes = (law.draw(&mut rng) as usize).min(routing::limits::BODY_MAX_BYTES);
        let message = conversation.account.sent(side, at_us);
        let text = text_of(nonce, number, side, message, bytes);
        let (pending, who) = match side {
            Side::Customer => (customer.message(id, text), Who::Customer(number)),
            Side::Agent => (
                self.agents[agent].client.message_under(id, epoch, text),
                Who::Agent(agent),
            ),
        };
        self.record.count(Count::Messages, at_us);
        self.command(pending, who, Purpose::Message(number, side, message));
    }

    pub(super) fn answered(
        &mut self,
        purpose: Purpose,
        result: Result<(Option<routing::ids::ConversationId>, u64), String>,
        at_us: u64,
    ) {
        self.outstanding -= 1;
        match (purpose, result) {
            (Purpose::Start(number), Ok((id, _))) => {
                let standing = self.standing(number);
                let conversation = &mut self.conversations[number as usize];
                conversation.id = id;
                let intended_us = conversation.intended_us;
                if let Some(id) = id {
                    self.ids.insert(id, number);
                }
                if !standing {
                    self.record.took(Measure::StartAck, intended_us, at_us);
                }
            }
            (Purpose::Start(number), Err(code)) => {
                self.refused(code);
                let conversation = &mut self.conversations[number as usize];
                if conversation.phase == Phase::Waiting {
                    let class = conversation.class;
                    self.waiting[self.classes[class].queue] -= 1;
                }
                self.gone(number, at_us);
            }
            (Purpose::Message(number, side, message), Ok((_, seq))) => {
                self.record.count(Count::Acknowledged, at_us);
                let account = &mut self.conversations[number as usize].account;
                if let Some(intended_us) = account.acknowledged(side, message, seq) {
                    self.record.took(Measure::MessageAck, intended_us, at_us);
                }
            }
            (Purpose::Message(number, side, message), Err(code)) => {
                let conversation = &mut self.conversations[number as usize];
                conversation.account.refused(side, message);
                // It ended or moved on while the message was under way.
                if conversation.phase == Phase::Served && !conversation.transferred {
                    self.refused(code);
                } else {
                    self.tally.overtaken += 1;
                }
            }
            (Purpose::Close(number), result) => {
                match result {
                    Ok(_) => self.record.count(Count::Closed, at_us),
                    Err(_) => self.tally.overtaken += 1,
                }
                self.gone(number, at_us);
            }
            (Purpose::Other, Ok(_)) => {}
            (Purpose::Other, Err(_)) => self.tally.overtaken += 1,
        }
    }

    fn refused(&mut self, code: String) {
        *self.tally.refused.entry(code).or_default() += 1;
    }

    fn gone(&mut self, number: u32, at_us: u64) {
        let conversation = &mut self.conversations[number as usize];
        if conversation.phase != Phase::Gone {
            conversation.phase = Phase::Gone;
            self.present -= 1;
            self.plan(at_us + RETIRE_AFTER_US, Task::Retire(number));
        }
    }

    /// The account is closed when all is settled, or will not be.
    pub(super) fn retire(&mut self, number: u32, at_us: u64) {
        let conversation = &mut self.conversations[number as usize];
        conversation.retire_tries += 1;
        if conversation.account.open() > 0 && conversation.retire_tries < RETIRE_TRIES {
            return self.plan(at_us + RETIRE_AFTER_US, Task::Retire(number));
        }
        let mut faults = std::mem::take(&mut conversation.account).close();
        // It is among the commands outstanding.
        faults.unanswered = 0;
        self.tally.faults.add(&faults);
        if let Some(client) = conversation.client.take() {
            client.close();
        }
        if let Some(id) = conversation.id {
            self.ids.remove(&id);
        }
    }

    /// Connects for the first time, or breaks the connection.
    pub(super) fn reconnect_customer(&mut self, number: u32, at_us: u64) {
        if self.conversations[number as usize].phase == Phase::Coming {
            return self.connect_customer(number);
        }
        let conversation = &mut self.conversations[number as usize];
        let Some(client) = conversation
            .client
            .clone()
            .filter(|_| conversation.phase != Phase::Gone)
        else {
            return;
        };
        let plan = self.classes[conversation.class].plan;
        if conversation.broke_us.is_none() {
            conversation.broke_us = Some(at_us);
            client.break_connection();
        }
        if let Some(every) = self.scenario.customers[plan].reconnect_every {
            let mut rng = lot(self.seed, kind::RECONNECT, u64::from(number), at_us);
            let after_us = (every.draw(&mut rng) * 1e3) as u64;
            self.plan(at_us + after_us.max(1_000), Task::ReconnectCustomer(number));
        }
    }

    /// Many connections break at once.
    pub(super) fn disconnects(&mut self, number: usize, at_us: u64) {
        let disconnects = self.scenario.disconnects[number].clone();
        let mut rng = lot(self.seed, kind::DISCONNECT, number as u64, 0);
        let mut hit = |share: f64| rng.random::<f64>() < share;
        if disconnects.agents {
            for agent in self.agents.iter_mut().filter(|agent| agent.broke_us.is_none()) {
                if hit(disconnects.share) {
                    agent.broke_us = Some(at_us);
                    agent.client.break_connection();
                }
            }
        }
        if disconnects.customers {
            let there = |conversation: &&mut Conversation| {
                !matches!(conversation.phase, Phase::Coming | Phase::Gone) && conversation.broke_us.is_none()
            };
            for conversation in self.conversations.iter_mut().filter(there) {
                if let Some(client) = conversation.client.as_ref()
                    && hit(disconnects.share)
                {
                    client.break_connection();
                    conversation.broke_us = Some(at_us);
                }
            }
        }
    }
}
