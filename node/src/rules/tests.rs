use routing::ids::SkillName;

use super::*;

fn queue(number: u128) -> Classification {
    Classification {
        queues: vec![QueueId(number)],
        priority: 5,
        ..Classification::default()
    }
}

fn rule(name: &str, when: &str, number: u128) -> Rule {
    Rule {
        name: name.to_owned(),
        when: when.to_owned(),
        parts: vec![(1, queue(number))],
    }
}

fn skill(name: &str, level: u8) -> Requirement {
    Requirement {
        skill: SkillName(name.to_owned()),
        level,
    }
}

fn attributes() -> BTreeMap<String, Value> {
    BTreeMap::from([
        ("language".to_owned(), Value::Text("ja".to_owned())),
        ("cart".to_owned(), Value::Number(120)),
        ("vip".to_owned(), Value::Bool(true)),
    ])
}

fn classify(
    rules: &[Rule],
    fallback: Option<&Classification>,
    wishes: &Wishes,
    draw: u64,
) -> Result<Classified, ClassifyError> {
    let (attributes, channel, customer) = (
        attributes(),
        Channel("web_chat".to_owned()),
        CustomerId("ann@example.com".to_owned()),
    );
    let situation = Situation {
        attributes: &attributes,
        channel: &channel,
        customer: &customer,
    };
    Classifier::default().classify(rules, fallback, situation, wishes, draw)
}

fn matches(when: &str) -> bool {
    let found = classify(&[rule("r", when, 1)], Some(&queue(9)), &Wishes::default(), 0).unwrap();
    found.classification.rule.is_some()
}

#[test]
fn expressions_look_at_attributes_channel_and_customer() {
    for when in [
        "true",
        "attributes.language == 'ja'",
        "attributes[\"cart\"] > 100 && attributes.vip",
        "channel == 'web_chat' && customer.endsWith('@example.com')",
        "attributes.language in ['ja', 'en']",
        "has(attributes.vip) && !has(attributes.gone)",
        "attributes.exists(name, name == 'cart')",
        "size(attributes) == 3",
        "attributes.gone == 1 || attributes.vip",
    ] {
        assert!(matches(when), "{when}");
        assert_eq!(check::check_expression(when), Ok(()), "{when}");
    }
    for when in [
        "false",
        "attributes.language == 'en'",
        "attributes.gone == 'x'",
        "attributes.cart < 3",
    ] {
        assert!(!matches(when), "{when}");
        assert_eq!(check::check_expression(when), Ok(()), "{when}");
    }
}

#[test]
fn the_first_match_wins_and_is_named() {
    let rules = [
        rule("no", "attributes.cart > 500", 1),
        rule("yes", "attributes.vip", 2),
        rule("all", "true", 3),
    ];
    let found = classify(&rules, None, &Wishes::default(), 0).unwrap().classification;
    assert_eq!((found.queues, found.rule.as_deref()), (vec![QueueId(2)], Some("yes")));
}

#[test]
fn without_a_match_the_fallback_is_taken_and_without_a_fallback_nothing() {
    let rules = [rule("no", "false", 1)];
    let found = classify(&rules, Some(&queue(9)), &Wishes::default(), 0)
        .unwrap()
        .classification;
    assert_eq!((found.queues, found.rule), (vec![QueueId(9)], None));
    assert_eq!(
        classify(&rules, None, &Wishes::default(), 0),
        Err(ClassifyError::NothingMatches)
    );
    let wishes = Wishes {
        queues: vec![QueueId(4)],
        ..Wishes::default()
    };
    let found = classify(&rules, None, &wishes, 0).unwrap().classification;
    assert_eq!((found.queues, found.priority), (vec![QueueId(4)], PRIORITY_DEFAULT));
}

#[test]
fn a_failing_rule_does_not_match_and_is_reported_without_values() {
    let rules = [
        rule("types", "attributes.language > 3", 1),
        rule("text", "attributes.language", 2),
        rule("syntax", "attributes.", 3),
        rule("missing", "attributes.gone == 1", 4),
        rule("last", "true", 5),
    ];
    let found = classify(&rules, None, &Wishes::default(), 0).unwrap();
    assert_eq!(found.classification.rule.as_deref(), Some("last"));
    let names: Vec<&str> = found.failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["types", "text", "syntax"]);
    assert!(!format!("{:?}", found.failed).contains("ja"), "{:?}", found.failed);
}

