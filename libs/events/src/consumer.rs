//! The loop that runs a durable consumer: fetch, handle side by side, answer each message by
//! itself. It ends only on shutdown.
//!
//! It knows nothing of what events mean; it knows how each outcome is answered:
//!
//! | outcome | answer |
//! |---|---|
//! | done, or done before | acknowledged |
//! | meant for another consumer (a replay) | acknowledged, not handled |
//! | not readable, or permanently impossible | parked at once |
//! | retry, panic, too slow | again after a growing delay; parked after `max_deliveries` |
//! | about something not known yet | again for a bounded time; then parked |
//! | a lost race | run again here, at once; then as any retry |
//! | the store is away | held and tried again here: no fault of the message |

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fleet_graph::Deadline;
use fleet_topology::Consumer;
use fleet_types::Clock;
use futures::FutureExt;
use tokio::{sync::Notify, task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, warn};

use crate::{
    Backoff, Bus, ConsumerSettings, Delivery, Event, HandleError, Handler, Parked, Subscription,
    TARGET_CONSUMER, backoff::seed, decode, fault,
};

/// Longest reason kept with a parked message, in bytes.
const MAX_REASON_BYTES: usize = 1_024;

/// A retry that is wanted so soon is run here, without a detour over the bus.
const AT_ONCE: Duration = Duration::from_millis(50);
/// How often.
const RERUNS: u64 = 4;
/// While the store is away so many times the concurrency may be held: the events that wait
/// leave room for one that shows whether the others get through.
const HELD_FACTOR: usize = 2;
/// So many times others must get through before an event that does not counts as failed.
const STRIKES: u32 = 3;

/// Runs `handler` on everything that `consumer` is sent, until `shutdown`; then waits for
/// running handlers, at most [`ConsumerSettings::drain`].
pub async fn run_consumer(
    bus: Arc<dyn Bus>,
    consumer: &'static Consumer,
    handler: Arc<dyn Handler>,
    clock: Arc<dyn Clock>,
    settings: ConsumerSettings,
    shutdown: CancellationToken,
) {
    let drain = settings.drain;
    let concurrency = settings.concurrency.max(1);
    let runner = Arc::new(Runner {
        bus,
        consumer,
        handler,
        clock,
        settings,
        shutdown: shutdown.clone(),
        successes: AtomicU64::new(0),
        success: Notify::new(),
        held: AtomicUsize::new(0),
        room: Notify::new(),
    });
    let mut running = JoinSet::new();
    let mut subscription: Option<Box<dyn Subscription>> = None;
    let mut failures = 0;
    loop {
        while let Some(ended) = running.try_join_next() {
            log_lost(consumer, ended);
        }
        let held = runner
            .held
            .load(Ordering::Relaxed)
            .min((HELD_FACTOR - 1) * concurrency);
        let busy = running.len().saturating_sub(held);
        if busy >= concurrency {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(ended) = running.join_next() => log_lost(consumer, ended),
                () = runner.room.notified() => {}
            }
            continue;
        }
        let room = (concurrency - busy).min(runner.settings.fetch_batch.max(1));
        let fetched = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            fetched = runner.fetch(&mut subscription, room) => fetched,
        };
        match fetched {
            Ok(deliveries) => {
                failures = 0;
                for delivery in deliveries {
                    let runner = runner.clone();
                    running.spawn(async move { runner.process(&*delivery).await });
                }
            }
            Err(away) => {
                subscription = None;
                failures += 1;
                if failures == 1 {
                    warn!(consumer = consumer.name, error = %away, "consumer waits for the bus");
                }
                let delay = runner
                    .settings
                    .reopen
                    .delay(failures, seed(consumer.name, 0));
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => break,
                    () = tokio::time::sleep(delay) => {}
                }
            }
        }
    }
    if let Some(mut subscription) = subscription {
        subscription.close().await;
    }
    let drained = tokio::time::timeout(drain, async {
        while let Some(ended) = running.join_next().await {
            log_lost(consumer, ended);
        }
    });
    if drained.await.is_err() {
        warn!(
            consumer = consumer.name,
            running = running.len(),
            "shutdown did not wait for the last handlers; their events come again"
        );
    }
}

/// A panic outside the handler: the message was not answered and comes again by itself.
fn log_lost(consumer: &Consumer, ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(consumer = consumer.name, %error, "task of a message ended early");
    }
}

struct Runner {
    bus: Arc<dyn Bus>,
    consumer: &'static Consumer,
    handler: Arc<dyn Handler>,
    clock: Arc<dyn Clock>,
    settings: ConsumerSettings,
    shutdown: CancellationToken,
    /// Events handled; a sign that what handlers need is there.
    successes: AtomicU64,
    /// Told to those who wait for that.
    success: Notify,
    /// Events that wait for something that is away.
    held: AtomicUsize,
    /// There may be room for one more.
    room: Notify,
}

