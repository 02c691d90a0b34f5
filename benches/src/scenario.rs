//! What a load test plays: tenants, queues, skills, agents and customers, from a TOML file that is read strictly. All that is
//! drawn comes from one seed.

pub mod arrivals;
pub mod distribution;
pub mod policy;
mod read;

use std::path::Path;

use anyhow::{Context, Result, bail};
use node::toml_input::{self, Mistakes, Reader};

use arrivals::Arrivals;
use distribution::Distribution;

/// A scenario. Times in milliseconds of real time.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: String,
    pub about: String,
    pub seed: u64,
    /// Before anything is measured.
    pub warm_up_ms: u64,
    /// That is measured.
    pub length_ms: u64,
    /// After the last arrival, for what is still open; then people are sent home.
    pub settle_ms: u64,
    /// The service level is the share that is answered within it.
    pub service_level_ms: u64,
    pub tenants: Vec<TenantPlan>,
    pub queues: Vec<QueuePlan>,
    pub skills: Vec<SkillPlan>,
    pub agents: Vec<AgentPlan>,
    pub customers: Vec<CustomerPlan>,
    pub disconnects: Vec<Disconnects>,
    /// As it was written.
    pub text: String,
}

/// So many tenants alike.
#[derive(Clone, Debug)]
pub struct TenantPlan {
    pub name: String,
    pub count: usize,
}

#[derive(Clone, Debug)]
pub struct SkillPlan {
    pub name: String,
    pub tenant: usize,
}

/// A queue of each tenant of its kind.
#[derive(Clone, Debug)]
pub struct QueuePlan {
    pub name: String,
    pub tenant: usize,
    pub auto_accept: bool,
    /// Further keys, as in a tenant file.
    pub order: Option<String>,
    pub choice: Option<String>,
    pub offer_timeout: Option<String>,
}

/// Agents alike.
#[derive(Clone, Debug)]
pub struct AgentPlan {
    pub name: String,
    pub tenant: usize,
    pub count: usize,
    /// Positions in [`Scenario::queues`].
    pub queues: Vec<usize>,
    pub skills: Vec<(String, u64)>,
    /// May follow every conversation of the tenant.
    pub supervisor: bool,
    pub concurrency: usize,
    /// From the offer to the answer.
    pub accept: Distribution,
    /// From the assignment to the close.
    pub handle: Distribution,
    /// From the close to the end of the wrap-up.
    pub wrap_up: Option<Distribution>,
    /// Messages in each conversation.
    pub messages: Distribution,
    /// Between them.
    pub think: Distribution,
    /// Bytes of a message's text.
    pub bytes: Distribution,
    pub break_every: Option<Distribution>,
    pub break_length: Distribution,
    pub reconnect_every: Option<Distribution>,
    /// Share of conversations that is passed on instead of closed.
    pub transfer_share: f64,
    pub transfer_to: Option<usize>,
}

/// Customers alike.
#[derive(Clone, Debug)]
pub struct CustomerPlan {
    pub name: String,
    pub tenant: usize,
    pub queue: usize,
    pub skills: Vec<(String, u64)>,
    pub comes: Comes,
    pub patience: Option<Distribution>,
    pub messages: Distribution,
    pub think: Distribution,
    pub bytes: Distribution,
    /// The connection is made so long before the conversation is started.
    pub connect_ahead_ms: u64,
    pub reconnect_every: Option<Distribution>,
}

/// How customers come.
#[derive(Clone, Debug)]
pub enum Comes {
    /// One by one, each with a conversation that ends.
    Arriving(Arrivals),
    /// So many before the run, with conversations that do not end; messages both ways over all of them by one schedule.
    Standing { count: usize, talk: Option<Arrivals> },
}

/// Connections that break at one time.
#[derive(Clone, Debug)]
pub struct Disconnects {
    pub at_ms: u64,
    pub share: f64,
    pub agents: bool,
    pub customers: bool,
}

impl Scenario {
    /// From a file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Self::parse(
            &path.display().to_string(),
            &text,
            path.parent().unwrap_or(Path::new(".")),
        )
    }

    /// From a text; every mistake is found at once, with its line.
    pub fn parse(source: &str, text: &str, folder: &Path) -> Result<Self> {
        let mut mistakes = Mistakes::default();
        let table = toml_input::parse(text, &mut mistakes);
        let mut root = Reader::new("", 1, &table);
        let scenario = read::scenario(&mut root, text, folder, &mut mistakes);
        root.finish(&mut mistakes);
        if mistakes.is_empty() {
            return Ok(scenario);
        }
        let mistakes: Vec<String> = mistakes
            .into_sorted()
            .iter()
            .map(|mistake| format!("\n  {mistake}"))
            .collect();
        let noun = if mistakes.len() == 1 { "mistake" } else { "mistakes" };
        bail!("{source}: {} {noun}{}", mistakes.len(), mistakes.concat())
    }

    /// Tenants in all.
    pub fn tenant_count(&self) -> usize {
        self.tenants.iter().map(|tenant| tenant.count).sum()
    }

    /// Places of all agents.
    pub fn places(&self) -> usize {
        let of = |agents: &AgentPlan| agents.count * agents.concurrency * self.tenants[agents.tenant].count;
        self.agents.iter().map(of).sum()
    }

    /// Agents in all.
    pub fn agent_count(&self) -> usize {
        self.agents
            .iter()
            .map(|agents| agents.count * self.tenants[agents.tenant].count)
            .sum()
    }
}

#[cfg(test)]
mod tests;
