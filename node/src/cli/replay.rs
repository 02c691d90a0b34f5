//! `kaiwa replay …` (R40).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use routing::ids::{AgentId, Millis};
use routing::settings::AgentSettings;
use routing::view::Presence;

use super::admin::{Admin, AdminArgs, read};
use super::tenant::{asked, named};
use super::{CliError, block_on, duration, read_file, say, say_json};
use crate::api::admin::trace::{PresencePage, TracePage};
use crate::replay::figures::{Figures, recorded};
use crate::replay::people::People;
use crate::replay::rehearsal::{Plan, as_it_was, of_file, rehearse};
use crate::replay::trace::{Setting, TRACE_FORMAT, Trace};
use crate::replay::{plot, table};
use crate::tenant_file::{Existing, TenantFile};
use crate::wall_clock;

/// Rows per page of a trace.
const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum ReplayCommand {
    /// Writes what happened in a period to a file: arrivals, waits, service, presences; not a word of what was said
    Export(ExportArgs),
    /// Runs a trace again, as it was set and under the policies of files, and compares
    Run(RunArgs),
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// Its id, `ten_…`, or its name
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    /// Begin: RFC 3339 (`2026-11-20T09:00:00Z`), or so long ago (`24h`)
    #[arg(long, value_name = "WHEN", default_value = "24h")]
    from: String,
    /// End: the same; `0s` is now
    #[arg(long, value_name = "WHEN", default_value = "0s")]
    until: String,
    /// File to write
    #[arg(long, short, value_name = "FILE", default_value = "trace.json")]
    out: PathBuf,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The trace
    #[arg(value_name = "TRACE")]
    trace: PathBuf,
    /// A policy to try: a policy file or a tenant file; may be given again
    #[arg(long = "policy", value_name = "FILE")]
    policies: Vec<PathBuf>,
    /// How long agents take to answer an offer
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    accept_after: Duration,
    /// Draws the comparison into this SVG file
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: ReplayCommand) -> Result<(), CliError> {
    match command {
        ReplayCommand::Export(args) => block_on(export(&args))?,
        ReplayCommand::Run(args) => compare(&args),
    }
}

/// `24h` is so long ago; everything else must be RFC 3339.
pub(super) fn moment(text: &str, now_ms: Millis) -> Result<Millis, CliError> {
    if let Ok(ago) = duration(text) {
        return Ok(now_ms.saturating_sub(ago.as_millis() as Millis));
    }
    let format = &time::format_description::well_known::Rfc3339;
    let parsed = time::OffsetDateTime::parse(text, format);
    parsed
        .map(|at| (at.unix_timestamp_nanos() / 1_000_000).max(0) as Millis)
        .map_err(|_| {
            CliError::Usage(format!(
                "`{text}` is no moment: write 2026-11-20T09:00:00Z, or so long ago, as 24h"
            ))
        })
}

async fn export(args: &ExportArgs) -> Result<(), CliError> {
    let now_ms = wall_clock::now_ms();
    let (from_ms, until_ms) = (moment(&args.from, now_ms)?, moment(&args.until, now_ms)?);
    if from_ms >= until_ms {
        return Err(CliError::Usage(
            "the period is empty: --from is not before --until".to_owned(),
        ));
    }
    let admin = Admin::new(&args.admin)?;
    let tenant = named(&admin, &args.tenant).await?;
    let base = format!("/v1/admin/tenants/{}/trace", tenant.id);
    let setting: Setting = read(asked(&admin, &format!("{base}/setting")).await?)?;
    let presences = presences(&admin, &base, until_ms).await?;
    let mut conversations = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("{base}/conversations?from_ms={from_ms}&until_ms={until_ms}&limit={PAGE}{cursor}");
        let page: TracePage = read(asked(&admin, &path).await?)?;
        conversations.extend(page.conversations);
        let Some(next) = page.next_cursor else { break };
        cursor = format!("&cursor={next}");
    }
    conversations.sort_by_key(|conversation| (conversation.started_at_ms, conversation.conversation));
    let trace = Trace {
        kaiwa_trace: TRACE_FORMAT,
        tenant: tenant.name,
        from_ms,
        until_ms,
        setting,
        presences,
        conversations,
    };
    let text = serde_json::to_string(&trace).map_err(anyhow::Error::from)?;
    write(&args.out, &text)?;
    say(&format!(
        "{}: {} conversations that have ended, {} agents, {} changes of presence",
        args.out.display(),
        trace.conversations.len(),
        trace.setting.agents.len(),
        trace.presences.len()
    ));
    Ok(())
}

