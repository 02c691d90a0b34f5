//! Customers: they come, wait, lose patience, speak, and go.

use std::collections::BTreeMap;

use node::auth::Role;
use node::gateway::protocol::Attribute;
use rand::Rng;

use super::{CUSTOMERS_MAX, Conversation, Phase, Task, World, lot};
use crate::run::account::{Account, Side, Stream};
use crate::run::line::{Purpose, Turn, Who, customer_name, text_of};
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
    /// Plans the first of everything.
    pub(super) fn open_doors(&mut self) {
        let scenario = std::sync::Arc::clone(&self.scenario);
        for class in 0..self.classes.len() {
            let plan = &scenario.customers[self.classes[class].plan];
            if let Some(at_s) = self.classes[class].talk.next() {
                self.plan((at_s * 1e6) as u64, Task::Talk(class));
            }
            if plan.messages.mean() > 0.0 {
                for number in self.classes[class].standing.clone() {
                    if self.has_customer(number) {
                        self.first_words(number, 0);
                    }
                }
            }
        }
        self.comes(0);
        for (number, disconnects) in scenario.disconnects.iter().enumerate() {
            self.plan(disconnects.at_ms * 1_000, Task::Disconnects(number));
        }
        for agent in 0..self.agents.len() {
            self.plan_break(agent, 0);
            self.plan_reconnect(agent, 0);
        }
        self.plan(self.record.interval_us(), Task::Tick);
    }

    /// Standing conversations begin before the run. Gives how many of them are played here.
    pub(super) fn start_standing(&mut self) -> usize {
        let scenario = std::sync::Arc::clone(&self.scenario);
        let (mut count, mut mine) = (0, 0);
        for class in 0..self.classes.len() {
            let Comes::Standing { count: wanted, .. } = scenario.customers[self.classes[class].plan].comes else {
                continue;
            };
            for _ in 0..wanted {
                let number = self.conversation_later(class, 0);
                self.classes[class].standing.push(number);
                count += 1;
                if self.has_customer(number) {
                    mine += 1;
                    self.arrives();
                    self.connect_customer(number);
                    self.plan(count * STANDING_EVERY_US, Task::Start(number));
                }
            }
        }
        mine
    }

    /// Looks up who is due on the roll.
    pub(super) fn comes(&mut self, at_us: u64) {
        while self.roll.due_us().is_some_and(|due_us| due_us <= at_us) && self.next_of_roll() {}
        if let Some(due_us) = self.roll.due_us() {
            self.plan(due_us, Task::Comes);
        }
    }

    /// The next on the roll has a number now, and comes if they are played here. `false`: there is nobody left.
    pub(super) fn next_of_roll(&mut self) -> bool {
        let Some(arrival) = self.roll.next() else { return false };
        let number = self.conversation_later(arrival.class, arrival.start_us);
        if !self.has_customer(number) {
            return true;
        }
        if self.present >= CUSTOMERS_MAX {
            self.tally.dropped += 1;
            return true;
        }
        self.arrives();
        // Who connects ahead does so as early as there is time for.
        self.plan(arrival.connect_us, Task::ReconnectCustomer(number));
        self.plan(arrival.start_us, Task::Start(number));
        true
    }

    fn arrives(&mut self) {
        self.present += 1;
        self.tally.customers_most = self.tally.customers_most.max(self.present);
    }

    fn conversation_later(&mut self, class: usize, intended_us: u64) -> u32 {
        let number = self.conversations.len() as u32;
        let plan = &self.scenario.customers[self.classes[class].plan];
        let mut rng = lot(self.seed, kind::CUSTOMER, u64::from(number), 0);
        let to_say = plan.messages.draw(&mut rng).round() as u32;
        let shared = self.shared();
        self.conversations.push(Conversation {
            class,
            phase: Phase::Coming,
            // When another generator's customer starts is not known here.
            at_desk: if shared { Phase::Waiting } else { Phase::Coming },
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
            owned_ms: None,
            saw_end: false,
            account: if shared {
                Account::in_part(self.has_customer(number))
            } else {
                Account::default()
            },
            said: [0; 2],
            to_say: [to_say, 0],
            broke_us: None,
            retire_tries: 0,
        });
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
        if !standing {
            self.starts(number, class, at_us);
        }
        self.waits(number, 1);
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
        self.customer_phase(number, Phase::Waiting);
        let conversation = &mut self.conversations[number as usize];
        conversation.had_room = room;
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
        conversation.abandoned = true;
        let intended_us = conversation.intended_us;
        self.customer_phase(number, Phase::Closing);
        self.waits(number, -1);
        self.moves(number, at_us);
        self.record.count(Count::Abandoned, intended_us);
        self.done(at_us);
        let pending = client.close_conversation(id);
        self.command(pending, Who::Customer(number), Purpose::Close(number));
    }

    /// Somebody serves it. Gives whether that is the first time.
    pub(super) fn answers(&mut self, number: u32, at_us: u64) -> bool {
        let target_us = self.scenario.service_level_ms * 1_000;
        let standing = self.standing(number);
        self.waits(number, -1);
        let conversation = &mut self.conversations[number as usize];
        let (first, intended_us) = (!conversation.answered, conversation.intended_us);
        conversation.answered = true;
        if standing || !first {
            return false;
        }
        self.record.took(Measure::Wait, intended_us, at_us);
        if at_us.saturating_sub(intended_us) <= target_us {
            self.record.count(Count::InTarget, intended_us);
        }
        true
    }

    /// A customer reads in the transcript what became of the conversation.
    pub(super) fn customer_learns(&mut self, number: u32, turn: Turn, at_us: u64) {
        let phase = self.conversations[number as usize].phase;
        match (turn, phase) {
            (Turn::Joined, Phase::Waiting) => {
                self.customer_phase(number, Phase::Served);
                if self.answers(number, at_us) {
                    self.first_words(number, at_us);
                }
            }
            (Turn::Left(_), Phase::Served) => {
                self.customer_phase(number, Phase::Waiting);
                self.waits(number, 1);
            }
            (Turn::Closed, _) => {
                self.conversations[number as usize].saw_end = true;
                if phase == Phase::Waiting {
                    self.waits(number, -1);
                }
                self.gone(number, at_us);
            }
            _ => {}
        }
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
        let turn = self.classes[class].talked;
        self.classes[class].talked += 1;
        let mut rng = lot(self.seed, kind::TALK, class as u64, turn);
        let standing = &self.classes[class].standing;
        if !standing.is_empty() {
            let number = standing[rng.random_range(0..standing.len())];
            let side = if rng.random::<bool>() {
                Side::Customer
            } else {
                Side::Agent
            };
            if self.served_here(number, side) {
                self.say(number, side, at_us);
            }
        }
        if let Some(at_s) = self.classes[class].talk.next() {
            self.plan((at_s * 1e6) as u64, Task::Talk(class));
        }
    }

    /// Whether it is served, as one side knows that is played here.
    fn served_here(&self, number: u32, side: Side) -> bool {
        let conversation = &self.conversations[number as usize];
        match side {
            Side::Customer => self.has_customer(number) && conversation.phase == Phase::Served,
            Side::Agent => conversation.at_desk == Phase::Served && conversation.owner.is_some(),
        }
    }

    /// Sends one message.
    pub(super) fn say(&mut self, number: u32, side: Side, at_us: u64) {
        self.done(at_us);
        let nonce = self.wire.nonce;
        let stream = Stream::of(side, self.share.generator);
        let intended_us = self.shared().then_some(at_us);
        let conversation = &mut self.conversations[number as usize];
        let plan = self.classes[conversation.class].plan;
        let Some(id) = conversation.id else { return };
        let (law, client) = match side {
            Side::Customer => (self.scenario.customers[plan].bytes, conversation.client.as_ref()),
            Side::Agent => match conversation.owner {
                Some((agent, _)) => {
                    let agent = &self.agents[agent];
                    (self.scenario.agents[agent.plan].bytes, Some(&agent.client))
                }
                None => return,
            },
        };
        let Some(client) = client else { return };
        let said = u64::from(conversation.said[side as usize]);
        conversation.said[side as usize] += 1;
        let mut rng = lot(self.seed, kind::TALK + 100 + side as u64, u64::from(number), said);
        let bytes = (law.draw(&mut rng) as usize).min(routing::limits::BODY_MAX_BYTES);
        let message = conversation.account.sent(stream, at_us);
        let text = text_of(nonce, (number, stream, message), intended_us, bytes);
        let (pending, who) = match (side, conversation.owner) {
            (Side::Agent, Some((agent, epoch))) => (client.message_under(id, epoch, text), Who::Agent(agent)),
            _ => (client.message(id, text), Who::Customer(number)),
        };
        self.record.count(Count::Messages, at_us);
        self.command(pending, who, Purpose::Message(number, side, message));
    }

    pub(super) fn answered(
        &mut self,
        who: Who,
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
                if self.conversations[number as usize].phase == Phase::Waiting {
                    self.waits(number, -1);
                }
                self.conversations[number as usize].saw_end = true;
                self.gone(number, at_us);
            }
            (Purpose::Message(number, side, message), Ok((_, seq))) => {
                self.record.count(Count::Acknowledged, at_us);
                let stream = Stream::of(side, self.share.generator);
                let account = &mut self.conversations[number as usize].account;
                if let Some(intended_us) = account.acknowledged(stream, message, seq) {
                    self.record.took(Measure::MessageAck, intended_us, at_us);
                }
            }
            (Purpose::Message(number, side, message), Err(code)) => {
                let stream = Stream::of(side, self.share.generator);
                let conversation = &mut self.conversations[number as usize];
                conversation.account.refused(stream, message);
                let phase = match side {
                    Side::Customer => conversation.phase,
                    Side::Agent => conversation.at_desk,
                };
                if phase != Phase::Served || conversation.transferred {
                    // It ended or moved on while the message was under way.
                    self.tally.overtaken += 1;
                } else if let Some(books) = &mut self.books {
                    // Perhaps by somebody who is played elsewhere.
                    books.refused.push((number, code, at_us));
                } else {
                    self.refused(code);
                }
            }
            (Purpose::Close(number), result) => {
                match result {
                    Ok(_) => self.record.count(Count::Closed, at_us),
                    Err(_) => self.tally.overtaken += 1,
                }
                if self.shared() && matches!(who, Who::Agent(_)) {
                    // Its customer reads of it.
                    self.desk_phase(number, Phase::Gone);
                } else {
                    self.gone(number, at_us);
                }
            }
            (Purpose::Other, Ok(_)) => {}
            (Purpose::Other, Err(_)) => self.tally.overtaken += 1,
        }
    }

    fn refused(&mut self, code: String) {
        *self.tally.refused.entry(code).or_default() += 1;
    }

    fn gone(&mut self, number: u32, at_us: u64) {
        if self.conversations[number as usize].phase != Phase::Gone {
            self.customer_phase(number, Phase::Gone);
            self.present -= 1;
            self.plan(at_us + RETIRE_AFTER_US, Task::Retire(number));
        }
    }

    /// The account is closed when all is settled, or will not be.
    pub(super) fn retire(&mut self, number: u32, at_us: u64) {
        let shared = self.shared();
        let conversation = &mut self.conversations[number as usize];
        conversation.retire_tries += 1;
        let awaits = conversation.account.open() > 0 || shared && !conversation.saw_end;
        if awaits && conversation.retire_tries < RETIRE_TRIES {
            return self.plan(at_us + RETIRE_AFTER_US, Task::Retire(number));
        }
        if shared {
            // The account is closed when those of all generators are one.
            if let Some(client) = conversation.client.take() {
                client.close();
            }
            return;
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
        // Person by person, so that it is the same whoever plays them.
        let hit =
            |person: u64| lot(self.seed, kind::DISCONNECT, number as u64, person).random::<f64>() < disconnects.share;
        if disconnects.agents {
            for agent in self.agents.iter_mut().filter(|agent| agent.broke_us.is_none()) {
                if hit(1 << 32 | agent.id as u64) {
                    agent.broke_us = Some(at_us);
                    agent.client.break_connection();
                }
            }
        }
        if disconnects.customers {
            let conversations = self.conversations.iter_mut().enumerate();
            for (number, conversation) in conversations {
                let there =
                    !matches!(conversation.phase, Phase::Coming | Phase::Gone) && conversation.broke_us.is_none();
                if let Some(client) = conversation.client.as_ref().filter(|_| there)
                    && hit(number as u64)
                {
                    client.break_connection();
                    conversation.broke_us = Some(at_us);
                }
            }
        }
    }
}
