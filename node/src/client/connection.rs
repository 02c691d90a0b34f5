//! The client's task: connects, greets, reads, writes, and begins anew.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use rand::Rng;
use routing::event::Phase;
use routing::ids::{ConversationId, Epoch, Seq};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::outbox::Outbox;
use super::{ClientEvent, ClientOptions, Order, Reply};
use crate::gateway::protocol::{ClientFrame, ErrorFrame, FromClient, ServerFrame, Welcome, close};

type Socket = WebSocketStream<TcpStream>;

/// First pause after a whole round of nodes that could not be reached.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
/// Cursors that a client takes along; past it, those of conversations that it lost are forgotten.
const CURSORS_MAX: usize = 512;
/// One frame from a node.
const INCOMING_MAX_BYTES: usize = 4 << 20;

struct Connection {
    options: ClientOptions,
    urls: Vec<String>,
    at: usize,
    orders: mpsc::UnboundedReceiver<Order>,
    events: mpsc::Sender<ClientEvent>,
    connected: watch::Sender<Option<String>>,
    outbox: Outbox,
    cursors: BTreeMap<ConversationId, Seq>,
    agent_seq: Option<u64>,
    /// Whose token it is, as the node says.
    subject: String,
    /// Followed by the application's wish.
    followed: HashSet<ConversationId>,
    lost: VecDeque<ConversationId>,
    /// Of what is assigned to this agent: filled into what they say without one.
    epochs: HashMap<ConversationId, Epoch>,
    /// The node drains: when to leave it, and for where. Until then it serves as ever.
    leave: Option<(Instant, Option<String>)>,
}

/// How a connection, or a try, ended.
enum End {
    Broken(String),
    Drained(Option<String>),
    Refused { code: String, detail: String },
    Closed,
}

pub(super) async fn run(
    options: ClientOptions,
    orders: mpsc::UnboundedReceiver<Order>,
    events: mpsc::Sender<ClientEvent>,
    connected: watch::Sender<Option<String>>,
) {
    let urls: Vec<String> = options.urls.iter().map(|url| endpoint(url)).collect();
    let at = if urls.is_empty() {
        0
    } else {
        rand::rng().random_range(0..urls.len())
    };
    let connection = Connection {
        outbox: Outbox::new(options.first_number),
        cursors: options.resume.conversations.clone(),
        agent_seq: options.resume.agent_seq,
        subject: String::new(),
        followed: HashSet::new(),
        lost: VecDeque::new(),
        epochs: HashMap::new(),
        leave: None,
        options,
        urls,
        at,
        orders,
        events,
        connected,
    };
    connection.run().await;
}

/// `http://a:1`, `ws://a:1/` and `ws://a:1/v1/ws` are all `ws://a:1/v1/ws`.
fn endpoint(url: &str) -> String {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("ws://"))
        .unwrap_or(url);
    let authority = rest.split('/').next().unwrap_or(rest);
    format!("ws://{authority}/v1/ws")
}

impl Connection {
    async fn run(mut self) {
        let mut failures: u32 = 0;
        loop {
            let Some(url) = self.urls.get(self.at % self.urls.len().max(1)).cloned() else {
                let why = ("no_nodes".to_owned(), "there is no URL to connect to".to_owned());
                self.tell(ClientEvent::Refused {
                    code: why.0,
                    detail: why.1,
                })
                .await;
                return;
            };
            let end = match self.greet(&url).await {
                Ok((socket, welcome)) => {
                    failures = 0;
                    self.learn_nodes(&welcome);
                    self.subject.clone_from(&welcome.subject);
                    self.connected.send_replace(Some(url.clone()));
                    self.tell(ClientEvent::Connected {
                        url: url.clone(),
                        welcome,
                    })
                    .await;
                    self.outbox.reconnected(Instant::now());
                    self.converse(socket).await
                }
                Err(end) => {
                    failures += 1;
                    end
                }
            };
            self.connected.send_replace(None);
            self.at = (self.at + 1) % self.urls.len();
            match end {
                End::Closed => return,
                End::Refused { code, detail } => {
                    self.tell(ClientEvent::Refused { code, detail }).await;
                    return;
                }
                End::Broken(why) => self.tell(ClientEvent::Disconnected { url, why }).await,
                End::Drained(next) => {
                    if let Some(next) = next.map(|next| endpoint(&next)) {
                        self.at = self.urls.iter().position(|known| *known == next).unwrap_or_else(|| {
                            self.urls.push(next);
                            self.urls.len() - 1
                        });
                    }
                    self.tell(ClientEvent::Disconnected {
                        url,
                        why: "the node drains".to_owned(),
                    })
                    .await;
                }
            }
            if self.pause(failures).await {
                return;
            }
        }
    }

