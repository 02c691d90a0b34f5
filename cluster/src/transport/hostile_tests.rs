//! Strangers and broken peers: raw sockets against a transport, without TLS.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::connection::{LinkTimes, reason};
use super::frame::{Frame, FrameReader, FrameType, HEADER_BYTES, Hello};
use super::tcp_tests::{
    ECHO, HOLD, ONE, PATIENCE, TWO, connected, event, loopback, peer, quick, start, start_at, until, up,
};
use crate::limits::{FRAME_MAX_BYTES, HANDSHAKES_MAX, HELLO_MAX_BYTES, LINK_CALLS_MAX_BYTES};
use crate::transport::{CallError, LinkEvent, Purpose, Transport};

fn hello(node: u64) -> Hello {
    Hello {
        cluster: None,
        node,
        incarnation: 5,
        purpose: Purpose::Commands as u8,
    }
}

/// A peer that has said hello and been greeted, and does as the test likes.
async fn raw(address: std::net::SocketAddr) -> FrameReader<TcpStream> {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    tcp.write_all(&hello(9).to_frame().to_bytes()).await.unwrap();
    let mut reader = FrameReader::new(tcp);
    reader.trust();
    assert_eq!(next(&mut reader).await.frame_type, FrameType::Hello);
    reader
}

async fn next(reader: &mut FrameReader<TcpStream>) -> Frame {
    timeout(PATIENCE, reader.read_frame())
        .await
        .unwrap()
        .unwrap()
        .expect("a frame")
}

/// Waits for the end of a connection; what came before it.
async fn rest(tcp: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, tcp.read_to_end(&mut bytes))
        .await
        .expect("the connection ends");
    bytes
}

fn call(kind: u16, call: u64, body: impl Into<Bytes>) -> Frame {
    Frame {
        frame_type: FrameType::Call,
        kind,
        call,
        body: body.into(),
    }
}

#[tokio::test]
async fn garbage_from_strangers_is_refused_and_service_goes_on() {
    let ((one, _), (two, handler)) = (start(ONE, None), start(TWO, None));
    let huge = u32::MAX.to_le_bytes();
    let above = (HELLO_MAX_BYTES as u32 + HEADER_BYTES as u32).to_le_bytes();
    let wrong_purpose = Hello {
        purpose: 77,
        ..hello(9)
    }
    .to_frame()
    .to_bytes();
    let early_call = call(ECHO, 1, "no hello").to_bytes();
    let wrong_magic = Frame::control(FrameType::Hello, 0, vec![b'x'; 40]).to_bytes();
    let garbage: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        &huge,
        &above,
        &[0; 100],
        &wrong_purpose,
        &early_call,
        &wrong_magic,
    ];
    for bytes in garbage {
        let mut tcp = TcpStream::connect(two.local_addr()).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        let answer = rest(&mut tcp).await;
        if !answer.is_empty() {
            let told = FrameReader::new(&answer[..]).read_frame().await.unwrap().unwrap();
            assert_eq!(told.frame_type, FrameType::Refused);
        }
    }
    assert!(handler.came.lock().is_empty());
    connected(&one, &two).await;
    assert_eq!(
        one.call(TWO, Purpose::Commands, ECHO, Bytes::from("x"), PATIENCE)
            .await
            .unwrap(),
        "x"
    );
}

#[tokio::test]
async fn a_greeted_peer_that_breaks_the_protocol_is_told_why_and_cut() {
    let (two, handler) = start(TWO, None);
    let unknown_type = {
        let mut bytes = call(ECHO, 1, "x").to_bytes();
        bytes[6] = 99;
        bytes
    };
    let unknown_schema = {
        let mut bytes = call(ECHO, 1, "x").to_bytes();
        bytes[4] = 2;
        bytes
    };
    let oversized = ((FRAME_MAX_BYTES + HEADER_BYTES) as u32).to_le_bytes();
    let misplaced = Frame::control(FrameType::Reply, 1, "x").to_bytes();
    let broken: [(&[u8], &str); 4] = [
        (&unknown_type, "frame type 99"),
        (&unknown_schema, "frame schema 2"),
        (&oversized, "a frame of 8388626 bytes"),
        (&misplaced, "Reply frame has no place"),
    ];
    for (count, (bytes, why)) in (1..).zip(broken) {
        let mut peer = raw(two.local_addr()).await;
        peer.get_mut().write_all(bytes).await.unwrap();
        let told = next(&mut peer).await;
        assert_eq!(told.frame_type, FrameType::Refused);
        assert!(reason(&told).contains(why), "{}", reason(&told));
        rest(peer.get_mut()).await;
        until("the handler hears of the end", || handler.gone.lock().len() == count).await;
    }
    // A frame that is never completed is never handed over.
    let mut peer = raw(two.local_addr()).await;
    let whole = call(ECHO, 1, "x").to_bytes();
    peer.get_mut().write_all(&whole[..whole.len() - 1]).await.unwrap();
    peer.get_mut().shutdown().await.unwrap();
    until("the handler hears of the end", || handler.gone.lock().len() == 5).await;
    assert!(handler.came.lock().is_empty());
}

