use std::collections::BTreeMap;

use routing::ids::{AgentId, Epoch};

use super::*;

fn parse(text: &str) -> Result<FromClient, BadFrame> {
    FromClient::parse(text)
}

const CONVERSATION: &str = "conv_0000000000000000000000000000002a";

#[test]
fn a_frame_survives_the_way_there() {
    let conversation = CONVERSATION.parse().unwrap();
    let frames = [
        ClientFrame::Hello {
            token: Some("t".into()),
            instance: (1 << 53) - 1,
            resume: Resume {
                conversations: [(conversation, 7)].into(),
                agent_seq: Some(3),
            },
        },
        ClientFrame::Start {
            number: 1,
            channel: web_chat(),
            attributes: [
                ("vip".to_owned(), Attribute::Bool(true)),
                ("age".to_owned(), Attribute::Number(-3)),
                ("language".to_owned(), Attribute::Text("ja".into())),
            ]
            .into(),
            message: Some(Text::plain("hello")),
            schedule: None,
            callback: None,
        },
        ClientFrame::Message {
            number: 2,
            conversation,
            body: Text::plain("日本語"),
            epoch: Some(Epoch(4)),
        },
        ClientFrame::SignIn {
            number: 3,
            presence: WantedPresence::Away { reason: "lunch".into() },
        },
        ClientFrame::Transfer {
            number: 4,
            conversation,
            epoch: None,
            to: Target::Agent {
                agent: AgentId(9),
                wait_ms: 10,
            },
        },
        ClientFrame::Ping {},
    ];
    for frame in frames {
        let sent = FromClient { id: 11, frame };
        assert_eq!(parse(&sent.to_text()), Ok(sent));
    }
}

#[test]
fn what_is_left_out_has_a_default() {
    let read = parse(r#"{"v":1,"type":"start","number":5}"#).unwrap();
    let start = ClientFrame::Start {
        number: 5,
        channel: web_chat(),
        attributes: BTreeMap::new(),
        message: None,
        schedule: None,
        callback: None,
    };
    assert_eq!(read, FromClient { id: 0, frame: start });
}

#[test]
fn bad_frames_are_told_apart() {
    let long = format!(r#"{{"v":1,"id":3,"type":"close","number":1,"conversation":"{CONVERSATION}","why":"x"}}"#);
    let nested = format!(
        r#"{{"v":1,"type":"message","number":1,"conversation":"{CONVERSATION}","body":{{"text":"x","html":"y"}}}}"#
    );
    let cases = [
        ("", None, "malformed"),
        ("[1]", None, "malformed"),
        (r#"{"v":1,"type":"ping","#, None, "malformed"),
        (r#"{"type":"ping"}"#, None, "invalid_frame"),
        (r#"{"v":2,"id":8,"type":"ping"}"#, Some(8), "unsupported_version"),
        (r#"{"v":1,"id":-1,"type":"ping"}"#, None, "invalid_frame"),
        (r#"{"v":1,"id":8,"type":"dance"}"#, Some(8), "unknown_type"),
        (r#"{"v":1,"id":8}"#, Some(8), "invalid_frame"),
        (r#"{"v":1,"type":"ping","x":1}"#, None, "invalid_frame"),
        (
            r#"{"v":1,"id":1,"type":"unfollow","conversation":"conv_1"}"#,
            Some(1),
            "invalid_frame",
        ),
        (r#"{"v":1,"id":1,"type":"start","number":-1}"#, Some(1), "invalid_frame"),
        (
            r#"{"v":1,"id":1,"type":"start","number":1,"attributes":{"a":1.5}}"#,
            Some(1),
            "invalid_frame",
        ),
        (&long, Some(3), "invalid_frame"),
        (&nested, None, "invalid_frame"),
    ];
    for (text, id, code) in cases {
        let bad = parse(text).expect_err(text);
        assert_eq!((bad.id, bad.code), (id, code), "{text}: {}", bad.detail);
    }
}

#[test]
fn clients_ignore_what_they_do_not_know() {
    let pong = r#"{"v":1,"type":"pong","id":4,"at_ms":9,"later":{"x":[1]}}"#;
    assert_eq!(ServerFrame::parse(pong).unwrap(), ServerFrame::Pong { id: 4, at_ms: 9 });
    assert_eq!(
        ServerFrame::parse(r#"{"v":1,"type":"of_the_future","a":1}"#).unwrap(),
        ServerFrame::Unknown
    );
}
