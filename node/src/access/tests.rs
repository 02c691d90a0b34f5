use super::*;
use routing::ids::{Channel, ConversationId, QueueId};

const QUEUE: QueueId = QueueId(7);

fn view(phase: Phase, agent: Option<AgentId>) -> ConversationView {
    ConversationView {
        conversation: ConversationId(1),
        channel: Channel("web_chat".into()),
        customer: CustomerId("ann".into()),
        phase,
        queue: Some(QUEUE),
        priority: 5,
        agent,
        epoch: Epoch(3),
        deadline_ms: None,
        last_seq: 0,
        last_seq_for_customer: 0,
        started_at_ms: 0,
        since_ms: 0,
        customer_present: true,
        attributes: Arc::default(),
        read: Vec::new(),
        disposition: None,
        explanation: None,
        also_offered: Vec::new(),
        participants: Vec::new(),
        invited: Vec::new(),
        schedule: None,
        callback: None,
        rule: None,
        relaxed: 0,
        rating: None,
        entered: None,
        required: Vec::new(),
        preferred: Vec::new(),
        selectors: Vec::new(),
        answered_at_ms: None,
        ended_at_ms: None,
        outcome: None,
        served_ms: 0,
    }
}

fn identity(who: Who) -> Identity {
    Identity {
        tenant: TenantId(1),
        who,
    }
}

fn customer(name: &str) -> Identity {
    identity(Who::Customer(CustomerId(name.into())))
}

fn agent(id: u128, queues: &[QueueId]) -> Identity {
    identity(Who::Agent {
        agent: AgentId(id),
        settings: Arc::new(AgentSettings {
            queues: routing::settings::Membership::plain(queues.iter().copied()),
            ..AgentSettings::default()
        }),
    })
}

fn supervisor() -> Identity {
    identity(Who::Supervisor {
        agent: AgentId(9),
        settings: Arc::default(),
    })
}

#[test]
fn a_customer_has_only_their_own_and_others_do_not_exist() {
    for phase in [Phase::Waiting, Phase::Assigned, Phase::Closed] {
        let view = view(phase, Some(AgentId(1)));
        assert_eq!(permit_on(&customer("ann"), Action::PostMessage, &view), Ok(()));
        for action in Action::ALL {
            assert_eq!(
                permit_on(&customer("bob"), action, &view),
                Err(Denied::Hidden),
                "{action:?}"
            );
        }
    }
}

#[test]
fn a_customer_does_nothing_of_the_staff() {
    let view = view(Phase::Assigned, Some(AgentId(1)));
    let allowed: Vec<_> = Action::ALL
        .into_iter()
        .filter(|&action| permit_on(&customer("ann"), action, &view).is_ok())
        .collect();
    use Action::*;
    assert_eq!(
        allowed,
        [
            Read,
            PostMessage,
            MarkRead,
            Typing,
            SetAttributes,
            Close,
            Reopen,
            Resume,
            Schedule,
            CancelSchedule,
            RequestCallback,
            Rate
        ]
    );
}

/// Aiko (1) owns it, agent 2 takes part, agent 3 is asked in, agent 4 has the same offer.
fn with_company(role: Role) -> ConversationView {
    ConversationView {
        participants: vec![(AgentId(2), role)],
        invited: vec![(AgentId(3), Role::Consult, 99)],
        also_offered: vec![AgentId(4)],
        ..view(Phase::Assigned, Some(AgentId(1)))
    }
}

#[test]
fn participants_do_what_their_role_lets_them() {
    use Action::*;
    let allowed = |who: &Identity, role| -> Vec<_> {
        let acts = [
            Read,
            MarkRead,
            PostMessage,
            Typing,
            PostNote,
            Whisper,
            Close,
            Transfer,
            Invite,
        ];
        acts.into_iter()
            .filter(|&action| permit_on(who, action, &with_company(role)).is_ok())
            .collect()
    };
    let (agent, speaker) = (
        agent(2, &[]),
        vec![Read, MarkRead, PostMessage, Typing, PostNote, Whisper],
    );
    assert_eq!(allowed(&agent, Role::Conference), speaker);
    assert_eq!(allowed(&agent, Role::Consult), [Read, MarkRead, PostNote, Whisper]);
    let supervisor = identity(Who::Supervisor {
        agent: AgentId(2),
        settings: Arc::default(),
    });
    assert!(allowed(&supervisor, Role::Barge).contains(&Typing));
    for unseen in [Role::Monitor, Role::Whisper] {
        assert!(!allowed(&supervisor, unseen).contains(&Typing), "{unseen:?}");
    }
}

