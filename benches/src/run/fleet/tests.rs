use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;

use super::clock::{Clock, Exchange, compare, found};
use super::coordinator::Coordinator;
use super::generator::greeted;
use super::merge::{Part, merge};
use super::wire::{self, ClockFound, Frames, FromGenerator, Hello, PROTOCOL, ToGenerator, Welcome, refusal};
use super::{Fleet, hash};
use crate::run::account::{Account, Faults, Stream};
use crate::run::environment::build;
use crate::run::record::{Count, Measure, Record};
use crate::run::world::Tally;
use crate::run::world::books::{Books, Step};
use crate::scenario::Scenario;

const TEXT: &str = r#"
[scenario]
name = "t"
warm_up = "1s"
length = "60s"
[[queue]]
name = "q"
[[agents]]
name = "a"
count = 2
queues = ["q"]
handle = { exponential = "1s" }
[[customers]]
name = "c"
queue = "q"
arrivals = { kind = "poisson", rate = 1 }
"#;

fn scenario(text: &str) -> Scenario {
    Scenario::parse("t", text, Path::new(".")).unwrap()
}

fn hello(name: &str) -> Hello {
    Hello {
        protocol: PROTOCOL,
        version: build(),
        name: name.to_owned(),
        machine: "m".to_owned(),
        cores: 2,
        scenario: None,
    }
}

#[test]
fn who_does_not_fit_is_refused_with_a_sentence() {
    let (this, other) = (
        hash(&scenario(TEXT)),
        hash(&scenario(&TEXT.replace("rate = 1", "rate = 2"))),
    );
    let taken = ["first".to_owned()];
    let why = |change: &dyn Fn(&mut Hello)| {
        let mut hello = hello("second");
        change(&mut hello);
        refusal(&hello, &this, &taken, 2)
    };
    assert_eq!(why(&|_| {}), None);
    assert_eq!(why(&|hello| hello.scenario = Some(this.clone())), None);
    let refused = |change: &dyn Fn(&mut Hello), sentence: &str| {
        let why = why(change).unwrap();
        assert!(why.contains(sentence), "{why}");
    };
    refused(&|hello| hello.protocol = 99, "speaks version 99 of the protocol");
    refused(
        &|hello| hello.version = "0.0.1 (release)".to_owned(),
        "is kaiwa-bench 0.0.1",
    );
    refused(&|hello| hello.scenario = Some(other.clone()), "another scenario");
    refused(&|hello| hello.name = "first".to_owned(), "of the name first");
    assert!(
        refusal(&hello("third"), &this, &["a".to_owned(), "b".to_owned()], 2)
            .unwrap()
            .contains("all 2 generators")
    );
}

#[tokio::test]
async fn frames_come_as_they_went() {
    let (one, other) = tokio::io::duplex(64);
    let mut account = Account::in_part(true);
    account.sent(Stream::CUSTOMER, 5);
    account.acknowledged(Stream::CUSTOMER, 0, 3);
    account.assigned(1, 4, 10);
    let books = Books {
        steps: vec![(1, Step::Start(3, 0)), (2, Step::Free(0, -1))],
        offered: [(7, 9)].into(),
        ..Books::default()
    };
    let outcome = wire::Outcome {
        books,
        ..wire::Outcome::default()
    };
    let sent = [
        FromGenerator::Hello(hello("x")),
        FromGenerator::Tick(Box::default()),
        FromGenerator::Accounts {
            rows: vec![(7, account)],
            last: true,
        },
        FromGenerator::Outcome(Box::new(outcome)),
    ];
    let as_text = |frame: &FromGenerator| serde_json::to_string(frame).unwrap();
    let wanted: Vec<String> = sent.iter().map(as_text).collect();
    let writing = tokio::spawn(async move {
        let mut to = one;
        for frame in &sent {
            wire::write(&mut to, frame).await.unwrap();
        }
    });
    let mut frames = Frames::new(other);
    let mut came = Vec::new();
    loop {
        // However often the wait for one is given up.
        match tokio::time::timeout(Duration::from_micros(50), frames.next::<FromGenerator>()).await {
            Err(_) => {}
            Ok(Ok(Some(frame))) => came.push(as_text(&frame)),
            Ok(end) => break assert!(matches!(end, Ok(None))),
        }
    }
    writing.await.unwrap();
    assert_eq!(came, wanted);
}

