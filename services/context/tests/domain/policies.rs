//! Row and column policies: what ships, what is refused, and the view.

use fleet_context::domain::{Entity, Item, Policies, Viewer};
use fleet_types::{Role, StoryId};
use serde_json::{Value, json};

use crate::fixture::{OPEN, REDACTION, decision};

fn item(entity: Entity, row: &Value) -> Item {
    Item::read(entity, row.as_object().unwrap().clone(), "").unwrap()
}

#[test]
fn the_shipped_policies() {
    let policies = Policies::shipped(REDACTION);
    let mut text = String::new();
    for role in Role::ALL {
        for entity in Entity::ALL {
            let columns: Vec<_> = policies.columns(*role, *entity).collect();
            text.push_str(&format!("{role} {entity}: {}\n", columns.join(" ")));
        }
    }
    insta::assert_snapshot!("shipped_policies", text);
    assert!(
        !text
            .lines()
            .any(|l| l.starts_with("system ") && !l.ends_with(": "))
    );
}

#[test]
fn a_view_has_allowed_columns_only_and_is_redacted() {
    let policies = Policies::shipped(REDACTION);
    let story: StoryId = "s-1".parse().unwrap();
    let own = |role| Viewer {
        role,
        story: Some(&story),
    };
    let row = decision(
        "DEC-1",
        "Key",
        "APPROVED",
        1,
        "password: hunter2-correct-horse",
    );
    let seen = policies
        .view(own(Role::Qa), &item(Entity::Decision, &row))
        .unwrap();
    assert_eq!(seen.text("author_agent"), "");
    assert!(seen.columns().all(|(name, _)| name != "alternatives"));
    assert!(!seen.text("rationale").contains("hunter2"), "{seen:?}");
    assert!(!seen.is_emptied());
    // Of another story: nothing for a developer, security for an architect, all for the owner.
    let mut foreign = row.clone();
    foreign["story_id"] = json!("s-10");
    let technical = item(Entity::Decision, &foreign);
    foreign["decision_type"] = json!("Security");
    let security = item(Entity::Decision, &foreign);
    for (role, sees) in [
        (Role::Developer, [false, false]),
        (Role::Architect, [false, true]),
        (Role::Po, [true, true]),
        (Role::Orchestrator, [true, true]),
        (Role::System, [false, false]),
    ] {
        let seen = [&technical, &security].map(|item| policies.view(own(role), item).is_some());
        assert_eq!(seen, sees, "{role}");
    }
    let nowhere = Viewer {
        role: Role::Developer,
        story: None,
    };
    assert!(
        policies
            .view(nowhere, &item(Entity::Decision, &row))
            .is_none()
    );
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_lines() {
    let text = "version: 1
roles:
  architect:
    story:
      rows: some
      columns: [story_id, titel]
    dragon:
      rows: all
      columns: [dragon_id]
    decision:
      rows:
        - rows: story
          where: {rationale: [x], colour: [red]}
        - rows: all
          where: {}
      columns: [title]
    task: all
  system: {}
  qa: as wizard
  tester: as architect
  data: as devops
  po:
    task:
      rows: all
      columns: [task_id, task_id]
      extra: 1
";
    let report = Policies::load("context_policies.yaml", text, OPEN).unwrap_err();
    insta::assert_snapshot!("wrong_policies", report);
}

#[test]
fn the_version_is_of_content_and_redaction() {
    let text =
        "version: 1\nroles:\n  po:\n    task:\n      rows: all\n      columns: [task_id, title]\n";
    let version = |text: &str, redaction| {
        Policies::load("x", text, redaction)
            .unwrap()
            .version()
            .to_owned()
    };
    let base = version(text, OPEN);
    assert_eq!(
        base,
        version(&text.replace("task_id, title", "title, task_id"), OPEN)
    );
    assert_ne!(
        base,
        version(&text.replace("rows: all", "rows: story"), OPEN)
    );
    assert_ne!(base, version(&text.replace(", title", ""), OPEN));
    assert_ne!(base, version(text, REDACTION));
}

#[test]
fn rows_of_a_wrong_shape_are_corrupt() {
    let read = |row: Value| Item::read(Entity::Task, row.as_object().unwrap().clone(), "");
    assert!(read(json!({"title": "No id"})).is_err());
    assert!(read(json!({"task_id": "T 1"})).is_err());
    assert!(read(json!({"task_id": "T-1", "story_id": "x"})).is_err());
    let error = read(json!({"task_id": "T-1", "title": 7})).unwrap_err();
    assert_eq!(error.to_string(), "task \"T-1\": title has a wrong shape");
    assert!(read(json!({"task_id": "T-1", "unknown": {"a": 1}, "depends_on": ["T-2"]})).is_ok());
}
