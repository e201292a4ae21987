use std::{sync::Arc, time::Duration};

use fleet_graph::Deadline;
use tokio::time::Instant;

use super::world::{
    CREATED, consumer, event, event_on, events, forever, ids, nothing, publish, soon, take,
};
use crate::{Bus, Event, PublishError, Published};

/// The same event id is stored once, by itself and in a batch.
pub async fn an_event_is_stored_once(bus: Arc<dyn Bus>) {
    let first = bus
        .publish(&[event("once", 1)], soon())
        .await
        .remove(0)
        .unwrap();
    let again = bus
        .publish(&[event("once", 1)], soon())
        .await
        .remove(0)
        .unwrap();
    assert_eq!(
        again,
        Published {
            duplicate: true,
            ..first
        }
    );
    let batch = bus.publish(&events("once", 1..4), soon()).await;
    assert!(batch[0].as_ref().unwrap().duplicate);
    let mut places: Vec<_> = batch
        .into_iter()
        .map(|outcome| outcome.unwrap().sequence)
        .collect();
    places.dedup();
    assert_eq!((places[0], places.len()), (first.sequence, 3));
    let mut subscription = bus
        .subscribe(forever(consumer("once")), soon())
        .await
        .unwrap();
    let mut got = ids(&take(&mut subscription, 3).await);
    got.sort();
    assert_eq!(got, ["ev-once-1", "ev-once-2", "ev-once-3"]);
    nothing(&mut subscription).await;
}

/// One refused event does not touch its neighbours; wildcards and foreign subjects are refused.
pub async fn each_event_has_its_own_answer(bus: Arc<dyn Bus>) {
    let batch = [
        event("own", 1),
        event_on("nowhere.at.all", "own", 2),
        event("own", 3),
        event_on("planning.*", "own", 4),
        event_on("planning.a b", "own", 5),
        event_on("", "own", 6),
        event("own", 7),
    ];
    let outcomes = bus.publish(&batch, soon()).await;
    assert_eq!(outcomes.len(), batch.len());
    for (event, outcome) in batch.iter().zip(outcomes) {
        if event.subject == CREATED {
            outcome.unwrap();
        } else {
            assert!(
                matches!(&outcome, Err(PublishError::Refused { subject, .. }) if *subject == event.subject),
                "{:?} got {outcome:?}",
                event.subject
            );
        }
    }
    assert!(bus.publish(&[], soon()).await.is_empty());
}

/// Whatever the envelope and the body hold comes out as it went in.
pub async fn the_envelope_comes_through(bus: Arc<dyn Bus>) {
    let mut sent = event("envelope", 3);
    sent.aggregate = "s-größe 日本".to_owned();
    sent.correlation = "line\nbreak: yes\r\nNats-Msg-Id: x \"%41\"".to_owned();
    sent.causation = "ev-cause".to_owned();
    sent.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned();
    sent.payload =
        serde_json::json!({ "title": "„Größe“ 日本 🚀\u{0}\u{7f}", "n": 1.5 }).to_string();
    publish(&bus, std::slice::from_ref(&sent)).await;
    let mut subscription = bus
        .subscribe(forever(consumer("envelope")), soon())
        .await
        .unwrap();
    let delivery = take(&mut subscription, 1).await.remove(0);
    let message = delivery.message();
    assert_eq!(
        (message.stream.as_str(), message.subject.as_str()),
        ("PLANNING_EVENTS", CREATED)
    );
    assert!(message.sequence > 0);
    assert_eq!(message.body, sent.payload.as_bytes());
    let read = Event::from_parts(message).unwrap();
    assert_eq!(
        (&read.id, &read.kind, &read.source),
        (&sent.id, &sent.subject, &sent.source)
    );
    assert_eq!(
        (&read.aggregate, read.aggregate_version),
        (&sent.aggregate, 3)
    );
    assert_eq!(
        (read.time, &read.correlation),
        (sent.time, &sent.correlation)
    );
    assert_eq!(
        (&read.causation, &read.traceparent),
        (&sent.causation, &sent.traceparent)
    );
    assert_eq!(
        read.body.to_string(),
        serde_json::from_str::<serde_json::Value>(&sent.payload)
            .unwrap()
            .to_string()
    );
}

/// Just under a MiB passes; more is refused, and the connection works on.
pub async fn large_bodies_pass_and_larger_ones_are_refused(bus: Arc<dyn Bus>) {
    let mut large = event("large", 1);
    large.payload = format!("{{\"text\":\"{}\"}}", "é".repeat(500_000));
    let mut larger = event("large", 2);
    larger.payload = format!("{{\"text\":\"{}\"}}", "x".repeat(1_048_576));
    let outcomes = bus
        .publish(&[large.clone(), larger.clone(), event("large", 3)], soon())
        .await;
    assert!(outcomes[0].is_ok(), "{outcomes:?}");
    assert!(
        matches!(outcomes[1], Err(PublishError::Refused { .. })),
        "{outcomes:?}"
    );
    assert!(outcomes[2].is_ok(), "{outcomes:?}");
    let again = bus.publish(&[larger], soon()).await.remove(0);
    assert!(
        matches!(again, Err(PublishError::Refused { .. })),
        "{again:?}"
    );
    let mut subscription = bus
        .subscribe(forever(consumer("large")), soon())
        .await
        .unwrap();
    let got = take(&mut subscription, 2).await;
    assert!(
        got.iter()
            .any(|delivery| delivery.message().body == large.payload.as_bytes())
    );
    nothing(&mut subscription).await;
}

/// Nobody waits longer than he said; what comes out is an answer for each event.
pub async fn a_passed_deadline_is_an_answer(bus: Arc<dyn Bus>) {
    let start = Instant::now();
    let outcomes = bus
        .publish(&events("late", 0..300), Deadline::after(Duration::ZERO))
        .await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(outcomes.len(), 300);
    for outcome in outcomes {
        assert!(
            matches!(outcome, Ok(_) | Err(PublishError::Unavailable(_))),
            "{outcome:?}"
        );
    }
}

/// Streams and consumers are as the topology says, and applying again changes nothing.
pub async fn an_applied_bus_has_no_drift(bus: Arc<dyn Bus>) {
    assert_eq!(bus.drift(soon()).await.unwrap(), []);
    assert_eq!(bus.apply(soon()).await.unwrap(), []);
    assert_eq!(bus.drift(soon()).await.unwrap(), []);
    bus.ping(soon()).await.unwrap();
    for consumer in fleet_topology::CONSUMERS {
        let mut subscription = bus.subscribe(consumer, soon()).await.unwrap();
        assert!(
            subscription
                .fetch(1, Duration::from_millis(20))
                .await
                .unwrap()
                .is_empty()
        );
    }
    assert_eq!(bus.drift(soon()).await.unwrap(), []);
}

/// Messages and bytes of each stream, against its limits.
pub async fn it_is_known_how_full_streams_are(bus: Arc<dyn Bus>) {
    assert_eq!(bus.apply(soon()).await.unwrap(), []);
    publish(&bus, &events("fill", 0..20)).await;
    let fill = bus.fill(soon()).await.unwrap();
    assert_eq!(fill.len(), fleet_topology::STREAMS.len());
    for stream in fill {
        let events = stream.stream == fleet_topology::streams::PLANNING_EVENTS.name;
        assert_eq!(stream.messages, if events { 20 } else { 0 }, "{stream:?}");
        assert_eq!(stream.bytes > 0, events, "{stream:?}");
        assert!(stream.max_messages > 20 && stream.max_bytes > stream.bytes);
        assert_eq!(stream.percent(), 0, "{stream:?}");
    }
}
