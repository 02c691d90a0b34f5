//! A reader: asks any node for transcripts, conversations and agents, and writes down what it is told, for the history: a reading
//! that misses what was acknowledged before it was asked for is a stale one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node::auth::Role;
use rand::seq::{IndexedRandom, IteratorRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use super::{Subjects, ask};
use crate::diary::SharedDiary;
use crate::history::{Held, Input, Name, Output, Phase, Presence, Recorder, Shown};
use crate::oracle::Line;
use crate::world::{SUPERVISOR, World};

/// Between two readings.
const EVERY: Duration = Duration::from_millis(60);
/// A node that does not answer within this is given up on: nothing was read.
const PATIENCE: Duration = Duration::from_secs(10);
/// Readings are of one of the latest conversations.
const LATEST: usize = 60;

pub(super) struct Reader {
    name: String,
    http: reqwest::Client,
    urls: Vec<String>,
    token: String,
    agents: Vec<(String, String)>,
    diary: SharedDiary,
    recorder: Recorder,
    subjects: Subjects,
    dice: ChaCha8Rng,
}

impl Reader {
    pub(super) fn new(
        world: &World,
        number: usize,
        diary: &SharedDiary,
        recorder: &Recorder,
        subjects: &Subjects,
    ) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE);
        let agents = world.agents.iter();
        Self {
            name: format!("reader {number}"),
            http: http.build().expect("a client can be made"),
            urls: world.urls.clone(),
            token: world.token(Role::Supervisor, SUPERVISOR),
            agents: agents
                .map(|name| (name.clone(), world.token(Role::Agent, name)))
                .collect(),
            diary: diary.clone(),
            recorder: recorder.clone(),
            subjects: subjects.clone(),
            dice: ChaCha8Rng::seed_from_u64(number as u64),
        }
    }

    pub(super) async fn look(mut self, goes_on: Arc<AtomicBool>) {
        while goes_on.load(Ordering::Relaxed) {
            tokio::time::sleep(EVERY).await;
            // Another node each time; where nobody listens, the next.
            self.urls.shuffle(&mut self.dice);
            let what = self.dice.random_range(0..10);
            if what == 9 {
                self.agent().await;
                continue;
            }
            let one = {
                let diary = self.diary.lock().await;
                let latest = diary.conversations.keys().rev().take(LATEST);
                latest.choose(&mut self.dice).map(ToString::to_string)
            };
            match one {
                None => {}
                Some(id) if what < 6 => self.entries(&id).await,
                Some(id) => self.header(&id).await,
            }
        }
    }

    async fn get(&self, path: &str, token: &str) -> Option<Value> {
        let request = |url: &str| self.http.get(format!("{url}{path}")).bearer_auth(token);
        let response = ask(self.urls.iter(), request).await?.ok()?;
        response.error_for_status().ok()?.json().await.ok()
    }

    async fn entries(&self, id: &str) {
        let conversation: Name = id.into();
        let pending = self.recorder.call(
            self.name.as_str(),
            Input::Entries {
                conversation,
                after: 0,
                staff: true,
            },
        );
        let page = self
            .get(&format!("/v1/conversations/{id}/entries?limit=500"), &self.token)
            .await;
        // Who read nothing knows nothing.
        let Some(page) = page else {
            return pending.refused("not_read");
        };
        let shown = page["entries"].as_array().into_iter().flatten().filter_map(|entry| {
            let line = Line::read(entry).ok()?;
            Some(Shown {
                seq: line.seq,
                text: line.text.as_deref().filter(|_| !line.of_the_system()).map(Name::from),
            })
        });
        pending.done(Output::Entries {
            entries: shown.collect(),
            more: page["next_after"].is_u64(),
        });
    }

    async fn header(&self, id: &str) {
        let pending = self.recorder.call(
            self.name.as_str(),
            Input::Look {
                conversation: id.into(),
            },
        );
        let read = self.get(&format!("/v1/conversations/{id}"), &self.token).await;
        let read = read.and_then(|row| {
            Some(Output::Look {
                phase: phase(&row["phase"])?,
                agent: row["agent"].as_str().map(Name::from),
                epoch: row["staff"]["epoch"].as_u64().unwrap_or(0),
                last_seq: row["last_seq"].as_u64()?,
            })
        });
        match read {
            Some(output) => pending.done(output),
            None => pending.refused("not_read"),
        }
    }

    /// An agent's record and desk, as the agent's own.
    async fn agent(&mut self) {
        let Some((name, token)) = self.agents.choose(&mut self.dice).cloned() else {
            return;
        };
        let Some(agent) = self.subjects.lock().get(&name).map(|id| Name::from(id.as_str())) else {
            return;
        };
        let client = self.name.as_str();
        let record = self.recorder.call(client, Input::Record { agent: agent.clone() });
        let desk = self.recorder.call(client, Input::Desk { agent });
        let Some(me) = self.get("/v1/me", &token).await else {
            record.refused("not_read");
            return desk.refused("not_read");
        };
        match read_record(&me) {
            Some(output) => record.done(output),
            None => record.refused("not_read"),
        }
        match read_desk(&me) {
            Some(output) => desk.done(output),
            None => desk.refused("not_read"),
        }
    }
}

fn phase(said: &Value) -> Option<Phase> {
    serde_json::from_value(said.clone()).ok()
}

fn read_record(me: &Value) -> Option<Output> {
    let agent = &me["agent"];
    let presence = match &agent["presence"] {
        Value::String(word) => match word.as_str() {
            "offline" => Presence::Offline,
            "available" => Presence::Available,
            "draining" => Presence::Draining,
            _ => return None,
        },
        Value::Object(fields) => match (fields.get("away"), fields.get("suspect")) {
            (Some(reason), _) => Presence::Away(reason.as_str()?.into()),
            (None, Some(_)) => Presence::Suspect,
            (None, None) => return None,
        },
        _ => return None,
    };
    let loads = agent["load"].as_object()?;
    Some(Output::Record {
        presence,
        load: loads.values().filter_map(Value::as_u64).sum::<u64>() as u32,
        agent_seq: agent["agent_seq"].as_u64()?,
    })
}

fn read_desk(me: &Value) -> Option<Output> {
    let agent = me["agent"]["id"].as_str()?;
    let held = me["conversations"].as_array()?.iter().filter_map(|row| {
        Some(Held {
            conversation: row["id"].as_str()?.into(),
            phase: phase(&row["phase"])?,
            epoch: row["staff"]["epoch"].as_u64()?,
            own: row["agent"].as_str() == Some(agent),
        })
    });
    Some(Output::Desk {
        conversations: held.collect(),
    })
}
