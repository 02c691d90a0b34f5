//! A tenant in which every capability that works with time or with several people has a queue and agents of its own, so
//! that situations can be in flight side by side and be told apart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use node::auth::{Role, unix_now_s};
use reqwest::Method;
use routing::ids::{ConversationId, Millis};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::cast::{Coming, Desk, PATIENCE, Visitor};
use crate::diary::SharedDiary;
use crate::oracle::{self, Transcript};
use crate::rest::Rest;
use crate::world::World;

/// The first deadline of every situation comes so long after it began.
pub const STEP_MS: u64 = 6_000;
/// A second step.
pub const SECOND_STEP_MS: u64 = 7_000;
/// What a deadline calls for is done so long after it at the latest, once the cluster takes commands.
pub const GRACE_MS: u64 = 2_000;

/// Queues and rules; durations as [`STEP_MS`] and [`SECOND_STEP_MS`] say.
const QUEUES: &str = r#"
[[skill]]
name = "gold"

[[queue]]
name = "relaxed"
offer_timeout = "60s"
relaxations = [{ after = "6s", skill = "gold", lower_by = 2 }, { after = "7s", skill = "gold", drop = true }]

[[queue]]
name = "placed"
offer_timeout = "60s"
relaxations = [{ after = "6s", skill = "gold", lower_by = 2 }]

[[queue]]
name = "ringed"
offer_timeout = "60s"
rings = [{ after = "6s" }]

[[queue]]
name = "escalating"
offer_timeout = "60s"
escalations = [{ waited = "6s", raise_priority = 8 }, { waited = "7s", move_to = "escalated" }]

[[queue]]
name = "escalated"
offer_timeout = "60s"

[[queue]]
name = "closed"
calendar = "another_day"
when_closed = "move"
closed_move_to = "night"

[[queue]]
name = "night"
escalations = [{ waited = "6s", close = "Good night." }]

[[queue]]
name = "later"
offer_timeout = "60s"

[[queue]]
name = "callback"
offer_timeout = "60s"
abandon_hold = "6s"
short_abandon = "0s"

[[queue]]
name = "warm"
offer_timeout = "60s"

[[queue]]
name = "brief"
offer_timeout = "6s"

[[queue]]
name = "parallel"
offers_at_once = 3
offer_timeout = "60s"

[[queue]]
name = "expiring"
offers_at_once = 2
offer_timeout = "6s"
decline_exclude = "1s"
timeouts_until_away = 0

[[queue]]
name = "idle"
offer_timeout = "60s"
idle_pause = "6s"

[[queue]]
name = "silent"
offer_timeout = "60s"
silent_abandon = "6s"

[[queue]]
name = "returning"
offer_timeout = "60s"
return_when_full = "wait_for_owner"
return_wait = "6s"

[[queue]]
name = "pulse"

[fallback]
queues = ["pulse"]
"#;

/// Names of rules, which are what customers say they come for; the queue; whether gold is asked for.
const KINDS: [(&str, &str, bool); 17] = [
    ("relaxed", "relaxed", true),
    ("placed_gold", "placed", true),
    ("placed_plain", "placed", false),
    ("ringed", "ringed", false),
    ("escalating", "escalating", false),
    ("night", "closed", false),
    ("later", "later", false),
    ("callback", "callback", false),
    ("left", "callback", false),
    ("warm", "warm", false),
    ("brief", "brief", false),
    ("parallel", "parallel", false),
    ("expiring", "expiring", false),
    ("idle", "idle", false),
    ("silent", "silent", false),
    ("returning", "returning", false),
    ("filler", "returning", false),
];

struct Part {
    name: &'static str,
    queues: &'static str,
    gold: u8,
    room: u16,
    accepts: bool,
    role: Role,
}

const fn agent(name: &'static str, queues: &'static str, room: u16) -> Part {
    Part {
        name,
        queues,
        gold: 0,
        room,
        accepts: true,
        role: Role::Agent,
    }
}

const fn quiet(name: &'static str, queues: &'static str, room: u16) -> Part {
    Part {
        accepts: false,
        ..agent(name, queues, room)
    }
}

const fn golden(name: &'static str, queues: &'static str, room: u16) -> Part {
    Part {
        gold: 3,
        ..agent(name, queues, room)
    }
}

const fn supervisor(name: &'static str) -> Part {
    Part {
        role: Role::Supervisor,
        ..quiet(name, "", 1)
    }
}

