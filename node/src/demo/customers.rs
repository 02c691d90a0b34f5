//! Simulated customers: they come at random, ask, answer, thank; some lose patience.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use routing::event::Phase;
use routing::ids::ConversationId;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until, timeout};

use super::ledger::Speaker;
use super::stage::{Connected, Stage, between, percent};
use super::story::{Visitor, visitor};
use super::ticker::Kind;
use crate::auth::Role;
use crate::client::{Client, ClientEvent};
use crate::gateway::protocol::{EntryContent, Party, ServerFrame};

/// Come at once, so that there is something to see.
const FIRST: u64 = 4;
/// At the same time, at most.
const CUSTOMERS_MAX: usize = 200;
/// Nobody stays longer.
const STAY_MAX: Duration = Duration::from_secs(180);
/// Waits for an agent for at least so long, at most three times as long.
const PATIENCE_MS: u64 = 25_000;

/// Lets customers come until closing time, then waits until all have gone.
pub async fn run(stage: Arc<Stage>, per_minute: u32) {
    let mut rng = SmallRng::from_os_rng();
    let run = rng.random::<u16>();
    let mut there = JoinSet::new();
    let mut number = 0;
    if per_minute == 0 {
        return stage.closing_time.cancelled().await;
    }
    loop {
        if number >= FIRST {
            // Poisson arrivals: the time between two is exponential.
            let mean_s = 60.0 / f64::from(per_minute);
            let gap_s = (-mean_s * (1.0 - rng.random::<f64>()).ln()).min(10.0 * mean_s);
            tokio::select! {
                () = sleep(Duration::from_secs_f64(gap_s)) => {}
                () = stage.closing_time.cancelled() => break,
            }
        }
        while there.try_join_next().is_some() {}
        number += 1;
        if there.len() < CUSTOMERS_MAX {
            let visitor = visitor(number, u32::from(run), &mut rng);
            there.spawn(come(Arc::clone(&stage), visitor));
        }
    }
    while there.join_next().await.is_some() {}
}

async fn come(stage: Arc<Stage>, visitor: Visitor) {
    let (client, events) = match stage.client(Role::Customer, &visitor.name) {
        Ok(connected) => connected,
        Err(error) => {
            return stage
                .ticker
                .tell(Kind::Fault, format!("No token for a customer: {error}"));
        }
    };
    let mut lines: VecDeque<&'static str> = visitor.lines.iter().copied().collect();
    let first = lines.pop_front().unwrap_or(visitor.thanks);
    let sent = Instant::now();
    let started = timeout(
        Duration::from_secs(30),
        client.start(visitor.attributes.clone(), Some(first)),
    );
    match started.await {
        Ok(Ok(ack)) => {
            let Some(conversation) = ack.conversation else {
                return stage.ticker.tell(Kind::Fault, "An acknowledged conversation has no id");
            };
            stage.ledger.started(conversation, first, sent.elapsed());
            stage
                .ticker
                .tell(Kind::Started, format!("{} comes: {first}", visitor.name));
            let chat = Chat {
                stage: &stage,
                client: &client,
                conversation,
                name: &visitor.name,
                lines,
                still_there: visitor.still_there,
                nudge: None,
                thanks: Some(visitor.thanks),
                answered: false,
                speak_at: None,
                leave_at: Instant::now() + between(PATIENCE_MS, 3 * PATIENCE_MS),
            };
            chat.run(events).await;
        }
        Ok(Err(error)) => stage
            .ticker
            .tell(Kind::Fault, format!("{} could not come: {error}", visitor.name)),
        Err(_) => stage
            .ticker
            .tell(Kind::Fault, format!("{} waited 30 s to come, in vain", visitor.name)),
    }
    client.close();
}

/// A customer's chat.
struct Chat<'a> {
    stage: &'a Stage,
    client: &'a Client,
    conversation: ConversationId,
    name: &'a str,
    lines: VecDeque<&'static str>,
    still_there: &'static str,
    /// The number of the nudge that is to be followed.
    nudge: Option<u64>,
    thanks: Option<&'static str>,
    answered: bool,
    speak_at: Option<Instant>,
    leave_at: Instant,
}

