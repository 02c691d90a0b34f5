//! Gathers what there is to judge by: what the people were told, every node's transcripts, and what was watched meanwhile.
//! The judging is in [`crate::invariants`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use routing::ids::{ConversationId, Millis, Seq};
use serde_json::Value;
use tokio::sync::Mutex;

use crate::diary::Diary;
use crate::history::History;
use crate::invariants::{self, Verdict};
use crate::rest::Rest;
use crate::watch::Watched;
use crate::world::World;

/// One entry of a transcript, as a supervisor is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// From 1.
    pub seq: Seq,
    /// When.
    pub at_ms: Millis,
    /// Whether customers may see it.
    pub for_customer: bool,
    /// Text of a message.
    pub text: Option<String>,
    /// What it is: a name, or an object with one field of that name.
    pub kind: Value,
}

impl Line {
    /// Reads an entry as the API writes it.
    pub fn read(entry: &Value) -> Result<Self> {
        let kind = entry["kind"].clone();
        Ok(Self {
            seq: entry["seq"].as_u64().context("an entry has a seq")?,
            at_ms: entry["at_ms"].as_u64().context("an entry has its time")?,
            for_customer: for_customer(&kind),
            text: kind["message"]["body"]["text"].as_str().map(str::to_owned),
            kind,
        })
    }

    /// Whether it is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        self.kind.as_str() == Some(kind) || self.kind.get(kind).is_some()
    }

    /// Whether nobody wrote it.
    pub fn of_the_system(&self) -> bool {
        self.kind["message"]["author"] == "system"
    }
}

/// What customers may see: not what staff says among themselves, not the ways through queues, not who listens unseen, and
/// not their own rating. Said here once more, so that a mistake there is not repeated here.
fn for_customer(kind: &Value) -> bool {
    let seen_role = |of: &str| {
        kind[of]["role"]
            .as_str()
            .map(|role| matches!(role, "conference" | "barge"))
    };
    if let Some(seen) = seen_role("participant_joined").or(seen_role("participant_left")) {
        return seen;
    }
    ["note", "moved", "whisper", "rated"]
        .iter()
        .all(|hidden| kind.get(hidden).is_none())
}

/// The entries of a conversation.
pub type Transcript = Vec<Line>;

/// Reads every transcript from a node.
pub async fn transcripts(
    world: &World,
    node: u64,
    conversations: &[ConversationId],
) -> Result<BTreeMap<ConversationId, Transcript>> {
    let reader = Rest::supervisor(world, vec![world.cluster.api_url(node)?]);
    let mut all = BTreeMap::new();
    for chunk in conversations.chunks(16) {
        let read = futures::future::try_join_all(chunk.iter().map(|id| transcript(&reader, *id))).await?;
        all.extend(chunk.iter().copied().zip(read));
    }
    Ok(all)
}

/// Reads one transcript, as far as the reader may see it.
pub async fn transcript(reader: &Rest, conversation: ConversationId) -> Result<Transcript> {
    let (mut transcript, mut after) = (Transcript::new(), 0);
    loop {
        let page = reader
            .get(&format!(
                "/v1/conversations/{conversation}/entries?after={after}&limit=500"
            ))
            .await?;
        let entries = page["entries"].as_array().context("a page has entries")?;
        for entry in entries {
            transcript.push(Line::read(entry)?);
        }
        match page["next_after"].as_u64() {
            Some(next) => after = next,
            None => return Ok(transcript),
        }
    }
}

/// Who owns what, as the server says: assigned and paused ones.
async fn owned(reader: &Rest) -> Result<BTreeMap<ConversationId, String>> {
    let (mut owners, mut cursor) = (BTreeMap::new(), String::new());
    loop {
        let page = reader.get(&format!("/v1/conversations?limit=500{cursor}")).await?;
        for conversation in page["conversations"].as_array().context("a page has conversations")? {
            if matches!(conversation["phase"].as_str(), Some("assigned" | "paused")) {
                let id = conversation["id"].as_str().context("a conversation has an id")?;
                let agent = conversation["agent"]
                    .as_str()
                    .context("an assigned conversation has its agent")?;
                owners.insert(id.parse()?, agent.to_owned());
            }
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return Ok(owners),
        }
    }
}

