//! The relay between a store and a bus in memory, in paused time.

#![allow(clippy::unwrap_used, reason = "part of tests only")]

mod fakes;

use std::{sync::Arc, time::Duration};

use fakes::{MemoryBus, MemoryStore, TestClock};
use fleet_events::{Committer, Counts, Metrics, Relay, RelaySettings};
use fleet_graph::{Commit, CommitError, Deadline, OutboxEvent, Owner};
use fleet_types::{Clock, EventId, Timestamp};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const STREAM: &str = "PLANNING_EVENTS";
const OTHER: &str = "WORKFLOW_EVENTS";

struct World {
    store: Arc<MemoryStore>,
    bus: Arc<MemoryBus>,
    clock: Arc<TestClock>,
    metrics: Metrics,
}

struct Running {
    committer: Committer,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

fn event(subject: &str, number: u64, time: Timestamp) -> OutboxEvent {
    OutboxEvent {
        id: EventId::parse(&format!("ev-{number}")).unwrap(),
        subject: subject.to_owned(),
        source: "fleet-planning".to_owned(),
        aggregate: "s-1".to_owned(),
        aggregate_version: 1,
        time,
        payload: "{}".to_owned(),
        correlation: "c".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

impl World {
    fn new(sync_interval: Duration) -> Self {
        Self {
            store: MemoryStore::new(),
            bus: MemoryBus::new(sync_interval),
            clock: TestClock::start(),
            metrics: Metrics::default(),
        }
    }

    fn settings(&self) -> RelaySettings {
        RelaySettings {
            metrics: self.metrics.clone(),
            ..RelaySettings::default()
        }
    }

    fn relay(&self, settings: RelaySettings) -> (Relay, Committer) {
        Relay::new(
            self.store.clone(),
            self.bus.clone(),
            self.clock.clone(),
            settings,
        )
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "there is no supervisor in this test"
    )]
    fn start(&self, settings: RelaySettings) -> Running {
        let (relay, committer) = self.relay(settings);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(relay.run(shutdown.clone()));
        Running {
            committer,
            shutdown,
            task,
        }
    }

    fn counts(&self) -> Counts {
        self.metrics.counts()
    }

    fn commit_of(&self, subject: &str, numbers: std::ops::Range<u64>) -> Commit {
        let now = self.clock.now();
        let mut commit = Commit::new(
            Uuid::from_u128(u128::from(numbers.start)),
            Owner::Planning,
            now,
        );
        for number in numbers {
            commit.event(event(subject, number, now));
        }
        commit
    }

    async fn commit(&self, committer: &Committer, numbers: std::ops::Range<u64>) {
        let commit = self.commit_of("planning.story.created", numbers);
        committer
            .commit(commit, Deadline::after(Duration::from_secs(1)))
            .await
            .unwrap();
    }

    async fn commit_other(&self, committer: &Committer, numbers: std::ops::Range<u64>) {
        let mut commit = self.commit_of("workflow.state.changed", numbers);
        commit.writer = Owner::Workflow;
        committer
            .commit(commit, Deadline::after(Duration::from_secs(1)))
            .await
            .unwrap();
    }

    fn stored(&self) -> usize {
        self.bus.stored(STREAM).len()
    }
}

impl Running {
    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }

    fn abort(self) {
        self.task.abort();
    }
}

/// Lets everything run that has something to do, for so long.
async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn a_commit_is_on_the_bus_at_once_and_leaves_the_outbox_in_batches() {
    let world = World::new(Duration::ZERO);
    let running = world.start(world.settings());
    pass(0.001).await;
    for start in 0..200 {
        world
            .commit(&running.committer, start * 2..start * 2 + 2)
            .await;
    }
    pass(0.01).await;
    assert_eq!(world.stored(), 400);
    assert_eq!(world.store.rows(), 400);
    pass(1.0).await;
    assert_eq!(world.store.rows(), 0);
    assert!(world.store.settles() <= 3, "{}", world.store.settles());
    let counts = world.counts();
    assert_eq!(
        (counts.published, counts.swept, counts.overflow),
        (400, 0, 0)
    );
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_says_nothing() {
    let world = World::new(Duration::ZERO);
    let running = world.start(world.settings());
    world.store.set_down(true);
    let commit = world.commit_of("planning.story.created", 0..1);
    let outcome = running
        .committer
        .commit(commit, Deadline::after(Duration::from_secs(1)))
        .await;
    assert!(matches!(outcome, Err(CommitError::Unavailable(_))));
    world.store.set_down(false);
    pass(30.0).await;
    assert_eq!(world.stored(), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_process_left_behind_is_swept() {
    let world = World::new(Duration::ZERO);
    let now = world.clock.now();
    for number in 0..2_000 {
        world
            .store
            .leave(event("planning.story.created", number, now), now, None);
    }
    let running = world.start(world.settings());
    pass(1.0).await;
    assert_eq!((world.stored(), world.store.rows()), (2_000, 0));
    // Later ones are left alone as long as their own process may bring them.
    let now = world.clock.now();
    world
        .store
        .leave(event("planning.story.created", 9_999, now), now, None);
    pass(4.0).await;
    assert_eq!(world.stored(), 2_000);
    pass(5.0).await;
    assert_eq!((world.stored(), world.store.rows()), (2_001, 0));
    assert_eq!(world.counts().swept, 2_001);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_relay_that_does_not_run_loses_nothing_and_blocks_nobody() {
    let world = World::new(Duration::ZERO);
    let settings = RelaySettings {
        queue: 10,
        ..world.settings()
    };
    let (relay, committer) = world.relay(settings);
    for number in 0..50 {
        world.commit(&committer, number..number + 1).await;
    }
    assert_eq!(world.counts().overflow, 40);
    drop(relay);
    world.commit(&committer, 50..51).await;
    assert_eq!((world.store.rows(), world.stored()), (51, 0));
    let running = world.start(world.settings());
    pass(10.0).await;
    assert_eq!((world.store.rows(), world.stored()), (0, 51));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_without_haste_and_made_up_for_at_once() {
    let world = World::new(Duration::ZERO);
    let running = world.start(world.settings());
    pass(1.0).await;
    world.bus.set_down(true);
    for number in 0..600 {
        world.commit(&running.committer, number..number + 1).await;
        pass(1.0).await;
    }
    assert_eq!((world.stored(), world.store.rows()), (0, 600));
    // Ten minutes: every publish is one attempt of somebody, with pauses in between.
    let attempts = world.bus.publishes();
    assert!(attempts < 1_000, "{attempts} attempts in ten minutes");
    assert!(world.counts().backlog > 0);
    world.bus.set_down(false);
    pass(8.0).await;
    assert_eq!((world.stored(), world.store.rows()), (600, 0));
    pass(5.0).await;
    assert_eq!(world.counts().backlog, 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_after_the_commit_only_delays_the_removal() {
    let world = World::new(Duration::ZERO);
    let running = world.start(world.settings());
    pass(1.0).await;
    world.commit(&running.committer, 0..5).await;
    pass(0.05).await;
    world.store.set_down(true);
    pass(60.0).await;
    assert_eq!((world.stored(), world.store.rows()), (5, 5));
    world.store.set_down(false);
    pass(10.0).await;
    assert_eq!((world.stored(), world.store.rows()), (5, 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_full_stream_holds_up_its_own_events_alone() {
    let world = World::new(Duration::ZERO);
    let now = world.clock.now();
    world.bus.set_full(STREAM, true);
    // More than one page of them, older than everything else.
    for number in 0..1_500 {
        world
            .store
            .leave(event("planning.story.created", number, now), now, None);
    }
    let later = now.plus(Duration::from_millis(1));
    for number in 2_000..2_700 {
        world
            .store
            .leave(event("workflow.state.changed", number, later), later, None);
    }
    pass(0.01).await;
    let running = world.start(world.settings());
    world.commit(&running.committer, 3_000..3_010).await;
    world.commit_other(&running.committer, 4_000..4_010).await;
    pass(20.0).await;
    assert_eq!((world.bus.stored(OTHER).len(), world.stored()), (710, 0));
    assert_eq!(world.counts().backlog, 1_510);
    let calm = world.bus.publishes();
    pass(300.0).await;
    assert!(
        world.bus.publishes() - calm < 200,
        "{}",
        world.bus.publishes() - calm
    );
    world.bus.set_full(STREAM, false);
    pass(60.0).await;
    assert_eq!((world.stored(), world.store.rows()), (1_510, 0));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_the_bus_refuses_does_not_stop_the_others() {
    let world = World::new(Duration::ZERO);
    let now = world.clock.now();
    world
        .store
        .leave(event("nobody.listens", 1, now), now, None);
    pass(0.01).await;
    let running = world.start(world.settings());
    world.commit(&running.committer, 10..20).await;
    pass(10.0).await;
    assert_eq!((world.stored(), world.store.rows()), (10, 1));
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn marks_protect_what_the_server_has_not_synced() {
    let interval = Duration::from_secs(120);
    let world = World::new(interval);
    let running = world.start(world.settings());
    pass(1.0).await;
    world.commit(&running.committer, 0..10).await;
    pass(60.0).await;
    world.commit(&running.committer, 10..20).await;
    pass(5.0).await;
    assert_eq!((world.store.rows(), world.store.marked()), (20, 20));
    // The machine of the server dies with what it has not synced and is away for an hour.
    world.bus.set_down(true);
    world.bus.lose_tail(STREAM, 12);
    world.commit(&running.committer, 20..25).await;
    pass(3_600.0).await;
    assert_eq!(world.store.rows(), 25);
    world.bus.set_down(false);
    pass(10.0).await;
    let mut stored = world.bus.stored(STREAM);
    stored.sort();
    stored.dedup();
    assert_eq!((stored.len(), world.stored()), (25, 25));
    pass(400.0).await;
    assert_eq!(world.store.rows(), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn marks_of_a_dead_process_are_taken_back() {
    let world = World::new(Duration::from_secs(120));
    let running = world.start(world.settings());
    pass(1.0).await;
    world.commit(&running.committer, 0..10).await;
    pass(5.0).await;
    assert_eq!(world.store.marked(), 10);
    // Everything dies at once.
    running.abort();
    world.bus.lose_tail(STREAM, 10);
    pass(1_000.0).await;
    let running = world.start(world.settings());
    pass(5.0).await;
    assert_eq!((world.stored(), world.store.marked()), (10, 10));
    pass(400.0).await;
    assert_eq!(world.store.rows(), 0);
    running.stop().await;
}

#[tokio::test(start_paused = true)]
async fn two_relays_on_one_outbox_do_no_harm() {
    let world = World::new(Duration::ZERO);
    let one = world.start(RelaySettings {
        seed: 1,
        ..world.settings()
    });
    let two = world.start(RelaySettings {
        seed: 2,
        ..world.settings()
    });
    world.bus.set_down(true);
    for number in 0..100 {
        let committer = if number % 2 == 0 {
            &one.committer
        } else {
            &two.committer
        };
        world.commit(committer, number..number + 1).await;
        pass(0.2).await;
    }
    world.bus.set_down(false);
    pass(20.0).await;
    assert_eq!((world.stored(), world.store.rows()), (100, 0));
    assert_eq!(world.counts().published, 100);
    one.stop().await;
    two.stop().await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_publishes_what_is_queued_within_its_bound() {
    let world = World::new(Duration::ZERO);
    let running = world.start(world.settings());
    world.commit(&running.committer, 0..500).await;
    running.stop().await;
    assert_eq!((world.stored(), world.store.rows()), (500, 0));

    let running = world.start(world.settings());
    world.bus.set_down(true);
    world.commit(&running.committer, 500..510).await;
    pass(1.0).await;
    world.commit(&running.committer, 510..520).await;
    let start = tokio::time::Instant::now();
    running.stop().await;
    assert!(
        start.elapsed() <= Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    assert_eq!((world.stored(), world.store.rows()), (500, 20));
}

#[tokio::test(start_paused = true)]
async fn old_rows_are_pruned_by_age_and_idleness_costs_little() {
    let world = World::new(Duration::ZERO);
    let running = world.start(world.settings());
    world.store.set_prunable(2_500);
    pass(3_600.0).await;
    let prunes = world.store.prunes();
    assert!((6..20).contains(&prunes.len()), "{}", prunes.len());
    let day = Duration::from_secs(86_400);
    let (inbox, requests) = prunes[0];
    assert_eq!(requests.since(inbox), 24 * day);
    let age = world.clock.now().since(inbox);
    assert!(
        age > 31 * day && age < 31 * day + Duration::from_secs(3_600),
        "{age:?}"
    );
    // One look every two seconds, no publish.
    assert!(
        (1_300..2_700).contains(&world.store.reads()),
        "{}",
        world.store.reads()
    );
    assert_eq!(world.bus.publishes(), 0);
    running.stop().await;
}
