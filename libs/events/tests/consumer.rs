//! The consumer loop on a bus in memory, in paused time.

#![allow(clippy::unwrap_used, reason = "part of tests only")]

mod fakes;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use fakes::{MemoryBus, TestClock};
use fleet_events::{
    Bus, ConsumerSettings, Event, HandleError, Handler, Metrics, applied, run_consumer,
};
use fleet_graph::{CommitError, Deadline, Label, NodeKey, OutboxEvent, Receipt, Unavailable};
use fleet_topology::Consumer;
use fleet_types::{EventId, Timestamp};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

const CREATED: &str = "planning.story.created";

static CONSUMER: Consumer = Consumer {
    name: "test-consumer",
    service: "planning",
    stream: "PLANNING_EVENTS",
    filter_subjects: &[CREATED],
    ack_wait_secs: 30,
    max_ack_pending: 1_000,
    max_deliveries: 8,
};

type Step = Box<dyn Fn(&str, u64) -> Do + Send + Sync>;

/// What the handler does this time.
enum Do {
    Ok,
    Fail(HandleError),
    Panic,
    Sleep(u64),
    Hang,
}

struct Script {
    /// When each event was handled.
    log: Mutex<Vec<(String, Instant)>>,
    /// How often.
    counts: Mutex<BTreeMap<String, u64>>,
    step: Step,
}

#[async_trait]
impl Handler for Script {
    async fn handle(&self, event: &Event, _: Deadline) -> Result<(), HandleError> {
        let id = event.id.to_string();
        let count = {
            self.log.lock().unwrap().push((id.clone(), Instant::now()));
            let mut counts = self.counts.lock().unwrap();
            let count = counts.entry(id.clone()).or_default();
            *count += 1;
            *count
        };
        match (self.step)(&id, count) {
            Do::Ok => Ok(()),
            Do::Fail(error) => Err(error),
            Do::Panic => panic!("told to panic"),
            Do::Sleep(seconds) => {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                Ok(())
            }
            Do::Hang => std::future::pending().await,
        }
    }
}

struct World {
    bus: Arc<MemoryBus>,
    clock: Arc<TestClock>,
    metrics: Metrics,
    script: Arc<Script>,
    shutdown: CancellationToken,
    start: Instant,
}