#[test]
fn parts_are_drawn_by_weight() {
    let split = Rule {
        name: "split".to_owned(),
        when: "true".to_owned(),
        parts: vec![(3, queue(1)), (0, queue(2)), (1, queue(3))],
    };
    let mut taken = BTreeMap::new();
    for draw in 0..400 {
        let found = classify(std::slice::from_ref(&split), None, &Wishes::default(), draw).unwrap();
        *taken.entry(found.classification.queues[0]).or_insert(0) += 1;
    }
    assert_eq!(taken, BTreeMap::from([(QueueId(1), 300), (QueueId(3), 100)]));
    assert!(classify(&[split], None, &Wishes::default(), u64::MAX).is_ok());
}

#[test]
fn wishes_go_over_the_rules() {
    let mut wanted = queue(1);
    wanted.required = vec![skill("language.ja", 5), skill("billing", 3)];
    let rules = [Rule {
        name: "r".to_owned(),
        when: "true".to_owned(),
        parts: vec![(1, wanted)],
    }];
    let wishes = Wishes {
        priority: Some(8),
        required: vec![skill("billing", 7), skill("a", 1)],
        preferred: vec![skill("golf", 2)],
        ..Wishes::default()
    };
    let found = classify(&rules, None, &wishes, 0).unwrap().classification;
    assert_eq!(
        found.required,
        [skill("a", 1), skill("billing", 7), skill("language.ja", 5)]
    );
    assert_eq!(
        (found.priority, found.preferred.len(), found.queues),
        (8, 1, vec![QueueId(1)])
    );

    let many = (0..20).map(|n| skill(&format!("s{n}"), 1)).collect();
    let wishes = Wishes {
        required: many,
        ..Wishes::default()
    };
    assert_eq!(
        classify(&rules, None, &wishes, 0),
        Err(ClassifyError::TooManyRequirements(22))
    );
}

#[test]
fn bad_rules_are_refused_with_a_position_and_what_would_be_right() {
    let text = |when: &str| {
        check::check_expression(when)
            .map_err(|error| error.to_string())
            .unwrap_err()
    };
    assert_eq!(
        text("language == 'ja'"),
        "line 1, column 1: there is no `language`; an attribute is written `attributes.language`; known are \
         attributes, channel, customer"
    );
    assert_eq!(
        text("true &&\n chanel == 'x'"),
        "line 2, column 2: there is no `chanel`; did you mean `channel`?"
    );
    assert!(text("attributes.vip && startWith(channel, 'w')").contains("did you mean `startsWith`?"));
    assert!(text("channel").starts_with("the expression gives string; a rule gives true or false"));
    assert!(
        text("channel > 3").starts_with("the expression cannot be evaluated: "),
        "{}",
        text("channel > 3")
    );
    for when in [
        "attributes.",
        "((((",
        "a b",
        "",
        "'",
        "1 +",
        "\u{0}",
        "attributes.x ==== 1",
    ] {
        let error = check::check_expression(when).unwrap_err();
        assert!(matches!(error, RuleError::Syntax { .. }), "{when:?}: {error}");
    }
}

#[test]
fn costly_rules_are_refused() {
    let check = check::check_expression;
    assert!(matches!(check(&"x".repeat(5_000)), Err(RuleError::TooLong(5_000))));
    let nested = "[1,2].all(a, [1,2].all(b, a == b))";
    assert!(
        matches!(check(nested), Err(RuleError::NestedLoops(_))),
        "{:?}",
        check(nested)
    );
    let many = format!("size([{}]) > 0", "1,".repeat(1_010).trim_end_matches(','));
    assert!(
        matches!(check(&many), Err(RuleError::TooComplex | RuleError::TooLong(_))),
        "{:?}",
        check(&many)
    );
    let deep = format!("{}true{}", "(".repeat(900), ")".repeat(900));
    assert!(check(&deep).is_err());
    let long = vec!["true"; 200].join(" && ");
    assert!(check(&long).is_ok(), "{:?}", check(&long));
}

#[test]
fn a_list_is_checked_as_a_whole() {
    let mut empty = rule("b", "true", 1);
    empty.parts.clear();
    let mut homeless = rule("c", "true", 1);
    homeless.parts[0].1.queues.clear();
    let rules = [rule("a", "true", 1), rule("a", "nope", 1), empty, homeless];
    let found = check_all(&rules, Some(&Classification::default()));
    let places: Vec<Option<usize>> = found.iter().map(|(at, _)| *at).collect();
    assert_eq!(places, [None, Some(1), Some(1), Some(2), Some(3)], "{found:?}");
}

#[test]
fn the_cache_is_bounded() {
    let classifier = Classifier::default();
    for n in 0..3 {
        classifier.program(&format!("size(channel) == {n}"));
    }
    assert_eq!(classifier.programs.lock().len(), 3);
    let known = classifier.program("size(channel) == 1").unwrap();
    assert!(Arc::ptr_eq(&known, &classifier.program("size(channel) == 1").unwrap()));
}
