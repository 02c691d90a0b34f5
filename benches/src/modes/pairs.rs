//! A population in pairs: standing conversations between a customer and an agent who are on different nodes, and messages both ways over
//! all of them by one schedule that does not wait for answers.
//!
//! Each node has a queue of its own in each tenant. Its customers are on that node, its agents on the next.

mod talk;
mod transcripts;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use node::auth::Role;
use node::client::Client;
use node::gateway::protocol::{Attribute, ClientFrame};
use routing::ids::{ConversationId, Epoch};

use super::Against;
use crate::run::line::{News, What, Who, Wire, customer_name};
use crate::run::record::Summary;
use crate::run::stage::Stage;
use crate::run::verdict;
use crate::scenario::Scenario;
use crate::scenario::policy::{KIND, agent_name};

pub use talk::{Said, Script, Talk, Talked};
pub use transcripts::compare;

/// Chats of one agent.
const PLACES: usize = 8;
const AT_ONCE: usize = 32;
const COMING: Duration = Duration::from_secs(120);
/// Refused of all messages, at most.
const REFUSED_SHARE_MAX: f64 = 0.001;

/// Somebody with the node that they are meant to be on.
pub struct Member {
    pub client: Client,
    /// Position in [`People::urls`].
    pub home: usize,
}

/// One conversation.
pub struct Pair {
    /// Position in [`Stage::tenants`].
    pub tenant: usize,
    pub conversation: ConversationId,
    pub customer: Member,
}

/// Everybody.
pub struct People {
    pub nonce: u32,
    pub urls: Vec<String>,
    pub pairs: Vec<Pair>,
    pub agents: Vec<Member>,
    /// They follow the first conversation, and are heard as agents after the last.
    pub listeners: Vec<Member>,
}

/// Everybody, and what they hear.
pub struct Crowd {
    pub people: Arc<People>,
    pub wire: Wire,
    owners: Vec<Option<(usize, Epoch)>>,
    news: Receiver<News>,
}

/// How many of what.
pub struct Layout {
    pub name: &'static str,
    pub about: &'static str,
    pub nodes: usize,
    /// Alike.
    pub tenants: usize,
    /// In all, at least.
    pub conversations: usize,
    /// Accounts of supervisors, in each tenant.
    pub supervisors: usize,
}

/// The scenario of a population.
pub fn scenario(layout: &Layout) -> Result<Scenario> {
    let Layout {
        name,
        about,
        nodes,
        tenants,
        ..
    } = *layout;
    let each = layout.conversations.div_ceil(tenants * nodes).max(1);
    let mut text =
        format!("[scenario]\nname = {name:?}\nabout = {about:?}\n\n[[tenant]]\nname = \"pairs\"\ncount = {tenants}\n");
    for node in 1..=nodes {
        let _ = write!(
            text,
            "\n[[queue]]\nname = \"node-{node}\"\nauto_accept = true\n\
             \n[[agents]]\nname = \"agents-{node}\"\nqueues = [\"node-{node}\"]\ncount = {}\nconcurrency = {PLACES}\nhandle = \"24h\"\n\
             \n[[customers]]\nname = \"customers-{node}\"\nqueue = \"node-{node}\"\nstanding = {each}\n",
            each.div_ceil(PLACES),
        );
    }
    if layout.supervisors > 0 {
        let _ = write!(
            text,
            "\n[[agents]]\nname = \"supervisors\"\nsupervisor = true\nqueues = [\"node-1\"]\ncount = {}\nhandle = \"24h\"\n",
            layout.supervisors
        );
    }
    Scenario::parse(name, &text, Path::new("."))
}

fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

impl People {
    /// The node that a client is connected to.
    pub fn node_of(&self, client: &Client) -> Option<usize> {
        let connected = client.connected();
        let url = connected.borrow();
        let at = authority(url.as_deref()?);
        self.urls.iter().position(|url| authority(url) == at)
    }

