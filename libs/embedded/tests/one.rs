//! Store and bus as one: what a commit says is on the bus with it.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod common;

use std::{sync::Arc, time::Duration};

use common::*;
use fleet_embedded::Embedded;
use fleet_events::{Bus, RawMessage};
use fleet_graph::{CommitError, Store};
use fleet_topology::Consumer;

/// Everything that a consumer has not seen, and a moment's silence behind it.
async fn heard(bus: &Arc<dyn Bus>, consumer: &'static Consumer) -> Vec<RawMessage> {
    let mut pulled = bus.subscribe(consumer, soon()).await.unwrap();
    let mut heard = Vec::new();
    loop {
        let batch = pulled.fetch(500, Duration::from_millis(50)).await.unwrap();
        if batch.is_empty() {
            return heard;
        }
        for delivery in batch {
            heard.push(delivery.message().clone());
            delivery.ack().await.unwrap();
        }
    }
}

async fn backlog(store: &Arc<dyn Store>) -> u64 {
    store.backlog(soon()).await.unwrap().0
}

#[tokio::test]
async fn a_commit_puts_its_events_on_the_bus_as_the_relay_would() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let (store, bus) = embedded.store_and_bus();
    let commit = create_story(1);
    let receipt = store.commit(&commit, soon()).await.unwrap();
    assert!(receipt.on_bus);
    assert_eq!(backlog(&store).await, 0);
    let published = bus.publish(&commit.events, soon()).await.remove(0).unwrap();
    assert!(published.duplicate, "the bus knows it by its id");

    // What the relay brings looks the same.
    let plain = create_story(2);
    let receipt = embedded.store().commit(&plain, soon()).await.unwrap();
    assert!(!receipt.on_bus);
    assert_eq!(backlog(&store).await, 1);
    bus.publish(&plain.events, soon()).await.remove(0).unwrap();
    let heard = heard(&bus, reader("one-as-the-relay")).await;
    assert_eq!(heard.len(), 2);
    let shape = |message: &RawMessage| {
        let names: Vec<_> = message
            .headers
            .iter()
            .map(|(name, _)| name.clone())
            .collect();
        (message.stream.clone(), message.subject.clone(), names)
    };
    assert_eq!(shape(&heard[0]), shape(&heard[1]));
    assert_eq!(heard[0].header("ce-id"), Some("ev-1"));
    assert_eq!(heard[0].body, commit.events[0].payload.as_bytes());

    // A commit without events has nothing to hand over, and a repeated one says nothing twice.
    let mut silent = common::commit(3);
    silent.create(story(3), "3", story_props(3, "DRAFT"));
    assert!(!store.commit(&silent, soon()).await.unwrap().on_bus);
    let again = store.commit(&commit, soon()).await.unwrap();
    assert_eq!((again.versions, again.on_bus), (vec![(story(1), 1)], false));
    let mut reused = common::commit(4);
    reused.create(story(4), "4", story_props(4, "DRAFT"));
    reused.events = commit.events.clone();
    let refused = store.commit(&reused, soon()).await.unwrap_err();
    assert!(matches!(refused, CommitError::Invalid(_)), "{refused}");
    let after = bus.subscribe(reader("one-as-the-relay"), soon()).await;
    let silence = after.unwrap().fetch(1, Duration::from_millis(50)).await;
    assert!(silence.unwrap().is_empty());
}

#[tokio::test]
async fn a_refused_commit_says_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let (store, bus) = embedded.store_and_bus();
    store.commit(&create_story(0), soon()).await.unwrap();
    // Of each pair in a group, one is refused.
    let mut racers = tokio::task::JoinSet::new();
    for n in 1..=64u64 {
        let store = Arc::clone(&store);
        racers.spawn(async move {
            let mut commit = create_story(n);
            if n % 2 == 0 {
                commit.create(story(0), "0", story_props(0, "DRAFT"));
            }
            assert_eq!(store.commit(&commit, soon()).await.is_ok(), n % 2 == 1);
        });
    }
    racers.join_all().await;
    let mut heard: Vec<u64> = heard(&bus, reader("one-refused"))
        .await
        .iter()
        .map(|m| m.header("ce-id").unwrap()[3..].parse().unwrap())
        .collect();
    heard.sort_unstable();
    let expected: Vec<u64> = (0..=64).filter(|n| *n == 0 || n % 2 == 1).collect();
    assert_eq!(heard, expected);
    assert_eq!(backlog(&store).await, 0);
}

