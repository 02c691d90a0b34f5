//! What the people were told, against each other and against every node's transcripts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use routing::event::OfferOutcome;
use routing::ids::{ConversationId, Epoch, Millis, Seq};
use serde_json::Value;

use crate::people::{Diary, Seen};
use crate::rest::Rest;
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
    fn read(entry: &Value) -> Result<Self> {
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

    fn of_the_system(&self) -> bool {
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

/// Counts of a run that passed.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Conversations.
    pub conversations: usize,
    /// Acknowledged messages.
    pub messages: usize,
    /// Offers that were made, and of these expired.
    pub offers: (usize, usize),
}

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

/// Checks everything, once people are silent and the replicas equal. `outage`: the longest that offers could not expire.
pub async fn check(world: &mut World, diary: &tokio::sync::Mutex<Diary>, outage: Duration) -> Result<Verdict> {
    let conversations: Vec<ConversationId> = diary.lock().await.conversations.keys().copied().collect();
    let nodes = world.cluster.running();
    let first = transcripts(world, nodes[0], &conversations).await?;
    for node in &nodes[1..] {
        let other = transcripts(world, *node, &conversations).await?;
        for (id, transcript) in &first {
            ensure!(
                other[id] == *transcript,
                "{id}: node {} and node {node} tell different transcripts",
                nodes[0]
            );
        }
    }
    for (id, transcript) in &first {
        let dense = transcript.iter().zip(1..).all(|(entry, seq)| entry.seq == seq);
        ensure!(dense, "{id}: seqs are not dense: {transcript:?}");
    }
    everybody_has_read(diary, &first).await?;
    let diary = diary.lock().await;
    ensure!(diary.gaps.is_empty(), "clients saw gaps: {:?}", diary.gaps);
    ensure!(
        diary.muddles.is_empty(),
        "people were told what they should not have been: {:?}",
        diary.muddles
    );
    messages(&diary, &first)?;
    readers(&diary, &first)?;
    let expired = offers(&diary, outage)?;
    owners(world, nodes[0], &diary).await?;
    Ok(Verdict {
        conversations: conversations.len(),
        messages: diary.acknowledged.len(),
        offers: (diary.offers.len(), expired),
    })
}

/// Waits until customers have been given the last entry that they may see.
async fn everybody_has_read(
    diary: &tokio::sync::Mutex<Diary>,
    transcripts: &BTreeMap<ConversationId, Transcript>,
) -> Result<()> {
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
            None => return Ok(()),
            Some(missing) if Instant::now() > until => bail!("not delivered within 20 s: {missing}"),
            Some(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// A, E, F: acknowledged ones are there once, where the ack said; refused ones are not; nothing is there that nobody sent.
fn messages(diary: &Diary, transcripts: &BTreeMap<ConversationId, Transcript>) -> Result<()> {
    let mut found: BTreeMap<&str, (ConversationId, Seq)> = BTreeMap::new();
    for (id, transcript) in transcripts {
        for line in transcript.iter().filter(|line| !line.of_the_system()) {
            let (seq, Some(text)) = (line.seq, &line.text) else {
                continue;
            };
            ensure!(diary.sent.contains(text), "{id}: nobody sent `{text}`");
            ensure!(
                !diary.refused.contains_key(text),
                "{id}: `{text}` was refused and is there"
            );
            if let Some(before) = found.insert(text, (*id, seq)) {
                bail!("`{text}` is there twice: {before:?} and {:?}", (id, seq));
            }
        }
    }
    for (text, at) in &diary.acknowledged {
        match found.get(text.as_str()) {
            None => bail!("`{text}` was acknowledged at {at:?} and is not there"),
            Some(there) => ensure!(there == at, "`{text}` was acknowledged at {at:?} and is at {there:?}"),
        }
    }
    Ok(())
}

/// E: each reader saw a transcript's entries once, in order, without gap.
fn readers(diary: &Diary, transcripts: &BTreeMap<ConversationId, Transcript>) -> Result<()> {
    for (id, seen) in &diary.customers {
        let Some(transcript) = transcripts.get(id) else {
            continue;
        };
        let visible: Vec<(Seq, Option<String>)> = transcript
            .iter()
            .filter(|entry| entry.for_customer)
            .map(|entry| (entry.seq, entry.text.clone()))
            .collect();
        let given: Vec<(Seq, Option<String>)> = seen.iter().map(|(seq, _, text)| (*seq, text.clone())).collect();
        let all = match diary.gone.contains(id) {
            true => visible.starts_with(&given),
            false => given == visible,
        };
        ensure!(all, "{id}: the customer was given {given:?}\ninstead of {visible:?}");
    }
    for ((agent, id), seen) in &diary.agents {
        let Some(transcript) = transcripts.get(id) else {
            continue;
        };
        agent_saw(seen, transcript).with_context(|| format!("{agent}, {id}"))?;
    }
    Ok(())
}

/// An agent begins anywhere and may leave and come back: what is given is the transcript's, once and in order. Gaps while
/// following are the client's to see, and stand in the diary.
fn agent_saw(seen: &Seen, transcript: &Transcript) -> Result<()> {
    let mut last = 0;
    for (seq, prev, text) in seen {
        let entry = transcript
            .get(*seq as usize - 1)
            .context("an entry that is not in the transcript")?;
        ensure!(
            entry.text == *text,
            "entry {seq} reads {text:?}, in the transcript {:?}",
            entry.text
        );
        ensure!(*seq > last, "entry {seq} after {last}");
        ensure!(
            last == 0 || *prev >= last,
            "entry {seq} follows {prev}, the agent had {last}"
        );
        last = *seq;
    }
    Ok(())
}

/// Each offer ended; those that expired did so between the deadline and the deadline plus the outage plus a second.
fn offers(diary: &Diary, outage: Duration) -> Result<usize> {
    let mut expired = 0;
    let grace_ms = outage.as_millis() as u64 + 1_000;
    let mut takers: BTreeMap<(ConversationId, Epoch), &String> = BTreeMap::new();
    for ((agent, id, epoch), offer) in &diary.offers {
        let Some((at_ms, outcome)) = &offer.ended else {
            bail!("{id}: {agent}'s offer of epoch {epoch:?} never ended")
        };
        if *outcome == OfferOutcome::Accepted
            && let Some(other) = takers.insert((*id, *epoch), agent)
        {
            bail!("{id}: {other} and {agent} both took the offer of epoch {epoch:?}");
        }
        if *outcome == OfferOutcome::Expired {
            expired += 1;
            let window = offer.deadline_ms..=offer.deadline_ms + grace_ms;
            ensure!(
                window.contains(at_ms),
                "{id}: the offer expired at {at_ms}, should have in {window:?}"
            );
        }
    }
    for ((agent, id, epoch), offer) in &diary.offers {
        let taken = matches!(offer.ended, Some((_, OfferOutcome::TakenByAnother)));
        ensure!(
            !taken || takers.contains_key(&(*id, *epoch)),
            "{id}: {agent} was told that another took the offer of epoch {epoch:?}, and nobody did"
        );
    }
    Ok(expired)
}

/// C: the server's owners are those who were told so, and nobody else believes to own anything.
async fn owners(world: &World, node: u64, diary: &Diary) -> Result<()> {
    let server = owned(&Rest::supervisor(world, vec![world.cluster.api_url(node)?])).await?;
    let told: BTreeSet<ConversationId> = diary.owned.values().flat_map(|owned| owned.keys().copied()).collect();
    for id in server.keys().filter(|id| diary.conversations.contains_key(id)) {
        ensure!(told.contains(id), "{id} has an owner who was not told");
    }
    for (agent, owned) in &diary.owned {
        for id in owned.keys() {
            ensure!(
                server.contains_key(id),
                "{agent} believes to own {id}, which is not assigned"
            );
        }
    }
    let owners: usize = diary.owned.values().map(BTreeMap::len).sum();
    ensure!(owners == told.len(), "two agents believe to own the same conversation");
    Ok(())
}
