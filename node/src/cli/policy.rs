//! `kaiwa policy …`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use routing::ids::{AgentId, TenantId};
use routing::settings::{AgentSettings, Policy};
use serde_json::{Value, json};

use super::admin::{Admin, AdminArgs, read};
use super::tenant::{asked, escaped, existing, named, parse};
use super::{CliError, block_on, say, say_json};
use crate::api::model::settings::PolicyBody;
use crate::limits::POLICY_MAX_BYTES;
use crate::policy_diff::Change;
use crate::policy_lint::{Severity, Shown, lint};
use crate::tenant_file::{Named, TenantFile};
use crate::wall_clock;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Says what is wrong with a tenant or policy file although it can be read. Exit code 1 for errors
    Lint(LintArgs),
    /// Says what a file would change, or what versions changed
    Diff(DiffArgs),
    /// Makes the policy of a tenant what a file says, at one index. What the file does not name is removed
    Apply(ApplyArgs),
    /// Prints the policy as a file, or as JSON
    Show(ShowArgs),
    /// Lists the last versions
    Versions(TenantArgs),
    /// Makes an earlier version the policy again, as a version of its own
    Rollback(RollbackArgs),
}

#[derive(Debug, Args)]
pub(super) struct LintArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// JSON, for programs
    #[arg(long)]
    json: bool,
    /// Exit code 1 for warnings too
    #[arg(long)]
    deny_warnings: bool,
}

#[derive(Debug, Args)]
pub(super) struct TenantArgs {
    /// Its id, `ten_…`, or its name
    #[arg(long, value_name = "TENANT")]
    tenant: String,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// What this file would change
    #[arg(value_name = "FILE", conflicts_with_all = ["from", "to"])]
    file: Option<PathBuf>,
    /// The version before; the one before --to, unless given
    #[arg(long, value_name = "VERSION")]
    from: Option<u64>,
    /// The version after; the newest, unless given
    #[arg(long, value_name = "VERSION")]
    to: Option<u64>,
    #[command(flatten)]
    of: TenantArgs,
}

#[derive(Debug, Args)]
pub(super) struct ApplyArgs {
    /// The file; agents and keys in it are not looked at
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Refused when another version is in force
    #[arg(long, value_name = "VERSION")]
    expected: Option<u64>,
    /// What the change is for
    #[arg(long, default_value = "")]
    note: String,
    /// Applied although the linter finds errors
    #[arg(long)]
    force: bool,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    of: TenantArgs,
}

#[derive(Debug, Args)]
pub(super) struct ShowArgs {
    /// Which version; the one in force, unless given
    #[arg(value_name = "VERSION")]
    version_number: Option<u64>,
    /// As the API has it
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    of: TenantArgs,
}

#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// Which version
    #[arg(value_name = "VERSION")]
    version_number: u64,
    /// What for
    #[arg(long)]
    note: Option<String>,
    /// Done although the linter finds errors
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    of: TenantArgs,
}

pub(super) fn run(command: PolicyCommand) -> Result<(), CliError> {
    match command {
        PolicyCommand::Lint(args) => lint_command(&args),
        PolicyCommand::Diff(args) => block_on(diff(&args))?,
        PolicyCommand::Apply(args) => block_on(apply(&args))?,
        PolicyCommand::Show(args) => block_on(show(&args))?,
        PolicyCommand::Versions(args) => block_on(versions(&args))?,
        PolicyCommand::Rollback(args) => block_on(rollback(&args))?,
    }
}

/// Looks at a file as it stands, with its agents; gives the number of errors.
pub(super) fn lint_file(file: &TenantFile, mut tell: impl FnMut(Shown)) -> usize {
    let plan = file.as_it_stands();
    let agents: BTreeMap<AgentId, AgentSettings> = plan.agents.into_iter().collect();
    let findings = lint(&plan.policy, &agents, wall_clock::now_ms());
    findings.iter().for_each(|finding| tell(finding.shown_in(&file.places)));
    findings.iter().filter(|one| one.severity == Severity::Error).count()
}