/// Everybody who works here.
const CAST: [Part; 26] = [
    golden("silver", "relaxed = {}", 4),
    agent("bronze", "relaxed = {}", 8),
    golden("single", "placed = {}", 1),
    agent("second-ring", "ringed = { tier = 1 }", 8),
    agent("escalated", "escalated = {}", 8),
    agent("later", "later = {}", 8),
    agent("caller", "callback = {}", 8),
    agent("owner", "warm = {}", 40),
    quiet("consultant", "", 40),
    quiet("conferrer", "", 40),
    supervisor("monitor"),
    supervisor("whisperer"),
    supervisor("barger"),
    agent("host", "brief = {}", 8),
    quiet("absent-minded", "", 8),
    quiet("parallel-1", "parallel = {}", 16),
    quiet("parallel-2", "parallel = {}", 16),
    quiet("parallel-3", "parallel = {}", 16),
    quiet("parallel-4", "parallel = {}", 16),
    quiet("expiring-1", "expiring = {}", 16),
    quiet("expiring-2", "expiring = {}", 16),
    agent("idle", "idle = {}", 8),
    agent("asker", "silent = {}", 8),
    agent("full", "returning = {}", 8),
    agent("anybody", "returning = {}", 8),
    supervisor("closer"),
];

/// The tenant file.
pub fn tenant_file() -> String {
    // Open for an hour, three days from now: closed whenever this runs.
    const DAYS: [&str; 7] = ["thu", "fri", "sat", "sun", "mon", "tue", "wed"]; // the epoch began on a Thursday
    let day = DAYS[(unix_now_s() as usize / 86_400 + 3) % 7];
    let mut file = format!(
        "[[calendar]]\nname = \"another_day\"\nzone = \"UTC\"\nweekly = {{ {day} = \"10:00-11:00\" }}\n{QUEUES}"
    );
    for (kind, queue, gold) in KINDS {
        let required = if gold { "required = { gold = 5 }\n" } else { "" };
        file += &format!(
            "[[rule]]\nname = \"{kind}\"\nwhen = \"attributes.kind == '{kind}'\"\nqueues = [\"{queue}\"]\n{required}"
        );
    }
    for part in &CAST {
        let (name, queues, room) = (part.name, part.queues, part.room);
        let skills = match part.gold {
            0 => String::new(),
            level => format!("skills = {{ gold = {level} }}\n"),
        };
        let supervisor = matches!(part.role, Role::Supervisor);
        file += &format!(
            "[[agent]]\nname = \"{name}\"\n{skills}queues = {{ {queues} }}\nlease_hold = \"30s\"\nsupervisor = {supervisor}\n\
             channels = {{ web_chat = {{ concurrent_max = {room} }} }}\n"
        );
    }
    file
}

/// The tenant, the people in it, and what a situation needs beside them.
pub struct Stage {
    /// The cluster.
    pub world: World,
    /// What everybody was told.
    pub diary: SharedDiary,
    /// The supervisor's REST API.
    pub rest: Rest,
    /// When commands were taken.
    pub pulse: Pulse,
    /// Which round this is.
    pub round: u32,
    desks: BTreeMap<&'static str, Desk>,
}

impl Stage {
    /// Three nodes, the tenant, everybody signed in.
    pub async fn open() -> Result<Self> {
        let world = World::with_tenant(3, Vec::new(), &tenant_file()).await?;
        let diary = SharedDiary::default();
        let rest = Rest::supervisor(&world, world.cluster.api_urls());
        let pulse = Pulse::begin(&world).await?;
        let mut desks = BTreeMap::new();
        for (number, part) in CAST.iter().enumerate() {
            let desk = Desk::open(&world, &diary, number, part.name, part.role, part.accepts);
            desks.insert(part.name, desk);
        }
        futures::future::try_join_all(desks.values().map(Desk::sign_in)).await?;
        Ok(Self {
            world,
            diary,
            rest,
            pulse,
            round: 1,
            desks,
        })
    }

    /// Somebody of the cast.
    pub fn desk(&self, name: &str) -> &Desk {
        &self.desks[name]
    }

    /// So many customers who come for the same, all at once.
    pub async fn visitors(&self, kind: &'static str, many: usize) -> Result<Vec<Visitor>> {
        futures::future::try_join_all((0..many).map(|n| self.visitor(kind, n))).await
    }

    /// One customer.
    pub async fn visitor(&self, kind: &'static str, number: usize) -> Result<Visitor> {
        let coming = Coming { kind, schedule: None };
        self.visitor_who(format!("{kind}-{}-{number}", self.round), coming)
            .await
    }

    /// One customer, as told.
    pub async fn visitor_who(&self, name: String, coming: Coming) -> Result<Visitor> {
        Visitor::come(&self.world, &self.diary, name, coming).await
    }

    /// A conversation, as the supervisor sees it.
    pub async fn view(&self, of: ConversationId) -> Result<Value> {
        self.rest.get(&format!("/v1/conversations/{of}")).await
    }

