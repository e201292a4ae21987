use std::{collections::HashSet, sync::Arc, time::Duration};

use fleet_topology::Consumer;
use tokio::time::Instant;

use super::world::{
    CREATED, PATIENCE, UPDATED, consumer, event, event_on, events, forever, id, ids, nothing,
    publish, soon, take,
};
use crate::Bus;

/// A consumer gets its subjects, all from the beginning, and nothing else; each consumer has
/// its own account.
pub async fn consumers_get_what_they_filter(bus: Arc<dyn Bus>) {
    let both = forever(Consumer {
        filter_subjects: &[CREATED, UPDATED],
        ..consumer("both")
    });
    let mut early = bus.subscribe(both, soon()).await.unwrap();
    publish(
        &bus,
        &[
            event("filter", 1),
            event_on(UPDATED, "filter", 2),
            event_on("planning.task.created", "filter", 3),
            event_on("workflow.state.changed", "filter", 4),
        ],
    )
    .await;
    let mut one = bus
        .subscribe(forever(consumer("one")), soon())
        .await
        .unwrap();
    let mut got = ids(&take(&mut early, 2).await);
    got.sort();
    assert_eq!(got, ["ev-filter-1", "ev-filter-2"]);
    assert_eq!(ids(&take(&mut one, 1).await), ["ev-filter-1"]);
    nothing(&mut early).await;
    nothing(&mut one).await;
}

/// Two subscriptions of one consumer (two replicas) get each message once between them.
pub async fn subscriptions_share_a_consumer(bus: Arc<dyn Bus>) {
    let shared = forever(consumer("shared"));
    let mut left = bus.subscribe(shared, soon()).await.unwrap();
    let mut right = bus.subscribe(shared, soon()).await.unwrap();
    let mut seen = HashSet::new();
    let mut takes = [0, 0];
    for round in 0..6 {
        publish(&bus, &events("shared", round * 10..round * 10 + 10)).await;
        let end = Instant::now() + PATIENCE;
        while seen.len() < usize::try_from(round * 10 + 10).unwrap() {
            assert!(Instant::now() < end, "only {} came", seen.len());
            for (side, subscription) in [&mut left, &mut right].into_iter().enumerate() {
                for delivery in subscription
                    .fetch(3, Duration::from_millis(50))
                    .await
                    .unwrap()
                {
                    assert_eq!(delivery.deliveries(), 1);
                    assert!(seen.insert(id(&*delivery)), "{} came twice", id(&*delivery));
                    delivery.ack().await.unwrap();
                    takes[side] += 1;
                }
            }
        }
    }
    assert!(takes.iter().all(|count| *count > 0), "{takes:?}");
    nothing(&mut left).await;
    nothing(&mut right).await;
}

/// What was acknowledged stays so when all subscriptions are closed; the rest is still there.
pub async fn a_consumer_goes_on_where_it_was(bus: Arc<dyn Bus>) {
    let durable = forever(consumer("durable"));
    publish(&bus, &events("durable", 0..5)).await;
    let mut subscription = bus.subscribe(durable, soon()).await.unwrap();
    let first = take(&mut subscription, 2).await;
    for delivery in &first {
        delivery.ack().await.unwrap();
    }
    let done: HashSet<_> = ids(&first).into_iter().collect();
    nothing_lost(&bus).await;
    drop(subscription);
    publish(&bus, &events("durable", 5..6)).await;
    let mut subscription = bus.subscribe(durable, soon()).await.unwrap();
    let rest: HashSet<_> = ids(&take(&mut subscription, 4).await).into_iter().collect();
    assert_eq!(rest.len(), 4);
    assert!(rest.is_disjoint(&done), "{rest:?} after {done:?}");
}

/// Answers travel without an acknowledgement of their own: a question that is answered says
/// that they are there.
async fn nothing_lost(bus: &Arc<dyn Bus>) {
    bus.ping(soon()).await.unwrap();
}

/// Who takes a message and dies over it gives it to the others, marked as a redelivery.
pub async fn unanswered_messages_come_again(bus: Arc<dyn Bus>) {
    let hasty = forever(Consumer {
        ack_wait_secs: 1,
        ..consumer("hasty")
    });
    publish(&bus, &events("hasty", 0..2)).await;
    let mut dying = bus.subscribe(hasty, soon()).await.unwrap();
    let taken = take(&mut dying, 2).await;
    taken[0].ack().await.unwrap();
    let lost = id(&*taken[1]);
    drop(taken);
    nothing_lost(&bus).await;
    drop(dying);
    let mut other = bus.subscribe(hasty, soon()).await.unwrap();
    let again = take(&mut other, 1).await.remove(0);
    assert_eq!((id(&*again), again.deliveries()), (lost, 2));
    again.ack().await.unwrap();
    let quiet = other.fetch(10, Duration::from_millis(1_500)).await.unwrap();
    assert!(quiet.is_empty(), "{:?}", ids(&quiet));
}

