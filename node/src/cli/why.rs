//! `kaiwa why`: why a conversation went to whom it went, or why it still waits (R39).

use clap::Args;
use reqwest::Method;
use routing::ids::{AgentId, ConversationId, TenantId};
use serde::Deserialize;

use super::admin::{Admin, AdminArgs, read};
use super::{CliError, say, say_json, tenant};

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// Its id, `conv_…`
    #[arg(value_name = "CONVERSATION")]
    conversation: ConversationId,
    /// Why not this agent: an id, `agt_…`, or a name
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// Whose it is: an id, `ten_…`, or a name; without it, every tenant is asked
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Prints JSON: what the node answered
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

/// What a node answers, as far as it is printed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    summary: String,
    sentences: Vec<String>,
    position: Option<u64>,
    removed: Vec<Removed>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Removed {
    predicate: String,
    agents: u32,
}

pub(super) async fn run(args: &WhyArgs) -> Result<(), CliError> {
    let admin = Admin::new(&args.admin)?;
    let tenant = find(&admin, args).await?;
    let mut path = format!("/v1/admin/tenants/{tenant}/conversations/{}/why", args.conversation);
    if let Some(agent) = &args.agent {
        let agent = agent_named(&admin, tenant, agent).await?;
        path.push_str(&format!("?agent={agent}"));
    }
    let answer = admin.call_until_done(Method::GET, &path, None).await?;
    if args.json {
        return say_json(&answer);
    }
    say(&render(&read(answer)?, args.agent.is_some()));
    Ok(())
}

/// The tenant that has the conversation.
async fn find(admin: &Admin, args: &WhyArgs) -> Result<TenantId, CliError> {
    if let Some(wanted) = &args.tenant {
        return Ok(tenant::named(admin, wanted).await?.id);
    }
    for row in tenant::tenants(admin).await? {
        let path = format!("/v1/admin/tenants/{}/conversations/{}", row.id, args.conversation);
        match admin.call_until_done(Method::GET, &path, None).await {
            Ok(_) => return Ok(row.id),
            Err(CliError::Refused(refusal)) if refusal.code() == "unknown_conversation" => {}
            Err(error) => return Err(error),
        }
    }
    Err(CliError::Usage(format!("no tenant has {}", args.conversation)))
}

async fn agent_named(admin: &Admin, tenant: TenantId, wanted: &str) -> Result<AgentId, CliError> {
    if let Ok(id) = wanted.parse() {
        return Ok(id);
    }
    let agents = tenant::existing(admin, tenant).await?.agents;
    agents
        .get(wanted)
        .copied()
        .ok_or_else(|| CliError::Usage(format!("the tenant has no agent {wanted:?}")))
}

/// The sentences; of a node that gives none, what it gives.
pub(super) fn render(answer: &Answer, about_one: bool) -> String {
    let mut lines = if answer.sentences.is_empty() {
        vec![answer.summary.clone()]
    } else {
        answer.sentences.clone()
    };
    if answer.sentences.is_empty() {
        if let Some(position) = answer.position {
            lines.push(format!("its position is {position}"));
        }
        for Removed { predicate, agents } in &answer.removed {
            lines.push(match about_one {
                true => format!("  {predicate}"),
                false => format!("  {predicate}: removes {agents}"),
            });
        }
    }
    lines.join("\n")
}
