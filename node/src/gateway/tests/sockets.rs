//! What a socket takes, and what it does not.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::world::{World, serve};
use crate::gateway::GatewaySettings;
use crate::wall_clock::now_ms;

const PATIENCE: Duration = Duration::from_secs(20);

struct Raw(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Raw {
    async fn open(address: std::net::SocketAddr) -> Self {
        Self(connect_async(format!("ws://{address}/v1/ws")).await.unwrap().0)
    }

    async fn greeted(address: std::net::SocketAddr, token: &str, instance: u64) -> Self {
        let mut raw = Self::open(address).await;
        raw.send(json!({"v": 1, "type": "hello", "token": token, "instance": instance}))
            .await;
        assert_eq!(raw.frame("welcome").await["v"], 1);
        raw
    }

    async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame of the type.
    async fn frame(&mut self, kind: &str) -> Value {
        loop {
            let message = timeout(PATIENCE, self.0.next())
                .await
                .unwrap_or_else(|_| panic!("no {kind} came"));
            if let Message::Text(text) = message.expect("open").expect("readable") {
                let frame: Value = serde_json::from_str(&text).unwrap();
                if frame["type"] == kind {
                    return frame;
                }
            }
        }
    }

    /// Sends a frame; gives the code of the error with its id.
    async fn refused(&mut self, mut frame: Value, id: u64) -> String {
        frame["v"] = json!(1);
        frame["id"] = json!(id);
        self.send(frame).await;
        let error = self.frame("error").await;
        assert_eq!(error["id"], id, "{error}");
        error["code"].as_str().unwrap().to_owned()
    }

    /// Code and reason with which the node closes.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("an end") {
                Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                Some(Ok(_)) => {}
                other => panic!("ended without a reason: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_greeting_that_is_none_ends_the_connection() {
    let world = World::new(1);
    let settings = GatewaySettings {
        handshake: Duration::from_millis(300),
        ..GatewaySettings::default()
    };
    let node = serve(&world, 1, settings).await;

    let mut silent = Raw::open(node).await;
    assert_eq!(silent.closed().await, (1008, "handshake_timeout".to_owned()));

    let cases = [
        (
            json!({"v": 1, "type": "hello", "instance": 1}),
            "unauthenticated",
            "unauthenticated",
        ),
        (
            json!({"v": 1, "type": "hello", "instance": 1, "token": "x"}),
            "token_invalid",
            "unauthenticated",
        ),
        (json!({"v": 1, "type": "ping"}), "hello_expected", "handshake"),
        (
            json!({"v": 9, "type": "hello", "instance": 1, "token": "customer:a"}),
            "unsupported_version",
            "handshake",
        ),
        (
            json!({"v": 1, "type": "hello", "instance": 1, "token": "customer:a", "x": 1}),
            "invalid_frame",
            "handshake",
        ),
    ];
    for (hello, code, reason) in cases {
        let mut raw = Raw::open(node).await;
        raw.send(hello).await;
        assert_eq!(raw.frame("error").await["code"], code);
        assert_eq!(raw.closed().await, (1008, reason.to_owned()));
    }
}

#[tokio::test]
async fn a_page_gives_its_token_in_the_protocol_header() {
    let world = World::new(1);
    let node = serve(&world, 1, GatewaySettings::default()).await;
    let mut request = format!("ws://{node}/v1/ws").into_client_request().unwrap();
    request.headers_mut().insert(
        "sec-websocket-protocol",
        "kaiwa.v1, token.customer:ann".parse().unwrap(),
    );
    request
        .headers_mut()
        .insert("origin", format!("http://{node}").parse().unwrap());
    let (socket, response) = connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "kaiwa.v1");
    let mut raw = Raw(socket);
    raw.send(json!({"v": 1, "type": "hello", "instance": 4})).await;
    assert_eq!(raw.frame("welcome").await["subject"], "ann");
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let world = World::new(1);
    let settings = GatewaySettings {
        allowed_origins: vec!["https://shop.example".into()],
        ..GatewaySettings::default()
    };
    let node = serve(&world, 1, settings).await;
    for (origin, status) in [
        ("https://evil.example", 403),
        ("https://shop.example", 101),
        ("null", 403),
    ] {
        let mut request = format!("ws://{node}/v1/ws").into_client_request().unwrap();
        request.headers_mut().insert("origin", origin.parse().unwrap());
        let got = match connect_async(request).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, status, "{origin}");
    }
}

