use super::*;

fn of(kind: Kind, payload: &str) -> Result<Patch, Vec<String>> {
    let mut v = Violations::new();
    let id = DecisionId::parse("DEC-1").unwrap();
    match patch(&mut v, "payload", kind, Some(&id), payload) {
        Some(patch) => {
            assert!(v.is_empty(), "{v}");
            Ok(patch)
        }
        None => Err(v
            .iter()
            .map(|v| format!("{}: {}", v.field, v.problem))
            .collect()),
    }
}

fn decision(payload: &str) -> DecisionPatch {
    match of(Kind::Decision, payload).unwrap() {
        Patch::Decision(_, patch) => *patch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_named_is_read_and_the_rest_stays_open() {
    let patch = decision(
        r#"{"title": " Use queues ", "status": "approved", "alternatives": ["Polling"],
            "affects": ["T-1", "T-2", "T-1"], "depends_on": ["DEC-2"]}"#,
    );
    assert_eq!(patch.title.as_deref(), Some("Use queues"));
    assert_eq!(patch.status.map(|s| s.as_str()), Some("APPROVED"));
    assert_eq!(patch.affects.unwrap().len(), 2, "each once");
    assert_eq!(patch.rationale, None);
    assert_eq!(patch.supersedes, None);
    assert_eq!(
        decision(r#"{"rationale": ""}"#).rationale.as_deref(),
        Some("")
    );
}

#[test]
fn everything_wrong_is_named_at_once() {
    let wrong = of(
        Kind::Decision,
        r#"{"title": " ", "status": "MAYBE", "alternatives": [1, ""], "affects": "T-1",
            "depends_on": ["DEC-1", "T-1"], "story_id": "s-2", "colour": "red"}"#,
    )
    .unwrap_err();
    for part in [
        "payload.title: must not be blank",
        "payload.status: unknown decision status",
        "payload.alternatives[0]: is a number",
        "payload.affects: is a text; must be a list",
        "payload.depends_on[1]: must start with",
        "payload.story_id: is given by the call",
        "payload.colour: is not known",
    ] {
        assert!(
            wrong.iter().any(|w| w.starts_with(part)),
            "{part}: {wrong:#?}"
        );
    }
}

#[test]
fn identity_cannot_be_overridden_under_any_name() {
    for name in IDENTITY {
        for kind in Kind::ALL {
            let wrong = of(*kind, &format!(r#"{{"{name}": "x"}}"#)).unwrap_err();
            let expected = format!("payload.{name}: is given by the call, never by a payload");
            assert_eq!(wrong, [expected]);
        }
    }
}

#[test]
fn a_decision_does_not_lead_to_itself() {
    for list in ["depends_on", "supersedes", "alternative_of"] {
        let wrong = of(Kind::Decision, &format!(r#"{{"{list}": ["DEC-1"]}}"#)).unwrap_err();
        assert_eq!(
            wrong,
            [format!("payload.{list}: DEC-1 is the decision itself")]
        );
    }
}

#[test]
fn what_is_no_object_is_refused_before_it_is_built() {
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    let cases: &[(String, &str)] = &[
        (String::new(), "is not a JSON object"),
        ("[]".into(), "is not a JSON object"),
        ("{".into(), "is not a JSON object"),
        ("\"secret\"".into(), "is not a JSON object (line 1"),
        ("null".into(), "is not a JSON object"),
        (r#"{"title": "a"} x"#.into(), "is not a JSON object"),
        (r#"{"title": "a", "title": "b"}"#.into(), "twice"),
        (
            format!(r#"{{"title": {}}}"#, deep(8)),
            "nested deeper than 8",
        ),
        ("[".repeat(60_000), "nested deeper than 8"),
        (
            format!(r#"{{"title": "{}"}}"#, "x".repeat(MAX_PAYLOAD_BYTES)),
            "bytes long",
        ),
        (
            format!(
                "{{{}}}",
                (0..1_000)
                    .map(|i| format!(r#""n{i}":1"#))
                    .collect::<Vec<_>>()
                    .join(",")
            ),
            "too many names",
        ),
    ];
    for (payload, part) in cases {
        let wrong = of(Kind::Decision, payload).unwrap_err();
        let start: String = payload.chars().take(40).collect();
        assert!(wrong.iter().any(|w| w.contains(part)), "{start}: {wrong:?}");
    }
    // As deep as may be, it is the shape that is wrong.
    let wrong = of(Kind::Decision, &format!(r#"{{"title": {}}}"#, deep(7))).unwrap_err();
    assert_eq!(wrong, ["payload.title: is a list; must be a text"]);
    assert_eq!(depth(r#"{"a": "[[[[\"[[[["}"#), 1, "texts do not nest");
}

#[test]
fn other_kinds_have_their_own_names() {
    assert!(
        of(
            Kind::Milestone,
            r#"{"event_type": "demo", "description": "Shown"}"#
        )
        .is_ok()
    );
    assert!(of(Kind::Summary, r#"{"text": "So far so good"}"#).is_ok());
    let wrong = of(Kind::Summary, r#"{"description": "x"}"#).unwrap_err();
    assert_eq!(wrong, ["payload.description: is not known"]);
    let wrong = of(Kind::Milestone, r#"{"event_type": "context_updated"}"#).unwrap_err();
    assert_eq!(
        wrong,
        ["payload.event_type: is kept for the record of changes"]
    );
    let long = format!(r#"{{"event_type": "{}"}}"#, "x".repeat(101));
    assert!(of(Kind::Milestone, &long).is_err());
}
