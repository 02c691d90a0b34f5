//! One connection of the load, as bare as the protocol allows: a node and its client share the machine here, so whatever the
//! client spends the cluster lacks. It reads what it needs of each frame, writes all that is due at once, and neither
//! reconnects nor repeats: a connection that ends, and a command that is refused, are faults of the run.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use futures::{FutureExt, SinkExt, StreamExt};
use node::gateway::protocol::{ClientFrame, FromClient, Resume};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::ledger::{MessageId, Side};
use super::stage::Board;

/// The cluster remembers 64 answers of a connection: between its oldest number without an answer and its newest there may be
/// at most so many (`ops/protocol.md`).
const NUMBERS_OUT_MAX: u64 = 48;
/// Orders taken, or frames read, before the other side has its turn.
const AT_ONCE: usize = 256;

type Socket = WebSocketStream<TcpStream>;

/// A message to send.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// Of which run.
    pub run: u64,
    /// Which message of it.
    pub id: MessageId,
    /// Where.
    pub conversation: Arc<str>,
    /// An agent's assignment.
    pub epoch: Option<u64>,
    /// Length of its text.
    pub bytes: usize,
}

/// What came of a command that is no message: the conversation it made.
type Answer = std::result::Result<Option<String>, String>;

enum Order {
    Command(ClientFrame, oneshot::Sender<Answer>),
    Message(Spoken),
}

/// A connection. A cheap clone; it ends with the last one.
#[derive(Clone, Debug)]
pub struct Talker(mpsc::UnboundedSender<Order>);

impl Talker {
    /// Connects, and goes on in a task of its own.
    pub async fn connect(url: &str, token: String, board: Board, side: Side, number: usize) -> Result<Self> {
        let socket = greeted(url, token).await.with_context(|| url.to_owned())?;
        let (orders, taken) = mpsc::unbounded_channel();
        let talking = Talking {
            socket,
            board,
            side,
            number,
            next: 1,
            open: VecDeque::new(),
            waiting: VecDeque::new(),
            heard: HashMap::new(),
        };
        tokio::spawn(talking.run(taken));
        Ok(Self(orders))
    }

    /// A command that is no message; gives the conversation that it made.
    pub async fn command(&self, frame: ClientFrame) -> Result<Option<String>> {
        let (to, answer) = oneshot::channel();
        let _ = self.0.send(Order::Command(frame, to));
        match answer.await.context("the connection has ended")? {
            Ok(conversation) => Ok(conversation),
            Err(code) => bail!("refused: {code}"),
        }
    }

    /// Sends a message, as soon as the numbers before it allow; its fate is told to the board.
    pub fn say(&self, message: Spoken) {
        // Of a connection that has ended: the message stays unanswered, which fails the run.
        let _ = self.0.send(Order::Message(message));
    }
}

async fn greeted(url: &str, token: String) -> Result<Socket> {
    let authority = url.strip_prefix("http://").context("http:// was expected")?;
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(16 << 10);
    let (mut socket, _) = client_async_with_config(format!("ws://{authority}/v1/ws"), stream, Some(config)).await?;
    let hello = FromClient {
        id: 0,
        frame: ClientFrame::Hello {
            token: Some(token),
            instance: 1,
            resume: Resume::default(),
        },
    };
    socket.send(Message::text(hello.to_text())).await?;
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            let frame: Heard<'_> = serde_json::from_str(&text)?;
            match frame.kind {
                "welcome" => return Ok(socket),
                "error" => bail!("{text}"),
                _ => {}
            }
        }
    }
    bail!("the connection ended in the greeting")
}

/// What is of interest in a node's frame.
#[derive(Deserialize)]
struct Heard<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    id: Option<u64>,
    code: Option<&'a str>,
    #[serde(borrow)]
    conversation: Option<&'a str>,
    seq: Option<u64>,
    prev: Option<u64>,
    epoch: Option<u64>,
    #[serde(borrow)]
    content: Option<Content<'a>>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    body: Option<Body<'a>>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    text: Cow<'a, str>,
}

