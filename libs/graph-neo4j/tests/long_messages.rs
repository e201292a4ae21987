//! Commits whose message is too long for one piece: their events follow in a second statement,
//! and are as much part of the commit as those of a short one.

mod common;

use std::time::Duration;

use fleet_graph::{
    Commit, CommitError, Deadline, GraphStore, Label, NodeKey, Outbox, OutboxEvent, Owner, Props,
};
use fleet_types::{EventId, Timestamp};
use serde_json::json;
use uuid::Uuid;

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(30))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's ids need no port, only to be fresh"
)]
fn fresh() -> Uuid {
    Uuid::now_v7()
}

fn props() -> Props {
    let value = json!({ "state": "DRAFT", "title": "a story with much to say" });
    value.as_object().expect("an object").clone()
}

/// So many events with payloads of half a kilobyte.
fn say(commit: &mut Commit, key: &NodeKey, count: i64) -> Vec<String> {
    let mut ids = Vec::new();
    for version in 1..=count {
        let id = EventId::mint(fresh());
        ids.push(id.to_string());
        commit.event(OutboxEvent {
            id,
            subject: "planning.story.updated".into(),
            source: "fleet-planning".into(),
            aggregate: key.id().into(),
            aggregate_version: version,
            time: commit.time,
            payload: json!({ "story_id": key.id(), "text": "x".repeat(512) }).to_string(),
            correlation: "c-1".into(),
            causation: String::new(),
            traceparent: String::new(),
        });
    }
    ids
}

#[tokio::test]
async fn events_that_follow_belong_to_their_commit() {
    let Some(server) = common::Server::from_env().await else {
        return;
    };
    let store = server.store(&format!("long-{}", fresh().simple()));
    store.migrate(soon()).await.unwrap();
    let time = Timestamp::from_millis(1_700_000_000_000);
    let later = time.plus(Duration::from_secs(1));
    let key = NodeKey::new(Label::Story, format!("s-{}", fresh()));

    // 5 fit beside the commit's own text, 20 do not, 200 would be too long for themselves.
    let mut said = Vec::new();
    for (version, count) in [(0, 5), (1, 20), (2, 200)] {
        let mut commit = Commit::new(fresh(), Owner::Planning, time);
        match version {
            0 => commit.create(key.clone(), key.id(), props()),
            _ => commit.update(key.clone(), version, key.id(), props()),
        };
        let ids = say(&mut commit, &key, count);
        store.commit(&commit, soon()).await.unwrap();
        // A lost reply: the second time it is the same commit.
        store.commit(&commit, soon()).await.unwrap();
        let pending = store.pending(later, 1_000, soon()).await.unwrap();
        let pending: Vec<String> = pending.iter().map(|event| event.id.to_string()).collect();
        assert_eq!(pending, ids, "in order, each once");
        let published: Vec<EventId> = ids.iter().map(|id| EventId::parse(id).unwrap()).collect();
        store.remove(&published, soon()).await.unwrap();
        said.extend(ids);
    }
    assert_eq!(said.len(), 225);

    let mut stale = Commit::new(fresh(), Owner::Planning, time);
    stale.update(key.clone(), 1, key.id(), props());
    say(&mut stale, &key, 20);
    let refused = store.commit(&stale, soon()).await.unwrap_err();
    assert!(
        matches!(refused, CommitError::Conflict { found: 3, .. }),
        "{refused:?}"
    );
    assert_eq!(store.pending(later, 1_000, soon()).await.unwrap().len(), 0);
}