#[tokio::test]
async fn what_is_no_frame_is_told_as_such() {
    let mut frames = Frames::new("GET / HTTP/1.1\r\n\r\n".as_bytes());
    let why = frames.next::<FromGenerator>().await.unwrap_err().to_string();
    assert!(why.contains("is that kaiwa-bench?"), "{why}");
    let mut broken = Frames::new([0, 0, 0, 9, b'"'].as_slice());
    assert!(
        broken
            .next::<FromGenerator>()
            .await
            .unwrap_err()
            .to_string()
            .contains("broke")
    );
}

#[test]
fn the_quickest_exchange_tells_the_time() {
    let exchange = |sent_us, there_us, back_us, received_us| Exchange {
        sent_us,
        there_us,
        back_us,
        received_us,
    };
    // The other clock is 1,000 ahead. The first exchange was held up on its way back.
    let exchanges = [exchange(0, 1_010, 1_015, 525), exchange(600, 1_610, 1_612, 622)];
    let wanted = ClockFound {
        offset_us: 1_000,
        round_trip_us: 20,
    };
    assert_eq!(found(&exchanges), Some(wanted));
    let clock = Clock::new();
    let now_us = clock.now_us();
    let moment = clock.moment(now_us + 1_000_000 + 1_000, wanted);
    assert!((clock.at_us(moment) as i64 - (now_us as i64 + 1_000_000)).abs() <= 1);
}

fn welcome() -> Welcome {
    Welcome {
        generator: 0,
        of: 0,
        scenario: "t".to_owned(),
        text: TEXT.to_owned(),
        hash: hash(&scenario(TEXT)),
        warm_up_ms: 1_000,
        length_ms: 60_000,
        seed: 1,
        scale: 1.0,
        nonce: 7,
        urls: Vec::new(),
        tenants: Vec::new(),
    }
}

async fn coordinator(count: usize) -> (Coordinator, SocketAddr) {
    let fleet = Fleet {
        count,
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        scenario: "t.toml".into(),
        hash: hash(&scenario(TEXT)),
    };
    let coordinator = Coordinator::new(fleet).await.unwrap();
    let address = coordinator.address();
    (coordinator, address)
}

#[tokio::test]
async fn a_generator_that_does_not_fit_is_refused_and_the_next_one_taken() {
    let (mut coordinator, address) = coordinator(1).await;
    let coming = tokio::spawn(async move {
        let connect = || async { TcpStream::connect(address).await.unwrap().into_split() };
        let (from, mut to) = connect().await;
        let old = Hello {
            version: "0.0.1 (release)".to_owned(),
            ..hello("old")
        };
        let why = greeted(&mut Frames::new(from), &mut to, old)
            .await
            .unwrap_err()
            .to_string();
        assert!(
            why.contains("the coordinator refused: the generator is kaiwa-bench 0.0.1"),
            "{why}"
        );
        let (from, mut to) = connect().await;
        let mut from = Frames::new(from);
        let welcome = greeted(&mut from, &mut to, hello("new")).await.unwrap();
        assert_eq!((welcome.generator, welcome.of), (0, 1));
        let found = compare(&Clock::new(), &mut from, &mut to).await.unwrap();
        assert!(found.round_trip_us < 1_000_000, "{found:?}");
        wire::write(&mut to, &FromGenerator::Clock(found)).await.unwrap();
        wire::write(&mut to, &FromGenerator::Ready).await.unwrap();
        let (other, mut to_other) = connect().await;
        let late = greeted(&mut Frames::new(other), &mut to_other, hello("late")).await;
        let why = late.unwrap_err().to_string();
        assert!(why.contains("all 1 generators are here already"), "{why}");
        (from, to)
    });
    coordinator.gather(&welcome()).await.unwrap();
    coming.await.unwrap();
}

