//! From the outbox to the bus: right after the commit in the same process, and by a sweep for
//! whatever was left behind (crash, overflow, outage).
//!
//! An event leaves the outbox only when the bus has it for good. A bus that acknowledges
//! before it syncs may lose its tail with its machine; until its sync interval has passed an
//! event is only *marked* as published, and the marks are taken back whenever the connection
//! was lost ([`Bus::epoch`]). Nothing here depends on order, and events may go out twice: the
//! bus knows them by id.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fleet_graph::{Commit, CommitError, Deadline, OutboxEvent, ReadError, Receipt, Store};
use fleet_types::{Clock, EventId, Timestamp};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

mod settle;

use settle::Trust;

use crate::{Bus, Metrics, PublishError, RelaySettings, backoff::spread, fault};

/// The store, with the hand-over of what a commit says to the relay.
#[derive(Clone)]
pub struct Committer {
    store: Arc<dyn Store>,
    queue: mpsc::Sender<OutboxEvent>,
    metrics: Metrics,
}

impl Committer {
    /// Commits, then offers the events to the relay, unless the commit put them on the bus
    /// itself. The offer never waits and never fails: the outbox has the events, and the sweep
    /// finds what the relay did not take.
    pub async fn commit(&self, commit: Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        fault::point(fault::BEFORE_COMMIT);
        let receipt = self.store.commit(&commit, deadline).await?;
        fault::point(fault::AFTER_COMMIT);
        if receipt.on_bus {
            self.metrics.published.inc_by(commit.events.len() as u64);
            return Ok(receipt);
        }
        for event in commit.events {
            if self.queue.try_send(event).is_err() {
                self.metrics.overflow.inc();
            }
        }
        Ok(receipt)
    }

    /// The store, for reads.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }
}

/// Brings the outbox to the bus and keeps the store's own rows from growing for ever. One in
/// each process; any number may work on one outbox.
pub struct Relay {
    shared: Shared,
    queue: mpsc::Receiver<OutboxEvent>,
}

impl Relay {
    /// A relay and the committer that feeds it. Commits work whether or not the relay runs.
    pub fn new(
        store: Arc<dyn Store>,
        bus: Arc<dyn Bus>,
        clock: Arc<dyn Clock>,
        settings: RelaySettings,
    ) -> (Self, Committer) {
        let (sender, queue) = mpsc::channel(settings.queue.max(1));
        let metrics = settings.metrics.clone();
        let committer = Committer {
            store: store.clone(),
            queue: sender,
            metrics,
        };
        let shared = Shared {
            trust: tokio::sync::Mutex::new(Trust {
                epoch: bus.epoch(),
                last_ack: None,
                // What an earlier process marked may have been lost since, unseen by us.
                unpublish_since: Some(Timestamp::from_millis(0)),
            }),
            pause: Mutex::new(Pause {
                failures: 0,
                until: Instant::now(),
            }),
            catch_up: AtomicBool::new(true),
            sweep_now: Notify::new(),
            steps: AtomicU64::new(0),
            store,
            bus,
            clock,
            settings,
        };
        (Self { shared, queue }, committer)
    }

    /// Runs until `shutdown`, then publishes what is queued, at most
    /// [`RelaySettings::flush_within`] long; the rest stays in the outbox.
    pub async fn run(self, shutdown: CancellationToken) {
        let Self { shared, queue } = self;
        let shared = &shared;
        let (acked, settle) = mpsc::channel(shared.settings.queue.max(1));
        let end = async {
            shutdown.cancelled().await;
            tokio::time::sleep(shared.settings.flush_within).await;
        };
        let flushed = async {
            // The settler ends when the publisher has dropped its sender.
            tokio::join!(
                shared.publish_queue(queue, acked, &shutdown),
                shared.settle_all(settle)
            );
        };
        let background = async {
            tokio::join!(shared.sweep_all(), shared.remove_all(), shared.prune_all());
        };
        tokio::select! {
            biased;
            () = flushed => debug!("relay flushed"),
            () = end => warn!("relay did not flush in time; the rest stays in the outbox"),
            () = background => {}
        }
    }
}

/// An acknowledged event with the connection under which it was acknowledged.
struct Acked {
    id: EventId,
    epoch: u64,
}

/// No publishing before `until`.
struct Pause {
    failures: u64,
    until: Instant,
}

struct Shared {
    store: Arc<dyn Store>,
    bus: Arc<dyn Bus>,
    clock: Arc<dyn Clock>,
    settings: RelaySettings,
    trust: tokio::sync::Mutex<Trust>,
    pause: Mutex<Pause>,
    /// The next sweep takes young events too: the process that committed them gave them up.
    catch_up: AtomicBool,
    sweep_now: Notify,
    steps: AtomicU64,
}