#[tokio::test]
async fn a_slow_handshake_is_cut_at_its_deadline() {
    let times = LinkTimes {
        handshake: Duration::from_millis(200),
        ..quick()
    };
    let (two, _) = start_at(TWO, loopback(), None, 1, times);
    let mut idle = TcpStream::connect(two.local_addr()).await.unwrap();
    assert!(rest(&mut idle).await.is_empty());
    // Bytes that trickle in do not put the deadline off.
    let mut slow = TcpStream::connect(two.local_addr()).await.unwrap();
    let trickle = async {
        for byte in hello(9).to_frame().to_bytes() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if slow.write_all(&[byte]).await.is_err() {
                return true;
            }
        }
        false
    };
    // 68 bytes need 1.4 s.
    let cut = trickle.await;
    assert!(cut || rest(&mut slow).await.is_empty());
}

#[tokio::test]
async fn strangers_beyond_the_bound_are_closed_and_peers_come_in_afterwards() {
    let times = LinkTimes {
        handshake: Duration::from_secs(1),
        ..quick()
    };
    let (two, _) = start_at(TWO, loopback(), None, 200, times);
    let mut idle = Vec::new();
    for _ in 0..2 * HANDSHAKES_MAX {
        idle.push(TcpStream::connect(two.local_addr()).await.unwrap());
    }
    for tcp in &mut idle {
        assert!(rest(tcp).await.is_empty());
    }
    let (one, _) = start(ONE, None);
    connected(&one, &two).await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_is_cut_from_both_sides() {
    let times = LinkTimes {
        tick: Duration::from_millis(30),
        ..quick()
    };
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let (one, handler) = start_at(ONE, loopback(), None, 1, times);
    let mut events = one.watch();
    one.set_peers(peer(TWO, listener.local_addr().unwrap()));
    let mute = tokio::spawn(async move {
        let mut kept = Vec::new();
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            tcp.write_all(&Hello { node: 2, ..hello(2) }.to_frame().to_bytes())
                .await
                .unwrap();
            kept.push(tcp);
        }
    });
    event(&mut events, up).await;
    let call = one.call(TWO, Purpose::Commands, ECHO, Bytes::new(), PATIENCE);
    let ended = event(&mut events, |event| {
        matches!(
            event,
            LinkEvent::Down {
                purpose: Purpose::Commands,
                ..
            }
        )
    })
    .await;
    assert_eq!(
        ended,
        LinkEvent::Down {
            peer: TWO,
            purpose: Purpose::Commands,
            goodbye: false
        }
    );
    assert_eq!(
        call.await,
        Err(CallError::OutcomeUnknown(TWO, "the peer is silent".into()))
    );
    mute.abort();

    let mut silent = raw(one.local_addr()).await;
    let told = next(&mut silent).await;
    assert!(reason(&told).contains("silent"), "{told:?}");
    until("the handler hears of the end", || handler.gone.lock().len() == 1).await;
}

#[tokio::test]
async fn calls_beyond_the_bytes_bound_are_busy_and_the_rest_goes_on() {
    let (two, handler) = start(TWO, None);
    let mut peer = raw(two.local_addr()).await;
    let body = Bytes::from(vec![1; FRAME_MAX_BYTES]);
    let fit = (LINK_CALLS_MAX_BYTES / FRAME_MAX_BYTES) as u64;
    for number in 1..=fit + 1 {
        peer.get_mut()
            .write_all(&call(HOLD, number, body.clone()).to_bytes())
            .await
            .unwrap();
    }
    let busy = next(&mut peer).await;
    assert_eq!((busy.frame_type, busy.call), (FrameType::Busy, fit + 1));
    assert_eq!(handler.came.lock().len() as u64, fit);
    let held: Vec<_> = handler.held.lock().drain(..).collect();
    for (_, reply) in held {
        reply.send(Bytes::from("done"));
    }
    for _ in 1..=fit {
        assert_eq!(next(&mut peer).await.body, "done");
    }
    peer.get_mut()
        .write_all(&call(ECHO, 99, "again").to_bytes())
        .await
        .unwrap();
    assert_eq!(
        next(&mut peer).await,
        Frame {
            kind: 0,
            frame_type: FrameType::Reply,
            ..call(0, 99, "again")
        }
    );
}

#[tokio::test]
async fn a_peer_that_does_not_read_its_replies_is_cut() {
    let (two, handler) = start(TWO, None);
    let mut peer = raw(two.local_addr()).await;
    let frame = call(ECHO, 1, vec![1; FRAME_MAX_BYTES]).to_bytes();
    let flood = async { while peer.get_mut().write_all(&frame).await.is_ok() {} };
    timeout(PATIENCE, flood).await.expect("it is cut");
    until("the handler hears of the end", || handler.gone.lock().len() == 1).await;
}

#[tokio::test]
async fn a_newer_connection_of_the_same_node_replaces_the_older() {
    let (two, handler) = start(TWO, None);
    let mut older = raw(two.local_addr()).await;
    let mut newer = raw(two.local_addr()).await;
    let told = next(&mut older).await;
    assert!(reason(&told).contains("newer"), "{told:?}");
    newer.get_mut().write_all(&call(ECHO, 1, "x").to_bytes()).await.unwrap();
    assert_eq!(next(&mut newer).await.body, "x");
    until("the older is gone", || handler.gone.lock().len() == 1).await;
    assert_ne!(handler.gone.lock()[0].connection, handler.came.lock()[0].0.connection);
}
