//! Calls to the admin API of a node.

use std::fmt;
use std::time::{Duration, Instant};

use clap::Args;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::CliError;

/// Membership changes copy state; everything else is quick.
const CALL_DEADLINE: Duration = Duration::from_secs(600);
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long a call that may be repeated is repeated while the cluster has no leader.
const REPEATED_FOR: Duration = Duration::from_secs(20);
const REPEATED_EVERY: Duration = Duration::from_millis(300);

/// Which node is asked, and as whom.
#[derive(Clone, Debug, Args)]
pub(super) struct AdminArgs {
    /// Admin address of a node
    #[arg(
        long,
        value_name = "URL",
        env = "KAIWA_ADMIN_URL",
        default_value = "http://127.0.0.1:9000"
    )]
    pub admin: String,
    #[command(flatten)]
    pub key: KeyArg,
}

/// The key of the admin API.
#[derive(Clone, Args)]
pub(super) struct KeyArg {
    /// Key of the admin API; in KAIWA_ADMIN_KEY it is not seen by others on this machine
    #[arg(long, value_name = "KEY", env = "KAIWA_ADMIN_KEY", hide_env_values = true)]
    pub key: Option<String>,
}

impl fmt::Debug for KeyArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.key.is_some() {
            "KeyArg(redacted)"
        } else {
            "KeyArg(none)"
        })
    }
}

/// What a node said instead of doing it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refusal {
    status: u16,
    code: String,
    detail: String,
    errors: Vec<FieldRefusal>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct FieldRefusal {
    pointer: String,
    detail: String,
}

impl Refusal {
    /// The stable code.
    pub fn code(&self) -> &str {
        &self.code
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "refused: {} ({}, {})", self.detail, self.code, self.status)?;
        for error in self.errors.iter().filter(|error| error.detail != self.detail) {
            write!(f, "\n  {}: {}", error.pointer, error.detail)?;
        }
        Ok(())
    }
}

/// A node's admin API.
pub(super) struct Admin {
    url: String,
    key: String,
    http: reqwest::Client,
}

impl Admin {
    pub fn new(args: &AdminArgs) -> Result<Self, CliError> {
        let url = args.admin.trim_end_matches('/').to_owned();
        if !url.starts_with("http://") {
            let hint = "it is written http://host:port; for https, put a proxy or a tunnel in front";
            return Err(CliError::Usage(format!("`{url}` is no admin address: {hint}")));
        }
        let Some(key) = args.key.key.clone().filter(|key| !key.is_empty()) else {
            return Err(CliError::Usage(
                "a key of the admin API is needed: set KAIWA_ADMIN_KEY, or give --key".to_owned(),
            ));
        };
        let http = reqwest::Client::builder()
            .timeout(CALL_DEADLINE)
            .connect_timeout(CONNECT_DEADLINE)
            .no_proxy()
            .build();
        Ok(Self {
            url,
            key,
            http: http.map_err(anyhow::Error::from)?,
        })
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// One call; `Null` for an answer without a body.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            if text.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_str(&text).map_err(|error| {
                CliError::Failed(anyhow::anyhow!("{} gave an answer that is not JSON: {error}", self.url))
            });
        }
        Err(CliError::Refused(refusal(status, &text)))
    }

    /// A call that changes nothing when it is repeated: repeated while there is no leader, or too much waits.
    pub async fn call_until_done(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let end = Instant::now() + REPEATED_FOR;
        loop {
            let refused = match self.call(method.clone(), path, body).await {
                Err(CliError::Refused(refused)) => refused,
                other => return other,
            };
            let passing = matches!(refused.status, 429 | 503 | 504);
            if !passing || Instant::now() > end {
                return Err(CliError::Refused(refused));
            }
            tokio::time::sleep(REPEATED_EVERY).await;
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        // The innermost cause says most: `Connection refused`.
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        CliError::Unreachable {
            url: self.url.clone(),
            reason: cause.to_string(),
        }
    }
}

/// What a node answered, as this program knows it.
pub(super) fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, CliError> {
    serde_json::from_value(answer)
        .map_err(|error| CliError::Failed(anyhow::anyhow!("the node speaks another version: {error}")))
}

fn refusal(status: StatusCode, text: &str) -> Refusal {
    let parsed: Option<Refusal> = serde_json::from_str(text).ok();
    let mut refusal = parsed
        .filter(|refusal| !refusal.code.is_empty())
        .unwrap_or_else(|| Refusal {
            code: "unexpected".to_owned(),
            detail: format!(
                "the answer is not one of kaiwa's: {:?}",
                text.chars().take(120).collect::<String>()
            ),
            ..Refusal::default()
        });
    refusal.status = status.as_u16();
    refusal
}
