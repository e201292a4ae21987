//! The consumer loop over a real bus.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use fleet_graph::{Deadline, OutboxEvent};
use fleet_topology::Consumer;
use fleet_types::{Clock, Timestamp};
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::world::{PATIENCE, consumer, event, events, forever, publish, soon, until};
use crate::{Backoff, Bus, ConsumerSettings, Event, HandleError, Handler, Metrics, run_consumer};

#[derive(Debug)]
struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1_762_603_200_000)
    }
}

type Verdict = Box<dyn Fn(&Event, u64) -> Result<(), HandleError> + Send + Sync>;

/// Counts how often each event was handled and lets `verdict` decide by event and count.
struct Script {
    handled: Mutex<BTreeMap<String, u64>>,
    verdict: Verdict,
}

impl Script {
    fn new(
        verdict: impl Fn(&Event, u64) -> Result<(), HandleError> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            handled: Mutex::default(),
            verdict: Box::new(verdict),
        })
    }

    fn handled(&self) -> BTreeMap<String, u64> {
        self.handled.lock().unwrap().clone()
    }
}

#[async_trait]
impl Handler for Script {
    async fn handle(&self, event: &Event, _: Deadline) -> Result<(), HandleError> {
        let count = {
            let mut handled = self.handled.lock().unwrap();
            let count = handled.entry(event.id.to_string()).or_default();
            *count += 1;
            *count
        };
        (self.verdict)(event, count)
    }
}

/// Consumers that run until this is dropped or [`Running::stop`] is called.
struct Running {
    tasks: JoinSet<()>,
    shutdown: CancellationToken,
    metrics: Metrics,
}

impl Running {
    fn new() -> Self {
        Self {
            tasks: JoinSet::new(),
            shutdown: CancellationToken::new(),
            metrics: Metrics::default(),
        }
    }

    fn run(&mut self, bus: &Arc<dyn Bus>, consumer: &'static Consumer, handler: Arc<dyn Handler>) {
        let quick = Backoff {
            first: Duration::from_millis(20),
            max: Duration::from_millis(100),
        };
        let settings = ConsumerSettings {
            backoff: quick,
            not_yet_known_backoff: quick,
            not_yet_known_for: Duration::from_millis(500),
            metrics: self.metrics.clone(),
            ..ConsumerSettings::default()
        };
        let (bus, shutdown) = (bus.clone(), self.shutdown.clone());
        self.tasks.spawn(run_consumer(
            bus,
            consumer,
            handler,
            Arc::new(Noon),
            settings,
            shutdown,
        ));
    }

    async fn stop(mut self) {
        self.shutdown.cancel();
        let start = Instant::now();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        assert!(
            start.elapsed() < PATIENCE,
            "stopping took {:?}",
            start.elapsed()
        );
    }
}

