//! Where streams come from: the system's TCP, or a simulated one.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// The receiving half of a stream.
pub type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
/// The sending half of a stream.
pub type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// A connected stream.
pub trait Socket: AsyncRead + AsyncWrite + Send + Sync + Unpin {
    /// Sends small writes at once, and ends when the peer acknowledges nothing for so long, as far as the system can.
    fn configure(&self, dead_after: Duration) -> io::Result<()>;
    /// Both directions, to be used at the same time. Dropping the sending half ends that direction.
    fn split(self: Box<Self>) -> (ReadHalf, WriteHalf);
}

/// Takes connections.
pub trait Listener: Send + Sync + 'static {
    /// Where; tells the port when port 0 was asked for.
    fn local_addr(&self) -> io::Result<SocketAddr>;
    /// The next connection, and where it comes from.
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>>;
}

/// Makes streams.
pub trait Sockets: Send + Sync + 'static {
    /// Listens; on return nobody is refused any more. Called on a tokio runtime.
    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>>;
    /// Connects; [`io::ErrorKind::ConnectionRefused`] only when nobody listens there.
    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Socket>>>;
}

/// The system's TCP.
pub(super) struct SystemSockets;

impl Sockets for SystemSockets {
    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        Ok(Box::new(TcpListener::from_std(listener)?))
    }

    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Socket>>> {
        async move {
            let tcp = TcpStream::connect(to).await?;
            // Linux may join a connect to a port of its own ephemeral range with itself.
            if tcp.local_addr().ok() == tcp.peer_addr().ok() {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            Ok(Box::new(tcp) as Box<dyn Socket>)
        }
        .boxed()
    }
}

impl Listener for TcpListener {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        Self::local_addr(self)
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        async {
            let (tcp, from) = Self::accept(self).await?;
            Ok((Box::new(tcp) as Box<dyn Socket>, from))
        }
        .boxed()
    }
}

impl Socket for TcpStream {
    /// The kernel's own watch over the peer, beside our pings: it also ends connections whose writes nobody acknowledges.
    fn configure(&self, dead_after: Duration) -> io::Result<()> {
        self.set_nodelay(true)?;
        let socket = socket2::SockRef::from(self);
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(1))
            .with_interval(Duration::from_secs(1))
            .with_retries(3);
        socket.set_tcp_keepalive(&keepalive)?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(dead_after))?;
        #[cfg(not(target_os = "linux"))]
        let _ = dead_after;
        Ok(())
    }

    fn split(self: Box<Self>) -> (ReadHalf, WriteHalf) {
        let (reader, writer) = self.into_split();
        (Box::new(reader), Box::new(writer))
    }
}
