//! What happens when the server goes away, dies or says nothing: with servers of our own.

#![allow(clippy::unwrap_used, reason = "part of tests only")]

mod support;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use fleet_events::{Bus, PublishError, Subscription};
use fleet_events_nats::{Auth, NatsBus, Settings};
use fleet_graph::{Deadline, OutboxEvent, Unavailable};
use fleet_topology::{Consumer, streams::PLANNING_EVENTS};
use fleet_types::{EventId, Timestamp};
use support::{PATIENCE, Server, settings, soon, until};
use tokio::time::Instant;

static CONSUMER: Consumer = Consumer {
    name: "faults",
    service: "planning",
    stream: "PLANNING_EVENTS",
    filter_subjects: &["planning.story.created"],
    ack_wait_secs: 1,
    max_ack_pending: 10_000,
    max_deliveries: 8,
};

fn event(number: u64) -> OutboxEvent {
    OutboxEvent {
        id: EventId::parse(&format!("ev-{number}")).unwrap(),
        subject: "planning.story.created".to_owned(),
        source: "fleet-planning".to_owned(),
        aggregate: "s-1".to_owned(),
        aggregate_version: 1,
        time: Timestamp::from_millis(0),
        payload: "{}".to_owned(),
        correlation: "c".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

fn quick(url: &str) -> Settings {
    Settings {
        ping_every: Duration::from_millis(300),
        heartbeat: Duration::from_millis(500),
        connect_within: Duration::from_secs(1),
        ..settings(url, "default")
    }
}

async fn applied(bus: &NatsBus) {
    assert_eq!(bus.apply(soon()).await.unwrap(), []);
}

async fn publish(bus: &NatsBus, number: u64, within: Duration) -> Result<(), PublishError> {
    bus.publish(&[event(number)], Deadline::after(within))
        .await
        .remove(0)
        .map(|_| ())
}

/// Takes and acknowledges until nothing comes for a while.
async fn drain(bus: &NatsBus) -> Vec<String> {
    let mut subscription = bus.subscribe(&CONSUMER, soon()).await.unwrap();
    let mut seen = Vec::new();
    loop {
        let got = subscription
            .fetch(500, Duration::from_millis(500))
            .await
            .unwrap();
        if got.is_empty() {
            return seen;
        }
        for delivery in got {
            seen.push(delivery.message().header("ce-id").unwrap().to_owned());
            delivery.ack().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_server_that_is_away_at_start_is_waited_for() {
    let Some(mut server) = Server::stopped() else {
        return;
    };
    let bus = NatsBus::connect(quick(&server.url())).await.unwrap();
    let within = Duration::from_millis(300);
    let start = Instant::now();
    let away = bus.ping(soon()).await.unwrap_err();
    assert!(
        away.retryable && away.reason.contains("no connection"),
        "{away}"
    );
    for refused in [
        bus.apply(Deadline::after(within)).await.map(|_| ()),
        bus.subscribe(&CONSUMER, Deadline::after(within))
            .await
            .map(|_| ()),
        bus.tail(&PLANNING_EVENTS, &[], Deadline::after(within))
            .await
            .map(|_| ()),
        bus.parked(0, 1, Deadline::after(within)).await.map(|_| ()),
        bus.drop_parked(1, Deadline::after(within))
            .await
            .map(|_| ()),
    ] {
        assert!(refused.is_err());
    }
    let events: Vec<_> = (0..500).map(event).collect();
    for outcome in bus.publish(&events, Deadline::after(within)).await {
        assert!(
            matches!(outcome, Err(PublishError::Unavailable(_))),
            "{outcome:?}"
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(6),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(bus.epoch(), 0);
    server.start().await;
    until("the connection", async || bus.ping(soon()).await.is_ok()).await;
    assert_eq!(bus.epoch(), 1);
    applied(&bus).await;
    publish(&bus, 1_000, PATIENCE).await.unwrap();
    // Nothing of what was refused was kept in secret.
    assert_eq!(drain(&bus).await, ["ev-1000"]);
}

#[tokio::test]
async fn a_server_that_goes_away_is_an_answer_and_comes_back_by_itself() {
    let Some(mut server) = Server::stopped() else {
        return;
    };
    server.start().await;
    let bus = NatsBus::connect(quick(&server.url())).await.unwrap();
    applied(&bus).await;
    let mut subscription = bus.subscribe(&CONSUMER, soon()).await.unwrap();
    publish(&bus, 0, PATIENCE).await.unwrap();
    let held = subscription.fetch(1, PATIENCE).await.unwrap().remove(0);
    server.kill().await;
    let start = Instant::now();
    let outcome = publish(&bus, 1, Duration::from_secs(1)).await;
    assert!(
        matches!(outcome, Err(PublishError::Unavailable(_))),
        "{outcome:?}"
    );
    let waited = start.elapsed();
    assert!(waited < Duration::from_millis(1_300), "{waited:?}");
    assert!(bus.ping(soon()).await.is_err());
    assert!(held.ack().await.is_err());
    let start = Instant::now();
    let fetched = subscription.fetch(1, Duration::from_secs(1)).await;
    assert!(fetched.is_err());
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
    let before = bus.epoch();
    server.start().await;
    publish(&bus, 2, PATIENCE).await.unwrap();
    assert!(bus.epoch() > before);
    // The old subscription works on.
    let mut seen = BTreeSet::new();
    until("both messages", async || {
        for delivery in subscription
            .fetch(10, Duration::from_millis(200))
            .await
            .unwrap_or_default()
        {
            seen.insert(delivery.message().header("ce-id").unwrap().to_owned());
            delivery.ack().await.unwrap();
        }
        seen.contains("ev-0") && seen.contains("ev-2")
    })
    .await;
    assert!(!seen.contains("ev-1") || seen.len() == 3);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_noticed() {
    let Some(mut server) = Server::stopped() else {
        return;
    };
    server.start().await;
    let bus = NatsBus::connect(quick(&server.url())).await.unwrap();
    applied(&bus).await;
    let mut subscription = bus.subscribe(&CONSUMER, soon()).await.unwrap();
    assert!(
        subscription
            .fetch(1, Duration::from_millis(50))
            .await
            .unwrap()
            .is_empty()
    );
    server.signal("STOP").await;
    let start = Instant::now();
    let outcome = publish(&bus, 1, Duration::from_secs(1)).await;
    assert!(
        matches!(outcome, Err(PublishError::Unavailable(_))),
        "{outcome:?}"
    );
    assert!(
        bus.ping(Deadline::after(Duration::from_millis(300)))
            .await
            .is_err()
    );
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    // A message never comes; silence does not pass for emptiness.
    let fetched = subscription.fetch(1, PATIENCE).await;
    assert!(fetched.is_err());
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    server.signal("CONT").await;
    publish(&bus, 2, PATIENCE).await.unwrap();
    let seen: BTreeSet<_> = drain(&bus).await.into_iter().collect();
    assert!(seen.contains("ev-2"), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_the_server_is_killed() {
    const KILLS: usize = 4;
    let Some(mut server) = Server::stopped() else {
        return;
    };
    server.start().await;
    let bus = NatsBus::connect(quick(&server.url())).await.unwrap();
    applied(&bus).await;
    let acknowledged = Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..4_u64 {
        let (bus, acknowledged, stop) = (bus.clone(), acknowledged.clone(), stop.clone());
        publishers.spawn(async move {
            let mut round = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let first = publisher * 1_000_000 + round * 20;
                let events: Vec<_> = (first..first + 20).map(event).collect();
                let outcomes = bus.publish(&events, Deadline::after(PATIENCE)).await;
                for (event, outcome) in events.iter().zip(outcomes) {
                    // A long enough deadline: every event gets through.
                    outcome.unwrap();
                    acknowledged.lock().unwrap().insert(event.id.to_string());
                }
                round += 1;
            }
        });
    }
    for kill in 1..=KILLS {
        let before = acknowledged.lock().unwrap().len();
        until("some traffic", async || {
            acknowledged.lock().unwrap().len() > before + 200
        })
        .await;
        server.kill().await;
        server.start().await;
        until("the reconnection", async || bus.epoch() > kill as u64).await;
    }
    let before = acknowledged.lock().unwrap().len();
    until("traffic after the last kill", async || {
        acknowledged.lock().unwrap().len() > before + 200
    })
    .await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    while let Some(ended) = publishers.join_next().await {
        ended.unwrap();
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    let stored = drain(&bus).await;
    let distinct: BTreeSet<_> = stored.iter().cloned().collect();
    assert_eq!(stored.len(), distinct.len(), "an event was stored twice");
    assert_eq!(distinct, acknowledged);
}

#[tokio::test]
async fn a_tail_goes_on_after_a_restart_without_a_gap() {
    let Some(mut server) = Server::stopped() else {
        return;
    };
    server.start().await;
    let bus = NatsBus::connect(quick(&server.url())).await.unwrap();
    applied(&bus).await;
    let mut tail = bus.tail(&PLANNING_EVENTS, &[], soon()).await.unwrap();
    publish(&bus, 0, PATIENCE).await.unwrap();
    let mut seen = vec![tail.next().await.unwrap().sequence];
    server.kill().await;
    server.start().await;
    for number in 1..20 {
        publish(&bus, number, PATIENCE).await.unwrap();
    }
    let end = Instant::now() + PATIENCE;
    while seen.len() < 20 && Instant::now() < end {
        match tokio::time::timeout(PATIENCE, tail.next()).await.unwrap() {
            Ok(message) => seen.push(message.sequence),
            // The port allows it: who follows opens another tail. Then there is a gap, seen
            // by the sequence; here it has to go on by itself.
            Err(problem) => panic!("tail ended: {problem}"),
        }
    }
    assert_eq!(seen, (1..=20).collect::<Vec<u64>>());
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_made_again() {
    let Some(mut server) = Server::stopped() else {
        return;
    };
    server.start().await;
    let bus = NatsBus::connect(quick(&server.url())).await.unwrap();
    applied(&bus).await;
    let mut subscription = bus.subscribe(&CONSUMER, soon()).await.unwrap();
    assert!(
        subscription
            .fetch(1, Duration::from_millis(50))
            .await
            .unwrap()
            .is_empty()
    );
    let behind = async_nats::jetstream::new(async_nats::connect(server.url()).await.unwrap());
    behind
        .delete_consumer_from_stream("faults", "PLANNING_EVENTS")
        .await
        .unwrap();
    let problem = failure(&mut subscription).await;
    assert!(problem.retryable, "{problem}");
    publish(&bus, 1, PATIENCE).await.unwrap();
    assert_eq!(drain(&bus).await, ["ev-1"]);
}

#[tokio::test]
async fn a_closed_subscription_gives_back_what_nobody_fetched() {
    let Some(mut server) = Server::stopped() else {
        return;
    };
    server.start().await;
    let bus = NatsBus::connect(quick(&server.url())).await.unwrap();
    applied(&bus).await;
    // Nobody would have them within the minute.
    static PATIENT: Consumer = Consumer {
        name: "patient",
        ack_wait_secs: 60,
        ..CONSUMER
    };
    let mut leaving = bus.subscribe(&PATIENT, soon()).await.unwrap();
    publish(&bus, 0, PATIENCE).await.unwrap();
    let first = leaving.fetch(10, PATIENCE).await.unwrap();
    assert_eq!(first.len(), 1);
    // These come on the request that is still open.
    for number in 1..6 {
        publish(&bus, number, PATIENCE).await.unwrap();
    }
    leaving.close().await;
    let start = Instant::now();
    let mut other = bus.subscribe(&PATIENT, soon()).await.unwrap();
    let mut seen = BTreeSet::new();
    until("the others", async || {
        for delivery in other.fetch(10, Duration::from_millis(200)).await.unwrap() {
            seen.insert(delivery.message().sequence);
        }
        seen.len() == 5
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_wrong_password_is_named_and_the_right_one_works() {
    let Some(mut server) = Server::stopped() else {
        return;
    };
    server.arguments = vec!["--user", "fleet", "--pass", "secret-word"];
    server.start().await;
    let with = |password: &str| Settings {
        auth: Auth::UserPassword {
            user: "fleet".to_owned(),
            password: password.into(),
        },
        ..quick(&server.url())
    };
    let wrong = NatsBus::connect(with("guess")).await.unwrap();
    until("the refusal", async || {
        let away = wrong.ping(soon()).await.unwrap_err();
        away.reason.to_ascii_lowercase().contains("authorization")
    })
    .await;
    let right = NatsBus::connect(with("secret-word")).await.unwrap();
    until("the connection", async || right.ping(soon()).await.is_ok()).await;
    applied(&right).await;
    right.flush(soon()).await.unwrap();
}

async fn failure(subscription: &mut Box<dyn Subscription>) -> Unavailable {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Err(problem) = subscription.fetch(1, Duration::from_millis(200)).await {
            return problem;
        }
    }
    panic!("the subscription never noticed");
}
