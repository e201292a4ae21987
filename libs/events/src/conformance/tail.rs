use std::{sync::Arc, time::Duration};

use fleet_topology::streams::PLANNING_EVENTS;

use super::world::{CREATED, PATIENCE, QUIET, UPDATED, event, event_on, events, publish, soon};
use crate::{Bus, Tail};

async fn next(tail: &mut Box<dyn Tail>) -> (u64, String) {
    let message = tokio::time::timeout(PATIENCE, tail.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(message.stream, "PLANNING_EVENTS");
    (
        message.sequence,
        message.header("ce-id").unwrap_or_default().to_owned(),
    )
}

async fn quiet(tail: &mut Box<dyn Tail>) {
    let more = tokio::time::timeout(QUIET, tail.next()).await;
    assert!(more.is_err(), "unexpected: {more:?}");
}

/// A tail starts now, misses nothing, has no duplicates, keeps the order of the stream, takes
/// nothing away from anybody, and every tail has its own.
pub async fn a_tail_sees_everything_from_now_on_in_order(bus: Arc<dyn Bus>) {
    publish(&bus, &events("tail", 0..5)).await;
    let mut all = bus.tail(&PLANNING_EVENTS, &[], soon()).await.unwrap();
    let mut some = bus
        .tail(&PLANNING_EVENTS, &[UPDATED], soon())
        .await
        .unwrap();
    quiet(&mut all).await;
    let mut expected = Vec::new();
    for round in 0..5_u64 {
        let batch: Vec<_> = (0..40)
            .map(|n| {
                let subject = if n % 4 == 0 { UPDATED } else { CREATED };
                event_on(subject, "tail", 100 + round * 40 + n)
            })
            .collect();
        for (event, outcome) in batch.iter().zip(bus.publish(&batch, soon()).await) {
            expected.push((
                outcome.unwrap().sequence,
                event.id.to_string(),
                event.subject.clone(),
            ));
        }
    }
    expected.sort();
    for (sequence, id, _) in &expected {
        assert_eq!(next(&mut all).await, (*sequence, id.clone()));
    }
    for (sequence, id, _) in expected.iter().filter(|(_, _, subject)| subject == UPDATED) {
        assert_eq!(next(&mut some).await, (*sequence, id.clone()));
    }
    quiet(&mut some).await;
    // A waiting tail is woken.
    let (got, ()) = tokio::join!(next(&mut all), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        publish(&bus, &[event("tail", 1_000)]).await;
    });
    assert_eq!(got.1, "ev-tail-1000");
    quiet(&mut all).await;
}
