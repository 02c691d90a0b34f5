//! Digests tell logs apart by every byte of them, and are equal where the logs are.

use routing::command::*;
use routing::ids::*;
use routing::limits;
use routing::settings::{Classification, QueueSettings};
use routing::state::State;

const TENANT: TenantId = TenantId(1);

fn apply(state: &mut State, index: u64, command: Command, key: Option<IdempotencyKey>) -> bool {
    let envelope = Envelope {
        schema: COMMAND_SCHEMA,
        tenant: TENANT,
        key,
        command,
    };
    state
        .apply(index, index * 10, &envelope, &mut Vec::new())
        .is_ok_and(|receipt| !receipt.repeated)
}

fn message(text: &str) -> Command {
    let body = Body {
        media_type: "text/plain".to_owned(),
        text: text.to_owned(),
    };
    Command::PostMessage {
        conversation: ConversationId(1),
        author: Author::Customer,
        body,
    }
}

fn started() -> State {
    let mut state = State::new();
    let queue = QueueId(1);
    let start = Command::StartConversation {
        conversation: ConversationId(1),
        channel: Channel("chat".to_owned()),
        customer: CustomerId("bob".to_owned()),
        attributes: Default::default(),
        classification: Classification {
            queues: vec![queue],
            ..Classification::default()
        },
        message: None,
        schedule: None,
        callback: None,
    };
    let settings = QueueSettings::named("support");
    let commands = [
        Command::PutTenant {
            name: "acme".to_owned(),
        },
        Command::PutQueue { queue, settings },
        start,
        message("hello"),
    ];
    for (n, command) in commands.into_iter().enumerate() {
        assert!(apply(&mut state, n as u64 + 1, command, None));
    }
    state
}

#[test]
fn equal_logs_have_equal_digests() {
    let (one, other) = (started(), started());
    assert_eq!((one.digest(), one.full_hash()), (other.digest(), other.full_hash()));
}

#[test]
fn another_body_gives_another_digest_and_another_hash_of_the_rows() {
    let (mut one, mut other) = (started(), started());
    apply(&mut one, 9, message("good day"), None);
    apply(&mut other, 9, message("good dax"), None);
    assert_ne!(one.digest(), other.digest());
    assert_ne!(one.rows_hash(), other.rows_hash(), "the header covers the transcript");
}

#[test]
fn refusals_and_repeats_are_part_of_the_log() {
    let (mut one, mut other) = (started(), started());
    assert!(!apply(
        &mut one,
        9,
        message(&"x".repeat(limits::BODY_MAX_BYTES + 1)),
        None
    ));
    assert_ne!(one.digest(), other.digest());
    assert_eq!(one.rows_hash(), other.rows_hash());

    let key = IdempotencyKey {
        principal: Principal::Admin("root".to_owned()),
        instance: 1,
        number: 1,
    };
    assert!(apply(&mut other, 9, message("once"), Some(key.clone())));
    let (digest, rows) = (other.digest(), other.rows_hash());
    assert!(!apply(&mut other, 10, message("once"), Some(key)));
    assert_ne!(other.digest(), digest);
    assert_eq!(other.rows_hash(), rows);
}

#[test]
fn time_never_goes_back() {
    let mut state = started();
    let envelope = Envelope {
        schema: COMMAND_SCHEMA,
        tenant: TENANT,
        key: None,
        command: message("late"),
    };
    let receipt = state.apply(9, 3, &envelope, &mut Vec::new()).expect("applied");
    assert_eq!((receipt.at_ms, state.at_ms()), (40, 40));
}

#[test]
fn ever_new_instances_push_out_their_own_windows_only() {
    let mut state = started();
    let key = |who: &str, instance| IdempotencyKey {
        principal: Principal::Admin(who.to_owned()),
        instance,
        number: 1,
    };
    assert!(apply(&mut state, 5, message("of another"), Some(key("other", 1))));
    for instance in 0..limits::WINDOWS_PER_PRINCIPAL_MAX as u64 + 1 {
        assert!(apply(
            &mut state,
            6 + instance,
            message("hello"),
            Some(key("root", instance))
        ));
    }
    assert!(
        !apply(&mut state, 900, message("of another"), Some(key("other", 1))),
        "repeated"
    );
    assert!(
        !apply(&mut state, 901, message("hello"), Some(key("root", 1))),
        "repeated"
    );
    assert!(
        apply(&mut state, 902, message("hello"), Some(key("root", 0))),
        "the oldest is forgotten"
    );
}