    /// Waits until a conversation is so.
    pub async fn until_view(&self, of: ConversationId, what: &str, is: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = std::time::Instant::now() + PATIENCE;
        loop {
            let view = self.view(of).await?;
            if is(&view) {
                return Ok(view);
            }
            ensure!(
                std::time::Instant::now() < until,
                "{of}: not within {PATIENCE:?}: {what}; it is {view}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The transcript, as the supervisor sees it.
    pub async fn transcript(&self, of: ConversationId) -> Result<Transcript> {
        oracle::transcript(&self.rest, of).await
    }

    /// The one entry of a kind: when, and what.
    pub async fn once(&self, of: ConversationId, kind: &str) -> Result<(Millis, Value)> {
        let transcript = self.transcript(of).await?;
        let all: Vec<_> = transcript.iter().filter(|line| line.is(kind)).collect();
        let [one] = all[..] else {
            anyhow::bail!("{of}: `{kind}` should be there once: {transcript:?}");
        };
        Ok((one.at_ms, one.kind[kind].clone()))
    }

    /// What was due at `due_ms` was done at `at_ms`: not before, and not later than the cluster's absence excuses.
    pub fn in_time(&self, what: &str, due_ms: Millis, at_ms: Millis) -> Result<()> {
        ensure!(
            at_ms >= due_ms,
            "{what}: due at {due_ms}, done {} ms too early",
            due_ms - at_ms
        );
        let back_ms = self.pulse.first_from(due_ms).context("no pulse since")?;
        ensure!(
            at_ms <= back_ms + GRACE_MS,
            "{what}: due at {due_ms}, done at {at_ms}; the cluster took commands from {back_ms} on"
        );
        Ok(())
    }

    /// Why it went where it went, or still waits: there is an answer after a failover too.
    pub async fn why(&self, of: ConversationId) -> Result<Value> {
        let why = self.rest.get(&format!("/v1/conversations/{of}/why")).await?;
        ensure!(
            why["summary"].as_str().is_some_and(|summary| !summary.is_empty()),
            "{of}: {why}"
        );
        Ok(why)
    }

    /// Sums of the reports, all that has been, by the queue's name and the figure's.
    pub async fn figures(&self) -> Result<Figures> {
        let now_ms = now_ms();
        let path = format!(
            "/v1/reports?from_ms={}&until_ms={}&by=queue",
            now_ms - 1_800_000,
            now_ms + 60_000
        );
        let report = self.rest.get(&path).await?;
        let rows = report["rows"].as_array().context("a report has rows")?;
        let named = rows.iter().filter_map(|row| Some((row["name"].as_str()?, row)));
        Ok(Figures(
            named.map(|(name, row)| (name.to_owned(), row.clone())).collect(),
        ))
    }

    /// Ends everything that is still open.
    pub async fn close_all(&self) -> Result<()> {
        let conversations: Vec<_> = self.diary.lock().await.conversations.keys().copied().collect();
        for chunk in conversations.chunks(16) {
            let close = chunk.iter().map(|id| async move {
                let path = format!("/v1/conversations/{id}/close");
                let (status, body) = self.rest.call(Method::POST, &path, Some(&json!({}))).await?;
                let over = body["code"] == "wrong_state";
                ensure!(status.is_success() || over, "{id} was not closed: {status}: {body}");
                anyhow::Ok(())
            });
            futures::future::try_join_all(close).await?;
        }
        Ok(())
    }
}

/// Reports, by queue.
pub struct Figures(BTreeMap<String, Value>);

impl Figures {
    /// A figure of a queue; 0 where there is nothing to tell of.
    pub fn of(&self, queue: &str, figure: &str) -> u64 {
        self.0.get(queue).and_then(|row| row[figure].as_u64()).unwrap_or(0)
    }
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> Millis {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as Millis)
}

/// Writes all the time: the stamps of what was acknowledged tell when the cluster took commands.
pub struct Pulse {
    stamps: Arc<Mutex<Vec<Millis>>>,
    task: JoinHandle<()>,
}

impl Pulse {
    async fn begin(world: &World) -> Result<Self> {
        let rest = Rest::new(world, world.cluster.api_urls(), Role::Customer, "pulse");
        let started = rest.post("/v1/conversations", &json!({"channel": "web_chat"})).await?;
        let id = started["receipt"]["conversation"].as_str().context("a start")?;
        let path = format!("/v1/conversations/{id}/messages");
        let stamps = Arc::new(Mutex::new(Vec::new()));
        let theirs = Arc::clone(&stamps);
        let task = tokio::spawn(async move {
            loop {
                if let Ok(receipt) = rest.post(&path, &json!({"body": {"text": "·"}})).await
                    && let Some(at_ms) = receipt["at_ms"].as_u64()
                {
                    theirs.lock().expect("nobody panicked").push(at_ms);
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        });
        Ok(Self { stamps, task })
    }

    /// Says no more.
    pub fn stop(&self) {
        self.task.abort();
    }

    /// When, from then on, the cluster took a command first.
    pub fn first_from(&self, from_ms: Millis) -> Option<Millis> {
        let stamps = self.stamps.lock().expect("nobody panicked");
        stamps.iter().copied().find(|at_ms| *at_ms >= from_ms)
    }

    /// The longest time without any.
    pub fn longest_pause(&self) -> Duration {
        let stamps = self.stamps.lock().expect("nobody panicked");
        let pauses = stamps.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        Duration::from_millis(pauses.max().unwrap_or(0))
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.task.abort();
    }
}