/// Not JSON, a missing field, a panic, something slow that fails: each is parked with its
/// reason, and everything behind it is handled at once.
pub async fn a_poison_message_is_parked_and_slows_nobody(bus: Arc<dyn Bus>) {
    let mut not_json = event("poison", 1);
    not_json.payload = "{\"half".to_owned();
    let mut batch = vec![not_json];
    batch.extend(events("poison", 2..5));
    batch.extend(events("good", 0..40));
    publish(&bus, &batch).await;
    let script = Script::new(|event, _| match event.id.as_str() {
        "ev-poison-2" => Err(HandleError::Permanent {
            reason: "missing field `x`".to_owned(),
        }),
        "ev-poison-3" => panic!("out of cheese"),
        "ev-poison-4" => Err(HandleError::Retry {
            reason: "always fails".to_owned(),
            after: Some(Duration::from_millis(300)),
        }),
        _ => Ok(()),
    });
    let mut running = Running::new();
    running.run(&bus, forever(consumer("poison")), script.clone());
    let start = Instant::now();
    until("handling the good events", async || {
        script
            .handled()
            .keys()
            .filter(|id| id.starts_with("ev-good"))
            .count()
            == 40
    })
    .await;
    let good_after = start.elapsed();
    until("parking", async || {
        bus.parked(0, 10, soon()).await.unwrap().len() == 4
    })
    .await;
    assert!(good_after < Duration::from_secs(5), "{good_after:?}");
    let parked: BTreeMap<_, _> = bus
        .parked(0, 10, soon())
        .await
        .unwrap()
        .into_iter()
        .map(|p| (p.message.header("ce-id").unwrap().to_owned(), p))
        .collect();
    for (id, deliveries, reason) in [
        ("ev-poison-1", 1, "not JSON"),
        ("ev-poison-2", 1, "missing field `x`"),
        ("ev-poison-3", 3, "out of cheese"),
        ("ev-poison-4", 3, "always fails"),
    ] {
        let found = &parked[id];
        assert!(found.reason.contains(reason), "{id}: {}", found.reason);
        assert_eq!(
            (found.deliveries, found.consumer.as_str()),
            (deliveries, "poison"),
            "{id}"
        );
        assert_eq!(found.parked_at, "2025-11-08T12:00:00.000Z");
    }
    let counts = running.metrics.counts();
    assert_eq!((counts.handled, counts.parked), (40, 4));
    running.stop().await;
}

/// Something that never becomes known is tried for a bounded time; what becomes known in time
/// is handled.
pub async fn what_stays_unknown_is_parked_in_time(bus: Arc<dyn Bus>) {
    publish(&bus, &events("unknown", 0..3)).await;
    let script = Script::new(|event, count| match (event.id.as_str(), count) {
        ("ev-unknown-0", _) => Err(HandleError::NotYetKnown {
            what: "task T-9".to_owned(),
        }),
        ("ev-unknown-1", 1..=4) => Err(HandleError::NotYetKnown {
            what: "task T-1".to_owned(),
        }),
        _ => Ok(()),
    });
    let mut running = Running::new();
    running.run(&bus, forever(consumer("unknown")), script.clone());
    until("parking", async || {
        !bus.parked(0, 10, soon()).await.unwrap().is_empty()
    })
    .await;
    until("handling", async || running.metrics.counts().handled == 2).await;
    let parked = bus.parked(0, 10, soon()).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert!(
        parked[0].reason.contains("task T-9"),
        "{}",
        parked[0].reason
    );
    // More often than other failures: max_deliveries is 3.
    assert!(parked[0].deliveries > 5, "{}", parked[0].deliveries);
    assert_eq!(script.handled()["ev-unknown-1"], 5);
    running.stop().await;
}

/// What one consumer parked is replayed to it alone.
pub async fn a_replay_reaches_its_target_alone(bus: Arc<dyn Bus>) {
    let broken = Script::new(|event, count| match (event.id.as_str(), count) {
        ("ev-target-1", 1) => Err(HandleError::Permanent {
            reason: "not today".to_owned(),
        }),
        _ => Ok(()),
    });
    let other = Script::new(|_, _| Ok(()));
    let mut running = Running::new();
    running.run(&bus, forever(consumer("broken")), broken.clone());
    running.run(&bus, forever(consumer("other")), other.clone());
    publish(&bus, &events("target", 0..3)).await;
    until("parking", async || {
        !bus.parked(0, 10, soon()).await.unwrap().is_empty()
    })
    .await;
    let parked = bus.parked(0, 10, soon()).await.unwrap().remove(0);
    assert!(bus.replay_parked(parked.sequence, soon()).await.unwrap());
    until("the replay", async || {
        broken.handled().get("ev-target-1") == Some(&2)
    })
    .await;
    // One more event behind the replay: when the other has it, it has passed the replay.
    publish(&bus, &[event("target", 3)]).await;
    until("the last event", async || {
        other.handled().contains_key("ev-target-3") && broken.handled().len() == 4
    })
    .await;
    assert!(
        other.handled().values().all(|count| *count == 1),
        "{:?}",
        other.handled()
    );
    running.stop().await;
}