#[tokio::test]
async fn what_a_full_stream_does_not_take_waits_in_the_outbox() {
    let dir = tempfile::tempdir().unwrap();
    let mut small = options();
    small.max_stream_messages = Some(3);
    let embedded = Embedded::open(dir.path(), small).unwrap();
    let (store, bus) = embedded.store_and_bus();
    for n in 1..=5 {
        let receipt = store.commit(&create_story(n), soon()).await.unwrap();
        assert_eq!(receipt.on_bus, n <= 3, "commit {n}");
    }
    assert_eq!(backlog(&store).await, 2);
    embedded.close().await;

    let embedded = open(dir.path());
    let (store, bus_again) = embedded.store_and_bus();
    drop(bus);
    let later = time().plus(Duration::from_secs(60));
    let waiting = store.pending(later, 10, soon()).await.unwrap();
    for outcome in bus_again.publish(&waiting, soon()).await {
        assert!(!outcome.unwrap().duplicate);
    }
    assert_eq!(heard(&bus_again, reader("one-full")).await.len(), 5);
}

#[tokio::test]
async fn who_falls_behind_or_comes_later_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let (store, bus) = embedded.store_and_bus();
    let stream = fleet_topology::stream("PLANNING_EVENTS").unwrap();
    let mut tail = bus.tail(stream, &["planning.>"], soon()).await.unwrap();
    // More than is kept in memory.
    let mut commits = tokio::task::JoinSet::new();
    for n in 0..3_000u64 {
        let store = Arc::clone(&store);
        commits.spawn(async move { store.commit(&create_story(n), soon()).await.unwrap() });
    }
    commits.join_all().await;
    for sequence in 1..=3_000 {
        assert_eq!(tail.next().await.unwrap().sequence, sequence);
    }
    let heard_by = |heard: Vec<RawMessage>| heard.iter().map(|m| m.sequence).collect::<Vec<_>>();
    let all: Vec<u64> = (1..=3_000).collect();
    assert_eq!(heard_by(heard(&bus, reader("one-late")).await), all);
    store.commit(&create_story(3_000), soon()).await.unwrap();
    assert_eq!(heard_by(heard(&bus, reader("one-late")).await), [3_001]);
    assert_eq!(tail.next().await.unwrap().sequence, 3_001);
    embedded.close().await;
    let bus = open(dir.path()).bus();
    assert_eq!(
        heard_by(heard(&bus, reader("one-later")).await),
        (1..=3_001).collect::<Vec<u64>>()
    );
}

/// The table is not asked for what was just said: it says so even when the row is gone.
#[tokio::test]
async fn who_keeps_up_reads_from_memory() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = open(dir.path());
    let (store, bus) = embedded.store_and_bus();
    let stream = fleet_topology::stream("PLANNING_EVENTS").unwrap();
    let mut tail = bus.tail(stream, &[], soon()).await.unwrap();
    store.commit(&create_story(1), soon()).await.unwrap();
    let behind = rusqlite::Connection::open(dir.path().join("fleet.db")).unwrap();
    assert_eq!(behind.execute("DELETE FROM log", ()).unwrap(), 1);
    let heard = heard(&bus, reader("one-from-memory")).await;
    assert_eq!(heard.len(), 1);
    assert_eq!(heard[0].header("ce-id"), Some("ev-1"));
    assert_eq!(tail.next().await.unwrap(), heard[0]);
}