impl Shared {
    /// Publishes what commits hand over, many batches side by side.
    async fn publish_queue(
        &self,
        mut queue: mpsc::Receiver<OutboxEvent>,
        acked: mpsc::Sender<Acked>,
        shutdown: &CancellationToken,
    ) {
        let limit = self.settings.batch.max(1);
        let mut in_flight = FuturesUnordered::new();
        let mut open = true;
        while open || !in_flight.is_empty() {
            let room = open && in_flight.len() < self.settings.batches_in_flight.max(1);
            let mut batch = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if !queue.is_closed() => queue.close(),
                Some(done) = in_flight.next() => {
                    for event in done {
                        // The settler lives as long as this sender.
                        if acked.send(event).await.is_err() {
                            return;
                        }
                    }
                }
                taken = queue.recv_many(&mut batch, limit), if room => {
                    if taken == 0 {
                        open = false;
                        if !queue.is_closed() {
                            debug!("all committers are gone");
                        }
                    } else {
                        in_flight.push(self.publish_after_pause(batch));
                    }
                }
            }
        }
        shutdown.cancelled().await;
    }

    async fn publish_after_pause(&self, batch: Vec<OutboxEvent>) -> Vec<Acked> {
        let until = self.pause.lock().expect("held for assignments only").until;
        tokio::time::sleep_until(until).await;
        let (acked, failed) = self.publish(&batch).await;
        if !failed.is_empty() {
            self.catch_up.store(true, Ordering::Relaxed);
        }
        acked
    }

    /// Publishes once. Gives what was acknowledged, and what was not with the reason.
    async fn publish<'e>(
        &self,
        batch: &'e [OutboxEvent],
    ) -> (Vec<Acked>, Vec<(&'e OutboxEvent, PublishError)>) {
        let epoch = self.bus.epoch();
        let deadline = Deadline::after(self.settings.publish_within);
        fault::point(fault::RELAY_BEFORE_PUBLISH);
        let outcomes = self.bus.publish(batch, deadline).await;
        fault::point(fault::RELAY_AFTER_PUBLISH);
        let metrics = &self.settings.metrics;
        let mut acked = Vec::with_capacity(batch.len());
        let mut failed = Vec::new();
        for (event, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(published) => {
                    if published.duplicate {
                        &metrics.duplicates
                    } else {
                        &metrics.published
                    }
                    .inc();
                    acked.push(Acked {
                        id: event.id.clone(),
                        epoch,
                    });
                }
                Err(error) => {
                    metrics.publish_failures.inc();
                    if matches!(error, PublishError::StreamFull { .. }) {
                        metrics.stream_full.inc();
                    }
                    failed.push((event, error));
                }
            }
        }
        let away = failed.iter().find_map(|(_, error)| match error {
            PublishError::Unavailable(away) => Some(away),
            PublishError::StreamFull { .. } | PublishError::Refused { .. } => None,
        });
        self.note_health(away, !acked.is_empty());
        (acked, failed)
    }

    /// Lets everybody pause while the bus is away, and sweeps at once when it is back.
    fn note_health(&self, away: Option<&fleet_graph::Unavailable>, some_acked: bool) {
        let step = self.steps.fetch_add(1, Ordering::Relaxed);
        let mut pause = self.pause.lock().expect("held for assignments only");
        match away {
            Some(error) => {
                pause.failures += 1;
                let seed = spread(self.settings.seed, step);
                pause.until = Instant::now() + self.settings.backoff.delay(pause.failures, seed);
                if pause.failures == 1 {
                    warn!(%error, "bus is away: events wait in the outbox");
                }
            }
            None if some_acked && pause.failures > 0 => {
                info!(failures = pause.failures, "bus is back");
                *pause = Pause {
                    failures: 0,
                    until: Instant::now(),
                };
                self.catch_up.store(true, Ordering::Relaxed);
                self.sweep_now.notify_one();
            }
            None => {}
        }
    }

    /// Sweeps the outbox again and again.
    async fn sweep_all(&self) {
        let mut refused = HashMap::new();
        let mut failures = 0;
        let mut step = 0;
        loop {
            step += 1;
            let wait = match self.sweep(&mut refused).await {
                Ok(()) => {
                    failures = 0;
                    self.spread(self.settings.sweep_every, 2, step)
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        warn!(%error, "outbox cannot be swept for now");
                    }
                    let delay = self.settings.backoff.delay(failures, self.settings.seed);
                    delay.max(self.settings.sweep_every)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.sweep_now.notified() => {}
            }
        }
    }

    /// Publishes what is left in the outbox, page by page, until there is nothing that can go.
    async fn sweep(&self, refused: &mut HashMap<EventId, Instant>) -> Result<(), ReadError> {
        {
            let mut trust = self.trust.lock().await;
            self.notice_epoch(&mut trust).await?;
        }
        let now = Instant::now();
        refused.retain(|_, until| *until > now);
        let young_too = self.catch_up.swap(false, Ordering::Relaxed);
        let reach = if young_too {
            Duration::ZERO
        } else {
            self.settings.sweep_older_than
        };
        let older_than = self
            .clock
            .now()
            .minus(reach)
            .plus(Duration::from_millis(u64::from(young_too)));
        let mut clean = true;
        loop {
            let until = self.pause.lock().expect("held for assignments only").until;
            tokio::time::sleep_until(until).await;
            let deadline = Deadline::after(self.settings.store_within);
            // Refused events stay the oldest: they must not hide the ones behind them.
            let limit = self.settings.sweep_batch.max(1) + refused.len();
            let page = self.store.pending(older_than, limit, deadline).await?;
            let full = page.len() >= limit;
            let fresh: Vec<_> = page
                .into_iter()
                .filter(|event| !refused.contains_key(&event.id))
                .collect();
            clean &= fresh.is_empty();
            if fresh.is_empty() {
                break;
            }
            let (acked, failed) = self.publish(&fresh).await;
            self.settings.metrics.swept.inc_by(acked.len() as u64);
            let away = self.hold_refused(&failed, refused);
            self.settle(&acked).await?;
            if away {
                self.catch_up.fetch_or(young_too, Ordering::Relaxed);
                break;
            }
            if !full || refused.len() > self.settings.max_refused {
                break;
            }
        }
        self.measure(clean && refused.is_empty()).await
    }

    /// Remembers what its stream does not take for now; whether the bus itself is away.
    fn hold_refused(
        &self,
        failed: &[(&OutboxEvent, PublishError)],
        refused: &mut HashMap<EventId, Instant>,
    ) -> bool {
        let mut away = false;
        let mut full: HashMap<&str, u64> = HashMap::new();
        let until = Instant::now() + self.settings.hold_refused;
        for (event, problem) in failed {
            match problem {
                PublishError::Unavailable(_) => {
                    away = true;
                    continue;
                }
                PublishError::StreamFull { subject } => {
                    let stream = fleet_topology::stream_of(subject)
                        .map_or(subject.as_str(), |stream| stream.name);
                    *full.entry(stream).or_default() += 1;
                }
                PublishError::Refused { subject, reason } => {
                    error!(event = %event.id, subject, reason, "event is refused by the bus");
                }
            }
            refused.insert(event.id.clone(), until);
        }
        for (stream, events) in full {
            warn!(
                stream,
                events, "stream is full: its events wait in the outbox"
            );
        }
        away
    }

    async fn measure(&self, empty: bool) -> Result<(), ReadError> {
        let metrics = &self.settings.metrics;
        let (count, oldest) = if empty {
            (0, None)
        } else {
            self.store
                .backlog(Deadline::after(self.settings.store_within))
                .await?
        };
        metrics
            .backlog
            .set(i64::try_from(count).unwrap_or(i64::MAX));
        let age = oldest.map_or(Duration::ZERO, |oldest| self.clock.now().since(oldest));
        metrics.oldest.set(age.as_secs_f64());
        Ok(())
    }

    /// Removes rows that only time makes useless.
    async fn prune_all(&self) {
        let mut step = 0;
        loop {
            step += 1;
            tokio::time::sleep(self.spread(self.settings.prune_every, 3, step)).await;
            let now = self.clock.now();
            loop {
                let pruned = self
                    .store
                    .prune(
                        now.minus(self.settings.inbox_age),
                        now.minus(self.settings.request_age),
                        self.settings.prune_batch.max(1),
                        Deadline::after(self.settings.store_within),
                    )
                    .await;
                match pruned {
                    Ok(0) => break,
                    Ok(count) => {
                        self.settings.metrics.pruned.inc_by(count);
                    }
                    Err(error) => {
                        debug!(%error, "nothing is pruned for now");
                        break;
                    }
                }
            }
        }
    }

    /// `every`, give or take a quarter.
    fn spread(&self, every: Duration, timer: u64, step: u64) -> Duration {
        let share = spread(self.settings.seed.wrapping_add(timer), step) % 512;
        every * 3 / 4 + every * u32::try_from(share).unwrap_or(0) / 1024
    }
}