/// A handler of the kind that services have: applies what is newer, by compare and set.
#[derive(Default)]
struct Newest {
    state: Mutex<BTreeMap<String, (i64, String)>>,
    flaky: Mutex<BTreeMap<String, u64>>,
}

#[async_trait]
impl Handler for Newest {
    async fn handle(&self, event: &Event, _: Deadline) -> Result<(), HandleError> {
        let mut state = self.state.lock().unwrap();
        let newest = state.entry(event.aggregate.clone()).or_default();
        if event.aggregate_version > newest.0 {
            *newest = (event.aggregate_version, event.body["value"].to_string());
        }
        // Every third event is applied and then delivered again, as if the answer was lost.
        let mut flaky = self.flaky.lock().unwrap();
        let count = flaky.entry(event.id.to_string()).or_default();
        *count += 1;
        if *count == 1
            && event.body["value"]
                .as_u64()
                .is_some_and(|value| value % 3 == 0)
        {
            let reason = "answer lost".to_owned();
            return Err(HandleError::Retry {
                reason,
                after: Some(Duration::from_millis(60)),
            });
        }
        Ok(())
    }
}

/// Deterministic shuffling: the order of history number `seed`.
fn shuffled<T>(mut items: Vec<T>, seed: u64) -> Vec<T> {
    for i in (1..items.len()).rev() {
        let j = crate::backoff::spread(seed, i as u64) % (i as u64 + 1);
        items.swap(i, usize::try_from(j).unwrap());
    }
    items
}

/// Two replicas of a state-based handler, every order of a history, events said twice under
/// two ids and delivered twice: always the same end.
pub async fn any_order_with_duplicates_ends_in_the_same_state(bus: Arc<dyn Bus>) {
    const HISTORIES: u64 = 12;
    let said = |history: u64, aggregate: u64, version: u64, copy: u64| -> OutboxEvent {
        let mut said = event(&format!("perm-{history}-{aggregate}"), version * 2 + copy);
        said.aggregate = format!("{history}/{aggregate}");
        said.aggregate_version = i64::try_from(version).unwrap();
        said.payload = serde_json::json!({ "value": version }).to_string();
        said
    };
    let mut expected = BTreeMap::new();
    let mut total = 0;
    let handler = Arc::new(Newest::default());
    let mut running = Running::new();
    let both = forever(consumer("perm"));
    running.run(&bus, both, handler.clone());
    running.run(&bus, both, handler.clone());
    for history in 0..HISTORIES {
        let mut events = Vec::new();
        for aggregate in 0..3 {
            for version in 1..=6 {
                events.extend((0..2).map(|copy| said(history, aggregate, version, copy)));
            }
            expected.insert(format!("{history}/{aggregate}"), (6, "6".to_owned()));
        }
        total += events.len();
        for chunk in shuffled(events, history).chunks(7) {
            publish(&bus, chunk).await;
        }
    }
    until("handling everything", async || {
        running.metrics.counts().handled >= total as u64
    })
    .await;
    assert_eq!(*handler.state.lock().unwrap(), expected);
    let counts = running.metrics.counts();
    assert!(counts.redelivered > 0 && counts.parked == 0, "{counts:?}");
    running.stop().await;
}

/// Many at once, two replicas: none lost, none handled twice while every answer gets through.
pub async fn a_thousand_events_arrive_once(bus: Arc<dyn Bus>) {
    let script = Script::new(|_, _| Ok(()));
    let mut running = Running::new();
    let many = forever(consumer("many"));
    running.run(&bus, many, script.clone());
    running.run(&bus, many, script.clone());
    for batch in 0..10 {
        publish(&bus, &events("many", batch * 100..batch * 100 + 100)).await;
    }
    until("handling a thousand", async || {
        running.metrics.counts().handled >= 1_000
    })
    .await;
    let handled = script.handled();
    assert_eq!(handled.len(), 1_000);
    assert!(handled.values().all(|count| *count == 1));
    running.stop().await;
}
