//! `fleet context` on a directory that nobody has open: it changes nothing there, and what holds
//! for the deployment holds for it.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fleet_embedded::{Embedded, Options};
use fleet_graph::{Commit, Deadline, OutboxEvent, Owner};
use fleet_service::{SystemClock, SystemIds};
use fleet_types::{Clock as _, EventId, Ids as _};
use serde_json::Value;

use crate::context::{Played, succeeded};
use crate::support::{err, fleet};

/// What waits in the outbox of a data directory that nobody has open.
async fn waiting(data: &str, add: Option<OutboxEvent>) -> u64 {
    let options = Options::new(Arc::new(SystemClock));
    let embedded = Embedded::open(data.as_ref(), options).unwrap();
    let store = embedded.store();
    let deadline = || Deadline::after(Duration::from_secs(10));
    if let Some(event) = add {
        let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, SystemClock.now());
        commit.event(event);
        store.commit(&commit, deadline()).await.unwrap();
    }
    let (waiting, _) = store.backlog(deadline()).await.unwrap();
    drop(store);
    embedded.close().await;
    waiting
}

#[tokio::test]
async fn reading_leaves_what_waits_for_a_bus_where_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let played = Played::new(&dir.path().join("data"));
    // As a `fleet up --nats` leaves it that was stopped while its server was away.
    let event = OutboxEvent {
        id: EventId::mint(SystemIds.uuid()),
        subject: "planning.story.updated".to_owned(),
        source: "fleet-planning".to_owned(),
        aggregate: played.story.clone(),
        aggregate_version: 1_000,
        time: SystemClock.now(),
        payload: format!("{{\"story_id\":\"{}\",\"version\":1000}}", played.story),
        correlation: "test".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    };
    let before = waiting(&played.data, Some(event)).await;
    assert_eq!(before, 1);
    let answer = played.answer();
    assert_eq!(played.verify(&answer).status.code(), Some(0));
    succeeded(&played.context(&["graph", "--node", &played.story]));
    assert_eq!(waiting(&played.data, None).await, before);
}

#[test]
fn the_policies_of_the_deployment_hold_for_the_commands_too() {
    let dir = tempfile::tempdir().unwrap();
    let played = Played::new(&dir.path().join("data"));
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/k8s/00-foundation/config/context_policies.yaml"
    );
    let text = std::fs::read_to_string(shipped).unwrap();
    let (above, developer) = text.split_once("\n  developer:\n").unwrap();
    let (seen, decisions) = developer.split_once("    decision:\n").unwrap();
    let (_, rest) = decisions.split_once("    review:\n").unwrap();
    let text = format!("{above}\n  developer:\n{seen}    decision: none\n    review:\n{rest}");
    let file = dir.path().join("policies.yaml");
    std::fs::write(&file, text).unwrap();
    let settings = dir.path().join("fleet.toml");
    let named = format!("context_policies_file = {:?}\n", file.to_str().unwrap());
    std::fs::write(&settings, named).unwrap();
    let get = |name: &str, value: &Path| {
        let mut command = fleet();
        command.args([
            "context",
            "get",
            "--data",
            &played.data,
            "--task",
            &played.task,
        ]);
        command.args([
            "--story",
            &played.story,
            "--role",
            "developer",
            "--phase",
            "BUILD",
        ]);
        command.env(name, value).output().unwrap()
    };
    let decision = "Log lines carry no address";
    // What is no business of context's does not keep anybody from reading.
    let usual = succeeded(&get("FLEET_PORT_OFFSET", "many".as_ref()));
    assert!(usual.contains(decision), "{usual}");
    for (name, value) in [
        ("FLEET_CONTEXT_POLICIES_FILE", &file),
        ("FLEET_CONFIG", &settings),
    ] {
        let told = succeeded(&get(name, value));
        assert!(!told.contains(decision), "{name}: {told}");
        assert!(told.contains("## Story"), "{name}: {told}");
    }
    let refused = get("FLEET_CONTEXT_POLICIES_FILE", &dir.path().join("absent"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        err(&refused).contains("FLEET_CONTEXT_POLICIES_FILE"),
        "{}",
        err(&refused)
    );
}

#[test]
fn after_a_demo_its_data_is_found_without_being_named() {
    let dir = tempfile::tempdir().unwrap();
    let here = |arguments: &[&str]| {
        let mut command = fleet();
        command.args(arguments).current_dir(dir.path());
        command.output().unwrap()
    };
    let demo = || -> Value {
        let text = succeeded(&here(&["demo", "--json"]));
        serde_json::from_str(&text).unwrap()
    };
    let summary = demo();
    let story = summary["story_id"].as_str().unwrap();
    let get = [
        "context", "get", "--story", story, "--role", "qa", "--phase", "TEST",
    ];
    let told = here(&get);
    assert!(succeeded(&told).contains("## Story"));
    let noted = err(&told);
    assert!(
        noted.contains("nobody serves: this is .fleet/demo-1"),
        "{noted}"
    );

    // Of several somebody has to choose.
    demo();
    let refused = here(&get);
    assert_eq!(refused.status.code(), Some(1));
    let said = err(&refused);
    assert!(said.contains("--data .fleet/demo-2"), "{said}");
    succeeded(&here(&[&get[..], &["--data", ".fleet/demo-1"]].concat()));
}
