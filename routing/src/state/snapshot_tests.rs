use std::collections::BTreeMap;

use crate::command::{Body, COMMAND_SCHEMA, Command, Envelope, IdempotencyKey, Principal};
use crate::ids::{AgentId, Channel, ConversationId, CustomerId, QueueId, TenantId};
use crate::settings::{AgentSettings, Classification, QueueSettings};
use crate::state::State;

/// Three tenants, with something in each kind of row.
fn state() -> State {
    let mut state = State::new();
    for tenant in (1..4).map(TenantId) {
        let queue = QueueId(1);
        let classification = Classification {
            queues: vec![queue],
            ..Classification::default()
        };
        let mut commands = vec![
            Command::PutTenant {
                name: "acme".to_owned(),
            },
            Command::PutQueue {
                queue,
                settings: QueueSettings::named("support"),
            },
            Command::PutAgent {
                agent: AgentId(1),
                settings: AgentSettings {
                    name: "mia".to_owned(),
                    ..AgentSettings::default()
                },
            },
            Command::SignIn {
                agent: AgentId(1),
                presence: crate::command::PresenceChange::Available,
            },
            Command::PutRules {
                rules: Vec::new(),
                fallback: Some(classification.clone()),
            },
        ];
        commands.extend((1..100).map(|n| Command::StartConversation {
            conversation: ConversationId(n),
            channel: Channel("chat".to_owned()),
            customer: CustomerId(format!("customer {n}")),
            attributes: BTreeMap::new(),
            classification: classification.clone(),
            message: Some(Body {
                media_type: "text/plain".to_owned(),
                text: "hello".to_owned(),
            }),
            schedule: None,
            callback: None,
        }));
        for (number, command) in commands.into_iter().enumerate() {
            let number = number as u64 + 1;
            let key = Some(IdempotencyKey {
                principal: Principal::Admin("root".to_owned()),
                instance: 1,
                number,
            });
            let envelope = Envelope {
                schema: COMMAND_SCHEMA,
                tenant,
                key,
                command,
            };
            state
                .apply(number, 1_000 + number, &envelope, &mut Vec::new())
                .expect("applied");
        }
    }
    state
}

fn bytes(state: &State) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.capture().write(&mut bytes).expect("written to memory");
    bytes
}

#[test]
fn what_is_written_is_read() {
    let state = state();
    let back = State::read(&mut bytes(&state).as_slice()).expect("read");
    assert_eq!(back.full_hash(), state.full_hash());
    assert_eq!(
        (back.digest(), back.at_ms(), back.index()),
        (state.digest(), state.at_ms(), state.index())
    );
    crate::invariants::check(&back).expect("invariants");
    assert_eq!(bytes(&back), bytes(&state));
}

#[test]
fn a_capture_does_not_see_what_comes_later() {
    let mut state = state();
    let (captured, before) = (state.capture(), bytes(&state));
    let left = Command::CustomerLeft {
        conversation: ConversationId(5),
    };
    let envelope = Envelope {
        schema: COMMAND_SCHEMA,
        tenant: TenantId(2),
        key: None,
        command: left,
    };
    state.apply(999, 9_999, &envelope, &mut Vec::new()).expect("applied");
    let mut written = Vec::new();
    captured.write(&mut written).expect("written");
    assert_eq!(written, before);
    assert_ne!(bytes(&state), before);
}

#[test]
fn cut_off_anywhere_it_is_refused() {
    let whole = bytes(&state());
    for length in (0..whole.len()).step_by(7).chain(whole.len() - 9..whole.len()) {
        assert!(
            State::read(&mut &whole[..length]).is_err(),
            "cut at {length} of {}",
            whole.len()
        );
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let mut whole = bytes(&state());
    for at in (0..whole.len()).step_by(5) {
        let bit = 1 << (at % 8);
        whole[at] ^= bit;
        assert!(State::read(&mut whole.as_slice()).is_err(), "flipped at {at}");
        whole[at] ^= bit;
    }
    assert!(State::read(&mut whole.as_slice()).is_ok());
}

#[test]
fn another_schema_is_refused_by_name() {
    let mut whole = bytes(&state());
    whole[6] = 9;
    let error = State::read(&mut whole.as_slice()).expect_err("refused");
    assert!(error.to_string().contains("schema 9"), "{error}");
}
