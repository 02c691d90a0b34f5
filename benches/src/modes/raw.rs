//! Connections without a client behind them: as light as a generator can hold ten thousand of, or as idle as a bad network's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context, Result};
use futures::{SinkExt, StreamExt};
use node::gateway::protocol::{ClientFrame, FromClient, Resume, ServerFrame};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// A connection that has been greeted.
pub type Socket = WebSocketStream<TcpStream>;

/// Counted by what they are.
pub type Reasons = BTreeMap<String, u64>;

/// Where and as whom.
pub struct Greeting<'a> {
    /// `http://host:port`
    pub url: &'a str,
    pub token: String,
    pub instance: u64,
    /// To come from another address of this machine.
    pub source: Option<Ipv4Addr>,
    /// Bytes that the kernel takes in while nobody reads.
    pub receive_buffer: Option<u32>,
}

/// One of the addresses beside 127.0.0.1, by number.
pub fn source(number: usize) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 0, 0, 2).to_bits() + number as u32)
}

/// What a connection came to, short enough to be counted.
pub fn reason(error: &Error) -> String {
    match error {
        Error::Io(error) => error.kind().to_string(),
        Error::Http(response) => format!("http {}", response.status().as_u16()),
        other => other.to_string(),
    }
}

/// Connects, says hello, and waits for the welcome. The error is a reason.
pub async fn greet(greeting: &Greeting<'_>) -> Result<Socket, String> {
    let stream = connect(greeting).await.map_err(|error| format!("connect: {error:#}"))?;
    let config = WebSocketConfig::default()
        .read_buffer_size(1 << 10)
        .write_buffer_size(0)
        .max_write_buffer_size(64 << 10);
    let url = format!("{}/v1/ws", greeting.url.trim_end_matches('/').replacen("http", "ws", 1));
    let (mut socket, _) = client_async_with_config(url, stream, Some(config))
        .await
        .map_err(|error| format!("upgrade: {}", reason(&error)))?;
    let frame = ClientFrame::Hello {
        token: Some(greeting.token.clone()),
        instance: greeting.instance,
        resume: Resume::default(),
    };
    send(&mut socket, 0, frame).await?;
    loop {
        match next(&mut socket).await? {
            ServerFrame::Welcome(_) => return Ok(socket),
            ServerFrame::Error(error) => return Err(format!("hello: {}", error.code)),
            _ => {}
        }
    }
}

async fn connect(greeting: &Greeting<'_>) -> Result<TcpStream> {
    let authority = greeting.url.split_once("://").map_or(greeting.url, |(_, rest)| rest);
    let authority = authority.trim_end_matches('/');
    let address = match authority.parse::<SocketAddr>() {
        Ok(address) => address,
        Err(_) => {
            let mut found = tokio::net::lookup_host(authority).await.context("unknown host")?;
            found.find(SocketAddr::is_ipv4).context("no IPv4 address")?
        }
    };
    let socket = TcpSocket::new_v4()?;
    if let Some(source) = greeting.source {
        socket.bind((source, 0).into()).context("bind")?;
    }
    if let Some(bytes) = greeting.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    let stream = socket
        .connect(address)
        .await
        .map_err(|error| anyhow::anyhow!("{}", error.kind()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Says something.
pub async fn send(socket: &mut Socket, id: u64, frame: ClientFrame) -> Result<(), String> {
    let text = FromClient { id, frame }.to_text();
    socket.send(Message::text(text)).await.map_err(|error| reason(&error))
}

/// The next frame. The error says how the connection ended.
pub async fn next(socket: &mut Socket) -> Result<ServerFrame, String> {
    loop {
        match socket.next().await {
            Some(Ok(Message::Text(text))) => {
                return ServerFrame::parse(&text).map_err(|error| format!("unreadable frame: {error}"));
            }
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.map(|frame| format!("{} {}", u16::from(frame.code), frame.reason));
                return Err(format!("closed: {}", frame.unwrap_or_default()));
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(reason(&error)),
            None => return Err("ended".to_owned()),
        }
    }
}

/// Listens for nothing, answering pings, until the connection ends. Says how.
pub async fn idle(mut socket: Socket) -> String {
    loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => {
                let frame = frame.map(|frame| format!("{} {}", u16::from(frame.code), frame.reason));
                return format!("closed: {}", frame.unwrap_or_default());
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return reason(&error),
            None => return "ended".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_counted_on() {
        assert_eq!(source(0), Ipv4Addr::new(127, 0, 0, 2));
        assert_eq!(source(300), Ipv4Addr::new(127, 0, 1, 46));
    }
}
