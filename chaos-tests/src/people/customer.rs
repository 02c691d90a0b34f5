//! A customer: one conversation after another, twelve messages each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use node::client::{Client, ClientEvents};
use routing::ids::ConversationId;
use serde_json::{Value, json};

use super::{Pace, ask, post, record};
use crate::diary::SharedDiary;
use crate::history::{By, Input, Operation, Outcome, Output, Recorder};

/// A post by REST is given up on after so long: whether it was done is then not known.
const PATIENCE: Duration = Duration::from_millis(1_500);
const TURNS: u64 = 12;

pub(super) fn subject(number: usize) -> String {
    format!("customer-{number}")
}

pub(super) struct Customer {
    pub(super) number: usize,
    pub(super) client: Client,
    pub(super) diary: SharedDiary,
    pub(super) recorder: Recorder,
    pub(super) writing: Arc<AtomicBool>,
    pub(super) texts: AtomicU64,
    pub(super) pace: Pace,
    pub(super) rest: Rest,
}

impl Customer {
    pub(super) async fn read(self: Arc<Self>, mut events: ClientEvents) {
        let name = format!("customer {}", self.number);
        while let Some(event) = events.recv().await {
            self.diary.lock().await.customer_told(&name, &event);
        }
    }

    fn next_text(&self) -> String {
        let n = self.texts.fetch_add(1, Ordering::Relaxed);
        format!("customer {} says {n}", self.number)
    }

    pub(super) async fn write(self: Arc<Self>) {
        tokio::time::sleep(Duration::from_millis(10 * self.number as u64)).await;
        while self.writing.load(Ordering::Relaxed) {
            let text = self.next_text();
            self.diary.lock().await.sent.insert(text.clone());
            let call = self.recorder.now();
            let Ok(ack) = self.client.start(BTreeMap::new(), Some(&text)).await else {
                tokio::time::sleep(Duration::from_millis(500)).await;
                continue;
            };
            let Some(conversation) = ack.conversation else { continue };
            self.recorder.record(Operation {
                client: subject(self.number).into(),
                call,
                returned: Some(self.recorder.now()),
                input: post(conversation, &text, By::Customer),
                outcome: Outcome::Done(Output::Ack {
                    seq: ack.seq,
                    epoch: None,
                }),
            });
            {
                let mut diary = self.diary.lock().await;
                diary.conversations.insert(conversation, self.number);
                diary.acknowledged.insert(text, (conversation, ack.seq.unwrap_or(0)));
                diary.acknowledged_now();
            }
            self.chat(conversation).await;
        }
    }

    async fn chat(&self, conversation: ConversationId) {
        let between_ms = self.pace.between.as_millis() as u64;
        for turn in 0..TURNS {
            let more_ms = (self.number as u64 * 37 + turn * 131) % between_ms;
            tokio::time::sleep(Duration::from_millis(between_ms + more_ms)).await;
            if !self.writing.load(Ordering::Relaxed) {
                return;
            }
            self.say(conversation, turn).await;
        }
        let close = Input::Close {
            conversation: conversation.to_string().into(),
            by: By::Customer,
        };
        let pending = self.recorder.call(subject(self.number), close);
        // An agent may have closed it before.
        drop(record(pending, self.client.close_conversation(conversation)).await);
    }

    async fn say(&self, conversation: ConversationId, turn: u64) {
        let text = self.next_text();
        self.diary.lock().await.sent.insert(text.clone());
        let pending = self
            .recorder
            .call(subject(self.number), post(conversation, &text, By::Customer));
        let one_in = self.pace.rest_one_in;
        if one_in > 0 && (turn + self.number as u64).is_multiple_of(one_in) {
            let posted = self.rest.post(conversation, &text, turn as usize).await;
            match &posted {
                Posted::At(seq) => pending.done(Output::Ack {
                    seq: Some(*seq),
                    epoch: None,
                }),
                Posted::Refused(code) => pending.refused(code.clone()),
                Posted::Unknown => pending.unknown(),
            }
            let mut diary = self.diary.lock().await;
            match posted {
                Posted::At(seq) => {
                    diary.acknowledged_now();
                    diary.acknowledged.insert(text, (conversation, seq));
                }
                Posted::Refused(code) => drop(diary.refused.insert(text, code)),
                Posted::Unknown => {}
            }
            return;
        }
        let ack = self.client.message(conversation, text.clone());
        let diary = self.diary.clone();
        let answered = async move {
            let result = record(pending, ack).await;
            diary.lock().await.answered(text, conversation, result);
        };
        if turn.is_multiple_of(3) {
            answered.await;
        } else {
            tokio::spawn(answered);
        }
    }
}

/// What came of a post.
enum Posted {
    At(u64),
    Refused(String),
    Unknown,
}

/// A caller of the REST API who asks once.
pub(super) struct Rest {
    http: reqwest::Client,
    urls: Vec<String>,
    token: String,
}

impl Rest {
    pub(super) fn new(urls: Vec<String>, token: String) -> Self {
        let http = reqwest::Client::builder().timeout(PATIENCE);
        Self {
            http: http.build().expect("a client can be made"),
            urls,
            token,
        }
    }

    async fn post(&self, conversation: ConversationId, text: &str, turn: usize) -> Posted {
        let request = |url: &str| {
            self.http
                .post(format!("{url}/v1/conversations/{conversation}/messages"))
                .bearer_auth(&self.token)
                .json(&json!({"body": {"text": text}}))
        };
        let urls = self.urls.iter().cycle().skip(turn).take(self.urls.len());
        let response = match ask(urls, request).await {
            None => return Posted::Refused("not_connected".into()),
            Some(Err(_)) => return Posted::Unknown,
            Some(Ok(response)) => response,
        };
        let status = response.status();
        let Ok(body) = response.json::<Value>().await else {
            return Posted::Unknown;
        };
        match (status.is_success(), body["seq"].as_u64()) {
            (true, Some(seq)) => Posted::At(seq),
            (true, None) => Posted::Unknown,
            (false, _) => match body["code"].as_str() {
                Some("outcome_unknown") | None => Posted::Unknown,
                Some(code) => Posted::Refused(code.to_owned()),
            },
        }
    }
}