#[tokio::test]
async fn bad_frames_are_answered_and_change_nothing() {
    let world = World::new(2);
    let node = serve(&world, 1, GatewaySettings::default()).await;
    let mut ann = Raw::greeted(node, "customer:ann", 1).await;
    ann.send(json!({"v": 1, "id": 1, "type": "start", "number": 1})).await;
    let conversation = ann.frame("ack").await["conversation"].clone();
    let nowhere = "conv_000000000000000000000000000000ff";

    for text in ["", "{", "[]", "\"hello\"", "null", "{\"v\":1}"] {
        ann.0.send(Message::text(text)).await.unwrap();
        let code = ann.frame("error").await["code"].clone();
        assert!(code == "malformed" || code == "invalid_frame", "{text}: {code}");
    }
    let body = json!({"text": "x"});
    let long = json!({"text": "x".repeat(routing::limits::BODY_MAX_BYTES + 1)});
    let cases = [
        (
            json!({"type": "message", "number": 2, "conversation": conversation, "body": body, "html": 1}),
            "invalid_frame",
        ),
        (
            json!({"type": "message", "number": "2", "conversation": conversation, "body": body}),
            "invalid_frame",
        ),
        (
            json!({"type": "message", "number": 2, "conversation": nowhere, "body": body}),
            "unknown_conversation",
        ),
        (
            json!({"type": "message", "number": 2, "conversation": conversation, "body": long}),
            "too_large",
        ),
        (
            json!({"type": "note", "number": 2, "conversation": conversation, "body": body}),
            "forbidden",
        ),
        (
            json!({"type": "pull", "number": 2, "conversation": conversation}),
            "forbidden",
        ),
        (
            json!({"type": "accept", "number": 2, "conversation": conversation, "epoch": 1}),
            "forbidden",
        ),
        (json!({"type": "sign_in", "number": 2}), "forbidden"),
        (json!({"type": "targets"}), "forbidden"),
        (
            json!({"type": "typing", "conversation": nowhere, "typing": true}),
            "not_following",
        ),
        (
            json!({"type": "follow", "conversation": conversation, "cursor": 99}),
            "cursor_ahead",
        ),
        (
            json!({"type": "hello", "instance": 1, "token": "agent:1"}),
            "already_greeted",
        ),
        (json!({"type": "dance"}), "unknown_type"),
    ];
    for (number, (frame, code)) in cases.into_iter().enumerate() {
        assert_eq!(ann.refused(frame.clone(), 10 + number as u64).await, code, "{frame}");
    }

    // Another customer, and an agent who has nothing to do with it: it does not exist for them.
    let mut bob = Raw::greeted(node, "customer:bob", 1).await;
    for (number, frame) in [
        json!({"type": "follow", "conversation": conversation}),
        json!({"type": "message", "number": 1, "conversation": conversation, "body": body}),
        json!({"type": "close", "number": 1, "conversation": conversation}),
        json!({"type": "read", "conversation": conversation, "seq": 1}),
        json!({"type": "resume", "number": 1, "conversation": conversation}),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            bob.refused(frame.clone(), number as u64).await,
            "unknown_conversation",
            "{frame}"
        );
    }
    let mut agent = Raw::greeted(node, "agent:2", 1).await;
    let message = json!({"type": "message", "number": 1, "conversation": conversation, "body": body, "epoch": 1});
    let code = agent.refused(message, 1).await;
    assert!(
        ["wrong_state", "stale_epoch", "not_permitted"].contains(&&*code),
        "{code}"
    );
    let note = json!({"type": "note", "number": 1, "conversation": conversation, "body": body});
    assert_eq!(agent.refused(note, 2).await, "forbidden");

    let id = conversation.as_str().unwrap().parse().unwrap();
    assert_eq!(world.transcript(id), [], "nothing changed");
}

#[tokio::test]
async fn a_repeat_on_another_node_gets_the_first_answer() {
    let world = World::new(1);
    let settings = GatewaySettings::default;
    let [one, two] = [serve(&world, 1, settings()).await, serve(&world, 2, settings()).await];
    let start = json!({"v": 1, "id": 5, "type": "start", "number": 1, "message": {"text": "hi"}});
    let mut first = Raw::greeted(one, "customer:ann", 77).await;
    first.send(start.clone()).await;
    let ack = first.frame("ack").await;
    let mut second = Raw::greeted(two, "customer:ann", 77).await;
    second.send(start.clone()).await;
    let again = second.frame("ack").await;
    assert_eq!(
        (&again["conversation"], &again["repeated"]),
        (&ack["conversation"], &json!(true))
    );
    let mut other = Raw::greeted(two, "customer:ann", 78).await;
    other.send(start).await;
    assert_ne!(
        other.frame("ack").await["conversation"],
        ack["conversation"],
        "another instance is another client"
    );
}