    fn members(&self) -> impl Iterator<Item = &Member> {
        let customers = self.pairs.iter().map(|pair| &pair.customer);
        customers.chain(&self.agents).chain(&self.listeners)
    }

    /// Everybody who was moved to another node goes back to theirs: their connections break until they are there.
    pub async fn go_home(&self, within: Duration) -> Result<()> {
        let until = Instant::now() + within;
        let going = futures::stream::iter(self.members())
            .map(|member| self.goes_home(member))
            .buffer_unordered(AT_ONCE)
            .for_each(|()| async {});
        tokio::time::timeout_at(until.into(), going)
            .await
            .context("not everybody was back on their node in time")
    }

    async fn goes_home(&self, member: &Member) {
        let mut connected = member.client.connected();
        loop {
            let there = connected.borrow_and_update().is_some();
            if there && self.node_of(&member.client) == Some(member.home) {
                return;
            }
            if there {
                member.client.break_connection();
            }
            // Told again should the wish have been lost with a connection that broke by itself.
            let _ = tokio::time::timeout(Duration::from_secs(5), connected.changed()).await;
        }
    }

    /// Closes all connections.
    pub fn leave(&self) {
        self.members().for_each(|member| member.client.close());
    }
}

impl Crowd {
    /// Everybody comes: agents sign in, conversations are started and assigned.
    pub async fn come(stage: &Stage, scenario: &Scenario, nonce: u32) -> Result<Self> {
        let (wire, news) = Wire::new(nonce, false);
        let agents = sign_in(stage, scenario, &wire).await?;
        let pairs = start(stage, scenario, &wire).await?;
        let mut crowd = Self {
            owners: vec![None; pairs.len()],
            people: Arc::new(People {
                nonce,
                urls: stage.urls.clone(),
                pairs,
                agents,
                listeners: Vec::new(),
            }),
            wire,
            news,
        };
        crowd.wait_for_owners().await?;
        crowd.people.go_home(COMING).await?;
        Ok(crowd)
    }

    /// All supervisors follow the first conversation, on all nodes by turns.
    pub async fn listen(&mut self, stage: &Stage, scenario: &Scenario) -> Result<()> {
        let people = Arc::get_mut(&mut self.people).context("the talk has begun")?;
        let conversation = people.pairs[0].conversation;
        for (number, token) in supervisors(stage, scenario)?.into_iter().enumerate() {
            let client = self
                .wire
                .connect(&stage.urls, token, Who::Agent(people.agents.len() + number));
            client.say(ClientFrame::Follow {
                conversation,
                cursor: 0,
            });
            let home = number % stage.urls.len();
            people.listeners.push(Member { client, home });
        }
        people.go_home(COMING).await
    }