/// What a run leaves behind to be judged by.
pub struct Evidence {
    /// What people were told.
    pub diary: Diary,
    /// What they did, with the times of call and return.
    pub history: History,
    /// Every transcript, as every node tells it.
    pub transcripts: BTreeMap<u64, BTreeMap<ConversationId, Transcript>>,
    /// Who owns what in the end, as the nodes say.
    pub owners: BTreeMap<ConversationId, String>,
    /// The longest that deadlines could not fire.
    pub outage: Duration,
    /// What was seen of the nodes meanwhile; `None` in runs that only look at the end.
    pub watched: Option<Watched>,
    /// Capacity of an agent: how many conversations at a time.
    pub capacity: usize,
    /// What faults saw of disks that failed.
    pub distrust: Distrust,
    /// Where what is found is written in full, if anywhere.
    pub folder: Option<PathBuf>,
}

/// What nodes did with disks that failed (invariant K).
#[derive(Clone, Debug, Default)]
pub struct Distrust {
    /// Failures that were looked at.
    pub looked: u64,
    /// Disks that were trusted again.
    pub violations: Vec<String>,
}

impl Evidence {
    /// One node's transcripts; when they are equal, those of all.
    pub fn first(&self) -> &BTreeMap<ConversationId, Transcript> {
        self.transcripts.values().next().expect("a run has nodes")
    }

    /// Reads every transcript from every running node, once people are silent and the replicas equal.
    pub async fn gather(world: &mut World, diary: &Mutex<Diary>, outage: Duration) -> Result<Self> {
        let conversations: Vec<ConversationId> = diary.lock().await.conversations.keys().copied().collect();
        let nodes = world.cluster.running();
        let mut all = BTreeMap::new();
        for node in &nodes {
            all.insert(*node, transcripts(world, *node, &conversations).await?);
        }
        let first = nodes.first().context("no node runs")?;
        everybody_has_read(diary, &all[first]).await;
        let owners = owned(&Rest::supervisor(world, vec![world.cluster.api_url(*first)?])).await?;
        let mut diary = diary.lock().await;
        let history = diary.recorder.history();
        Ok(Self {
            diary: std::mem::take(&mut *diary),
            history,
            transcripts: all,
            owners,
            outage,
            watched: None,
            capacity: world.concurrent,
            distrust: Distrust::default(),
            folder: None,
        })
    }
}

/// Gathers the evidence and judges it; the first violation is an error. `outage`: the longest that offers could not expire.
pub async fn check(world: &mut World, diary: &Mutex<Diary>, outage: Duration) -> Result<Verdict> {
    invariants::judge(&Evidence::gather(world, diary, outage).await?).into_result()
}

/// Waits until customers have been given the last entry that they may see, for a while: who was not is for invariant E to say.
async fn everybody_has_read(diary: &Mutex<Diary>, transcripts: &BTreeMap<ConversationId, Transcript>) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let missing = {
            let diary = diary.lock().await;
            let here = transcripts.iter().filter(|(id, _)| !diary.gone.contains(id));
            here.into_iter().find_map(|(id, transcript)| {
                let last = transcript
                    .iter()
                    .rev()
                    .find(|entry| entry.for_customer)
                    .map(|entry| entry.seq);
                let seen = diary
                    .customers
                    .get(id)
                    .and_then(|seen| seen.last())
                    .map(|entry| entry.0);
                (seen != last).then(|| format!("{id}: the customer has {seen:?}, the transcript {last:?}"))
            })
        };
        match missing {
            None => return,
            Some(missing) if Instant::now() > until => return tracing::warn!("not delivered within 20 s: {missing}"),
            Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
