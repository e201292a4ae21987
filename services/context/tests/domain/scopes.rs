//! The table of scopes: what ships, and what is refused.

use fleet_context::domain::{Phase, Scopes};
use fleet_types::Role;

#[test]
fn the_shipped_table_has_the_sixteen_pairs() {
    let scopes = Scopes::shipped();
    let lines = scopes.pairs().map(|(role, phase, codes)| {
        let codes: Vec<_> = codes.iter().map(|code| code.as_str()).collect();
        format!("{phase} {role}: {}\n", codes.join(" "))
    });
    let text: String = lines.collect();
    assert_eq!(text.lines().count(), 16);
    insta::assert_snapshot!("shipped_scopes", text);
    assert!(scopes.of(Role::Data, Phase::Test).is_err());
    assert_eq!("docs".parse(), Ok(Phase::Doc));
}

#[test]
fn comparing_is_strict_and_sorted() {
    let scopes = Scopes::shipped();
    let (role, phase) = (Role::Developer, Phase::Test);
    let exact = ["SUBTASKS_ROLE_MIN", "PLAN_HEADER", "CASE_HEADER"];
    let same = scopes.validate(role, phase, &exact).unwrap();
    assert!(same.allowed, "{same:?}");
    let off = ["MILESTONES", "CASE_HEADER", "nonsense", "DECISIONS_GLOBAL"];
    let off = scopes.validate(role, phase, &off).unwrap();
    assert!(!off.allowed);
    assert_eq!(off.missing, ["PLAN_HEADER", "SUBTASKS_ROLE_MIN"]);
    assert_eq!(off.extra, ["DECISIONS_GLOBAL", "MILESTONES", "nonsense"]);
    assert_eq!(
        off.reason,
        "missing: PLAN_HEADER, SUBTASKS_ROLE_MIN; not allowed: DECISIONS_GLOBAL, MILESTONES, nonsense"
    );
    assert!(
        scopes
            .validate::<&str>(Role::Data, Phase::Doc, &[])
            .is_err()
    );
}

#[test]
fn what_is_wrong_with_a_table_is_said_with_lines() {
    let text = "version: 2
phases:
  DESIGN:
    architect: [CASE_HEADER, CASE_HEADER]
    developer: [PLAN_HEADER]
    wizard: [CASE_HEADER]
    system: [CASE_HEADER]
  DOC:
    qa: [CASE_HEADER, EVERYTHING]
  DOCS:
    tester: [CASE_HEADER]
    data: []
    devops: all
  PARTY:
    qa: [CASE_HEADER]
extra: 1
";
    let report = Scopes::load("prompt_scopes.yaml", text).unwrap_err();
    insta::assert_snapshot!("wrong_scopes", report);
    let report = Scopes::load("prompt_scopes.yaml", "version: [").unwrap_err();
    assert_eq!(report.violations.len(), 1, "{report}");
    let text = "version: 1\nphases:\n  DOC:\n    qa: [CASE_HEADER]\n    qa: [CASE_HEADER]\n";
    let report = Scopes::load("prompt_scopes.yaml", text).unwrap_err();
    assert_eq!(report.violations[0].line, 5, "{report}");
}

#[test]
fn the_version_is_of_the_content() {
    let a = "version: 1\nphases:\n  DOC:\n    qa: [CASE_HEADER, MILESTONES]\n";
    let b = "# A comment.\nversion: 1\nphases: {DOCS: {tester: [MILESTONES, CASE_HEADER]}}\n";
    let c = "version: 1\nphases:\n  DOC:\n    qa: [CASE_HEADER]\n";
    let version = |text| Scopes::load("x", text).unwrap().version().to_owned();
    assert_eq!(version(a), version(b));
    assert_ne!(version(a), version(c));
}
