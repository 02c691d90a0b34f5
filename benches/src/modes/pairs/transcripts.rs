//! What the cluster has on record, read over REST: a second way beside the sockets.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use node::auth::Role;
use serde::Deserialize;
use serde_json::Value;

use super::People;
use crate::run::account::{Account, Side};
use crate::run::line::{customer_name, id_of};
use crate::run::stage::{Stage, client};

const PAGE: usize = 500;
const AT_ONCE: usize = 4;
/// A page is asked for again for so long.
const REPEATED_FOR: Duration = Duration::from_secs(30);
const REPEATED_EVERY: Duration = Duration::from_millis(200);

#[derive(Deserialize)]
struct Page {
    entries: Vec<Value>,
    next_after: Option<u64>,
}

/// Acknowledged messages that are not in the transcript of their conversation exactly once and where their acknowledgement says.
pub async fn compare(stage: &Stage, people: &People, accounts: &[Account]) -> Result<u64> {
    let http = client()?;
    let read = futures::stream::iter(accounts.iter().enumerate()).map(|(pair, account)| {
        let http = &http;
        async move {
            let found = read(http, stage, people, pair).await?;
            let acknowledged = [Side::Customer, Side::Agent]
                .into_iter()
                .flat_map(|side| account.places(side).map(move |(number, seq)| (side, number, seq)));
            let missing =
                acknowledged.filter(|(side, number, seq)| found.get(&(*side as u8, *number)) != Some(&vec![*seq]));
            anyhow::Ok(missing.count() as u64)
        }
    });
    read.buffer_unordered(AT_ONCE)
        .try_fold(0, |sum, missing| async move { Ok(sum + missing) })
        .await
}

/// The places of each message, by side and number.
async fn read(
    http: &reqwest::Client,
    stage: &Stage,
    people: &People,
    pair: usize,
) -> Result<HashMap<(u8, u32), Vec<u64>>> {
    let at = &people.pairs[pair];
    let token = stage.tenants[at.tenant].token(Role::Customer, &customer_name(people.nonce, pair as u32))?;
    let mut found: HashMap<(u8, u32), Vec<u64>> = HashMap::new();
    let mut after = 0;
    loop {
        let path = format!(
            "/v1/conversations/{}/entries?after={after}&limit={PAGE}",
            at.conversation
        );
        let page = page(http, &people.urls, &path, &token).await?;
        for entry in &page.entries {
            let Some(text) = entry["kind"]["message"]["body"]["text"].as_str() else {
                continue;
            };
            if let Some(((of, stream, number), _)) = id_of(text, people.nonce)
                && of as usize == pair
            {
                let seq = entry["seq"].as_u64().context("an entry has no seq")?;
                found.entry((stream.side() as u8, number)).or_default().push(seq);
            }
        }
        match page.next_after {
            Some(next) => {
                ensure!(next > after, "a transcript does not go on");
                after = next;
            }
            None => return Ok(found),
        }
    }
}

async fn page(http: &reqwest::Client, urls: &[String], path: &str, token: &str) -> Result<Page> {
    let until = Instant::now() + REPEATED_FOR;
    for url in urls.iter().cycle() {
        let answer = http.get(format!("{url}{path}")).bearer_auth(token).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => return answer.json().await.context("a page of a transcript"),
            _ if Instant::now() < until => tokio::time::sleep(REPEATED_EVERY).await,
            Ok(answer) => bail!(
                "{url}{path}: {}: {}",
                answer.status(),
                answer.text().await.unwrap_or_default()
            ),
            Err(error) => return Err(error).with_context(|| format!("{url}{path}")),
        }
    }
    bail!("there is no node to ask")
}
