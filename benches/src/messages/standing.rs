//! Conversations that are open and silent: a state of the size that is wanted, before anything is measured.
//!
//! They are started over REST by customers who then do not listen, and wait in a queue that nobody serves: so each is what a
//! conversation costs that is not talked in at the moment.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt};
use node::auth::Role;
use serde_json::json;

use super::stage::{STANDING, Stage, token};
use crate::machine::Memory;

/// Calls under way at a time.
const CALLS_AT_ONCE: usize = 192;
/// A call is repeated for so long while the cluster has no room for it.
const REPEATED_FOR: Duration = Duration::from_secs(60);
const REPEATED_EVERY: Duration = Duration::from_millis(200);
/// Between two words about how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// What they cost.
#[derive(Clone, Debug)]
pub struct Cost {
    /// How many there are.
    pub count: u64,
    /// It took so long.
    pub took: Duration,
    /// Resident memory of each node before and after, bytes.
    pub resident: Vec<(u64, u64)>,
}

impl Cost {
    /// Bytes of one node for each of them.
    pub fn each(&self) -> Vec<u64> {
        let count = self.count.max(1);
        self.resident
            .iter()
            .map(|(before, after)| after.saturating_sub(*before) / count)
            .collect()
    }
}

/// Opens so many.
pub async fn open(stage: &Stage, count: u64) -> Result<Cost> {
    let http = crate::run::stage::client()?;
    let urls: Vec<String> = stage
        .cluster
        .api_urls()
        .iter()
        .map(|url| format!("{url}/v1/conversations"))
        .collect();
    let before = resident(stage)?;
    let started = Instant::now();
    let done = AtomicU64::new(0);
    let telling = async {
        loop {
            tokio::time::sleep(TOLD_EVERY).await;
            let done = done.load(Ordering::Relaxed);
            let per_second = done as f64 / started.elapsed().as_secs_f64();
            let _ = writeln!(io::stderr(), "{done} of {count} conversations stand, {per_second:.0}/s");
        }
    };
    let opening = futures::stream::iter(0..count).map(|number| {
        let (http, url, done) = (&http, &urls[number as usize % urls.len()], &done);
        async move {
            start(http, url, number).await?;
            done.fetch_add(1, Ordering::Relaxed);
            Ok::<(), anyhow::Error>(())
        }
    });
    let opening = opening.buffer_unordered(CALLS_AT_ONCE).try_collect::<()>();
    tokio::select! {
        opened = opening => opened?,
        () = telling => {}
    }
    let took = started.elapsed();
    let resident = before.into_iter().zip(resident(stage)?).collect();
    Ok(Cost { count, took, resident })
}

async fn start(http: &reqwest::Client, url: &str, number: u64) -> Result<()> {
    let token = token(Role::Customer, &format!("{STANDING}-{number}"))?;
    let until = Instant::now() + REPEATED_FOR;
    loop {
        let request = http
            .post(url)
            .bearer_auth(&token)
            .json(&json!({ "channel": "web_chat" }));
        let answer = request.send().await.with_context(|| url.to_owned())?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        if !matches!(status.as_u16(), 429 | 503 | 504) || Instant::now() > until {
            bail!("{url}: {status}: {text}");
        }
        tokio::time::sleep(REPEATED_EVERY).await;
    }
}

/// Resident memory of the nodes, bytes.
fn resident(stage: &Stage) -> Result<Vec<u64>> {
    let pids = stage.cluster.ids().into_iter().filter_map(|id| stage.cluster.pid(id));
    pids.map(|pid| {
        let memory = Memory::of(pid).context("a node has ended")?;
        Ok((memory.rss_kib * 1024.0) as u64)
    })
    .collect()
}
