//! What the tests share.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fleet_embedded::{Embedded, Options};
use fleet_graph::{Commit, Deadline, EdgeType, Label, NodeKey, OutboxEvent, Owner, Props};
use fleet_topology::Consumer;
use fleet_types::{Clock, EventId, Timestamp};
use serde_json::json;
use uuid::Uuid;

/// Time that begins at a fixed point and runs with the machine's.
#[derive(Debug)]
pub struct TestClock(Instant);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_762_603_200_000).plus(self.0.elapsed())
    }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(TestClock(Instant::now()))
}

pub fn options() -> Options {
    Options::new(clock())
}

pub fn open(dir: &Path) -> Embedded {
    Embedded::open(dir, options()).unwrap()
}

/// A consumer of created stories; each name begins at the front of the log.
pub fn reader(name: impl Into<String>) -> &'static Consumer {
    Box::leak(Box::new(Consumer {
        name: name.into().leak(),
        service: "planning",
        stream: "PLANNING_EVENTS",
        filter_subjects: &["planning.story.created"],
        ack_wait_secs: 30,
        max_ack_pending: 1000,
        max_deliveries: 8,
    }))
}

pub fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(20))
}

pub fn time() -> Timestamp {
    Timestamp::from_millis(1_762_603_200_000)
}

/// A commit id that is the same in every run.
pub fn id(n: u64) -> Uuid {
    Uuid::from_u64_pair(0x1d, n)
}

pub fn story(n: u64) -> NodeKey {
    NodeKey::new(Label::Story, format!("s-{n}"))
}

pub fn story_props(n: u64, state: &str) -> Props {
    fleet_graph::props(&json!({
        "title": format!("Story {n} ✓"), "state": state, "epic_id": "E-1",
        "created_at": "2025-11-08T12:00:00.000Z", "description": "x".repeat(200),
    }))
}

pub fn commit(n: u64) -> Commit {
    Commit::new(id(n), Owner::Planning, time())
}

pub fn event(id: &str, subject: &str) -> OutboxEvent {
    OutboxEvent {
        id: EventId::parse(id).unwrap(),
        subject: subject.to_owned(),
        source: "fleet-planning".to_owned(),
        aggregate: "s-1".to_owned(),
        aggregate_version: 1,
        time: time(),
        payload: json!({"story_id": "s-1", "event": id}).to_string(),
        correlation: "c-1".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

/// A commit that creates story `n` with one event.
pub fn create_story(n: u64) -> Commit {
    let mut commit = commit(n);
    commit
        .create(story(n), format!("{n:012}"), story_props(n, "DRAFT"))
        .event(event(&format!("ev-{n}"), "planning.story.created"));
    commit
}

pub fn task(n: u64) -> NodeKey {
    NodeKey::new(Label::Task, format!("T-{n}"))
}

/// A commit that creates story `n` with one event and one task that is found by its words.
pub fn plan_story(n: u64) -> Commit {
    let mut commit = create_story(n);
    let props = fleet_graph::props(&json!({
        "title": format!("Task {n} ✓"), "description": format!("Sort page {} of the ledger", n % 7),
        "story_id": format!("s-{n}"),
    }));
    commit
        .create(task(n), format!("{n:012}"), props)
        .relate(story(n), EdgeType::HasTask, task(n));
    commit
}