#[tokio::test]
async fn frames_that_are_too_long_or_not_text_end_the_connection() {
    let world = World::new(1);
    let node = serve(&world, 1, GatewaySettings::default()).await;
    let mut long = Raw::greeted(node, "customer:ann", 1).await;
    let _ = long
        .0
        .send(Message::text("x".repeat(crate::limits::FRAME_MAX_BYTES + 1)))
        .await;
    assert_eq!(long.closed().await, (1009, "frame_too_large".to_owned()));
    let mut binary = Raw::greeted(node, "customer:ann", 1).await;
    binary.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(binary.closed().await, (1003, "binary".to_owned()));
}

#[tokio::test]
async fn the_connection_ends_with_its_token() {
    let world = World::new(1);
    let node = serve(&world, 1, GatewaySettings::default()).await;
    let mut raw = Raw::greeted(node, &format!("customer:ann@{}", now_ms() + 400), 1).await;
    assert_eq!(raw.closed().await, (1008, "token_expired".to_owned()));
}

#[tokio::test]
async fn silence_ends_the_connection() {
    let world = World::new(1);
    let settings = GatewaySettings {
        idle: Duration::from_millis(900),
        ..GatewaySettings::default()
    };
    let node = serve(&world, 1, settings).await;
    // Reads nothing, so that its side does not answer pings.
    let mut raw = Raw::greeted(node, "customer:ann", 1).await;
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(raw.closed().await, (1008, "idle".to_owned()));
}

#[tokio::test]
async fn who_speaks_too_fast_is_told_when_to_go_on() {
    let world = World::new(1);
    let settings = GatewaySettings {
        rate_per_second: 5,
        rate_burst: 3,
        ..GatewaySettings::default()
    };
    let node = serve(&world, 1, settings).await;
    let mut raw = Raw::greeted(node, "customer:ann", 1).await;
    for id in 1..=4 {
        raw.send(json!({"v": 1, "id": id, "type": "ping"})).await;
    }
    let error = raw.frame("error").await;
    assert_eq!((&error["code"], &error["id"]), (&json!("rate_limited"), &json!(4)));
    let wait_ms = error["retry_after_ms"].as_u64().unwrap();
    assert!((1..=200).contains(&wait_ms), "{wait_ms}");
}

#[tokio::test]
async fn there_are_only_so_many_connections_of_one_principal() {
    let world = World::new(1);
    let settings = GatewaySettings {
        connections_per_principal: 1,
        ..GatewaySettings::default()
    };
    let node = serve(&world, 1, settings).await;
    let first = Raw::greeted(node, "customer:ann", 1).await;
    let mut second = Raw::open(node).await;
    second
        .send(json!({"v": 1, "type": "hello", "token": "customer:ann", "instance": 2}))
        .await;
    assert_eq!(second.frame("error").await["code"], "too_many_connections");
    assert_eq!(second.closed().await.0, 1013);
    drop(first);
    let _other = Raw::greeted(node, "customer:bob", 3).await;
}

#[tokio::test]
async fn a_reader_who_does_not_read_is_cut_off_and_misses_nothing_later() {
    let world = World::new(1);
    let settings = GatewaySettings {
        outbound_bytes: 256 << 10,
        rate_burst: 10_000,
        ..GatewaySettings::default()
    };
    let node = serve(&world, 1, settings).await;
    let mut slow = Raw::greeted(node, "customer:ann", 1).await;
    slow.send(json!({"v": 1, "type": "start", "number": 1})).await;
    let conversation = slow.frame("ack").await["conversation"].clone();
    // A second window of the same customer writes what the first does not read.
    let mut other = Raw::greeted(node, "customer:ann", 2).await;
    let body = json!({"text": "x".repeat(30_000)});
    const MESSAGES: u64 = 400; // 12 MB: more than the kernel keeps
    for number in 1..=MESSAGES {
        other
            .send(json!({"v": 1, "id": number, "type": "message", "number": number, "conversation": conversation, "body": body}))
            .await;
        while other.frame("ack").await["id"] != number {}
    }
    let mut last = 0;
    let ended = timeout(PATIENCE, async {
        loop {
            match slow.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    let frame: Value = serde_json::from_str(&text).unwrap();
                    if frame["type"] == "entry" {
                        assert_eq!(frame["prev"], last);
                        last = frame["seq"].as_u64().unwrap();
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            }
        }
    });
    ended.await.expect("cut off");
    assert!(last < MESSAGES, "it was cut off before the end");
    // It comes back with its cursor.
    let mut back = Raw::open(node).await;
    let resume = json!({"conversations": {conversation.as_str().unwrap(): last}});
    back.send(json!({"v": 1, "type": "hello", "token": "customer:ann", "instance": 1, "resume": resume}))
        .await;
    while last < MESSAGES {
        let entry = back.frame("entry").await;
        assert_eq!(entry["prev"], last);
        last = entry["seq"].as_u64().unwrap();
    }
}