fn lint_command(args: &LintArgs) -> Result<(), CliError> {
    let file = parse(&args.file)?;
    let mut findings = Vec::new();
    let errors = lint_file(&file, |finding| findings.push(finding));
    let warnings = findings.len() - errors;
    if args.json {
        let whole = json!({ "errors": errors, "warnings": warnings, "findings": findings });
        say_json(&whole)?;
    } else {
        findings.iter().for_each(|finding| say(&finding.to_string()));
        say(&format!(
            "{}: {errors} errors, {warnings} warnings",
            args.file.display()
        ));
    }
    if errors > 0 || (args.deny_warnings && warnings > 0) {
        let what = format!("{}: {errors} errors, {warnings} warnings", args.file.display());
        return Err(CliError::Failed(anyhow::anyhow!(what)));
    }
    Ok(())
}

/// A tenant and how to ask for it.
struct Asked {
    admin: Admin,
    tenant: TenantId,
    name: String,
    base: String,
}

async fn ask(args: &TenantArgs) -> Result<Asked, CliError> {
    let admin = Admin::new(&args.admin)?;
    let row = named(&admin, &args.tenant).await?;
    Ok(Asked {
        admin,
        tenant: row.id,
        base: format!("/v1/admin/tenants/{}/policy", row.id),
        name: row.name,
    })
}

/// Before it is sent: a node answers a body beyond its limit before it has read it, and the answer may be lost.
fn fits(body: &Value) -> Result<(), CliError> {
    let bytes = body.to_string().len();
    if bytes > POLICY_MAX_BYTES {
        let what = format!("the policy has {bytes} bytes as JSON; a node takes at most {POLICY_MAX_BYTES}");
        return Err(CliError::Usage(what));
    }
    Ok(())
}

/// A file's policy with the tenant's ids, as the API has it.
async fn body_of(asked: &Asked, path: &Path) -> Result<Value, CliError> {
    let file = parse(path)?;
    let existing = existing(&asked.admin, asked.tenant).await?;
    let plan = file.plan(&existing).map_err(|error| CliError::Failed(error.into()))?;
    Ok(json!(PolicyBody::from(&plan.policy)))
}

pub(super) fn tell_changes(changes: &Value, tell: &impl Fn(&str)) {
    for change in changes.as_array().into_iter().flatten() {
        let change = Change {
            path: change["path"].as_str().unwrap_or_default().to_owned(),
            before: change.get("before").cloned(),
            after: change.get("after").cloned(),
        };
        tell(&change.to_string());
    }
}

fn tell_findings(findings: &Value) {
    for one in findings.as_array().into_iter().flatten() {
        let word = |key: &str| one[key].as_str().unwrap_or_default().to_owned();
        say(&format!(
            "{}[{}]: {}: {}",
            word("severity"),
            word("code"),
            word("of"),
            word("message")
        ));
    }
}

async fn diff(args: &DiffArgs) -> Result<(), CliError> {
    let of = ask(&args.of).await?;
    let answer = match &args.file {
        Some(file) => {
            let body = body_of(&of, file).await?;
            fits(&body)?;
            let path = format!("{}?dry_run=true", of.base);
            of.admin.call_until_done(Method::PUT, &path, Some(&body)).await?
        }
        None => {
            let newest = asked(&of.admin, &of.base).await?["version"].as_u64().unwrap_or(0);
            let since = args.from.map_or_else(String::new, |from| format!("?since={from}"));
            asked(
                &of.admin,
                &format!("{}/versions/{}{since}", of.base, args.to.unwrap_or(newest)),
            )
            .await?
        }
    };
    if answer["changes"].as_array().is_some_and(Vec::is_empty) {
        say("nothing differs");
    }
    tell_changes(&answer["changes"], &say);
    tell_findings(&answer["findings"]);
    Ok(())
}

