//! `kaiwa token …`: tokens for trying things out. In production a tenant's own systems sign them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use routing::ids::TenantId;

use super::{CliError, duration, read_file, say};
use crate::auth::{Grant, KeyError, Role, SECRET_MIN_BYTES, SigningKey, issue_token, unix_now_s};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Signs a token and prints it
    Issue(IssueArgs),
}

#[derive(Debug, Args)]
pub(super) struct IssueArgs {
    /// The tenant, `ten_…`
    #[arg(long, value_name = "ID")]
    tenant: TenantId,
    /// customer, agent or supervisor
    #[arg(long)]
    role: Role,
    /// Who: a customer's id, or an agent's name
    #[arg(long, value_name = "NAME")]
    sub: String,
    /// Key id, as the tenant's key was saved
    #[arg(long)]
    kid: String,
    /// Variable that holds the shared secret (HS256)
    #[arg(
        long,
        value_name = "VARIABLE",
        required_unless_present = "private_key",
        conflicts_with = "private_key"
    )]
    secret_env: Option<String>,
    /// File of the private key (EdDSA: Ed25519, PKCS#8 PEM)
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// How long it is valid
    #[arg(long = "for", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    for_: Duration,
    /// For whom, `aud`
    #[arg(long, default_value = "kaiwa")]
    audience: String,
    /// By whom, `iss`
    #[arg(long)]
    issuer: Option<String>,
}

pub(super) fn run(TokenCommand::Issue(args): TokenCommand) -> Result<(), CliError> {
    let key = match (&args.secret_env, &args.private_key) {
        (Some(variable), _) => {
            let secret = std::env::var(variable)
                .map_err(|_| CliError::Usage(format!("the variable {variable} is not set, or not text")))?;
            if secret.len() < SECRET_MIN_BYTES {
                return Err(CliError::Usage(KeyError::SecretTooShort.to_string()));
            }
            SigningKey::Hs256(secret)
        }
        (None, Some(path)) => SigningKey::EdDsa(read_file(path)?),
        (None, None) => return Err(CliError::Usage("give --secret-env or --private-key".to_owned())),
    };
    let now = unix_now_s();
    let grant = Grant {
        tenant: args.tenant,
        role: args.role,
        subject: args.sub,
        audience: args.audience,
        issuer: args.issuer,
        not_before_s: now,
        expires_at_s: now + args.for_.as_secs(),
    };
    say(&issue_token(&args.kid, &key, &grant).map_err(|error| CliError::Usage(error.to_string()))?);
    Ok(())
}
