//! `kaiwa tenant …`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use routing::ids::{AgentId, TenantId};
use serde::Deserialize;
use serde_json::{Value, json};

use super::admin::{Admin, AdminArgs, KeyArg, read};
use super::{CliError, block_on, read_file, say, say_json};
use crate::api::model::settings::{AgentBody, PolicyBody};
use crate::directory::KeyAlgorithm;
use crate::tenant_file::{Existing, Plan, TenantFile};

/// Agents per page of a listing.
const PAGE: usize = 500;

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Reports everything that is wrong with a file, or says what is in it
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Makes a tenant what a file says. What the file does not name is left as it is, and listed
    Load(LoadArgs),
    /// Shows a tenant as it is, or lists all
    Show {
        /// Its id, `ten_…`, or its name
        #[arg(value_name = "TENANT")]
        tenant: Option<String>,
        #[command(flatten)]
        admin: AdminArgs,
    },
}

#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// The file
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its id; without it, the tenant of the file's name, or a new one
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,
    /// Says what would be done, and does nothing
    #[arg(long)]
    dry_run: bool,
    /// Loads it although the linter finds errors
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    admin: AdminArgs,
}

#[derive(Debug, Deserialize)]
pub(super) struct TenantRow {
    pub(super) id: TenantId,
    pub(super) name: String,
    shard: u32,
}

pub(super) fn run(command: TenantCommand) -> Result<(), CliError> {
    match command {
        TenantCommand::Check { file } => {
            say(parse(&file)?.to_string().trim_end());
            Ok(())
        }
        TenantCommand::Load(args) => block_on(load(&args))?,
        TenantCommand::Show { tenant, admin } => block_on(show(tenant.as_deref(), &admin))?,
    }
}

pub(super) fn parse(path: &std::path::Path) -> Result<TenantFile, CliError> {
    let text = read_file(path)?;
    Ok(TenantFile::parse(&path.display().to_string(), &text, std::env::vars())?)
}

async fn load(args: &LoadArgs) -> Result<(), CliError> {
    let file = parse(&args.file)?;
    let errors = super::policy::lint_file(&file, |finding| say(&finding.to_string()));
    if errors > 0 && !args.force {
        let what = format!(
            "{}: {errors} errors; nothing was done (--force loads it all the same)",
            args.file.display()
        );
        return Err(CliError::Failed(anyhow::anyhow!(what)));
    }
    let admin = Admin::new(&args.admin)?;
    let (tenant, existing) = apply(&admin, &file, args.tenant, args.dry_run, say).await?;
    left(&file, &existing)
        .iter()
        .for_each(|what| say(&format!("left as it is, not in the file: {what}")));
    let done = if args.dry_run { "would be" } else { "is" };
    say(&format!("{tenant} {done} what {} says", args.file.display()));
    Ok(())
}

/// What `kaiwa tenant load` does, without a word.
pub(crate) async fn load_file(url: &str, key: &str, file: &TenantFile) -> Result<TenantId, CliError> {
    let args = AdminArgs {
        admin: url.to_owned(),
        key: KeyArg {
            key: Some(key.to_owned()),
        },
    };
    let (tenant, _) = apply(&Admin::new(&args)?, file, None, false, |_| {}).await?;
    Ok(tenant)
}

async fn apply(
    admin: &Admin,
    file: &TenantFile,
    wanted: Option<TenantId>,
    dry_run: bool,
    tell: impl Fn(&str),
) -> Result<(TenantId, Existing), CliError> {
    let rows = tenants(admin).await?;
    let same_name: Vec<&TenantRow> = rows.iter().filter(|row| row.name == file.name).collect();
    let tenant = match (wanted, same_name.as_slice()) {
        (Some(tenant), _) => tenant,
        (None, []) => TenantId(uuid::Uuid::now_v7().as_u128()),
        (None, [row]) => row.id,
        (None, _) => {
            let wrong = format!(
                "there are several tenants named {:?}; say which one with --tenant",
                file.name
            );
            return Err(CliError::Usage(wrong));
        }
    };
    let known = rows.iter().find(|row| row.id == tenant);
    if known.is_none_or(|row| row.name != file.name) {
        if !dry_run {
            let path = format!("/v1/admin/tenants/{tenant}");
            admin
                .call_until_done(Method::PUT, &path, Some(&json!({ "name": file.name })))
                .await?;
        }
        tell(&format!("tenant {}", file.name));
    }
    let there = known.is_some() || !dry_run;
    let existing = if there {
        existing(admin, tenant).await?
    } else {
        Existing::default()
    };
    let plan = file.plan(&existing).map_err(|error| CliError::Failed(error.into()))?;
    load_policy(admin, (tenant, there), file, &plan, dry_run, &tell).await?;
    for (path, body, what) in calls(tenant, &plan) {
        if !dry_run {
            admin
                .call_until_done(Method::PUT, &path, Some(&body))
                .await
                .map_err(|error| within(&what, error))?;
        }
        tell(&what);
    }
    Ok((tenant, existing))
}

