//! Makes connections: TCP, TLS and the hellos of both sides, each within a deadline.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::{Counter, counter};
use parking_lot::RwLock;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::frame::{Frame, FrameError, FrameReader, FrameType, Hello, HelloError, PURPOSE_PROBE, purpose_from_u8};
use super::sockets::{ReadHalf, Socket, Sockets, WriteHalf};
use super::tls::TlsContext;
use crate::transport::{NodeId, Purpose};

/// Times of a link.
#[derive(Clone, Copy, Debug)]
pub(super) struct LinkTimes {
    /// For TCP, TLS and hellos together.
    pub handshake: Duration,
    /// Between two looks at whether the peer still speaks; the dialler pings at every second.
    pub tick: Duration,
    /// Looks without a byte from the peer, after which the connection is cut. Looks, not time: a process that was itself
    /// stopped for a while must not hold its peers for dead.
    pub silent_ticks: u32,
    /// Between attempts to connect, at first.
    pub backoff_min: Duration,
    /// Between attempts to connect, at most.
    pub backoff_max: Duration,
    /// For the last frames of a clean stop.
    pub farewell: Duration,
}

impl LinkTimes {
    /// A peer that acknowledges nothing for so long is gone.
    fn dead_after(&self) -> Duration {
        self.tick * self.silent_ticks
    }
}

impl Default for LinkTimes {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(2),
            tick: Duration::from_millis(500),
            silent_ticks: 6,
            backoff_min: Duration::from_millis(20),
            backoff_max: Duration::from_secs(1),
            farewell: Duration::from_millis(500),
        }
    }
}

/// Who this process says it is, and what it reaches others over.
pub(super) struct Identity {
    pub node: NodeId,
    pub incarnation: u64,
    pub cluster: RwLock<Option<[u8; 16]>>,
    /// Who may connect; `None` for everybody (with TLS: who has a certificate of the authority).
    pub admitted: RwLock<Option<BTreeSet<NodeId>>>,
    pub tls: Option<TlsContext>,
    pub sockets: Arc<dyn Sockets>,
}

impl Identity {
    pub fn new(node: NodeId, incarnation: u64, tls: Option<TlsContext>, sockets: Arc<dyn Sockets>) -> Self {
        Self {
            node,
            incarnation,
            cluster: RwLock::new(None),
            admitted: RwLock::new(None),
            tls,
            sockets,
        }
    }

    /// Whether this node may connect to us.
    pub fn admits(&self, node: NodeId) -> bool {
        self.admitted
            .read()
            .as_ref()
            .is_none_or(|admitted| admitted.contains(&node))
    }

    fn hello(&self, purpose: u8) -> Hello {
        Hello {
            cluster: *self.cluster.read(),
            node: self.node.0,
            incarnation: self.incarnation,
            purpose,
        }
    }

    /// Whether a peer that says this cluster id may be talked to.
    pub fn same_cluster(&self, theirs: Option<[u8; 16]>) -> bool {
        match (*self.cluster.read(), theirs) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => true,
        }
    }
}