/// Whose answer a number waits for.
enum Open {
    Command(oneshot::Sender<Answer>),
    Message(u64, MessageId),
}

/// What the account is told, all of one wake together.
enum News {
    Acknowledged(u64, MessageId, u64),
    Refused(u64, MessageId, String),
    Seen(u64, MessageId, u64),
}

struct Talking {
    socket: Socket,
    board: Board,
    side: Side,
    number: usize,
    /// Number of the next command; the same as its id.
    next: u64,
    /// Of the numbers from `next - open.len()` on; `None`: answered.
    open: VecDeque<Option<Open>>,
    waiting: VecDeque<Order>,
    /// Conversation → last entry.
    heard: HashMap<String, u64>,
}

impl Talking {
    async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut taken = Vec::new();
        let ended = loop {
            if let Err(error) = self.write().await {
                break error.to_string();
            }
            tokio::select! {
                message = self.socket.next() => {
                    if let Err(error) = self.read(message) {
                        break error.to_string();
                    }
                }
                count = orders.recv_many(&mut taken, AT_ONCE) => {
                    if count == 0 {
                        return;
                    }
                    self.waiting.extend(taken.drain(..));
                }
            }
        };
        self.board
            .disconnected(&format!("{:?} {}", self.side, self.number), &ended);
    }

    /// Writes all that may go, and flushes once.
    async fn write(&mut self) -> Result<()> {
        let mut wrote = false;
        while (self.open.len() as u64) < NUMBERS_OUT_MAX
            && let Some(order) = self.waiting.pop_front()
        {
            let number = self.next;
            let (text, open) = match order {
                Order::Command(mut frame, to) => {
                    if let Some(place) = frame.number_mut() {
                        *place = number;
                    }
                    (FromClient { id: number, frame }.to_text(), Open::Command(to))
                }
                Order::Message(message) => (message.to_text(number), Open::Message(message.run, message.id)),
            };
            self.next += 1;
            self.open.push_back(Some(open));
            self.socket.feed(Message::Text(Utf8Bytes::from(text))).await?;
            wrote = true;
        }
        if wrote {
            self.socket.flush().await?;
        }
        Ok(())
    }

    /// Takes what came, and whatever else is there already.
    fn read(&mut self, first: Option<Result<Message, tokio_tungstenite::tungstenite::Error>>) -> Result<()> {
        let mut news = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next {
            match message.context("closed by the node")?? {
                Message::Text(text) => self.frame(&text, &mut news)?,
                Message::Close(why) => bail!("closed by the node: {why:?}"),
                _ => {}
            }
            next = (news.len() < AT_ONCE)
                .then(|| self.socket.next().now_or_never())
                .flatten();
        }
        let side = self.side;
        self.board.tell(|ledger, run, now_us| {
            for item in &news {
                match item {
                    News::Acknowledged(of, id, seq) if *of == run => ledger.acknowledged(*id, *seq, now_us),
                    News::Refused(of, id, code) if *of == run => ledger.refused(*id, code.clone()),
                    News::Seen(of, id, seq) if *of == run => _ = ledger.seen(*id, side, *seq, now_us),
                    // Of an earlier run: it was counted as lost or unanswered there.
                    _ => {}
                }
            }
        });
        Ok(())
    }

    fn frame(&mut self, text: &str, news: &mut Vec<News>) -> Result<()> {
        let frame: Heard<'_> = serde_json::from_str(text).with_context(|| text.to_owned())?;
        match frame.kind {
            "ack" | "error" => match frame.id.and_then(|id| self.take(id)) {
                Some(Open::Message(run, id)) => news.push(match frame.code {
                    None => News::Acknowledged(run, id, frame.seq.unwrap_or(0)),
                    Some(code) => News::Refused(run, id, code.to_owned()),
                }),
                Some(Open::Command(to)) => {
                    let answer = match frame.code {
                        None => Ok(frame.conversation.map(str::to_owned)),
                        Some(code) => Err(code.to_owned()),
                    };
                    let _ = to.send(answer);
                }
                None => bail!("an answer to nothing: {text}"),
            },
            "entry" => {
                let (conversation, seq) = (frame.conversation.unwrap_or_default(), frame.seq.unwrap_or(0));
                self.follows_on(conversation, seq, frame.prev.unwrap_or(0));
                let body = frame.content.and_then(|content| content.body);
                if let Some((run, id)) = body.and_then(|body| id_of(&body.text)) {
                    news.push(News::Seen(run, id, seq));
                }
            }
            "assigned" => {
                let (conversation, epoch) = (frame.conversation.unwrap_or_default(), frame.epoch.unwrap_or(0));
                self.board.assigned(conversation.to_owned(), self.number, epoch);
            }
            _ => {}
        }
        Ok(())
    }

    fn take(&mut self, number: u64) -> Option<Open> {
        let oldest = self.next - self.open.len() as u64;
        let open = self
            .open
            .get_mut(usize::try_from(number.checked_sub(oldest)?).ok()?)?
            .take();
        while matches!(self.open.front(), Some(None)) {
            self.open.pop_front();
        }
        open
    }

    fn follows_on(&mut self, conversation: &str, seq: u64, prev: u64) {
        let have = match self.heard.get_mut(conversation) {
            Some(have) => have,
            None => self.heard.entry(conversation.to_owned()).or_default(),
        };
        if prev > *have {
            self.board.gap();
        }
        *have = seq.max(*have);
    }
}