impl Chat<'_> {
    async fn run(mut self, mut events: Connected) {
        let mut nudges = self.stage.nudge.subscribe();
        let closing_time = self.stage.closing_time.clone();
        let stay_until = Instant::now() + STAY_MAX;
        let mut hurried = false;
        loop {
            let speak_at = self.speak_at.unwrap_or(stay_until);
            tokio::select! {
                event = events.next(self.stage) => match event {
                    None | Some(ClientEvent::Refused { .. }) => return,
                    Some(ClientEvent::Frame(frame)) => if self.heard(frame) { return },
                    Some(_) => {}
                },
                () = sleep_until(speak_at.min(stay_until).into()), if self.answered || self.speak_at.is_some() => {
                    if Instant::now() >= stay_until {
                        return self.leave("has to go").await;
                    }
                    if self.speak().await {
                        return;
                    }
                }
                () = sleep_until(self.leave_at.into()), if !self.answered => {
                    self.stage.ledger.gave_up();
                    return self.leave("loses patience and goes").await;
                }
                _ = nudges.changed() => {
                    self.nudge = Some(*nudges.borrow_and_update());
                    self.speak_at = Some(Instant::now() + between(0, 1_000));
                }
                () = closing_time.cancelled(), if !hurried => {
                    hurried = true;
                    self.lines.clear();
                    self.leave_at = Instant::now() + Duration::from_secs(4);
                    self.speak_at = self.answered.then(|| Instant::now() + between(200, 1_500));
                }
                () = self.stage.curtain.cancelled() => return self.leave("is sent home").await,
            }
        }
    }

    /// `true`: it has ended.
    fn heard(&mut self, frame: ServerFrame) -> bool {
        match frame {
            ServerFrame::Entry(entry) if entry.conversation == self.conversation => match entry.content {
                EntryContent::Message {
                    author: Party::Agent { .. },
                    ..
                } => {
                    self.answered();
                    self.client.read(self.conversation, entry.seq);
                    self.client.typing(self.conversation, true);
                    self.speak_at = Some(Instant::now() + between(1_200, 4_500));
                    false
                }
                EntryContent::Joined { .. } => {
                    self.answered();
                    false
                }
                EntryContent::Closed { .. } => {
                    self.stage.ledger.closed(self.conversation);
                    true
                }
                _ => false,
            },
            ServerFrame::Conversation(frame)
                if frame.conversation == self.conversation && frame.phase == Phase::Closed =>
            {
                self.stage.ledger.closed(self.conversation);
                true
            }
            _ => false,
        }
    }

    fn answered(&mut self) {
        self.answered = true;
        self.stage.ledger.answered(self.conversation);
    }

    /// Says the next thing. `true`: it was the last, and the customer has closed the conversation.
    async fn speak(&mut self) -> bool {
        self.speak_at = None;
        if let Some(nudge) = self.nudge.take() {
            // The number makes it another sentence than at the last nudge.
            let line = format!("{} ({nudge})", self.still_there);
            self.stage
                .say(self.client, self.conversation, Speaker::Customer, &line)
                .await;
            return false;
        }
        if let Some(line) = self.lines.pop_front() {
            self.stage
                .say(self.client, self.conversation, Speaker::Customer, line)
                .await;
            return false;
        }
        let Some(thanks) = self.thanks.take() else {
            return false;
        };
        self.stage
            .say(self.client, self.conversation, Speaker::Customer, thanks)
            .await;
        // Half of them leave the closing to the agent.
        let closes = percent(50) || self.stage.closing_time.is_cancelled();
        if closes {
            self.close("thanks and goes").await;
        }
        closes
    }

    async fn leave(&self, how: &str) {
        self.close(how).await;
    }

    async fn close(&self, how: &str) {
        match self.stage.done(self.client.close_conversation(self.conversation)).await {
            Ok(_) => {
                self.stage.ledger.closed(self.conversation);
                let kind = if self.answered { Kind::Closed } else { Kind::Left };
                self.stage.ticker.tell(kind, format!("{} {how}", self.name));
            }
            // The agent was faster, as the transcript will tell.
            Err(_) => self.stage.ledger.closed(self.conversation),
        }
    }
}