    /// None after the first failure of each node, then longer and longer, always jittered. `true`: closed meanwhile.
    async fn pause(&mut self, failures: u32) -> bool {
        let rounds = failures / self.urls.len().max(1) as u32;
        let longest = if failures == 0 {
            Duration::from_millis(5)
        } else {
            (PAUSE_FIRST * 2u32.saturating_pow(rounds.min(10))).min(self.options.pause_max)
        };
        let until = Instant::now() + longest.mul_f64(rand::rng().random::<f64>());
        loop {
            tokio::select! {
                () = sleep_until(until) => return false,
                order = self.orders.recv() => match order {
                    None | Some(Order::Close) => return true,
                    Some(Order::Command(frame, reply)) => self.push(frame, reply),
                    Some(Order::Say(frame)) => { self.remember(&frame); }
                    Some(Order::Break) => {}
                },
            }
        }
    }

    async fn greet(&mut self, url: &str) -> Result<(Socket, Welcome), End> {
        let hello = FromClient {
            id: 0,
            frame: ClientFrame::Hello {
                token: Some(self.options.token.clone()),
                instance: self.options.instance,
                resume: crate::gateway::protocol::Resume {
                    conversations: self.cursors.clone(),
                    agent_seq: self.agent_seq,
                },
            },
        };
        match timeout(self.options.connect_deadline, greeting(url, &hello)).await {
            Ok(result) => result,
            Err(_) => Err(End::Broken("no welcome in time".to_owned())),
        }
    }

    fn learn_nodes(&mut self, welcome: &Welcome) {
        for url in welcome.nodes.iter().map(|url| endpoint(url)) {
            if !self.urls.contains(&url) {
                self.urls.push(url);
            }
        }
    }

    async fn converse(&mut self, mut socket: Socket) -> End {
        for conversation in self.followed.clone() {
            let cursor = self.cursors.get(&conversation).copied().unwrap_or(0);
            let frame = ClientFrame::Follow { conversation, cursor };
            if let Err(end) = write(&mut socket, FromClient { id: 0, frame }).await {
                return end;
            }
        }
        let mut heard = Instant::now();
        let mut ping_at = heard + self.options.silence_max / 3;
        self.leave = None;
        loop {
            while let Some(frame) = self.outbox.next(Instant::now()) {
                if let Err(end) = write(&mut socket, frame).await {
                    return end;
                }
            }
            let repeat_at = self.outbox.repeat_at();
            let leave_at = self.leave.as_ref().map(|(at, _)| *at);
            let result = tokio::select! {
                message = socket.next() => {
                    heard = Instant::now();
                    ping_at = heard + self.options.silence_max / 3;
                    match message {
                        Some(Ok(message)) => self.received(&mut socket, message).await,
                        Some(Err(error)) => Err(End::Broken(error.to_string())),
                        None => Err(End::Broken("the connection ended".to_owned())),
                    }
                }
                order = self.orders.recv() => self.ordered(&mut socket, order).await,
                () = sleep_until(repeat_at.unwrap_or(ping_at)), if repeat_at.is_some() => Ok(()),
                () = sleep_until(leave_at.unwrap_or(ping_at)), if leave_at.is_some() => {
                    let next = self.leave.take().and_then(|(_, next)| next);
                    let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
                    Err(End::Drained(next))
                }
                () = sleep_until(ping_at) => {
                    ping_at += self.options.silence_max / 3;
                    if heard.elapsed() >= self.options.silence_max {
                        Err(End::Broken("silence".to_owned()))
                    } else {
                        write(&mut socket, FromClient { id: 0, frame: ClientFrame::Ping {} }).await
                    }
                }
            };
            if let Err(end) = result {
                return end;
            }
        }
    }