impl Spoken {
    /// The frame, with its number. Nothing in it needs escaping.
    fn to_text(&self, number: u64) -> String {
        let mut out = String::with_capacity(self.bytes + 160);
        let conversation = &self.conversation;
        let _ = write!(
            out,
            r#"{{"v":1,"type":"message","id":{number},"number":{number},"conversation":"{conversation}""#
        );
        if let Some(epoch) = self.epoch {
            let _ = write!(out, r#","epoch":{epoch}"#);
        }
        out.push_str(r#","body":{"text":""#);
        text_of(&mut out, self.run, self.id, self.bytes);
        out.push_str("\"}}");
        out
    }
}

/// A message's text: which it is, padded to `bytes`.
fn text_of(out: &mut String, run: u64, id: MessageId, bytes: usize) {
    let from = out.len();
    let _ = write!(out, "{run}:{}:{}:", id.sender, id.number);
    let short = bytes.saturating_sub(out.len() - from);
    out.extend(std::iter::repeat_n('x', short));
}

fn id_of(text: &str) -> Option<(u64, MessageId)> {
    let mut parts = text.splitn(4, ':');
    let mut number = || parts.next()?.parse().ok();
    let (run, sender, number) = (number()?, number()?, number()?);
    let id = MessageId {
        sender: sender as usize,
        number: number as usize,
    };
    Some((run, id))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: MessageId = MessageId {
        sender: 41,
        number: 1_234,
    };

    #[test]
    fn texts_carry_their_id_and_have_their_length() {
        let mut text = String::new();
        text_of(&mut text, 3, ID, 200);
        assert_eq!((text.len(), id_of(&text)), (200, Some((3, ID))));
        assert_eq!(id_of("hello"), None);
    }

    #[test]
    fn frames_are_what_the_protocol_wants() {
        let conversation = routing::ids::ConversationId(7).to_string();
        for epoch in [None, Some(4)] {
            let message = Spoken {
                run: 1,
                id: ID,
                conversation: conversation.as_str().into(),
                epoch,
                bytes: 50,
            };
            let read = FromClient::parse(&message.to_text(9)).unwrap();
            let ClientFrame::Message {
                number,
                body,
                epoch: under,
                ..
            } = read.frame
            else {
                panic!("not a message");
            };
            assert_eq!((read.id, number, under.map(|epoch| epoch.0)), (9, 9, epoch));
            assert_eq!((body.text.len(), id_of(&body.text)), (50, Some((1, ID))));
        }
    }
}
