//! What the cases share.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use async_trait::async_trait;
use fleet_graph::{Deadline, OutboxEvent};
use fleet_topology::Consumer;
use fleet_types::{EventId, Timestamp};
use futures::FutureExt;
use serde_json::json;
use tokio::time::Instant;

use crate::{Bus, Delivery, Subscription};

/// Where a bus under test lives.
#[async_trait]
pub trait Place: Send + Sync {
    /// A bus of a deployment that nobody used before.
    fn bus(&self) -> Arc<dyn Bus>;
    /// Leaves the place as it was found. Called after the case, whatever its verdict.
    async fn close(&self) {}
}

/// Runs one case and tidies up after it.
pub async fn exercise<F>(place: impl Place, case: impl FnOnce(Arc<dyn Bus>) -> F)
where
    F: Future<Output = ()>,
{
    let verdict = AssertUnwindSafe(case(place.bus())).catch_unwind().await;
    place.close().await;
    if let Err(panic) = verdict {
        std::panic::resume_unwind(panic);
    }
}

/// Longer than anything takes that works.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// How long we look for something that must not come.
pub(super) const QUIET: Duration = Duration::from_millis(400);

pub(super) const CREATED: &str = "planning.story.created";
pub(super) const UPDATED: &str = "planning.story.updated";

pub(super) fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// A consumer of PLANNING_EVENTS with an ack wait of 30 seconds.
pub(super) fn consumer(name: &'static str) -> Consumer {
    Consumer {
        name,
        service: "planning",
        stream: fleet_topology::streams::PLANNING_EVENTS.name,
        filter_subjects: &[CREATED],
        ack_wait_secs: 30,
        max_ack_pending: 1_000,
        max_deliveries: 3,
    }
}

/// Consumers of a topology live for ever; so do those of a test process.
pub(super) fn forever(consumer: Consumer) -> &'static Consumer {
    Box::leak(Box::new(consumer))
}

pub(super) fn event_on(subject: &str, name: &str, number: u64) -> OutboxEvent {
    OutboxEvent {
        id: EventId::parse(&format!("ev-{name}-{number}")).unwrap(),
        subject: subject.to_owned(),
        source: "fleet-planning".to_owned(),
        aggregate: name.to_owned(),
        aggregate_version: i64::try_from(number).unwrap(),
        time: Timestamp::from_millis(1_762_603_200_000),
        payload: json!({ "name": name, "number": number }).to_string(),
        correlation: "correlation".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    }
}

pub(super) fn event(name: &str, number: u64) -> OutboxEvent {
    event_on(CREATED, name, number)
}

pub(super) fn events(name: &str, numbers: std::ops::Range<u64>) -> Vec<OutboxEvent> {
    numbers.map(|number| event(name, number)).collect()
}

/// Publishes. (An acknowledgement that is late on a busy machine makes a new event look like
/// a duplicate.)
pub(super) async fn publish(bus: &Arc<dyn Bus>, events: &[OutboxEvent]) {
    for outcome in bus.publish(events, soon()).await {
        outcome.unwrap();
    }
}

/// Fetches until there are `count`.
pub(super) async fn take(
    subscription: &mut Box<dyn Subscription>,
    count: usize,
) -> Vec<Box<dyn Delivery>> {
    let until = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(
            Instant::now() < until,
            "{} of {count} messages came",
            taken.len()
        );
        let wait = Duration::from_millis(500);
        taken.extend(subscription.fetch(count - taken.len(), wait).await.unwrap());
    }
    taken
}

/// Nothing more comes.
pub(super) async fn nothing(subscription: &mut Box<dyn Subscription>) {
    let more = subscription.fetch(10, QUIET).await.unwrap();
    let more: Vec<_> = more.iter().map(|d| (id(&**d), d.deliveries())).collect();
    assert!(more.is_empty(), "unexpected: {more:?}");
}

/// The event id of a delivery.
pub(super) fn id(delivery: &dyn Delivery) -> String {
    delivery
        .message()
        .header("ce-id")
        .unwrap_or_default()
        .to_owned()
}

pub(super) fn ids(deliveries: &[Box<dyn Delivery>]) -> Vec<String> {
    deliveries.iter().map(|delivery| id(&**delivery)).collect()
}

/// Waits until `done` says so.
pub(super) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