    async fn ordered(&mut self, socket: &mut Socket, order: Option<Order>) -> Result<(), End> {
        match order {
            Some(Order::Command(frame, reply)) => {
                self.push(frame, reply);
                Ok(())
            }
            Some(Order::Say(frame)) => {
                self.remember(&frame);
                write(socket, FromClient { id: 0, frame }).await
            }
            Some(Order::Break) => Err(End::Broken("broken on purpose".to_owned())),
            None | Some(Order::Close) => {
                let _ = timeout(Duration::from_secs(1), socket.close(None)).await;
                Err(End::Closed)
            }
        }
    }

    /// An agent's act keeps its epoch through every repeat, whatever has happened to the assignment meanwhile.
    fn push(&mut self, mut frame: ClientFrame, reply: Reply) {
        if let Some((conversation, epoch)) = frame.owners_epoch_mut() {
            *epoch = epoch.or_else(|| self.epochs.get(&conversation).copied());
        }
        self.outbox.push(frame, reply);
    }

    fn keep_epochs(&mut self, frame: &ServerFrame) {
        match frame {
            ServerFrame::Desk { conversations, .. } => {
                let held = conversations
                    .iter()
                    .filter(|view| matches!(view.phase, Phase::Assigned | Phase::Paused))
                    // In some of the desk's conversations they only take part.
                    .filter(|view| view.agent.is_some_and(|owner| owner.to_string() == self.subject));
                self.epochs = held.filter_map(|view| Some((view.conversation, view.epoch?))).collect();
            }
            ServerFrame::Assigned {
                conversation, epoch, ..
            } => {
                self.epochs.insert(*conversation, *epoch);
            }
            ServerFrame::Unassigned { conversation, .. } => {
                self.epochs.remove(conversation);
            }
            _ => {}
        }
    }

    fn remember(&mut self, frame: &ClientFrame) {
        match frame {
            ClientFrame::Follow { conversation, cursor } => {
                self.followed.insert(*conversation);
                self.cursors.insert(*conversation, *cursor);
            }
            ClientFrame::Unfollow { conversation } => {
                self.followed.remove(conversation);
                self.cursors.remove(conversation);
            }
            _ => {}
        }
    }

    async fn received(&mut self, socket: &mut Socket, message: Message) -> Result<(), End> {
        let text = match message {
            Message::Text(text) => text,
            Message::Close(frame) => {
                let (code, reason) = frame
                    .map(|f| (u16::from(f.code), f.reason.to_string()))
                    .unwrap_or((1005, String::new()));
                if code == close::POLICY && reason == "token_expired" {
                    return Err(End::Refused {
                        code: reason,
                        detail: "the token has ended".to_owned(),
                    });
                }
                return Err(End::Broken(format!("closed by the node: {code} {reason}")));
            }
            _ => return Ok(()),
        };
        let frame = ServerFrame::parse(&text).map_err(|error| End::Broken(format!("unreadable frame: {error}")))?;
        match frame {
            ServerFrame::Ack(ack) => {
                self.outbox.acknowledged(ack);
                Ok(())
            }
            ServerFrame::Error(error) => {
                if !self.outbox.refused(&error, Instant::now()) {
                    self.tell(ClientEvent::Frame(ServerFrame::Error(error))).await;
                }
                Ok(())
            }
            ServerFrame::Pong { .. } | ServerFrame::Welcome(_) => Ok(()),
            ServerFrame::Drain { url, after_ms } => {
                self.leave = Some((Instant::now() + Duration::from_millis(after_ms), url.clone()));
                self.tell(ClientEvent::Frame(ServerFrame::Drain { url, after_ms }))
                    .await;
                Ok(())
            }
            frame => self.deliver(socket, frame).await,
        }
    }

