//! Who takes part beside customer and owner (R31), and where a waiting conversation stands (R35), through the Rust client.

use std::collections::BTreeMap;

use routing::command::Role;
use routing::event::EntryKind;
use routing::ids::{AgentId, ConversationId, Epoch};

use super::talk::{frame, message, offered, until};
use super::world::{SUPERVISOR, World, serve};
use crate::client::{Client, ClientError, ClientEvent, ClientEvents};
use crate::gateway::GatewaySettings;
use crate::gateway::protocol::{ClientFrame, ConversationFrame, EntryContent, Party, ServerFrame, Waiting};

async fn conversation(events: &mut ClientEvents, wanted: impl Fn(&ConversationFrame) -> bool) -> ConversationFrame {
    frame(events, |frame| match frame {
        ServerFrame::Conversation(view) if wanted(view) => Some(view.clone()),
        _ => None,
    })
    .await
}

async fn whisper(events: &mut ClientEvents) -> (AgentId, String) {
    frame(events, |frame| match frame {
        ServerFrame::Entry(entry) => match &entry.content {
            EntryContent::Whisper { agent, body } => Some((*agent, body.text.clone())),
            _ => None,
        },
        _ => None,
    })
    .await
}

fn code(error: ClientError) -> String {
    match error {
        ClientError::Refused { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

/// Everything that a customer gets until their conversation is closed.
async fn until_closed(mut events: ClientEvents) -> Vec<ServerFrame> {
    let mut got = Vec::new();
    loop {
        let event = until(&mut events, |event| match event {
            ClientEvent::Frame(frame) => Some(frame.clone()),
            ClientEvent::Gap { .. } => panic!("{event:?}"),
            _ => None,
        });
        let frame = event.await;
        let closed =
            matches!(&frame, ServerFrame::Entry(entry) if matches!(entry.content, EntryContent::Closed { .. }));
        got.push(frame);
        if closed {
            return got;
        }
    }
}

struct Scene {
    world: std::sync::Arc<World>,
    url: String,
    owner: Client,
    desk: ClientEvents,
    customer: Client,
    chat: ClientEvents,
    conversation: ConversationId,
    epoch: Epoch,
}

/// Ann's conversation is agent 1's.
async fn scene() -> Scene {
    let world = World::new(2);
    let url = format!("ws://{}", serve(&world, 1, GatewaySettings::default()).await);
    let (owner, mut desk) = Client::connect(vec![url.clone()], "agent:1", 10);
    let (customer, chat) = Client::connect(vec![url.clone()], "customer:ann", 20);
    owner.sign_in().await.unwrap();
    customer.start(BTreeMap::new(), Some("hello")).await.unwrap();
    let (conversation, epoch) = offered(&mut desk).await;
    owner.accept(conversation, epoch).await.unwrap();
    Scene {
        world,
        url,
        owner,
        desk,
        customer,
        chat,
        conversation,
        epoch,
    }
}

#[tokio::test]
async fn a_consultation_becomes_a_warm_transfer_and_the_customer_sees_none_of_the_first() {
    let scene = scene().await;
    let (mut desk, conversation) = (scene.desk, scene.conversation);
    let (guest, mut guests) = Client::connect(vec![scene.url], "agent:2", 30);
    guest.sign_in().await.unwrap();
    let unknown = guest.message(conversation, "may I?").await.unwrap_err();
    assert_eq!(code(unknown), "not_a_participant");
    scene
        .owner
        .invite(conversation, AgentId(2), Role::Consult)
        .await
        .unwrap();
    let asked = frame(&mut guests, |frame| match frame {
        ServerFrame::Invited { role, by, .. } => Some((*role, *by)),
        _ => None,
    });
    assert_eq!(asked.await, (Role::Consult, AgentId(1)));
    guest.answer_invitation(conversation, true).await.unwrap();
    // Who takes part follows by themselves, and gets what was said before.
    assert_eq!(message(&mut guests).await, (Party::Customer, "hello".to_owned()));
    let seen = conversation_with(&mut desk, Role::Consult).await;
    assert_eq!(seen.participants[0].agent, AgentId(2));

    scene.owner.whisper(conversation, "what do I say?").await.unwrap();
    assert_eq!(whisper(&mut guests).await, (AgentId(1), "what do I say?".to_owned()));
    guest.whisper(conversation, "be kind").await.unwrap();
    whisper(&mut desk).await;
    assert_eq!(whisper(&mut desk).await, (AgentId(2), "be kind".to_owned()));
    let refused = guest.message(conversation, "hello!").await.unwrap_err();
    assert!(["forbidden", "not_permitted"].contains(&code(refused).as_str()));
    guest.read(conversation, 2);

    let done = scene.owner.complete_transfer(conversation, AgentId(2)).await.unwrap();
    assert!(done.epoch.unwrap() > scene.epoch);
    frame(&mut guests, |frame| {
        matches!(frame, ServerFrame::Assigned { .. }).then_some(())
    })
    .await;
    guest.message(conversation, "it is me now").await.unwrap();
    let late = scene.owner.message_under(conversation, scene.epoch, "wait").await;
    assert_eq!(code(late.unwrap_err()), "stale_epoch");
    guest.close_as(conversation, None, Some(true)).await.unwrap();
    for got in until_closed(scene.chat).await {
        match got {
            ServerFrame::Entry(entry) => assert!(
                !matches!(
                    entry.content,
                    EntryContent::Whisper { .. }
                        | EntryContent::ParticipantJoined { .. }
                        | EntryContent::ParticipantLeft { .. }
                ),
                "{entry:?}"
            ),
            ServerFrame::Conversation(view) => {
                assert!(view.participants.is_empty() && view.invited.is_empty(), "{view:?}");
                let unseen = |seq| seq == 2 && view.agent != Some(AgentId(2));
                assert!(view.read.iter().all(|cursor| !unseen(cursor.seq)), "{view:?}");
            }
            ServerFrame::Read { reader, .. } => assert_ne!(reader, Party::Agent { agent: AgentId(2) }),
            _ => {}
        }
    }
    let entries = scene.world.transcript(conversation);
    let whispers = entries
        .iter()
        .filter(|entry| matches!(entry.kind, EntryKind::Whisper { .. }));
    assert_eq!(whispers.count(), 2);
    drop(scene.customer);
}

async fn conversation_with(events: &mut ClientEvents, role: Role) -> ConversationFrame {
    conversation(events, |view| {
        view.participants.iter().any(|participant| participant.role == role)
    })
    .await
}

#[tokio::test]
async fn a_supervisor_follows_monitors_and_barges() {
    let scene = scene().await;
    let conversation = scene.conversation;
    let (mut chat, mut desk) = (scene.chat, scene.desk);
    let (boss, mut bosses) = Client::connect(vec![scene.url.clone()], format!("supervisor:{}", SUPERVISOR.0), 30);
    boss.sign_in().await.unwrap();
    boss.say(ClientFrame::Follow {
        conversation,
        cursor: 0,
    });
    assert_eq!(message(&mut bosses).await.1, "hello");
    boss.join_as(conversation, Role::Monitor).await.unwrap();
    conversation_with(&mut desk, Role::Monitor).await;
    assert_eq!(
        code(boss.message(conversation, "boo").await.unwrap_err()),
        "not_permitted"
    );
    assert_eq!(
        code(boss.whisper(conversation, "boo").await.unwrap_err()),
        "not_permitted"
    );
    boss.join_as(conversation, Role::Barge).await.unwrap();
    boss.message(conversation, "may I help?").await.unwrap();
    let said = loop {
        let (author, text) = message(&mut chat).await;
        if text != "hello" {
            break (author, text);
        }
    };
    assert_eq!(said, (Party::Agent { agent: SUPERVISOR }, "may I help?".to_owned()));
    boss.leave(conversation).await.unwrap();
    let again = boss.leave(conversation).await.unwrap_err();
    assert_eq!(code(again), "not_a_participant");
    // A supervisor goes on following what they asked for.
    scene.owner.message(conversation, "thank you").await.unwrap();
    while message(&mut bosses).await.1 != "thank you" {}

    let (plain, _events) = Client::connect(vec![scene.url], "agent:2", 40);
    let refused = plain.join_as(conversation, Role::Monitor).await.unwrap_err();
    assert_eq!(code(refused), "forbidden");
}

#[tokio::test]
async fn a_waiting_customer_is_told_where_they_stand() {
    let world = World::new(1);
    let url = format!("ws://{}", serve(&world, 1, GatewaySettings::default()).await);
    let mut last = None;
    for (number, name) in [(1, "ann"), (2, "bob")] {
        let (customer, mut chat) = Client::connect(vec![url.clone()], format!("customer:{name}"), 20);
        customer.start(BTreeMap::new(), Some("hello")).await.unwrap();
        let place = frame(&mut chat, |frame| match frame {
            ServerFrame::Waiting { waiting, .. } => Some(*waiting),
            _ => None,
        });
        assert_eq!(place.await.position, number);
        last = Some((customer, chat));
    }
    drop(last);
    let shown =
        r#"{"v":1,"type":"waiting","conversation":"conv_0000000000000000000000000000002a","position":3,"p50_ms":9}"#;
    let waiting = Waiting {
        position: 3,
        p50_ms: Some(9),
        p90_ms: None,
    };
    let conversation = ConversationId(42);
    let frame = ServerFrame::Waiting { conversation, waiting };
    assert_eq!(ServerFrame::parse(shown).unwrap(), frame);
    assert_eq!(frame.to_text(), shown);
}