/// Adds to a policy what is in force and the file does not speak of. Rules are a list, in their order: one for all or none.
fn keep_unnamed(body: &mut Value, in_force: &Value, file: &TenantFile) {
    for part in ["skills", "queues", "calendars"] {
        for (key, value) in in_force[part].as_object().into_iter().flatten() {
            if body[part].get(key).is_none() {
                body[part][key] = value.clone();
            }
        }
    }
    let rules = speaks_of_rules(file);
    let unspoken = [
        ("routing", file.places.line("routing").is_none()),
        ("rules", !rules),
        ("fallback", !rules),
    ];
    for (part, _) in unspoken.iter().filter(|(_, unspoken)| *unspoken) {
        body[*part] = in_force[*part].clone();
    }
}

/// All that decides routing, at one index. What the file does not name stays. Its agents come after it: the linter has looked at
/// both together, so the node need not.
async fn load_policy(
    admin: &Admin,
    (tenant, there): (TenantId, bool),
    file: &TenantFile,
    plan: &Plan,
    dry_run: bool,
    tell: &impl Fn(&str),
) -> Result<(), CliError> {
    if !there {
        tell("a policy of its own");
        return Ok(());
    }
    let mut body = json!(PolicyBody::from(&plan.policy));
    let now = asked(admin, &format!("/v1/admin/tenants/{tenant}/policy")).await?;
    keep_unnamed(&mut body, &now["policy"], file);
    let path = format!("/v1/admin/tenants/{tenant}/policy?force=true&dry_run={dry_run}&note=kaiwa%20tenant%20load");
    let saved = admin
        .call_until_done(Method::PUT, &path, Some(&body))
        .await
        .map_err(|error| within("policy", error))?;
    let changes = saved["changes"].as_array().map_or(0, Vec::len);
    tell(&format!("policy version {}: {changes} changes", saved["version"]));
    if dry_run {
        super::policy::tell_changes(&saved["changes"], tell);
    }
    Ok(())
}

fn within(what: &str, error: CliError) -> CliError {
    match error {
        CliError::Refused(refusal) => CliError::Failed(anyhow::anyhow!("{what}: {refusal}")),
        other => other,
    }
}

/// The calls of a plan beside its policy: path, body, and what it is in words.
fn calls(tenant: TenantId, plan: &Plan) -> Vec<(String, Value, String)> {
    let base = format!("/v1/admin/tenants/{tenant}");
    let mut calls: Vec<(String, Value, String)> = Vec::new();
    calls.extend(plan.agents.iter().map(|(agent, settings)| {
        (
            format!("{base}/agents/{agent}"),
            json!(AgentBody::from(settings)),
            format!("agent {} ({agent})", settings.name),
        )
    }));
    calls.extend(plan.keys.iter().map(|key| {
        let algorithm = match key.algorithm {
            KeyAlgorithm::Hs256 => "HS256",
            KeyAlgorithm::EdDsa => "EdDSA",
        };
        let body = json!({ "algorithm": algorithm, "material": key.material });
        (
            format!("{base}/keys/{}", escaped(&key.kid)),
            body,
            format!("key {}", key.kid),
        )
    }));
    calls
}

/// One segment of a path.
pub(super) fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let mut text = String::new();
    for byte in name.bytes() {
        if plain(byte) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

fn speaks_of_rules(file: &TenantFile) -> bool {
    !file.rules.is_empty() || file.fallback.is_some()
}

fn left(file: &TenantFile, existing: &Existing) -> Vec<String> {
    let queues = existing
        .queues
        .keys()
        .filter(|name| !file.queues.iter().any(|queue| queue.name == **name));
    let agents = existing
        .agents
        .keys()
        .filter(|name| !file.agents.iter().any(|agent| agent.name == **name));
    let queues = queues.map(|name| format!("queue {name}"));
    let rules = (!speaks_of_rules(file)).then(|| "rules and fallback".to_owned());
    queues
        .chain(agents.map(|name| format!("agent {name}")))
        .chain(rules)
        .collect()
}

pub(super) async fn tenants(admin: &Admin) -> Result<Vec<TenantRow>, CliError> {
    let mut answer = admin.call_until_done(Method::GET, "/v1/admin/tenants", None).await?;
    read(answer["tenants"].take())
}

/// The one tenant of this id or name.
pub(super) async fn named(admin: &Admin, wanted: &str) -> Result<TenantRow, CliError> {
    one_of(tenants(admin).await?, wanted)
}

fn one_of(rows: Vec<TenantRow>, wanted: &str) -> Result<TenantRow, CliError> {
    let mut found = rows
        .into_iter()
        .filter(|row| row.name == wanted || row.id.to_string() == wanted);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => Err(CliError::Usage(format!(
            "there is no tenant `{wanted}`; `kaiwa tenant show` lists all"
        ))),
        (Some(_), Some(_)) => Err(CliError::Usage(format!(
            "there are several tenants `{wanted}`; say the id: `kaiwa tenant show` lists all"
        ))),
    }
}

#[derive(Deserialize)]
struct Row {
    id: AgentId,
    settings: Settings,
}

#[derive(Deserialize)]
struct Settings {
    name: String,
}