/// A connection on which both have said hello.
pub(super) struct Connection {
    pub reader: FrameReader<ReadHalf>,
    pub writer: WriteHalf,
    pub peer: Hello,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("connection refused: nobody listens there")]
    NobodyListens,
    #[error("no connection: {0}")]
    Tcp(#[source] std::io::Error),
    #[error("TLS: {0}")]
    Tls(#[source] std::io::Error),
    #[error("certificate: {0}")]
    Certificate(String),
    #[error("deadline passed")]
    Deadline,
    #[error("closed without a hello")]
    NoHello,
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a {0:?} frame instead of a hello")]
    NotHello(FrameType),
    #[error("the peer refuses: {0}")]
    Refused(String),
    #[error("another cluster")]
    OtherCluster,
    #[error("node {0} is not a member")]
    NotAdmitted(NodeId),
    #[error("node {found} answers where node {wanted} was expected")]
    OtherNode { wanted: NodeId, found: NodeId },
    #[error("purpose {0} is unknown")]
    Purpose(u8),
}

/// Connects and says hello.
pub(super) async fn dial(
    identity: &Identity,
    times: &LinkTimes,
    peer: NodeId,
    address: SocketAddr,
    purpose: u8,
) -> Result<Connection, ConnectError> {
    let connect = async {
        let tcp = identity
            .sockets
            .connect(address)
            .await
            .map_err(|error| match error.kind() {
                ErrorKind::ConnectionRefused => ConnectError::NobodyListens,
                _ => ConnectError::Tcp(error),
            })?;
        tcp.configure(times.dead_after()).map_err(ConnectError::Tcp)?;
        let (reader, mut writer): (ReadHalf, WriteHalf) = match &identity.tls {
            None => tcp.split(),
            Some(tls) => split(tls.connect(peer, tcp).await.map_err(ConnectError::Tls)?),
        };
        let mut reader = FrameReader::new(reader);
        say(&mut writer, identity.hello(purpose).to_frame())
            .await
            .map_err(FrameError::Io)?;
        let hello = read_hello(&mut reader).await?;
        check(identity, &hello)?;
        if hello.node != peer.0 {
            return Err(ConnectError::OtherNode {
                wanted: peer,
                found: NodeId(hello.node),
            });
        }
        reader.trust();
        Ok(Connection {
            reader,
            writer,
            peer: hello,
        })
    };
    timeout(times.handshake, connect)
        .await
        .unwrap_or(Err(ConnectError::Deadline))
}

/// Takes an incoming connection as far as both hellos. A peer that is refused is told why.
pub(super) async fn accept(
    identity: &Identity,
    times: &LinkTimes,
    tcp: Box<dyn Socket>,
) -> Result<Connection, ConnectError> {
    let answer = async {
        tcp.configure(times.dead_after()).map_err(ConnectError::Tcp)?;
        let mut certified = None;
        let (reader, mut writer): (ReadHalf, WriteHalf) = match &identity.tls {
            None => tcp.split(),
            Some(tls) => {
                let stream = tls.accept(tcp).await.map_err(ConnectError::Tls)?;
                let (_, session) = stream.get_ref();
                certified = Some(super::tls::names(session.peer_certificates()).map_err(ConnectError::Certificate)?);
                split(stream)
            }
        };
        let mut reader = FrameReader::new(reader);
        match greet(identity, &mut reader, certified.as_deref()).await {
            Ok(hello) => {
                say(&mut writer, identity.hello(hello.purpose).to_frame())
                    .await
                    .map_err(FrameError::Io)?;
                reader.trust();
                Ok(Connection {
                    reader,
                    writer,
                    peer: hello,
                })
            }
            Err(error) => {
                // It will learn why, or it is gone and will not.
                let _ = say(&mut writer, refusal(&error)).await;
                let _ = writer.shutdown().await;
                Err(error)
            }
        }
    };
    timeout(times.handshake, answer)
        .await
        .unwrap_or(Err(ConnectError::Deadline))
}

async fn greet(
    identity: &Identity,
    reader: &mut FrameReader<ReadHalf>,
    certified: Option<&[String]>,
) -> Result<Hello, ConnectError> {
    let hello = read_hello(reader).await?;
    check(identity, &hello)?;
    if hello.purpose != PURPOSE_PROBE && purpose_from_u8(hello.purpose).is_none() {
        return Err(ConnectError::Purpose(hello.purpose));
    }
    if let Some(names) = certified {
        let wanted = super::tls::node_name(NodeId(hello.node));
        if !names.contains(&wanted) {
            return Err(ConnectError::Certificate(format!(
                "names {names:?}, but the peer says it is {wanted}"
            )));
        }
    }
    // After the certificate: who is a member is told to nobody who cannot prove a name.
    if !identity.admits(NodeId(hello.node)) {
        return Err(ConnectError::NotAdmitted(NodeId(hello.node)));
    }
    Ok(hello)
}

fn check(identity: &Identity, hello: &Hello) -> Result<(), ConnectError> {
    if identity.same_cluster(hello.cluster) {
        Ok(())
    } else {
        Err(ConnectError::OtherCluster)
    }
}

async fn read_hello(reader: &mut FrameReader<ReadHalf>) -> Result<Hello, ConnectError> {
    let frame = reader.read_frame().await?.ok_or(ConnectError::NoHello)?;
    match frame.frame_type {
        FrameType::Hello => Ok(Hello::from_body(frame.body)?),
        FrameType::Refused => Err(ConnectError::Refused(reason(&frame))),
        other => Err(ConnectError::NotHello(other)),
    }
}

/// The frame that tells a peer why its connection ends.
pub(super) fn refusal(error: &dyn std::fmt::Display) -> Frame {
    Frame::control(FrameType::Refused, 0, shortened(error.to_string()))
}

/// The reason in a `Refused` or `Failed` frame.
pub(super) fn reason(frame: &Frame) -> String {
    shortened(String::from_utf8_lossy(&frame.body).into_owned())
}

fn shortened(mut text: String) -> String {
    const REASON_MAX_BYTES: usize = 512;
    text.truncate(text.floor_char_boundary(REASON_MAX_BYTES));
    text
}

async fn say(writer: &mut WriteHalf, frame: Frame) -> std::io::Result<()> {
    writer.write_all(&frame.to_bytes()).await?;
    writer.flush().await
}

fn split(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> (ReadHalf, WriteHalf) {
    let (reader, writer) = tokio::io::split(stream);
    (Box::new(reader), Box::new(writer))
}

/// Counts the bytes of links of this purpose.
pub(super) fn byte_counter(purpose: Purpose, direction: &'static str) -> Counter {
    counter!("kaiwa_link_bytes_total", "purpose" => purpose.name(), "direction" => direction)
}
