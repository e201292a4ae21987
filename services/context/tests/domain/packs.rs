//! Contexts as agents read them, and what goes in when.

use std::collections::BTreeSet;

use fleet_context::domain::{
    Ask, Entity, Fate, O200k, Phase, Policies, Reason, Refused, RelationKind, SHIPPED_POLICIES,
    Scopes, ScorePart, Section, column_tokens,
};
use fleet_types::Role;
use serde_json::json;

use crate::fixture::{OPEN, Rows, ask, ask_task, decision, rich, shipped, task};

/// The task that an agent of a role would be given.
fn task_of(role: Role) -> &'static str {
    match role {
        Role::Data => "T-1",
        Role::Devops => "T-4",
        Role::Qa => "T-5",
        _ => "T-2",
    }
}

#[test]
fn contexts_of_all_sixteen_pairs() {
    let (policies, scopes) = shipped();
    let rows = rich();
    let mut pairs = 0;
    for (role, phase, _) in scopes.pairs() {
        let ask = match role {
            Role::Architect => ask(role, phase),
            _ => ask_task(role, phase, task_of(role)),
        };
        let pack = rows.pack(&policies, &scopes, &ask).unwrap();
        insta::assert_snapshot!(format!("pack_{role}_{phase}"), pack.text);
        pairs += 1;
    }
    assert_eq!(pairs, 16);
}

#[test]
fn a_receipt_tells_all_candidates_and_no_content() {
    let (policies, scopes) = shipped();
    let ask = Ask {
        budget: Some(1_000),
        ..ask_task(Role::Developer, Phase::Build, "T-2")
    };
    let pack = rich().pack(&policies, &scopes, &ask).unwrap();
    let mut receipt = serde_json::to_value(&pack.receipt).unwrap();
    // These change with the shipped files, which have tests of their own.
    for version in ["policy_version", "scopes_version"] {
        receipt[version] = json!("…");
    }
    insta::assert_json_snapshot!("receipt", receipt);
    assert!(pack.text.contains("more left out)"), "{}", pack.text);
    let back: fleet_context::domain::Receipt =
        serde_json::from_value(serde_json::to_value(&pack.receipt).unwrap()).unwrap();
    assert_eq!(back, pack.receipt);
    for item in &pack.receipt.excluded {
        assert_eq!(
            pack.receipt.fate(item.kind, &item.id),
            Some(Fate::Out(item))
        );
    }
}

fn ids(rows: &Rows, ask: &Ask, section: Section) -> Vec<String> {
    let (policies, scopes) = shipped();
    let pack = rows.pack(&policies, &scopes, ask).unwrap();
    let included = pack.receipt.included.into_iter();
    included
        .filter(|item| item.section == section)
        .map(|item| item.id.to_string())
        .collect()
}

fn reason(rows: &Rows, ask: &Ask, kind: Entity, id: &str) -> (Reason, String) {
    let (policies, scopes) = shipped();
    let pack = rows.pack(&policies, &scopes, ask).unwrap();
    match pack.receipt.fate(kind, id) {
        Some(Fate::Out(item)) => (item.reason, item.detail.to_string()),
        other => panic!("{id}: {other:?}"),
    }
}

#[test]
fn what_is_linked_to_the_task_comes_first() {
    let mut rows = rich();
    // Newer than everything, but about the story as a whole.
    rows.add(
        Entity::Decision,
        decision("DEC-9", "Log in English", "APPROVED", 20, "One language."),
    );
    let ask = ask_task(Role::Developer, Phase::Build, "T-2");
    let decisions = ids(&rows, &ask, Section::Decisions);
    assert_eq!(decisions, ["DEC-2", "DEC-1", "DEC-9", "DEC-5"]);
    let (policies, scopes) = shipped();
    let pack = rows.pack(&policies, &scopes, &ask).unwrap();
    let Some(Fate::In(first)) = pack.receipt.fate(Entity::Decision, "DEC-1") else {
        panic!("DEC-1 is in");
    };
    // It has a say in what T-2 waits for, and DEC-2 rests on it.
    let parts: BTreeSet<_> = first.score.parts.keys().copied().collect();
    let expected = [
        ScorePart::Dependency,
        ScorePart::Linked,
        ScorePart::Status,
        ScorePart::Recency,
    ];
    assert_eq!(parts, expected.into());
    assert_eq!(first.score.total, first.score.parts.values().sum::<i64>());
    assert_eq!(first.path, "Story/s-1-HAS_DECISION->Decision/DEC-1");
    // The devops engineer is told of other things.
    let ask = ask_task(Role::Devops, Phase::Build, "T-4");
    assert_eq!(
        ids(&rows, &ask, Section::Decisions),
        ["DEC-4", "DEC-1", "DEC-9", "DEC-5"]
    );
    let out = reason(&rows, &ask, Entity::Decision, "DEC-2");
    assert_eq!(out.0, Reason::OutOfScope);
}

