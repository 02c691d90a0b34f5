//! Customers and agents talk through the Rust client.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use routing::event::{EntryKind, Phase};
use routing::ids::{ConversationId, Epoch, Seq};
use tokio::time::timeout;

use super::world::{Wire, World, serve};
use crate::client::{Client, ClientEvent, ClientEvents};
use crate::gateway::GatewaySettings;
use crate::gateway::protocol::{EntryContent, Party, ServerFrame};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for the first event that `pick` takes.
pub async fn until<T>(events: &mut ClientEvents, mut pick: impl FnMut(&ClientEvent) -> Option<T>) -> T {
    let mut seen = Vec::new();
    let found = timeout(PATIENCE, async {
        loop {
            let event = events.recv().await.expect("the client has not ended");
            if let Some(found) = pick(&event) {
                return found;
            }
            seen.push(event);
        }
    });
    found
        .await
        .unwrap_or_else(|_| panic!("it did not come; what came: {seen:#?}"))
}

pub async fn frame<T>(events: &mut ClientEvents, mut pick: impl FnMut(&ServerFrame) -> Option<T>) -> T {
    until(events, |event| match event {
        ClientEvent::Frame(frame) => pick(frame),
        _ => None,
    })
    .await
}

pub async fn message(events: &mut ClientEvents) -> (Party, String) {
    frame(events, |frame| match frame {
        ServerFrame::Entry(entry) => match &entry.content {
            EntryContent::Message { author, body } => Some((author.clone(), body.text.clone())),
            _ => None,
        },
        _ => None,
    })
    .await
}

