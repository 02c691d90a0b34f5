//! turmoil's TCP behind the trait of the links.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cluster::transport::sockets::{Listener, ReadHalf, Socket, Sockets, WriteHalf};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::truth::Truth;

pub(super) struct SimulatedSockets(pub(super) Truth);

struct Stream(TcpStream);

struct Accepting(TcpListener);

impl Sockets for SimulatedSockets {
    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        // It waits for nothing.
        let listener = TcpListener::bind(at).now_or_never().expect("ready at once")?;
        Ok(Box::new(Accepting(listener)))
    }

    /// turmoil calls a connect refused whose first segment is lost; TCP hears nothing then.
    fn connect(&self, to: SocketAddr) -> BoxFuture<'static, io::Result<Box<dyn Socket>>> {
        let truth = self.0.clone();
        async move {
            let begun = truth.deaths_at(to);
            match TcpStream::connect(to).await {
                Ok(stream) => Ok(Box::new(Stream(stream)) as Box<dyn Socket>),
                Err(_) if truth.lived_since(to, begun) => std::future::pending().await,
                Err(error) => Err(error),
            }
        }
        .boxed()
    }
}

impl Listener for Accepting {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Socket>, SocketAddr)>> {
        async {
            let (stream, from) = self.0.accept().await?;
            Ok((Box::new(Stream(stream)) as Box<dyn Socket>, from))
        }
        .boxed()
    }
}

impl Socket for Stream {
    fn configure(&self, _dead_after: Duration) -> io::Result<()> {
        Ok(())
    }

    fn split(self: Box<Self>) -> (ReadHalf, WriteHalf) {
        let (reader, writer) = self.0.into_split();
        (Box::new(reader), Box::new(writer))
    }
}

type Context<'a, 'b> = &'a mut std::task::Context<'b>;
type Poll<T> = std::task::Poll<io::Result<T>>;

impl AsyncRead for Stream {
    fn poll_read(mut self: std::pin::Pin<&mut Self>, context: Context<'_, '_>, buffer: &mut ReadBuf<'_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: std::pin::Pin<&mut Self>, context: Context<'_, '_>, bytes: &[u8]) -> Poll<usize> {
        std::pin::Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, context: Context<'_, '_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: std::pin::Pin<&mut Self>, context: Context<'_, '_>) -> Poll<()> {
        std::pin::Pin::new(&mut self.0).poll_shutdown(context)
    }
}