#[test]
fn decisions_that_do_not_stand_are_out_with_the_reason() {
    let rows = rich();
    let ask = ask(Role::Architect, Phase::Design);
    let why = |id| reason(&rows, &ask, Entity::Decision, id);
    assert_eq!(why("DEC-3"), (Reason::Superseded, "by DEC-2".to_owned()));
    assert_eq!(why("DEC-6"), (Reason::Stale, "rejected".to_owned()));
    assert_eq!(why("DEC-7").0, Reason::Stale);
    let elsewhere = "DEC-4-DEPENDS_ON->DEC-of-elsewhere";
    assert_eq!(
        reason(&rows, &ask, Entity::Relation, elsewhere).0,
        Reason::Stale
    );
}

#[test]
fn decisions_in_circles_stand_by_age() {
    let mut rows = rich();
    rows.edge("DEC-1", RelationKind::Supersedes, "DEC-4");
    rows.edge("DEC-4", RelationKind::Supersedes, "DEC-1");
    rows.edge("DEC-1", RelationKind::DependsOn, "DEC-4");
    // A proposal does not push out what is settled.
    rows.edge("DEC-5", RelationKind::Supersedes, "DEC-2");
    let ask = ask(Role::Architect, Phase::Design);
    assert_eq!(
        ids(&rows, &ask, Section::Decisions),
        ["DEC-4", "DEC-2", "DEC-5"]
    );
    assert_eq!(reason(&rows, &ask, Entity::Decision, "DEC-1").1, "by DEC-4");
}

#[test]
fn without_decisions_of_its_own_a_role_gets_the_first_five() {
    let mut rows = Rows::default();
    rows.add(
        Entity::Story,
        json!({"story_id": "s-1", "title": "A story"}),
    );
    rows.add(Entity::Task, task("T-1", "Of operations", "devops", &[]));
    for n in 1..=7 {
        let id = format!("DEC-{n}");
        let why = format!("Reason {n}.");
        rows.add(
            Entity::Decision,
            decision(&id, "Some", "APPROVED", 20 - n, &why),
        );
        rows.edge(&id, RelationKind::Affects, "T-1");
    }
    let ask = ask(Role::Developer, Phase::Build);
    let got = ids(&rows, &ask, Section::Decisions);
    assert_eq!(got, ["DEC-3", "DEC-4", "DEC-5", "DEC-6", "DEC-7"]);
}

#[test]
fn the_same_said_twice_is_said_once_and_what_is_all_secret_not_at_all() {
    let mut rows = rich();
    rows.add(
        Entity::Decision,
        decision("DEC-8", "Same", "APPROVED", 9, "Because."),
    );
    rows.add(
        Entity::Decision,
        decision("DEC-9", "Same", "APPROVED", 8, "Because."),
    );
    let secret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    rows.add(
        Entity::Decision,
        decision("DEC-10", secret, "APPROVED", 8, secret),
    );
    rows.add(Entity::Decision, json!({
        "decision_id": "DEC-11", "story_id": "s-1", "status": "APPROVED", "deleted_at": "2025-11-09T00:00:00Z",
    }));
    let ask = ask(Role::Architect, Phase::Design);
    assert_eq!(
        reason(&rows, &ask, Entity::Decision, "DEC-9"),
        (Reason::Duplicate, "of DEC-8".to_owned())
    );
    assert_eq!(
        reason(&rows, &ask, Entity::Decision, "DEC-10").0,
        Reason::Redacted
    );
    let (policies, scopes) = shipped();
    let pack = rows.pack(&policies, &scopes, &ask).unwrap();
    assert_eq!(pack.receipt.fate(Entity::Decision, "DEC-11"), None);
    assert!(!pack.text.contains("ghp_") && !pack.text.contains("sk-live"));
}

