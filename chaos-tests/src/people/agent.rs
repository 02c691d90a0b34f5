//! An agent: accepts most of what is offered, answers every second message of a customer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use node::client::{Client, ClientEvent, ClientEvents};
use node::gateway::protocol::{EntryContent, EntryFrame, Party, ServerFrame};
use routing::ids::{ConversationId, Epoch};

use super::{Subjects, post, record, sign_in};
use crate::diary::SharedDiary;
use crate::history::{By, Input, Name, Recorder};

pub(super) struct Agent {
    pub(super) name: String,
    pub(super) number: usize,
    pub(super) client: Client,
    pub(super) diary: SharedDiary,
    pub(super) recorder: Recorder,
    pub(super) writing: Arc<AtomicBool>,
    pub(super) subjects: Subjects,
}

impl Agent {
    pub(super) async fn live(self, mut events: ClientEvents) {
        let (mut replies, mut subject) = (0u64, String::new());
        while let Some(event) = events.recv().await {
            if let ClientEvent::Connected { welcome, .. } = &event {
                if subject.is_empty() {
                    let pending = sign_in(&self.recorder, welcome.subject.as_str().into());
                    tokio::spawn(record(pending, self.client.sign_in()));
                }
                subject.clone_from(&welcome.subject);
                self.subjects.lock().insert(self.name.clone(), subject.clone());
            }
            self.diary.lock().await.agent_told(&self.name, &subject, &event);
            match event {
                ClientEvent::Frame(ServerFrame::Entry(entry)) => self.entry(entry, &subject, &mut replies).await,
                ClientEvent::Frame(ServerFrame::Offered {
                    conversation, epoch, ..
                }) => self.offered(conversation, epoch, &subject),
                _ => {}
            }
        }
    }

    /// Most are accepted, some declined, some left to their deadline.
    fn offered(&self, conversation: ConversationId, epoch: Epoch, subject: &str) {
        let (client, recorder) = (self.client.clone(), self.recorder.clone());
        let (agent, of): (Name, Name) = (subject.into(), conversation.to_string().into());
        let thought = (epoch.0 * 7 + self.number as u64 * 3 + conversation.0 as u64) % 20;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(50 + thought * 20)).await;
            let (conversation_name, name) = (of, agent.clone());
            match thought {
                0 => {}
                1 => {
                    let pending = recorder.call(
                        agent,
                        Input::Decline {
                            conversation: conversation_name,
                            agent: name,
                            epoch: epoch.0,
                        },
                    );
                    drop(record(pending, client.decline(conversation, epoch, "busy")).await);
                }
                _ => {
                    let pending = recorder.call(
                        agent,
                        Input::Accept {
                            conversation: conversation_name,
                            agent: name,
                            epoch: epoch.0,
                        },
                    );
                    drop(record(pending, client.accept(conversation, epoch)).await);
                }
            }
        });
    }

    /// Answers every second message of a customer.
    async fn entry(&self, entry: EntryFrame, subject: &str, replies: &mut u64) {
        let mut diary = self.diary.lock().await;
        let of_customer = matches!(
            &entry.content,
            EntryContent::Message {
                author: Party::Customer,
                ..
            }
        );
        let mine = diary
            .owned
            .get(&self.name)
            .and_then(|owned| owned.get(&entry.conversation).copied());
        let Some(epoch) = mine else { return };
        if !of_customer || entry.seq.is_multiple_of(2) || !self.writing.load(Ordering::Relaxed) {
            return;
        }
        *replies += 1;
        let text = format!("{} replies {replies}", self.name);
        diary.sent.insert(text.clone());
        drop(diary);
        let by = By::Owner {
            agent: subject.into(),
            epoch: Some(epoch.0),
        };
        let pending = self.recorder.call(subject, post(entry.conversation, &text, by));
        let ack = self.client.message_under(entry.conversation, epoch, text.clone());
        let (diary, conversation) = (self.diary.clone(), entry.conversation);
        tokio::spawn(async move {
            let result = record(pending, ack).await;
            diary.lock().await.answered(text, conversation, result);
        });
    }
}