    /// Keeps the cursors; leaves out what is there already.
    async fn deliver(&mut self, socket: &mut Socket, frame: ServerFrame) -> Result<(), End> {
        if let ServerFrame::Entry(entry) = &frame {
            let conversation = entry.conversation;
            let have = self.cursors.get(&conversation).copied().unwrap_or(0);
            if entry.seq <= have {
                return Ok(());
            }
            if entry.prev > have {
                self.tell(ClientEvent::Gap {
                    conversation,
                    have,
                    prev: entry.prev,
                })
                .await;
                let frame = ClientFrame::Follow {
                    conversation,
                    cursor: have,
                };
                return write(socket, FromClient { id: 0, frame }).await;
            }
            self.cursors.insert(conversation, entry.seq);
        }
        if let Some(agent_seq) = frame.agent_seq() {
            let is_desk = matches!(frame, ServerFrame::Desk { .. });
            if !is_desk && self.agent_seq.is_some_and(|have| agent_seq <= have) {
                return Ok(());
            }
            self.agent_seq = Some(agent_seq);
            self.keep_epochs(&frame);
        }
        if let ServerFrame::Unassigned { conversation, .. } = &frame {
            self.lost.push_back(*conversation);
            while self.cursors.len() > CURSORS_MAX
                && let Some(oldest) = self.lost.pop_front()
            {
                self.cursors.remove(&oldest);
            }
        }
        self.tell(ClientEvent::Frame(frame)).await;
        Ok(())
    }

    async fn tell(&mut self, event: ClientEvent) {
        let _ = self.events.send(event).await; // nobody listens: thrown away
    }
}

async fn greeting(url: &str, hello: &FromClient) -> Result<(Socket, Welcome), End> {
    let broken = |error: String| End::Broken(error);
    let authority = url.trim_start_matches("ws://").split('/').next().unwrap_or_default();
    let stream = TcpStream::connect(authority).await.map_err(|e| broken(e.to_string()))?;
    stream.set_nodelay(true).map_err(|e| broken(e.to_string()))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(4 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(1 << 20)
        .max_message_size(Some(INCOMING_MAX_BYTES))
        .max_frame_size(Some(INCOMING_MAX_BYTES));
    let (mut socket, _) = client_async_with_config(url, stream, Some(config))
        .await
        .map_err(|e: WsError| broken(e.to_string()))?;
    socket
        .send(Message::text(hello.to_text()))
        .await
        .map_err(|e| broken(e.to_string()))?;
    loop {
        let text = match socket.next().await {
            Some(Ok(Message::Text(text))) => text,
            Some(Ok(Message::Close(frame))) => return Err(broken(format!("closed in the greeting: {frame:?}"))),
            Some(Ok(_)) => continue,
            Some(Err(error)) => return Err(broken(error.to_string())),
            None => return Err(broken("the connection ended in the greeting".to_owned())),
        };
        match ServerFrame::parse(&text) {
            Ok(ServerFrame::Welcome(welcome)) => return Ok((socket, welcome)),
            Ok(ServerFrame::Error(ErrorFrame {
                code,
                detail,
                retry_after_ms: None,
                ..
            })) => {
                return Err(End::Refused { code, detail });
            }
            Ok(ServerFrame::Error(ErrorFrame { detail, .. })) => return Err(broken(detail)),
            Ok(_) => {}
            Err(error) => return Err(broken(format!("unreadable frame: {error}"))),
        }
    }
}

async fn write(socket: &mut Socket, frame: FromClient) -> Result<(), End> {
    match timeout(Duration::from_secs(10), socket.send(Message::text(frame.to_text()))).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(End::Broken(error.to_string())),
        Err(_) => Err(End::Broken("the node takes nothing".to_owned())),
    }
}
