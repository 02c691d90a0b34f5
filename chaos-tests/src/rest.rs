//! The REST API, as one person has it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use node::auth::Role;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use crate::world::{SUPERVISOR, World};

/// Who calls, and where.
#[derive(Clone)]
pub struct Rest {
    http: reqwest::Client,
    urls: Vec<String>,
    token: String,
}

impl Rest {
    /// Calls of somebody, to the first of these nodes that answers.
    pub fn new(world: &World, urls: Vec<String>, role: Role, subject: &str) -> Self {
        let http = reqwest::Client::builder().timeout(Duration::from_secs(15));
        Self {
            http: http.build().expect("a client can be made"),
            urls,
            token: world.token(role, subject),
        }
    }

    /// The tenant's supervisor.
    pub fn supervisor(world: &World, urls: Vec<String>) -> Self {
        Self::new(world, urls, Role::Supervisor, SUPERVISOR)
    }

    /// One call, to each node in turn until one answers; status and body.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let until = Instant::now() + Duration::from_secs(20);
        for url in self.urls.iter().cycle() {
            let mut request = self
                .http
                .request(method.clone(), format!("{url}{path}"))
                .bearer_auth(&self.token);
            if let Some(body) = body {
                request = request.json(body);
            }
            match request.send().await {
                Ok(response) if response.status() != StatusCode::SERVICE_UNAVAILABLE => {
                    let (status, text) = (response.status(), response.text().await?);
                    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
                    return Ok((status, body));
                }
                _ if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
                Ok(response) => anyhow::bail!("{method} {path}: {}", response.text().await?),
                Err(error) => return Err(error).with_context(|| format!("{method} {path}")),
            }
        }
        anyhow::bail!("no node to call")
    }

    /// Reads something.
    pub async fn get(&self, path: &str) -> Result<Value> {
        let (status, body) = self.call(Method::GET, path, None).await?;
        ensure!(status.is_success(), "GET {path}: {status}: {body}");
        Ok(body)
    }

    /// Does something.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let (status, answer) = self.call(Method::POST, path, Some(body)).await?;
        ensure!(status.is_success(), "POST {path}: {status}: {answer}");
        Ok(answer)
    }
}