fn event(number: u64) -> OutboxEvent {
    OutboxEvent {
        id: EventId::parse(&format!("ev-{number}")).unwrap(),
        subject: CREATED.to_owned(),
        source: "fleet-planning".to_owned(),
        aggregate: "s-1".to_owned(),
        aggregate_version: 1,
        time: Timestamp::from_millis(1_762_603_200_000),
        payload: "{}".to_owned(),
        correlation: "c".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

impl World {
    fn new(step: impl Fn(&str, u64) -> Do + Send + Sync + 'static) -> Self {
        Self {
            bus: MemoryBus::new(Duration::ZERO),
            clock: TestClock::start(),
            metrics: Metrics::default(),
            script: Arc::new(Script {
                log: Mutex::default(),
                counts: Mutex::default(),
                step: Box::new(step),
            }),
            shutdown: CancellationToken::new(),
            start: Instant::now(),
        }
    }

    fn settings(&self) -> ConsumerSettings {
        ConsumerSettings {
            metrics: self.metrics.clone(),
            ..ConsumerSettings::default()
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "there is no supervisor in this test"
    )]
    fn run(&self, settings: ConsumerSettings) -> JoinHandle<()> {
        tokio::spawn(run_consumer(
            self.bus.clone(),
            &CONSUMER,
            self.script.clone(),
            self.clock.clone(),
            settings,
            self.shutdown.clone(),
        ))
    }

    async fn publish(&self, numbers: std::ops::Range<u64>) {
        let events: Vec<_> = numbers.map(event).collect();
        for outcome in self
            .bus
            .publish(&events, Deadline::after(Duration::from_secs(1)))
            .await
        {
            outcome.unwrap();
        }
    }

    /// When an event was handled, in seconds since the start.
    fn times(&self, id: &str) -> Vec<f64> {
        let log = self.script.log.lock().unwrap();
        let own = log.iter().filter(|(logged, _)| logged == id);
        own.map(|(_, at)| at.duration_since(self.start).as_secs_f64())
            .collect()
    }

    async fn parked(&self) -> BTreeMap<String, (u64, String)> {
        let parked = self
            .bus
            .parked(0, 100, Deadline::after(Duration::from_secs(1)))
            .await
            .unwrap();
        parked
            .into_iter()
            .map(|p| {
                (
                    p.message.header("ce-id").unwrap().to_owned(),
                    (p.deliveries, p.reason),
                )
            })
            .collect()
    }

    async fn stop(&self, task: JoinHandle<()>) {
        self.shutdown.cancel();
        task.await.unwrap();
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn retry(reason: &str) -> Do {
    Do::Fail(HandleError::Retry {
        reason: reason.to_owned(),
        after: None,
    })
}

fn store_away() -> Do {
    Do::Fail(HandleError::Unavailable {
        reason: "store away".to_owned(),
    })
}

#[tokio::test(start_paused = true)]
async fn failures_come_back_with_growing_delays_and_are_parked_at_the_limit() {
    let world = World::new(|id, count| match (id, count) {
        ("ev-0", _) => retry("never"),
        ("ev-1", _) => Do::Panic,
        ("ev-2", 1..=5) => retry("not yet"),
        ("ev-3", _) => Do::Hang,
        _ => Do::Ok,
    });
    world.publish(0..40).await;
    let task = world.run(world.settings());
    pass(1).await;
    assert_eq!(world.metrics.counts().handled, 36);
    pass(600).await;
    let parked = world.parked().await;
    assert_eq!(parked.len(), 3, "{parked:?}");
    assert_eq!(parked["ev-0"], (8, "never".to_owned()));
    assert_eq!(
        (parked["ev-1"].0, parked["ev-1"].1.contains("told to panic")),
        (8, true)
    );
    assert_eq!(
        (parked["ev-3"].0, parked["ev-3"].1.contains("did not end")),
        (8, true)
    );
    let times = world.times("ev-0");
    assert_eq!(times.len(), 8);
    let delays: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (nth, delay) in delays.iter().enumerate() {
        let longest = 0.1 * f64::from(1 << nth);
        assert!(
            (longest / 2.0..=longest + 0.01).contains(delay),
            "{nth}: {delays:?}"
        );
    }
    assert_eq!(world.times("ev-2").len(), 6);
    let counts = world.metrics.counts();
    assert_eq!((counts.handled, counts.parked), (37, 3));
    assert!(counts.redelivered >= 7 + 7 + 5 + 7, "{counts:?}");
    assert_eq!(world.bus.unanswered(CONSUMER.name), 0);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn long_work_keeps_its_message_and_stands_in_nobodys_way() {
    let world = World::new(|id, _| match id {
        "ev-0" => Do::Sleep(300),
        _ => Do::Ok,
    });
    world.publish(0..100).await;
    let settings = ConsumerSettings {
        handle_within: Duration::from_secs(600),
        ..world.settings()
    };
    let one = world.run(settings.clone());
    let two = world.run(settings);
    pass(1).await;
    assert_eq!(world.metrics.counts().handled, 99);
    pass(400).await;
    assert_eq!(world.times("ev-0").len(), 1);
    assert_eq!(
        (
            world.metrics.counts().handled,
            world.metrics.counts().redelivered
        ),
        (100, 0)
    );
    world.stop(one).await;
    world.stop(two).await;
}

#[tokio::test(start_paused = true)]
async fn side_by_side_but_never_more_than_allowed() {
    let world = World::new(|_, _| Do::Sleep(10));
    world.publish(0..50).await;
    let task = world.run(ConsumerSettings {
        concurrency: 5,
        ..world.settings()
    });
    pass(95).await;
    let log: Vec<_> = world
        .script
        .log
        .lock()
        .unwrap()
        .iter()
        .map(|(_, at)| *at)
        .collect();
    assert_eq!(log.len(), 50);
    for at in &log {
        let together = log.iter().filter(|other| **other == *at).count();
        assert_eq!(together, 5);
    }
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_the_store_parks_nothing() {
    let away = Arc::new(Mutex::new(true));
    let told = away.clone();
    let world = World::new(move |_, _| {
        if *told.lock().unwrap() {
            store_away()
        } else {
            Do::Ok
        }
    });
    world.publish(0..200).await;
    let task = world.run(world.settings());
    pass(3_600).await;
    assert_eq!(world.parked().await.len(), 0);
    let attempts = world.script.log.lock().unwrap().len();
    assert!(attempts < 20_000, "{attempts} attempts in an hour");
    assert!(
        world.metrics.counts().redelivered < 1_000,
        "{:?}",
        world.metrics.counts()
    );
    *away.lock().unwrap() = false;
    pass(60).await;
    assert_eq!(world.metrics.counts().handled, 200);
    assert_eq!(world.parked().await.len(), 0);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn an_event_that_alone_finds_the_store_away_is_parked_like_any_other() {
    let world = World::new(|id, _| if id == "ev-0" { store_away() } else { Do::Ok });
    let task = world.run(world.settings());
    for number in 0..600 {
        world.publish(number..number + 1).await;
        pass(1).await;
    }
    let parked = world.parked().await;
    assert_eq!(parked["ev-0"], (8, "store away".to_owned()));
    assert_eq!(world.metrics.counts().handled, 599);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn events_that_hang_on_something_away_leave_room_for_the_others() {
    let world = World::new(|id, _| match id {
        "ev-0" | "ev-1" | "ev-2" => store_away(),
        _ => Do::Ok,
    });
    world.publish(0..3).await;
    let task = world.run(ConsumerSettings {
        concurrency: 2,
        ..world.settings()
    });
    pass(10).await;
    world.publish(3..9).await;
    pass(10).await;
    assert_eq!(world.metrics.counts().handled, 6);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_run_again_on_the_spot() {
    let lost = || {
        let found = CommitError::AlreadyExists {
            key: NodeKey::new(Label::Story, "s-1"),
        };
        Do::Fail(found.into())
    };
    let world = World::new(move |id, count| match (id, count) {
        ("ev-0", 1..=3) | ("ev-1", 1..=8) | ("ev-2", _) => lost(),
        _ => Do::Ok,
    });
    world.publish(0..3).await;
    let task = world.run(world.settings());
    pass(1).await;
    let counts = world.metrics.counts();
    assert_eq!((counts.handled, counts.parked), (2, 1));
    assert_eq!(
        (world.times("ev-0").len(), world.times("ev-1").len()),
        (4, 9)
    );
    assert_eq!(world.parked().await["ev-2"].0, 8);
    // The first is never seen by the bus again, the second once.
    assert_eq!(counts.redelivered, 1 + 7);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_not_known_is_tried_for_its_time() {
    let unknown = || {
        Do::Fail(HandleError::NotYetKnown {
            what: "task T-1".to_owned(),
        })
    };
    let world = World::new(move |id, count| match (id, count) {
        ("ev-0", _) => unknown(),
        ("ev-1", 1..=12) => unknown(),
        _ => Do::Ok,
    });
    world.publish(0..2).await;
    let task = world.run(world.settings());
    pass(20).await;
    assert_eq!(world.parked().await.len(), 0);
    pass(60).await;
    let parked = world.parked().await;
    assert_eq!(parked.len(), 1);
    assert!(parked["ev-0"].1.contains("task T-1"), "{parked:?}");
    let last = *world.times("ev-0").last().unwrap();
    assert!((30.0..=61.0).contains(&last), "given up after {last} s");
    assert_eq!(world.metrics.counts().handled, 1);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_parked_is_not_lost() {
    let world = World::new(|id, _| match id {
        "ev-0" => Do::Fail(HandleError::Permanent {
            reason: "no".to_owned(),
        }),
        _ => Do::Ok,
    });
    world.bus.set_park_fails(true);
    world.publish(0..3).await;
    let task = world.run(world.settings());
    pass(600).await;
    assert_eq!(
        (world.parked().await.len(), world.metrics.counts().parked),
        (0, 0)
    );
    assert_eq!(world.bus.unanswered(CONSUMER.name), 1);
    world.bus.set_park_fails(false);
    pass(60).await;
    assert_eq!(world.parked().await.len(), 1);
    assert_eq!(world.bus.unanswered(CONSUMER.name), 0);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn the_loop_survives_the_bus_and_does_not_hammer_it() {
    let world = World::new(|_, _| Do::Ok);
    world.bus.set_down(true);
    let task = world.run(world.settings());
    pass(600).await;
    let tries = world.bus.subscribes();
    assert!((100..400).contains(&tries), "{tries} tries in ten minutes");
    world.bus.set_down(false);
    world.publish(0..5).await;
    pass(10).await;
    assert_eq!(world.metrics.counts().handled, 5);
    world.bus.set_down(true);
    pass(100).await;
    world.bus.set_down(false);
    world.publish(5..9).await;
    pass(10).await;
    assert_eq!(world.metrics.counts().handled, 9);
    world.stop(task).await;
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_running_handlers_within_its_bound() {
    let world = World::new(|id, _| match id {
        "ev-0" => Do::Sleep(5),
        "ev-1" => Do::Sleep(19),
        "ev-2" => store_away(),
        _ => Do::Ok,
    });
    world.publish(0..3).await;
    let task = world.run(world.settings());
    pass(1).await;
    let start = Instant::now();
    world.stop(task).await;
    assert!(
        start.elapsed() <= Duration::from_secs(11),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(world.metrics.counts().handled, 1);
    // Neither the cut one nor the held one is lost.
    assert_eq!(world.bus.unanswered(CONSUMER.name), 2);
    world.publish(3..4).await;
    pass(60).await;
    assert_eq!(world.times("ev-3").len(), 0);
}

#[test]
fn errors_of_the_store_have_their_consequence() {
    let key = || NodeKey::new(Label::Story, "s-1");
    let away = || Unavailable {
        store: "x",
        reason: "y".to_owned(),
        retryable: true,
    };
    let of = |error: CommitError| applied(Err(error));
    assert_eq!(applied(Ok(Receipt::default())), Ok(()));
    assert_eq!(of(CommitError::AlreadyApplied), Ok(()));
    assert!(matches!(
        of(away().into()),
        Err(HandleError::Unavailable { .. })
    ));
    let conflict = CommitError::Conflict {
        key: key(),
        expected: 1,
        found: 2,
    };
    assert!(matches!(
        of(conflict),
        Err(HandleError::Retry { after: Some(_), .. })
    ));
    assert!(matches!(
        of(CommitError::AlreadyExists { key: key() }),
        Err(HandleError::Retry { after: Some(_), .. })
    ));
    let missing = of(CommitError::Missing { key: key() });
    assert_eq!(
        missing,
        Err(HandleError::NotYetKnown {
            what: "Story/s-1".to_owned()
        })
    );
    let invalid = of(CommitError::Invalid("z".to_owned()));
    assert!(matches!(invalid, Err(HandleError::Permanent { .. })));
}