pub(super) async fn existing(admin: &Admin, tenant: TenantId) -> Result<Existing, CliError> {
    let base = format!("/v1/admin/tenants/{tenant}");
    let mut existing = Existing::default();
    let mut answer = asked(admin, &format!("{base}/policy")).await?;
    let policy: PolicyBody = read(answer["policy"].take())?;
    let queues = policy.queues.into_iter();
    existing.queues.extend(queues.map(|(id, queue)| (queue.name, id)));
    let calendars = policy.calendars.into_iter();
    existing
        .calendars
        .extend(calendars.map(|(id, calendar)| (calendar.name, id)));
    let mut cursor = String::new();
    loop {
        let mut answer = asked(admin, &format!("{base}/agents?limit={PAGE}{cursor}")).await?;
        let agents: Vec<Row> = read(answer["agents"].take())?;
        existing
            .agents
            .extend(agents.into_iter().map(|row| (row.settings.name, row.id)));
        match answer["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(existing),
        }
    }
}

/// A tenant that was made a moment ago may not be known to this node's copy of the directory yet.
pub(super) async fn asked(admin: &Admin, path: &str) -> Result<Value, CliError> {
    const TRIES: u32 = 50;
    const EVERY: std::time::Duration = std::time::Duration::from_millis(100);
    for _ in 0..TRIES {
        match admin.call_until_done(Method::GET, path, None).await {
            Err(CliError::Refused(refusal)) if refusal.code() == "unknown_tenant" => {}
            other => return other,
        }
        tokio::time::sleep(EVERY).await;
    }
    admin.call_until_done(Method::GET, path, None).await
}

async fn show(tenant: Option<&str>, args: &AdminArgs) -> Result<(), CliError> {
    let admin = Admin::new(args)?;
    let Some(wanted) = tenant else {
        for row in tenants(&admin).await? {
            say(&format!("{}  shard {:<4} {}", row.id, row.shard, row.name));
        }
        return Ok(());
    };
    let row = named(&admin, wanted).await?;
    let base = format!("/v1/admin/tenants/{}", row.id);
    let mut whole = json!({ "id": row.id, "name": row.name, "shard": row.shard });
    for (name, path) in [
        ("queues", "queues"),
        ("skills", "skills"),
        ("rules", "rules"),
        ("keys", "keys"),
    ] {
        let answer = asked(&admin, &format!("{base}/{path}")).await?;
        whole[name] = if answer[name].is_null() {
            answer
        } else {
            answer[name].clone()
        };
    }
    let agents = existing(&admin, row.id).await?.agents;
    whole["agents"] = json!(
        agents
            .iter()
            .map(|(name, id)| json!({ "id": id, "name": name }))
            .collect::<Vec<_>>()
    );
    say_json(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_is_found_by_its_id_or_by_a_name_that_it_alone_has() {
        let row = |id: u128, name: &str| TenantRow {
            id: TenantId(id),
            name: name.to_owned(),
            shard: 1,
        };
        let all = || vec![row(1, "acme"), row(2, "twin"), row(3, "twin")];
        let found = |wanted: &str| one_of(all(), wanted).map(|row| row.id);
        assert_eq!(found("acme").ok(), Some(TenantId(1)));
        assert_eq!(found(&TenantId(3).to_string()).ok(), Some(TenantId(3)));
        for (wanted, word) in [("twin", "several"), ("nobody", "no tenant")] {
            let error = found(wanted).expect_err(wanted);
            assert!(
                matches!(&error, CliError::Usage(text) if text.contains(word)),
                "{error}"
            );
        }
    }

    #[test]
    fn what_a_file_does_not_speak_of_stays() {
        let in_force = json!({
            "skills": {"billing": "", "old": ""},
            "queues": {"que_1": {"name": "kept"}},
            "calendars": {},
            "routing": {"batch_max": 16},
            "rules": [{"name": "kept"}],
            "fallback": {"queues": ["kept"]},
        });
        let kept = |text: &str| {
            let file = TenantFile::parse("t", text, []).expect("a file");
            let mut body = json!({"skills": {"billing": "new"}, "queues": {}, "calendars": {}, "rules": [], "fallback": null, "routing": {}});
            keep_unnamed(&mut body, &in_force, &file);
            (body, left(&file, &Existing::default()))
        };
        let (body, left) = kept("[tenant]\nname = \"t\"\n[[skill]]\nname = \"billing\"\n");
        assert_eq!(body["skills"], json!({"billing": "new", "old": ""}));
        for part in ["queues", "routing", "rules", "fallback"] {
            assert_eq!(body[part], in_force[part], "{part}");
        }
        assert_eq!(left, ["rules and fallback"]);
        let (body, left) = kept(
            "[tenant]\nname = \"t\"\n[routing]\nbatch_max = 2\n[[queue]]\nname = \"q\"\n[fallback]\nqueues = [\"q\"]\n",
        );
        for part in ["routing", "rules", "fallback"] {
            assert_ne!(body[part], in_force[part], "{part}");
        }
        assert_eq!(left, Vec::<String>::new());
    }
}
