//! The whole domain: properties over generated command sequences, single cases, and purity.

mod cases;
mod properties;
mod world;

use fleet_types::{Role, StoryId, TaskId, Timestamp};

use super::*;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn story_id() -> StoryId {
    StoryId::parse("s-1").unwrap()
}

fn task_id(n: u8) -> TaskId {
    TaskId::parse(&format!("T-{n}")).unwrap()
}

fn new_story(criteria: usize) -> NewStory {
    NewStory {
        title: "Export invoices".to_owned(),
        brief: "As an accountant I want to export invoices so that audits are quick".to_owned(),
        acceptance_criteria: (0..criteria)
            .map(|i| format!("line {i} is shown to me"))
            .collect(),
        constraints: vec!["depends on nothing".to_owned()],
        size: Some(Size::S),
        repository: String::new(),
        base_branch: String::new(),
        created_by: "ana".to_owned(),
    }
}

fn new_task() -> NewTask {
    NewTask {
        plan_id: None,
        title: "Write it".to_owned(),
        description: String::new(),
        kind: TaskType::Development,
        assigned_to: String::new(),
        estimated_hours: 0,
        priority: 1,
        role: Role::Developer,
        acceptance_criteria: Vec::new(),
    }
}

fn wish(to: StoryState) -> Move {
    let reason = if to == StoryState::Draft {
        "starts over"
    } else {
        ""
    };
    let (actor, override_reason) = ("ana".to_owned(), String::new());
    Move {
        to,
        actor,
        reason: reason.to_owned(),
        override_reason,
    }
}

/// The domain is pure: what it imports proves it.
#[test]
fn the_domain_imports_nothing_but_pure_crates() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/domain");
    let mut seen = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        seen += 1;
        for line in text.lines().map(str::trim_start) {
            let import = line
                .strip_prefix("pub ")
                .unwrap_or(line)
                .strip_prefix("use ");
            let Some(import) = import else {
                for banned in [
                    "tokio",
                    "std::env",
                    "std::fs",
                    "std::net",
                    "std::time",
                    "uuid::",
                    "fleet_graph",
                    "fleet_events",
                    "fleet_service",
                    "tonic",
                    "fleet_proto",
                ] {
                    let code = line.split("//").next().unwrap_or_default();
                    assert!(!code.contains(banned), "{}: {line}", path.display());
                }
                continue;
            };
            let root = import
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap();
            let own = ["super", "self", "crate", "StoryState"].contains(&root)
                || root.starts_with(|c: char| c.is_lowercase())
                    && text.contains(&format!("mod {root};"));
            let pure = ["std", "fleet_types", "serde", "thiserror"].contains(&root);
            assert!(own || pure, "{}: {line}", path.display());
            let io = [
                "std::fs",
                "std::net",
                "std::env",
                "std::time",
                "std::thread",
                "std::process",
                "crate::",
            ];
            assert!(
                !io.iter().any(|bad| import.starts_with(bad)),
                "{}: {line}",
                path.display()
            );
        }
    }
    assert!(seen >= 9, "found the sources");
}