async fn save(of: &Asked, body: &Value, saving: &[(&str, String)]) -> Result<(), CliError> {
    fits(body)?;
    let query: Vec<String> = saving
        .iter()
        .map(|(key, value)| format!("{key}={}", escaped(value)))
        .collect();
    let path = format!("{}?{}", of.base, query.join("&"));
    let saved = of.admin.call_until_done(Method::PUT, &path, Some(body)).await?;
    tell_changes(&saved["changes"], &say);
    tell_findings(&saved["findings"]);
    let changes = saved["changes"].as_array().map_or(0, Vec::len);
    let done = match (saved["dry_run"].as_bool(), changes) {
        (Some(true), _) => format!("{changes} changes would be made to version {}", saved["version"]),
        (_, 0) => format!("nothing differs; version {} is in force", saved["version"]),
        _ => format!("version {} is in force: {changes} changes", saved["version"]),
    };
    say(&done);
    Ok(())
}

async fn apply(args: &ApplyArgs) -> Result<(), CliError> {
    let of = ask(&args.of).await?;
    let body = body_of(&of, &args.file).await?;
    let mut saving = vec![
        ("note", args.note.clone()),
        ("force", args.force.to_string()),
        ("dry_run", args.dry_run.to_string()),
    ];
    saving.extend(args.expected.map(|expected| ("expected_version", expected.to_string())));
    save(&of, &body, &saving).await
}

async fn show(args: &ShowArgs) -> Result<(), CliError> {
    let of = ask(&args.of).await?;
    let path = match args.version_number {
        Some(version) => format!("{}/versions/{version}", of.base),
        None => of.base.clone(),
    };
    let mut answer = asked(&of.admin, &path).await?;
    if args.json {
        return say_json(&answer);
    }
    let body: PolicyBody = read(answer["policy"].take())?;
    let policy: Policy = body.into();
    let agents = existing(&of.admin, of.tenant).await?.agents.into_iter();
    let agents = agents.map(|(name, id)| {
        let agent = AgentSettings {
            name,
            ..AgentSettings::default()
        };
        (id, agent)
    });
    let text = Named {
        tenant: &of.name,
        policy: &policy,
        agents: &agents.collect(),
        with_agents: false,
    };
    say(text.write().trim_end());
    Ok(())
}

async fn versions(args: &TenantArgs) -> Result<(), CliError> {
    let of = ask(args).await?;
    let answer = asked(&of.admin, &format!("{}/versions", of.base)).await?;
    for one in answer["versions"].as_array().into_iter().flatten() {
        let at = one["at_ms"]
            .as_i64()
            .and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        let changed: Vec<&str> = one["changed"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        say(&format!(
            "{:>6}  {}  {:<20} {}",
            one["version"],
            at.map_or_else(String::new, |at| at.to_string()),
            one["by"].as_str().unwrap_or("-"),
            one["note"].as_str().unwrap_or_default()
        ));
        say(&format!("        {}", shortened(&changed)));
    }
    Ok(())
}

fn shortened(parts: &[&str]) -> String {
    const SHOWN: usize = 8;
    let more = parts.len().saturating_sub(SHOWN);
    let shown = parts[..parts.len() - more].join(", ");
    if more > 0 {
        format!("{shown} and {more} more")
    } else {
        shown
    }
}

async fn rollback(args: &RollbackArgs) -> Result<(), CliError> {
    let of = ask(&args.of).await?;
    let answer = asked(&of.admin, &format!("{}/versions/{}", of.base, args.version_number)).await?;
    let note = args.note.clone();
    let saving = [
        (
            "note",
            note.unwrap_or_else(|| format!("back to version {}", args.version_number)),
        ),
        ("force", args.force.to_string()),
    ];
    save(&of, &answer["policy"], &saving).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_no_node_would_read_is_not_sent() {
        assert!(fits(&json!({ "skills": {} })).is_ok());
        let error = fits(&json!({ "skills": { "a": "x".repeat(POLICY_MAX_BYTES) } })).expect_err("too large");
        assert!(
            matches!(&error, CliError::Usage(text) if text.contains("at most 2097152")),
            "{error}"
        );
    }
}