#[test]
fn who_is_asked_in_reads_and_answers() {
    let view = with_company(Role::Consult);
    for who in [3, 4] {
        assert_eq!(permit_on(&agent(who, &[]), Action::Read, &view), Ok(()));
        assert!(permit_on(&agent(who, &[]), Action::PostNote, &view).is_err());
    }
    assert_eq!(permit_on(&agent(3, &[]), Action::AnswerInvitation, &view), Ok(()));
    assert_eq!(permit_on(&agent(5, &[QUEUE]), Action::Read, &view), Err(Denied::Hidden));
}

#[test]
fn a_participant_speaks_as_one_and_the_owner_under_an_epoch() {
    let view = with_company(Role::Conference);
    let participant = Author::Participant { agent: AgentId(2) };
    assert_eq!(agent(2, &[]).speaker(None, Some(&view)), Ok(participant.clone()));
    assert_eq!(
        agent(2, &[]).speaker(None, None),
        Ok(participant),
        "a repeat, after they left"
    );
    assert_eq!(agent(1, &[]).speaker(None, Some(&view)), Err(Denied::EpochMissing));
    assert!(matches!(
        agent(1, &[]).speaker(Some(Epoch(3)), None),
        Ok(Author::Agent { .. })
    ));
    assert!(matches!(
        supervisor().speaker(None, Some(&view)),
        Ok(Author::Supervisor(_))
    ));
    assert_eq!(customer("ann").speaker(None, Some(&view)), Ok(Author::Customer));
}

#[test]
fn customers_know_of_the_owner_and_of_who_speaks_to_them() {
    let seen = |role| {
        let view = with_company(role);
        [1, 2, 3, 4].map(|agent| visible_to_customer(AgentId(agent), &view))
    };
    assert_eq!(seen(Role::Conference), [true, true, false, false]);
    assert_eq!(seen(Role::Barge), [true, true, false, false]);
    for unseen in [Role::Consult, Role::Monitor, Role::Whisper] {
        assert_eq!(seen(unseen), [true, false, false, false], "{unseen:?}");
    }
}

#[test]
fn an_agent_reads_what_waits_in_their_queues_and_acts_on_what_is_theirs() {
    let waiting = view(Phase::Waiting, None);
    assert_eq!(permit_on(&agent(1, &[QUEUE]), Action::Read, &waiting), Ok(()));
    assert!(matches!(
        permit_on(&agent(1, &[QUEUE]), Action::PostNote, &waiting),
        Err(Denied::Forbidden(_))
    ));
    assert_eq!(permit_on(&agent(1, &[]), Action::Read, &waiting), Err(Denied::Hidden));

    let mine = view(Phase::Assigned, Some(AgentId(1)));
    assert_eq!(permit_on(&agent(1, &[]), Action::PostNote, &mine), Ok(()));
    assert_eq!(permit_on(&agent(2, &[QUEUE]), Action::Read, &mine), Err(Denied::Hidden));
    let offered = view(Phase::Offered, Some(AgentId(1)));
    assert_eq!(
        permit_on(&agent(2, &[QUEUE]), Action::Read, &offered),
        Err(Denied::Hidden)
    );
}

#[test]
fn supervising_needs_a_supervisor_and_pulling_a_permission() {
    let waiting = view(Phase::Waiting, None);
    for action in [Action::Override, Action::AssignByHand, Action::Pull] {
        assert!(matches!(
            permit_on(&agent(1, &[QUEUE]), action, &waiting),
            Err(Denied::Forbidden(_))
        ));
        assert_eq!(permit_on(&supervisor(), action, &waiting), Ok(()));
    }
}

#[test]
fn an_agent_acts_under_an_epoch() {
    assert_eq!(agent(1, &[]).author(None), Err(Denied::EpochMissing));
    assert_eq!(
        agent(1, &[]).author(Some(Epoch(3))),
        Ok(Author::Agent {
            agent: AgentId(1),
            epoch: Epoch(3)
        })
    );
    assert_eq!(
        supervisor().author(None),
        Ok(Author::Supervisor(Principal::Agent(AgentId(9))))
    );
    assert_eq!(customer("ann").author(Some(Epoch(3))), Ok(Author::Customer));
    assert!(
        agent(1, &[]).is_fenced(None) && !supervisor().is_fenced(None) && !customer("ann").is_fenced(Some(Epoch(1)))
    );
}

#[test]
fn a_customer_reserves_no_place() {
    assert!(permit_keep_age(&customer("ann"), true).is_err());
    assert_eq!(permit_keep_age(&customer("ann"), false), Ok(()));
    assert_eq!(permit_keep_age(&agent(1, &[]), true), Ok(()));
}
