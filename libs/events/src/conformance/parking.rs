use std::sync::Arc;

use super::world::{CREATED, consumer, event, events, forever, ids, nothing, publish, soon, take};
use crate::{Bus, Delivery, Event, Parked, RawMessage, TARGET_CONSUMER};

fn parked(consumer: &str, delivery: &dyn Delivery) -> Parked {
    Parked {
        sequence: 0,
        stream: delivery.message().stream.clone(),
        consumer: consumer.to_owned(),
        reason: "„no“ such\r\nthing: 100%".to_owned(),
        deliveries: delivery.deliveries(),
        parked_at: "2025-11-08T12:00:00.000Z".to_owned(),
        message: delivery.message().clone(),
    }
}

/// Parking the same message twice keeps it once; pages go on behind their last; what was
/// dropped is gone.
pub async fn parked_messages_are_kept_once_listed_and_dropped(bus: Arc<dyn Bus>) {
    assert_eq!(bus.parked(0, 10, soon()).await.unwrap(), []);
    publish(&bus, &events("park", 0..5)).await;
    let mut subscription = bus
        .subscribe(forever(consumer("park")), soon())
        .await
        .unwrap();
    let deliveries = take(&mut subscription, 5).await;
    for delivery in &deliveries {
        bus.park(&parked("park", &**delivery), soon())
            .await
            .unwrap();
        bus.park(&parked("park", &**delivery), soon())
            .await
            .unwrap();
    }
    // The same message, given up by another consumer, is another matter.
    bus.park(&parked("other", &*deliveries[0]), soon())
        .await
        .unwrap();
    let all = bus.parked(0, 100, soon()).await.unwrap();
    assert_eq!(all.len(), 6);
    for (found, delivery) in all.iter().zip(&deliveries) {
        let mut expected = parked("park", &**delivery);
        expected.sequence = found.sequence;
        let mut found = found.clone();
        found.message.headers.sort();
        expected.message.headers.sort();
        assert_eq!(found, expected);
    }
    assert_eq!(all[5].consumer, "other");
    let mut paged = Vec::new();
    while let Some(last) = {
        let after = paged.last().map_or(0, |p: &Parked| p.sequence);
        let page = bus.parked(after, 4, soon()).await.unwrap();
        assert!(page.len() <= 4);
        let more = page.last().map(|p| p.sequence);
        paged.extend(page);
        more
    } {
        assert!(last > 0);
    }
    assert_eq!(paged, all);
    assert!(bus.drop_parked(all[1].sequence, soon()).await.unwrap());
    assert!(!bus.drop_parked(all[1].sequence, soon()).await.unwrap());
    assert!(!bus.drop_parked(999_999, soon()).await.unwrap());
    assert!(!bus.replay_parked(999_999, soon()).await.unwrap());
    let left: Vec<_> = bus.parked(0, 100, soon()).await.unwrap();
    assert_eq!(left.len(), 5);
    assert!(left.iter().all(|p| p.sequence != all[1].sequence));
}

/// A replay is on its old subject, names its consumer, keeps its identity, even if the bus
/// still knows the first message by its id, and happens once.
pub async fn a_replay_is_the_same_event_for_one_consumer(bus: Arc<dyn Bus>) {
    publish(&bus, &[event("replay", 1)]).await;
    let mut subscription = bus
        .subscribe(forever(consumer("replay")), soon())
        .await
        .unwrap();
    let delivery = take(&mut subscription, 1).await.remove(0);
    let original = Event::from_parts(delivery.message()).unwrap();
    let first: RawMessage = delivery.message().clone();
    bus.park(&parked("replay", &*delivery), soon())
        .await
        .unwrap();
    delivery.terminate().await.unwrap();
    let sequence = bus.parked(0, 1, soon()).await.unwrap()[0].sequence;
    assert!(bus.replay_parked(sequence, soon()).await.unwrap());
    assert!(!bus.replay_parked(sequence, soon()).await.unwrap());
    assert_eq!(bus.parked(0, 10, soon()).await.unwrap(), []);
    let replayed = take(&mut subscription, 1).await.remove(0);
    let message = replayed.message();
    assert_eq!(message.header(TARGET_CONSUMER), Some("replay"));
    assert_eq!(
        (&message.subject, &message.body),
        (&first.subject, &first.body)
    );
    assert!(message.sequence > first.sequence);
    assert_eq!(replayed.deliveries(), 1);
    assert_eq!(Event::from_parts(message).unwrap(), original);

    // Given up again, it can be replayed again.
    bus.park(&parked("replay", &*replayed), soon())
        .await
        .unwrap();
    replayed.terminate().await.unwrap();
    let sequence = bus.parked(0, 1, soon()).await.unwrap()[0].sequence;
    assert!(bus.replay_parked(sequence, soon()).await.unwrap());
    let replayed = take(&mut subscription, 1).await.remove(0);
    assert_eq!(Event::from_parts(replayed.message()).unwrap(), original);
    replayed.ack().await.unwrap();
    nothing(&mut subscription).await;
}

/// Every message that fits in its stream can be parked, with its body.
pub async fn large_messages_can_be_parked(bus: Arc<dyn Bus>) {
    let mut large = event("heavy", 1);
    large.payload = format!("{{\"text\":\"{}\"}}", "x".repeat(1_000_000));
    large.aggregate = "a".repeat(2_000);
    publish(&bus, &[large.clone()]).await;
    let mut subscription = bus
        .subscribe(forever(consumer("heavy")), soon())
        .await
        .unwrap();
    let delivery = take(&mut subscription, 1).await.remove(0);
    let mut given_up = parked("heavy", &*delivery);
    given_up.reason = "ü".repeat(500);
    bus.park(&given_up, soon()).await.unwrap();
    delivery.terminate().await.unwrap();
    let kept = bus.parked(0, 10, soon()).await.unwrap().remove(0);
    assert_eq!(
        (kept.message.body.len(), &kept.reason),
        (large.payload.len(), &given_up.reason)
    );
    assert!(bus.replay_parked(kept.sequence, soon()).await.unwrap());
    let replayed = take(&mut subscription, 1).await;
    assert_eq!(ids(&replayed), ["ev-heavy-1"]);
    assert_eq!(replayed[0].message().subject, CREATED);
    assert_eq!(replayed[0].message().body, large.payload.as_bytes());
}
