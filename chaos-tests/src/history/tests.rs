use super::*;

fn look() -> Input {
    Input::Look {
        conversation: Name::from("conv_1"),
    }
}

fn seen() -> Output {
    Output::Look {
        phase: Phase::WrapUp,
        agent: Some(Name::from("agt_1")),
        epoch: 3,
        last_seq: 9,
    }
}

#[test]
fn what_has_not_returned_is_unknown() {
    let recorder = Recorder::new();
    let first = recorder.call("ann", look());
    let second = recorder.clone().call("bob", look());
    drop(recorder.call("cem", look()));
    let outcomes = |recorder: &Recorder| -> Vec<Outcome<Output>> {
        recorder
            .history()
            .into_iter()
            .map(|operation| operation.outcome)
            .collect()
    };
    assert_eq!(outcomes(&recorder), vec![Outcome::Unknown; 3]);
    second.refused("not_permitted");
    first.done(seen());
    let refused = Outcome::Refused("not_permitted".to_owned());
    assert_eq!(
        outcomes(&recorder),
        vec![Outcome::Done(seen()), refused, Outcome::Unknown]
    );
    let history = recorder.history();
    assert!(history[0].ends() >= history[1].ends() && history[1].ends().is_some());
    assert_eq!(history[2].ends(), None);
}

#[test]
fn many_write_into_one() {
    let recorder = Recorder::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let recorder = recorder.clone();
            scope.spawn(move || (0..100).for_each(|_| recorder.call("one of four", look()).done(seen())));
        }
    });
    let history = recorder.history();
    assert_eq!(history.len(), 400);
    assert!(history.is_sorted_by_key(|operation| operation.call));
    assert!(history.iter().all(|operation| operation.ends() >= Some(operation.call)));
}

#[test]
fn a_history_comes_back_from_its_file() {
    let recorder = Recorder::new();
    recorder.call("ann", look()).done(seen());
    let post = Input::Post {
        conversation: Name::from("conv_1"),
        text: Name::from("two\nlines, \"quoted\""),
        by: By::Owner {
            agent: Name::from("agt_1"),
            epoch: None,
        },
    };
    recorder.call("ann", post).unknown();
    let presence = Presence::Away(Name::from("lunch"));
    let agent = Name::from("agt_1");
    recorder
        .call("ann", Input::SetPresence { agent, presence })
        .refused("wrong_presence");
    let path = std::env::temp_dir().join(format!("history-{}.jsonl", std::process::id()));
    write(&recorder.history(), &path).expect("it can be written");
    let text = std::fs::read_to_string(&path).expect("it is there");
    let back = read(&path);
    std::fs::write(&path, format!("{text}\n{{}}\n")).expect("it can be written");
    let broken = read(&path).map_err(|error| error.to_string());
    std::fs::remove_file(&path).expect("it can be removed");
    assert_eq!(text.lines().count(), 3);
    assert_eq!(back.expect("it can be read"), recorder.history());
    assert!(
        broken
            .expect_err("{} is no operation")
            .starts_with("line 5: missing field")
    );
}