#[tokio::test]
async fn a_generator_that_dies_is_named() {
    let (mut coordinator, address) = coordinator(1).await;
    tokio::spawn(async move {
        let (from, mut to) = TcpStream::connect(address).await.unwrap().into_split();
        greeted(&mut Frames::new(from), &mut to, hello("mortal")).await.unwrap();
    });
    let why = coordinator.gather(&welcome()).await.unwrap_err().to_string();
    assert!(why.contains("generator mortal is gone"), "{why}");
}

#[tokio::test]
async fn the_begin_is_one_moment_on_both_clocks() {
    let coordinators = Clock::new();
    tokio::time::sleep(Duration::from_millis(30)).await;
    let generators = Clock::new();
    let (one, other) = tokio::io::duplex(1 << 10);
    let (from, mut to) = tokio::io::split(one);
    let (asks, mut answers) = tokio::io::split(other);
    tokio::spawn(async move {
        let mut asks = Frames::new(asks);
        while let Ok(Some(FromGenerator::Ping)) = asks.next().await {
            let received_us = coordinators.now_us();
            let pong = ToGenerator::Pong {
                received_us,
                sent_us: coordinators.now_us(),
            };
            wire::write(&mut answers, &pong).await.unwrap();
        }
    });
    let found = compare(&generators, &mut Frames::new(from), &mut to).await.unwrap();
    let begin = Instant::now() + Duration::from_secs(1);
    let moment = generators.moment(coordinators.at_us(begin), found);
    let apart = if moment > begin { moment - begin } else { begin - moment };
    assert!(
        apart <= Duration::from_micros(found.round_trip_us + 2),
        "{apart:?}, {found:?}"
    );
}

#[test]
fn the_parts_of_two_generators_make_one_run() {
    let scenario = scenario(TEXT);
    let part = |books: Books, faults: Faults| {
        let mut record = Record::in_part(1_000_000, 61_000_000);
        record.took(Measure::MessageAck, 2_000_000, 2_004_000);
        record.count(Count::Messages, 2_000_000);
        let tally = Tally {
            faults,
            commands: 10,
            ..Tally::default()
        };
        Part {
            record: record.pack(),
            tally,
            books,
        }
    };
    // The customer of the first generator is offered to an agent of the second.
    let customers = Books {
        steps: vec![(2_000_000, Step::Start(0, 0)), (2_000_000, Step::Wait(0, 1))],
        refused: vec![(0, "conversation_closed".to_owned(), 9_000_000)],
        ..Books::default()
    };
    let agents = Books {
        offered: [(0, 2_003_000)].into(),
        moved: [(0, 8_990_000)].into(),
        ..Books::default()
    };
    let over = Faults {
        over_capacity: 1,
        unanswered: 2,
        ..Faults::default()
    };
    let mut lost = Account::in_part(true);
    lost.sent(Stream::CUSTOMER, 1);
    lost.acknowledged(Stream::CUSTOMER, 0, 3);
    lost.seen(Stream::CUSTOMER, 0, None, 3);
    lost.sent(Stream::CUSTOMER, 2); // not answered: it is among the commands outstanding
    let parts = vec![part(customers, Faults::default()), part(agents, over)];
    let merged = merge(&scenario, &[0], parts, [lost], None).unwrap();
    let wanted = Faults {
        lost: 1,
        over_capacity: 1,
        unanswered: 2,
        ..Faults::default()
    };
    assert_eq!(merged.tally.faults, wanted);
    assert_eq!(
        (
            merged.tally.commands,
            merged.tally.overtaken,
            merged.tally.refused.len()
        ),
        (20, 1, 0)
    );
    let (_, measures, counts) = merged.record.close();
    assert_eq!((measures["message_ack"].count, counts["messages"]), (2, 2));
    assert_eq!(
        (measures["start_offer"].count, measures["start_offer"].max_ms.round()),
        (1, 3.0)
    );
}