pub async fn offered(events: &mut ClientEvents) -> (ConversationId, Epoch) {
    frame(events, |frame| match frame {
        ServerFrame::Offered {
            conversation, epoch, ..
        } => Some((*conversation, *epoch)),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_chat_from_start_to_wrap_up_through_two_nodes() {
    let world = World::new(1);
    let [one, two] = [
        serve(&world, 1, GatewaySettings::default()).await,
        serve(&world, 2, GatewaySettings::default()).await,
    ];
    let (agent, mut desk) = Client::connect(vec![format!("ws://{one}")], "agent:1", 10);
    let (customer, mut chat) = Client::connect(vec![format!("http://{two}")], "customer:ann", 20);

    agent.sign_in().await.unwrap();
    let started = customer.start(BTreeMap::new(), Some("hello")).await.unwrap();
    let conversation = started.conversation.unwrap();
    let (offered_conversation, epoch) = offered(&mut desk).await;
    assert_eq!(offered_conversation, conversation);
    agent.accept(conversation, epoch).await.unwrap();

    // The agent gets what was said before they came.
    assert_eq!(message(&mut desk).await, (Party::Customer, "hello".to_owned()));
    agent.note(conversation, "a regular").await.unwrap();
    let said = agent.message(conversation, "good day").await.unwrap();
    assert_eq!(message(&mut chat).await.1, "hello");
    let (author, text) = message(&mut chat).await;
    assert!(matches!(author, Party::Agent { .. }));
    assert_eq!(text, "good day");

    customer.typing(conversation, true);
    let typing = frame(&mut desk, |frame| match frame {
        ServerFrame::Typing { who, typing, .. } => Some((who.clone(), *typing)),
        _ => None,
    });
    assert_eq!(typing.await, (Party::Customer, true));
    customer.read(conversation, said.seq.unwrap());
    let read = frame(&mut desk, |frame| match frame {
        ServerFrame::Read {
            reader: Party::Customer,
            seq,
            ..
        } => Some(*seq),
        _ => None,
    });
    assert_eq!(read.await, said.seq.unwrap());

    agent.close_conversation(conversation).await.unwrap();
    let closed = frame(&mut chat, |frame| match frame {
        ServerFrame::Conversation(view) if view.phase == Phase::Closed => Some(view.clone()),
        _ => None,
    });
    assert_eq!(closed.await.customer, None, "customers are told less");
    let wrap_up = frame(&mut desk, |frame| match frame {
        ServerFrame::WrapUp { epoch, .. } => Some(*epoch),
        _ => None,
    });
    agent.finish_wrap_up(conversation, wrap_up.await).await.unwrap();

    // Nothing in what the customer got is for staff, and nothing else is missing.
    let visible: Vec<Seq> = world
        .transcript(conversation)
        .iter()
        .filter(|entry| entry.kind.for_customer())
        .map(|entry| entry.seq)
        .collect();
    assert!(
        world
            .transcript(conversation)
            .iter()
            .any(|entry| matches!(entry.kind, EntryKind::Note { .. }))
    );
    let (_again, mut events) = Client::connect(vec![format!("ws://{one}")], "customer:ann", 21);
    _again.say(crate::gateway::protocol::ClientFrame::Follow {
        conversation,
        cursor: 0,
    });
    let mut got = Vec::new();
    while got.last() != visible.last() {
        let seq = frame(&mut events, |frame| match frame {
            ServerFrame::Entry(entry) => Some(entry.seq),
            _ => None,
        });
        got.push(seq.await);
    }
    assert_eq!(got, visible);
}

/// Reads until the transcript of each conversation is there, and checks that entries came once and in order.
async fn collect(mut events: ClientEvents, expected: usize) -> BTreeMap<ConversationId, Vec<(Seq, String)>> {
    let mut got: BTreeMap<ConversationId, Vec<(Seq, String)>> = BTreeMap::new();
    let mut messages = 0;
    while messages < expected {
        let event = timeout(PATIENCE, events.recv())
            .await
            .unwrap_or_else(|_| panic!("{messages} of {expected} came"));
        match event.expect("the client has not ended") {
            ClientEvent::Frame(ServerFrame::Entry(entry)) => {
                let seen = got.entry(entry.conversation).or_default();
                assert!(
                    seen.last().is_none_or(|(last, _)| *last < entry.seq),
                    "out of order or doubled: {entry:?}"
                );
                let text = match entry.content {
                    EntryContent::Message { body, .. } => {
                        messages += 1;
                        body.text
                    }
                    other => format!("{other:?}"),
                };
                seen.push((entry.seq, text));
            }
            ClientEvent::Gap {
                conversation,
                have,
                prev,
            } => panic!("gap in {conversation}: {have} … {prev}"),
            _ => {}
        }
    }
    got
}

#[tokio::test]
async fn every_acknowledged_message_once_and_in_order_whatever_breaks() {
    const CUSTOMERS: usize = 12;
    const MESSAGES: usize = 25;
    const CUTS: usize = 150;
    let world = World::new(1);
    let mut wires = Vec::new();
    for number in 1..=3 {
        wires.push(Wire::to(serve(&world, number, GatewaySettings::default()).await).await);
    }
    let urls: Vec<String> = wires.iter().map(|wire| wire.url.clone()).collect();

    let (agent, mut desk) = Client::connect(urls.clone(), "agent:1", 1);
    agent.sign_in().await.unwrap();
    let mut customers = Vec::new();
    for number in 0..CUSTOMERS {
        let (client, events) = Client::connect(urls.clone(), format!("customer:c{number}"), 100 + number as u64);
        let conversation = client.start(BTreeMap::new(), None).await.unwrap().conversation.unwrap();
        let (offer, epoch) = offered(&mut desk).await;
        agent.accept(offer, epoch).await.unwrap();
        customers.push((client, events, conversation));
    }
    world.faults_percent.store(10, Ordering::Relaxed);

    let cutter = tokio::spawn(async move {
        // Faster than clients come back on a quiet machine, so it must end: what is left is said in peace.
        for round in 0..CUTS {
            tokio::time::sleep(Duration::from_millis(40)).await;
            wires[round % wires.len()].cut();
        }
        // The wires stay until the test is over.
        std::future::pending::<()>().await;
        drop(wires);
    });
    let desk = tokio::spawn(collect(desk, CUSTOMERS * MESSAGES * 2));
    let mut talks = Vec::new();
    for (client, events, conversation) in customers {
        let agent = agent.clone();
        talks.push(tokio::spawn(async move {
            let reading = tokio::spawn(collect(events, MESSAGES * 2));
            let mut acks = Vec::new();
            for number in 0..MESSAGES {
                // Two at once, each keeping its own order.
                let (mine, theirs) = (format!("c{number}"), format!("a{number}"));
                let (one, other) = (
                    client.message(conversation, &*mine),
                    agent.message(conversation, &*theirs),
                );
                acks.push((one.await.unwrap().seq.unwrap(), mine));
                acks.push((other.await.unwrap().seq.unwrap(), theirs));
            }
            (conversation, acks, reading.await.unwrap())
        }));
    }
    let mut at_customers = BTreeMap::new();
    for talk in talks {
        let (conversation, mut acks, read) = talk.await.unwrap();
        acks.sort();
        let written: Vec<_> = world
            .transcript(conversation)
            .into_iter()
            .filter_map(|entry| match entry.kind {
                EntryKind::Message { body, .. } => Some((entry.seq, body.text)),
                _ => None,
            })
            .collect();
        assert_eq!(
            written, acks,
            "each acknowledged message is there once, under the acknowledged seq"
        );
        let messages = |got: &[(Seq, String)]| -> Vec<_> { got.iter().filter(|e| acks.contains(e)).cloned().collect() };
        assert_eq!(messages(&read[&conversation]), acks, "the customer has read them all");
        at_customers.insert(conversation, acks);
    }
    let at_desk = desk.await.unwrap();
    cutter.abort();
    for (conversation, acks) in at_customers {
        let read: Vec<_> = at_desk[&conversation]
            .iter()
            .filter(|e| acks.contains(e))
            .cloned()
            .collect();
        assert_eq!(read, acks, "the agent has read the same");
    }
}

#[tokio::test]
async fn without_a_leader_commands_wait_and_are_done_once() {
    let world = World::new(1);
    let node = serve(&world, 1, GatewaySettings::default()).await;
    let (customer, _events) = Client::connect(vec![format!("ws://{node}")], "customer:ann", 1);
    let conversation = customer
        .start(BTreeMap::new(), None)
        .await
        .unwrap()
        .conversation
        .unwrap();
    world.leaderless.store(true, Ordering::Relaxed);
    let pending: Vec<_> = (0..5).map(|n| customer.message(conversation, n.to_string())).collect();
    tokio::time::sleep(Duration::from_millis(250)).await;
    assert_eq!(customer.waiting(), 5);
    world.leaderless.store(false, Ordering::Relaxed);
    for ack in pending {
        ack.await.unwrap();
    }
    let texts: Vec<_> = world
        .transcript(conversation)
        .into_iter()
        .filter_map(|entry| match entry.kind {
            EntryKind::Message { body, .. } => Some(body.text),
            _ => None,
        })
        .collect();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_draining_node_sends_its_clients_elsewhere() {
    let world = World::new(1);
    let [one, two] = [
        serve(&world, 1, GatewaySettings::default()).await,
        serve(&world, 2, GatewaySettings::default()).await,
    ];
    let (customer, mut events) = Client::connect(vec![format!("ws://{one}")], "customer:ann", 1);
    until(&mut events, |event| {
        matches!(event, ClientEvent::Connected { .. }).then_some(())
    })
    .await;
    world.drain(1, Some(format!("http://{two}")));
    let node = until(&mut events, |event| match event {
        ClientEvent::Connected { welcome, .. } => Some(welcome.node),
        _ => None,
    });
    assert_eq!(node.await, 2);
    drop(customer);
}