#[test]
fn only_the_newest_plan_summary_and_ten_happenings_are_told() {
    let mut rows = rich();
    for n in 10..30 {
        rows.add(
            Entity::Milestone,
            json!({
                "event_id": format!("m-{n}"), "story_id": "s-1", "event_type": "human_edit",
                "description": "Again.", "actor": "ana", "actor_role": "po",
                "at": format!("2025-11-{n}T12:00:00.000Z"),
            }),
        );
    }
    let ask = ask(Role::Architect, Phase::Design);
    let expected: Vec<String> = (20..30).rev().map(|n| format!("m-{n}")).collect();
    assert_eq!(ids(&rows, &ask, Section::Timeline), expected);
    assert_eq!(ids(&rows, &ask, Section::Plan), ["PL-2"]);
    assert_eq!(ids(&rows, &ask, Section::Summary), ["sum-2"]);
    assert_eq!(
        reason(&rows, &ask, Entity::Milestone, "m-10").0,
        Reason::Stale
    );
    assert_eq!(
        reason(&rows, &ask, Entity::Plan, "PL-1").0,
        Reason::Superseded
    );
    assert_eq!(
        reason(&rows, &ask, Entity::Summary, "sum-1").0,
        Reason::Superseded
    );
}

#[test]
fn asks_that_cannot_be_answered_are_refused() {
    let (policies, scopes) = shipped();
    let rows = rich();
    let refused = |ask: &Ask| rows.pack(&policies, &scopes, ask).unwrap_err();
    let none = refused(&ask(Role::Po, Phase::Build));
    assert_eq!(none.to_string(), "po has no scopes in phase BUILD");
    for unknown in ["T-99", "T-11", "T-"] {
        if let Ok(task) = unknown.parse() {
            let ask = Ask {
                task: Some(task),
                ..ask(Role::Qa, Phase::Test)
            };
            assert!(matches!(refused(&ask), Refused::NoSuchTask { .. }));
        }
    }
    let mut foreign = rich();
    let mut other = task("T-50", "Of another story", "developer", &[]);
    other["story_id"] = json!("s-10");
    foreign.add(Entity::Task, other);
    let ask = ask_task(Role::Developer, Phase::Build, "T-50");
    let error = foreign.pack(&policies, &scopes, &ask).unwrap_err();
    assert!(matches!(error, Refused::NoSuchTask { .. }));
}

#[test]
fn the_needed_budget_is_enough_and_one_less_is_not() {
    let (policies, scopes) = shipped();
    let rows = rich();
    let with = |budget| {
        let task = ask_task(Role::Developer, Phase::Build, "T-2");
        let ask = Ask {
            budget: Some(budget),
            ..task
        };
        rows.pack(&policies, &scopes, &ask)
    };
    let Err(Refused::BudgetTooSmall { needed, budget: 1 }) = with(1) else {
        panic!("one token is too little");
    };
    let pack = with(needed).unwrap();
    assert_eq!(pack.token_count, needed);
    assert!(with(needed - 1).is_err());
}

#[test]
fn usual_budgets() {
    use fleet_context::domain::usual_budget;
    assert_eq!(usual_budget(Role::Developer, 0, 0), 4_096);
    assert_eq!(
        usual_budget(Role::Developer, 2, 3),
        4_096 + 2 * 256 + 3 * 128
    );
    assert_eq!(usual_budget(Role::Architect, 100, 0), 8_192 + 4_096);
}

#[test]
fn who_is_not_told_the_reasons_is_told_more_decisions() {
    let without = SHIPPED_POLICIES.replace(" rationale,", "");
    let policies = Policies::load("x", &without, OPEN).unwrap();
    let by = policies.counted_by();
    let mut rows = Rows::default();
    rows.add(
        Entity::Story,
        json!({ "story_id": "s-1", "title": "Long reasons", "state": "IN_PROGRESS" }),
    );
    for n in 10..70 {
        let rationale = "Because of this and that. ".repeat(60);
        let mut row = decision(&format!("DEC-{n}"), "Short", "APPROVED", 1, &rationale);
        row["tokens_rationale"] = column_tokens(&O200k, &rationale).into();
        row["tokens_by"] = by.as_str().into();
        rows.add(Entity::Decision, row);
    }
    let ask = Ask {
        budget: Some(3_500),
        ..ask(Role::Architect, Phase::Design)
    };
    let told = |policies: &Policies| {
        let pack = rows.pack(policies, &Scopes::shipped(), &ask).unwrap();
        let decisions = pack.receipt.included.into_iter();
        decisions
            .filter(|item| item.kind == Entity::Decision)
            .count()
    };
    assert!(told(&Policies::shipped(OPEN)) < 10);
    assert_eq!(told(&policies), 60, "there is room for all of them");
}