/// Heartbeats keep a message with its worker beyond the ack wait.
pub async fn in_progress_puts_the_redelivery_off(bus: Arc<dyn Bus>) {
    let slow = forever(Consumer {
        ack_wait_secs: 1,
        ..consumer("slow")
    });
    publish(&bus, &[event("slow", 1)]).await;
    let mut worker = bus.subscribe(slow, soon()).await.unwrap();
    let mut other = bus.subscribe(slow, soon()).await.unwrap();
    let message = take(&mut worker, 1).await.remove(0);
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2_500) {
        message.in_progress().await.unwrap();
        let stolen = other.fetch(1, Duration::from_millis(250)).await.unwrap();
        assert!(stolen.is_empty(), "came again after {:?}", start.elapsed());
    }
    message.ack().await.unwrap();
    let stolen = other.fetch(1, Duration::from_millis(1_500)).await.unwrap();
    assert!(stolen.is_empty());
}

/// A message that is put off comes after its delay, not before; without a delay, at once.
pub async fn a_retry_comes_after_its_delay(bus: Arc<dyn Bus>) {
    publish(&bus, &[event("retry", 1)]).await;
    let mut subscription = bus
        .subscribe(forever(consumer("retry")), soon())
        .await
        .unwrap();
    let message = take(&mut subscription, 1).await.remove(0);
    let start = Instant::now();
    message.retry(Duration::from_millis(700)).await.unwrap();
    let message = take(&mut subscription, 1).await.remove(0);
    assert!(
        start.elapsed() >= Duration::from_millis(650),
        "after {:?}",
        start.elapsed()
    );
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "after {:?}",
        start.elapsed()
    );
    assert_eq!(message.deliveries(), 2);
    message.retry(Duration::ZERO).await.unwrap();
    let message = take(&mut subscription, 1).await.remove(0);
    assert_eq!(message.deliveries(), 3);
    message.ack().await.unwrap();
    nothing(&mut subscription).await;
}

/// Terminated is for ever, for this consumer alone, and the number of deliveries knows no
/// limit of the bus itself.
pub async fn terminated_messages_never_come_again(bus: Arc<dyn Bus>) {
    let hasty = forever(Consumer {
        ack_wait_secs: 1,
        ..consumer("terminate")
    });
    publish(&bus, &events("terminate", 0..2)).await;
    let mut subscription = bus.subscribe(hasty, soon()).await.unwrap();
    for delivery in take(&mut subscription, 2).await {
        if id(&*delivery) == "ev-terminate-0" {
            delivery.terminate().await.unwrap();
        } else {
            delivery.retry(Duration::ZERO).await.unwrap();
        }
    }
    for deliveries in 2..14 {
        let again = take(&mut subscription, 1).await.remove(0);
        assert_eq!(
            (id(&*again).as_str(), again.deliveries()),
            ("ev-terminate-1", deliveries)
        );
        again.retry(Duration::ZERO).await.unwrap();
    }
    take(&mut subscription, 1)
        .await
        .remove(0)
        .ack()
        .await
        .unwrap();
    let quiet = subscription
        .fetch(10, Duration::from_millis(1_500))
        .await
        .unwrap();
    assert!(quiet.is_empty(), "{:?}", ids(&quiet));
    let mut other = bus
        .subscribe(forever(consumer("other")), soon())
        .await
        .unwrap();
    assert_eq!(take(&mut other, 2).await.len(), 2);
}

/// Messages that wait for their delay stand in nobody's way.
pub async fn put_off_messages_do_not_stall_the_others(bus: Arc<dyn Bus>) {
    publish(&bus, &events("stall", 0..3)).await;
    let mut subscription = bus
        .subscribe(forever(consumer("stall")), soon())
        .await
        .unwrap();
    for delivery in take(&mut subscription, 3).await {
        delivery.retry(Duration::from_secs(60)).await.unwrap();
    }
    publish(&bus, &events("stall", 3..53)).await;
    let start = Instant::now();
    let others = take(&mut subscription, 50).await;
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
    assert!(others.iter().all(|delivery| delivery.deliveries() == 1));
}

/// An idle fetch waits as long as it was told and then gives nothing; a message wakes it.
pub async fn a_fetch_waits_and_is_woken(bus: Arc<dyn Bus>) {
    let mut subscription = bus
        .subscribe(forever(consumer("woken")), soon())
        .await
        .unwrap();
    let start = Instant::now();
    assert!(
        subscription
            .fetch(5, Duration::from_millis(300))
            .await
            .unwrap()
            .is_empty()
    );
    let waited = start.elapsed();
    assert!(
        (Duration::from_millis(250)..Duration::from_secs(5)).contains(&waited),
        "{waited:?}"
    );
    for number in 0..3 {
        let start = Instant::now();
        let (got, ()) = tokio::join!(subscription.fetch(5, PATIENCE), async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            publish(&bus, &[event("woken", number)]).await;
        });
        let got = got.unwrap();
        assert_eq!(ids(&got), [format!("ev-woken-{number}")]);
        assert!(start.elapsed() < PATIENCE / 2, "{:?}", start.elapsed());
        got[0].ack().await.unwrap();
    }
}