    async fn wait_for_owners(&mut self) -> Result<()> {
        let until = Instant::now() + COMING;
        while self.owners.iter().any(Option::is_none) {
            ensure!(Instant::now() < until, "not all conversations were assigned in time");
            while let Ok(piece) = self.news.try_recv() {
                if let (Who::Agent(agent), What::Assigned { customer, epoch, .. }) = (piece.who, piece.what)
                    && let Some(owner) = self.owners.get_mut(customer as usize)
                {
                    *owner = Some((agent, epoch));
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }
}

async fn sign_in(stage: &Stage, scenario: &Scenario, wire: &Wire) -> Result<Vec<Member>> {
    let mut agents = Vec::new();
    for tenant in &stage.tenants {
        for (group, plan) in scenario.agents.iter().filter(|plan| !plan.supervisor).enumerate() {
            let home = (group + 1) % stage.urls.len();
            for number in 0..plan.count {
                let token = tenant.token(Role::Agent, &agent_name(plan, number))?;
                let client = wire.connect(&stage.urls, token, Who::Agent(agents.len()));
                agents.push(Member { client, home });
            }
        }
    }
    let signing_in = futures::stream::iter(&agents)
        .map(|agent| async { agent.client.sign_in().await.context("an agent could not sign in") })
        .buffer_unordered(AT_ONCE)
        .try_for_each(|_| async { Ok(()) });
    tokio::time::timeout(COMING, signing_in)
        .await
        .context("the agents were not signed in in time")??;
    Ok(agents)
}

/// The tokens of the first tenant's supervisors.
pub fn supervisors(stage: &Stage, scenario: &Scenario) -> Result<Vec<String>> {
    let plans = scenario.agents.iter().filter(|plan| plan.supervisor);
    plans
        .flat_map(|plan| (0..plan.count).map(move |number| agent_name(plan, number)))
        .map(|name| stage.tenants[0].token(Role::Supervisor, &name))
        .collect()
}

async fn start(stage: &Stage, scenario: &Scenario, wire: &Wire) -> Result<Vec<Pair>> {
    let mut coming = Vec::new();
    for tenant in 0..stage.tenants.len() {
        for (group, plan) in scenario.customers.iter().enumerate() {
            let crate::scenario::Comes::Standing { count, .. } = plan.comes else {
                continue;
            };
            coming.extend((0..count).map(|_| (tenant, group % stage.urls.len(), plan.name.clone())));
        }
    }
    let starting =
        futures::stream::iter(coming.into_iter().enumerate()).map(|(number, (tenant, home, kind))| async move {
            let number = number as u32;
            let token = stage.tenants[tenant].token(Role::Customer, &customer_name(wire.nonce, number))?;
            let client = wire.connect(&stage.urls, token, Who::Customer(number));
            let ack = client
                .start(BTreeMap::from([(KIND.to_owned(), Attribute::Text(kind))]), None)
                .await;
            let ack = ack.context("a conversation could not be started")?;
            Ok(Pair {
                tenant,
                conversation: ack.conversation.context("an acknowledgement names no conversation")?,
                customer: Member { client, home },
            })
        });
    tokio::time::timeout(COMING, starting.buffered(AT_ONCE).try_collect())
        .await
        .context("the conversations were not started in time")?
}

impl Talked {
    /// Everything that speaks against this talk: the faults, what was refused, and a generator that was late.
    pub fn weigh(&self, against: &mut Against) {
        for (name, count) in self.faults.all() {
            against.fault(name, count);
        }
        let refused: u64 = self.refused.values().sum();
        if refused as f64 > REFUSED_SHARE_MAX * self.said.len() as f64 {
            against.fails(format!(
                "{refused} of {} messages refused: {:?}",
                self.said.len(),
                self.refused
            ));
        }
        for (why, count) in &self.ended {
            against.fails(format!("{count} clients ended: {why}"));
        }
        let (lag, late) = (Summary::from(&self.lag), Summary::from(&self.late));
        against.invalid(verdict::limits(lag, late, self.acknowledged(|_| true), 0, &[], 0.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_every_conversation_on_every_node() {
        let layout = Layout {
            name: "pairs",
            about: "",
            nodes: 3,
            tenants: 4,
            conversations: 100,
            supervisors: 5,
        };
        let scenario = scenario(&layout).unwrap();
        assert_eq!((scenario.agents.len(), scenario.agents[3].count), (4, 5));
        assert_eq!((scenario.tenant_count(), scenario.queues.len()), (4, 3));
        for (agents, customers) in scenario.agents.iter().zip(&scenario.customers) {
            let crate::scenario::Comes::Standing { count, .. } = customers.comes else {
                panic!("{customers:?}")
            };
            assert_eq!((count, agents.queues[0]), (9, customers.queue));
            assert!(agents.count * agents.concurrency >= count);
        }
        assert_eq!(authority("http://127.0.0.1:80/"), "127.0.0.1:80");
        assert_eq!(authority("ws://127.0.0.1:80/v1/ws"), "127.0.0.1:80");
    }
}