/// All up to the end of the period: who was there when it began was told before it. Pages overlap by a millisecond.
async fn presences(admin: &Admin, base: &str, until_ms: Millis) -> Result<Vec<(AgentId, Millis, Presence)>, CliError> {
    let mut all: Vec<(AgentId, Millis, Presence)> = Vec::new();
    let mut from_ms = 0;
    loop {
        let path = format!("{base}/presences?from_ms={from_ms}&until_ms={until_ms}&limit={PAGE}");
        let page: PresencePage = read(asked(admin, &path).await?)?;
        let last_ms = page.presences.last().map(|one| one.at_ms);
        all.retain(|(_, at_ms, _)| *at_ms < from_ms);
        all.extend(
            page.presences
                .into_iter()
                .map(|one| (one.agent, one.at_ms, one.presence)),
        );
        match last_ms {
            Some(last_ms) if page.more && last_ms > from_ms => from_ms = last_ms,
            // A millisecond with more changes than a page has: the rest of them is passed over.
            Some(last_ms) if page.more => from_ms = last_ms + 1,
            _ => return Ok(all),
        }
    }
}

fn compare(args: &RunArgs) -> Result<(), CliError> {
    let text = read_file(&args.trace)?;
    let trace: Trace = serde_json::from_str(&text)
        .map_err(|error| CliError::Usage(format!("{} is no trace: {error}", args.trace.display())))?;
    if trace.kaiwa_trace != TRACE_FORMAT {
        let (is, reads) = (trace.kaiwa_trace, TRACE_FORMAT);
        let wrong = format!("{} has format {is}; this program reads {reads}", args.trace.display());
        return Err(CliError::Usage(wrong));
    }
    let people = People::of(&trace.conversations);
    let mut plans = vec![as_it_was(&trace).map_err(failed)?];
    for file in &args.policies {
        plans.push(plan(&trace, file)?);
    }
    let accept_ms = args.accept_after.as_millis() as u64;
    let mut runs: Vec<Figures> = vec![recorded(&trace)];
    for plan in &plans {
        let figures = rehearse(&trace, &people, plan, accept_ms);
        runs.push(figures.map_err(failed)?);
    }
    if args.json {
        say_json(&runs)?;
    } else {
        say(&table::table(&runs));
    }
    if let Some(file) = &args.plot {
        let title = format!("{}: {} conversations", trace.tenant, trace.conversations.len());
        let picture = plot::svg(&title, &runs).map_err(anyhow::Error::from)?;
        write(file, &picture)?;
        if !args.json {
            say(&format!("drawn: {}", file.display()));
        }
    }
    Ok(())
}

fn failed(error: impl Into<anyhow::Error>) -> CliError {
    CliError::Failed(error.into())
}

/// The plan of a file: its policy, with the trace's ids where the names are the same, and its agents, if it has any.
fn plan(trace: &Trace, path: &Path) -> Result<Plan, CliError> {
    let text = read_file(path)?;
    let file = TenantFile::parse(&path.display().to_string(), &text, std::env::vars())?;
    let queues = trace.setting.policy.queues.iter();
    let agents = trace.setting.agents.iter();
    let calendars = trace.setting.policy.calendars.iter();
    let existing = Existing {
        queues: queues.map(|(id, s)| (s.name.clone(), *id)).collect(),
        agents: agents.map(|(id, s)| (s.name.clone(), *id)).collect(),
        calendars: calendars.map(|(id, c)| (c.settings.name.clone(), *id)).collect(),
    };
    let planned = file.plan(&existing).map_err(failed)?;
    let name = path
        .file_stem()
        .map_or_else(|| "policy".into(), |stem| stem.to_string_lossy());
    let agents = planned.agents.into_iter();
    let agents: Vec<(AgentId, Arc<AgentSettings>)> = agents.map(|(id, agent)| (id, Arc::new(agent))).collect();
    let (plan, lost) = of_file(trace, &name, planned.policy, agents).map_err(failed)?;
    lost.iter().for_each(|what| eprint(&format!("note: {what}")));
    Ok(plan)
}

/// A line to standard error.
fn eprint(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text).map_err(|error| CliError::Failed(anyhow::anyhow!("{}: {error}", path.display())))
}
