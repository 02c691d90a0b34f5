//! Clients that misbehave: agents who come and go all the time, everybody reconnecting at once, clients that do not read, and clients
//! that never finish what they began to say.

use std::time::Duration;

use anyhow::{Context, Result};
use async_trait::async_trait;
use futures::SinkExt;
use rand::Rng;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::{Dice, Fault, Kind, Met, Takes};
use crate::arena::Arena;
use crate::world::SUPERVISOR;
use node::auth::Role;

pub(super) const KINDS: &[Kind] = &[
    Kind {
        name: "agents-flap",
        about: "agents sign out and in, and their connections break, all the time",
        holds: "CDEIL",
        takes: Takes::Nothing,
        lasts_ms: (3000, 8000),
        alone: false,
        make: || Box::new(Flap { stop: None, flaps: 0 }),
    },
    Kind {
        name: "reconnect-storm",
        about: "all connections of clients break at once, several times",
        holds: "CDEIL",
        takes: Takes::Nothing,
        lasts_ms: (200, 1500),
        alone: false,
        make: || Box::new(Storm(0)),
    },
    Kind {
        name: "clients-stall",
        about: "connections that follow everything and read nothing",
        holds: "LI",
        takes: Takes::Nothing,
        lasts_ms: (4000, 9000),
        alone: false,
        make: || Box::new(Stalled(Vec::new())),
    },
    Kind {
        name: "slow-loris",
        about: "connections that never finish their request",
        holds: "LI",
        takes: Takes::Nothing,
        lasts_ms: (3000, 9000),
        alone: false,
        make: || Box::new(Loris(Vec::new())),
    },
];

struct Flap {
    stop: Option<JoinHandle<u64>>,
    flaps: u64,
}

#[async_trait(?Send)]
impl Fault for Flap {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        let share = dice.random_range(20..60);
        self.stop = Some(arena.people.let_agents_flap(share, dice.random()));
        Ok(Some(format!("{share} % of the agents come and go")))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        arena.people.stop_flapping();
        if let Some(task) = self.stop.take() {
            self.flaps = task.await?;
        }
        Ok(Met::new(self.flaps, "comings and goings"))
    }
}

struct Storm(u64);

#[async_trait(?Send)]
impl Fault for Storm {
    async fn strike(&mut self, arena: &mut Arena, dice: &mut Dice) -> Result<Option<String>> {
        for _ in 0..dice.random_range(2..6) {
            self.0 += arena.people.break_all();
            tokio::time::sleep(Duration::from_millis(dice.random_range(50..800))).await;
        }
        Ok(Some(format!("{} connections broken", self.0)))
    }

    async fn heal(&mut self, _: &mut Arena, _: &mut Dice) -> Result<Met> {
        Ok(Met::new(self.0, "connections"))
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Supervisors who follow all conversations on every node and then read nothing.
struct Stalled(Vec<Socket>);

#[async_trait(?Send)]
impl Fault for Stalled {
    async fn strike(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Option<String>> {
        let conversations = arena.people.newest_conversations(200).await;
        let token = arena.world.token(Role::Supervisor, SUPERVISOR);
        for node in arena.awake() {
            let url = arena.world.cluster.api_url(node)?.replacen("http", "ws", 1) + "/v1/ws";
            for instance in 0..4 {
                let greeting = stall(&url, &token, node * 10 + instance, &conversations);
                // A node that goes away just now takes no greeting.
                if let Ok(Ok(socket)) = tokio::time::timeout(Duration::from_secs(3), greeting).await {
                    self.0.push(socket);
                }
            }
        }
        Ok((!self.0.is_empty()).then(|| format!("{} sockets follow and do not read", self.0.len())))
    }

    async fn heal(&mut self, _: &mut Arena, _: &mut Dice) -> Result<Met> {
        let sockets = self.0.len() as u64;
        self.0.clear();
        Ok(Met::new(sockets, "sockets that did not read"))
    }
}

async fn stall(url: &str, token: &str, instance: u64, follow: &[String]) -> Result<Socket> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
    let hello = format!(r#"{{"v":1,"type":"hello","instance":{instance},"token":"{token}"}}"#);
    socket.send(Message::text(hello)).await?;
    for conversation in follow {
        let follow = format!(r#"{{"v":1,"type":"follow","conversation":"{conversation}"}}"#);
        socket.send(Message::text(follow)).await?;
    }
    Ok(socket)
}

/// Requests that say a byte now and then.
struct Loris(Vec<JoinHandle<bool>>);

#[async_trait(?Send)]
impl Fault for Loris {
    async fn strike(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Option<String>> {
        for node in arena.awake() {
            let url = arena.world.cluster.api_url(node)?;
            let address = url.strip_prefix("http://").context("an URL without TLS")?.to_owned();
            for _ in 0..30 {
                self.0.push(tokio::spawn(whisper(address.clone())));
            }
        }
        Ok(Some(format!("{} requests that do not end", self.0.len())))
    }

    async fn heal(&mut self, arena: &mut Arena, _: &mut Dice) -> Result<Met> {
        let all = self.0.len();
        for task in self.0.drain(..) {
            task.abort();
        }
        let connections = arena.metric("kaiwa_connections").await;
        Ok(Met::new(
            all as u64,
            format!("requests; {connections} real connections meanwhile"),
        ))
    }
}

/// Says a request's head a byte at a time; whether it was cut off.
async fn whisper(address: String) -> bool {
    let Ok(mut stream) = TcpStream::connect(address).await else {
        return false;
    };
    let head = b"GET /v1/ws HTTP/1.1\r\nHost: a\r\nX-Slow: "
        .iter()
        .chain(std::iter::repeat(&b'a'));
    for byte in head {
        if stream.write_all(&[*byte]).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    false
}