/// One event that is held; no longer when dropped.
struct Held<'r>(&'r Runner);

impl<'r> Held<'r> {
    fn new(runner: &'r Runner) -> Self {
        runner.held.fetch_add(1, Ordering::Relaxed);
        runner.room.notify_one();
        Self(runner)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Runner {
    async fn fetch(
        &self,
        subscription: &mut Option<Box<dyn Subscription>>,
        room: usize,
    ) -> Result<Vec<Box<dyn Delivery>>, fleet_graph::Unavailable> {
        let open = match subscription {
            Some(open) => open,
            None => {
                let deadline = Deadline::after(self.settings.bus_within);
                let opened = self.bus.subscribe(self.consumer, deadline).await?;
                debug!(consumer = self.consumer.name, "subscription opened");
                subscription.insert(opened)
            }
        };
        open.fetch(room, self.settings.fetch_wait).await
    }

    /// Handles one message to its answer.
    async fn process(&self, delivery: &dyn Delivery) {
        let message = delivery.message();
        let span = tracing::info_span!(
            "event",
            consumer = self.consumer.name,
            subject = %message.subject,
            sequence = message.sequence,
            deliveries = delivery.deliveries(),
        );
        async {
            fault::point(fault::CONSUMER_FETCHED);
            if delivery.deliveries() > 1 {
                self.settings.metrics.count_redelivered(self.consumer.name);
            }
            let foreign = message
                .header(TARGET_CONSUMER)
                .is_some_and(|target| target != self.consumer.name);
            if foreign {
                answer("ack", delivery.ack().await);
                return;
            }
            // Somebody died over it again and again without an answer (or its process did).
            if delivery.deliveries() > self.patience() {
                let reason = "delivered again and again, but no handling ever came to an end";
                self.park(delivery, reason.to_owned()).await;
                return;
            }
            match decode(message) {
                Ok(event) => self.conclude(delivery, &event).await,
                Err(reason) => self.park(delivery, reason).await,
            }
        }
        .instrument(span)
        .await;
    }

    /// More deliveries than this are not explained by any outcome of the handler.
    fn patience(&self) -> u64 {
        4 * u64::from(self.consumer.max_deliveries).max(self.not_yet_known_deliveries())
    }

    fn not_yet_known_deliveries(&self) -> u64 {
        let backoff = self.settings.not_yet_known_backoff;
        (1..10_000)
            .find(|n| backoff.waited(*n) >= self.settings.not_yet_known_for)
            .unwrap_or(10_000)
    }

    async fn conclude(&self, delivery: &dyn Delivery, event: &Event) {
        let Some(outcome) = self.handle_while_alive(delivery, event).await else {
            // This process goes away: another may have it at once.
            answer("hand over", delivery.retry(Duration::ZERO).await);
            return;
        };
        let deliveries = delivery.deliveries();
        let exhausted = deliveries >= u64::from(self.consumer.max_deliveries);
        match outcome {
            Ok(()) | Err(HandleError::AlreadyApplied) => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                self.success.notify_waiters();
                let age = match event.time.millis() {
                    0 => Duration::ZERO,
                    _ => self.clock.now().since(event.time),
                };
                self.settings.metrics.count_handled(self.consumer.name, age);
                fault::point(fault::CONSUMER_APPLIED);
                answer("ack", delivery.ack().await);
                fault::point(fault::CONSUMER_ACKED);
            }
            Err(HandleError::Permanent { reason }) => self.park(delivery, reason).await,
            Err(HandleError::NotYetKnown { what }) => {
                let backoff = self.settings.not_yet_known_backoff;
                if backoff.waited(deliveries) > self.settings.not_yet_known_for {
                    self.park(delivery, format!("{what} did not become known"))
                        .await;
                } else {
                    debug!(%what, "event is about something not known yet");
                    self.retry(delivery, backoff, None).await;
                }
            }
            Err(HandleError::Retry { reason, .. }) if exhausted => {
                self.park(delivery, reason).await;
            }
            Err(HandleError::Retry { reason, after }) => {
                debug!(%reason, "event put off");
                self.retry(delivery, self.settings.backoff, after).await;
            }
            Err(HandleError::Unavailable { reason }) => {
                debug!(%reason, "event put off: what it needs is away");
                self.retry(delivery, self.settings.backoff, None).await;
            }
        }
    }

    /// Runs the handler with heartbeats. While the store is away the message is held here, so
    /// that an outage does not eat up its deliveries. `None` = shutdown came first.
    async fn handle_while_alive(
        &self,
        delivery: &dyn Delivery,
        event: &Event,
    ) -> Option<Result<(), HandleError>> {
        let beat = Duration::from_secs(self.consumer.ack_wait_secs) / 3;
        let beat = beat.max(Duration::from_millis(100));
        let mut heartbeats = tokio::time::interval_at(Instant::now() + beat, beat);
        let work = self.handle_and_hold(event);
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                outcome = &mut work => return outcome,
                _ = heartbeats.tick() => answer("heartbeat", delivery.in_progress().await),
            }
        }
    }

    async fn handle_and_hold(&self, event: &Event) -> Option<Result<(), HandleError>> {
        let mut successes = self.successes.load(Ordering::Relaxed);
        let mut strikes = 0;
        let until = Instant::now() + self.settings.hold;
        let mut failures = 0;
        let mut reruns = 0;
        let mut held = None;
        loop {
            let reason = match self.handle_once(event).await {
                Err(HandleError::Unavailable { reason }) => reason,
                Err(HandleError::Retry {
                    after: Some(after), ..
                }) if after <= AT_ONCE && reruns < RERUNS => {
                    reruns += 1;
                    let soon = Backoff {
                        first: after,
                        max: AT_ONCE,
                    };
                    tokio::time::sleep(soon.delay(1, seed(event.id.as_str(), reruns))).await;
                    continue;
                }
                outcome => return Some(outcome),
            };
            held.get_or_insert_with(|| Held::new(self));
            let others = self.successes.load(Ordering::Relaxed);
            if others != successes {
                successes = others;
                strikes += 1;
            }
            if strikes >= STRIKES {
                // Others get through again and again: it is this event that has a problem.
                return Some(Err(HandleError::Retry {
                    reason,
                    after: None,
                }));
            }
            failures += 1;
            let delay = self
                .settings
                .hold_backoff
                .delay(failures, seed(event.id.as_str(), 0));
            if Instant::now() + delay > until {
                return Some(Err(HandleError::Unavailable { reason }));
            }
            if failures == 1 {
                info!(event = %event.id, %reason, "event waits for what its handler needs");
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return None,
                () = self.success.notified() => {}
                () = tokio::time::sleep(delay) => {}
            }
        }
    }

    async fn handle_once(&self, event: &Event) -> Result<(), HandleError> {
        let within = self.settings.handle_within;
        let handling = self.handler.handle(event, Deadline::after(within));
        // A little more than the deadline: a handler that keeps it may still say what was slow.
        let bounded = tokio::time::timeout(
            within + within / 4,
            AssertUnwindSafe(handling).catch_unwind(),
        );
        match bounded.await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => {
                let said = panic_text(&*panic);
                tracing::error!(event = %event.id, kind = %event.kind, %said, "handler panicked");
                Err(HandleError::Retry {
                    reason: format!("handler panicked: {said}"),
                    after: None,
                })
            }
            Err(_) => Err(HandleError::Retry {
                reason: format!("handler did not end within {within:?}"),
                after: None,
            }),
        }
    }

    async fn retry(&self, delivery: &dyn Delivery, backoff: Backoff, after: Option<Duration>) {
        self.settings.metrics.count_retried(self.consumer.name);
        let spread = seed(self.consumer.name, delivery.message().sequence);
        let delay = after.unwrap_or_else(|| backoff.delay(delivery.deliveries(), spread));
        answer("retry", delivery.retry(delay.min(backoff.max)).await);
    }

    /// Kept aside first, given up then: whatever fails in between, the message is in one of
    /// the two places (the same message is kept once).
    async fn park(&self, delivery: &dyn Delivery, mut reason: String) {
        let mut end = reason.len().min(MAX_REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        reason.truncate(end);
        let message = delivery.message();
        let parked = Parked {
            sequence: 0,
            stream: message.stream.clone(),
            consumer: self.consumer.name.to_owned(),
            reason,
            deliveries: delivery.deliveries(),
            parked_at: self.clock.now().rfc3339(),
            message: message.clone(),
        };
        match self
            .bus
            .park(&parked, Deadline::after(self.settings.bus_within))
            .await
        {
            Ok(()) => {
                self.settings.metrics.count_parked(self.consumer.name);
                warn!(reason = parked.reason, "event parked");
                answer("terminate", delivery.terminate().await);
            }
            Err(error) => {
                warn!(%error, reason = parked.reason, "event could not be parked, comes again");
                self.retry(delivery, self.settings.backoff, None).await;
            }
        }
    }
}

/// An answer that does not arrive only means that the message comes again.
fn answer(what: &'static str, outcome: Result<(), fleet_graph::Unavailable>) {
    if let Err(error) = outcome {
        debug!(what, %error, "answer to a message did not get through");
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
