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

use crate::{Backoff, Bus, Metrics, PublishError, backoff::spread};

/// How the relay works. Every queue and every wait has its bound here.
#[derive(Debug, Clone)]
pub struct RelaySettings {
    /// At most so many events in one publish.
    pub batch: usize,
    /// At most so many publishes side by side.
    pub batches_in_flight: usize,
    /// Room between commits and the relay, in events; what does not fit is left to the sweep.
    pub queue: usize,
    /// How long the bus has to acknowledge a batch.
    pub publish_within: Duration,
    /// How long the store has to answer the relay.
    pub store_within: Duration,
    /// How often the outbox is swept (give or take a quarter).
    pub sweep_every: Duration,
    /// What is younger is left to the process that committed it.
    pub sweep_older_than: Duration,
    /// At most so many events are read at once by a sweep.
    pub sweep_batch: usize,
    /// How long an event that its stream refuses is left alone.
    pub hold_refused: Duration,
    /// At most so many refused events are remembered.
    pub max_refused: usize,
    /// How long acknowledged events are collected before their rows are removed or marked.
    pub settle_every: Duration,
    /// How often rows whose sync interval has passed are removed.
    pub remove_every: Duration,
    /// Added to the sync interval of the bus: clocks and timers are not exact.
    pub sync_margin: Duration,
    /// How often inbox, request and marker rows are pruned (give or take a quarter).
    pub prune_every: Duration,
    /// Age at which inbox rows go; more than any message can be delivered late.
    pub inbox_age: Duration,
    /// Age at which stored requests go.
    pub request_age: Duration,
    /// At most so many rows of a kind are pruned at once.
    pub prune_batch: usize,
    /// Pauses while the bus or the store is away.
    pub backoff: Backoff,
    /// How long the flush on shutdown may take.
    pub flush_within: Duration,
    /// Spreads the timers of replicas; any number, best not the same in each.
    pub seed: u64,
    /// Where it is counted.
    pub metrics: Metrics,
}

impl Default for RelaySettings {
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        let longest = fleet_topology::STREAMS
            .iter()
            .filter(|stream| stream.name != crate::PARKED_STREAM)
            .map(|stream| stream.max_age_secs)
            .max()
            .unwrap_or(0);
        Self {
            batch: 128,
            batches_in_flight: 8,
            queue: 4_096,
            publish_within: Duration::from_secs(5),
            store_within: Duration::from_secs(5),
            sweep_every: Duration::from_secs(2),
            sweep_older_than: Duration::from_secs(5),
            sweep_batch: 512,
            hold_refused: Duration::from_secs(30),
            max_refused: 8_192,
            settle_every: Duration::from_millis(200),
            remove_every: Duration::from_secs(30),
            sync_margin: Duration::from_secs(30),
            prune_every: Duration::from_secs(600),
            inbox_age: Duration::from_secs(longest) + day,
            request_age: 7 * day,
            prune_batch: 1_000,
            backoff: Backoff { first: Duration::from_millis(100), max: Duration::from_secs(5) },
            flush_within: Duration::from_secs(5),
            seed: 0,
            metrics: Metrics::default(),
        }
    }
}

/// The store, with the hand-over of what a commit says to the relay.
#[derive(Clone)]
pub struct Committer {
    store: Arc<dyn Store>,
    queue: mpsc::Sender<OutboxEvent>,
    metrics: Metrics,
}

impl Committer {
    /// Commits, then offers the events to the relay. The offer never waits and never fails:
    /// the outbox has the events, and the sweep finds what the relay did not take.
    pub async fn commit(&self, commit: Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        let receipt = self.store.commit(&commit, deadline).await?;
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
        let committer = Committer { store: store.clone(), queue: sender, metrics };
        let shared = Shared {
            trust: tokio::sync::Mutex::new(Trust {
                epoch: bus.epoch(),
                last_ack: None,
                // What an earlier process marked may have been lost since, unseen by us.
                unpublish_since: Some(Timestamp::from_millis(0)),
            }),
            pause: Mutex::new(Pause { failures: 0, until: Instant::now() }),
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
            tokio::join!(shared.publish_queue(queue, acked, &shutdown), shared.settle_all(settle));
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

/// What is known about the memory of the bus.
struct Trust {
    /// The connection under which marks count.
    epoch: u64,
    /// The latest acknowledgement under it.
    last_ack: Option<Timestamp>,
    /// Marks since then are to be taken back.
    unpublish_since: Option<Timestamp>,
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
        let outcomes = self.bus.publish(batch, deadline).await;
        let metrics = &self.settings.metrics;
        let mut acked = Vec::with_capacity(batch.len());
        let mut failed = Vec::new();
        for (event, outcome) in batch.iter().zip(outcomes) {
            match outcome {
                Ok(published) => {
                    if published.duplicate { &metrics.duplicates } else { &metrics.published }.inc();
                    acked.push(Acked { id: event.id.clone(), epoch });
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
                *pause = Pause { failures: 0, until: Instant::now() };
                self.catch_up.store(true, Ordering::Relaxed);
                self.sweep_now.notify_one();
            }
            None => {}
        }
    }

    /// Removes or marks the rows of acknowledged events, many at a time.
    async fn settle_all(&self, mut acked: mpsc::Receiver<Acked>) {
        let limit = self.settings.queue.max(1);
        let mut waiting = Vec::new();
        let mut failures = 0;
        loop {
            if waiting.is_empty() && acked.recv_many(&mut waiting, limit).await == 0 {
                break;
            }
            let pause = match failures {
                0 => self.settings.settle_every,
                _ => self.settings.backoff.delay(failures, self.settings.seed),
            };
            let until = Instant::now() + pause;
            let mut last = false;
            while waiting.len() < limit && !last {
                let room = limit - waiting.len();
                let more = acked.recv_many(&mut waiting, room);
                match tokio::time::timeout_at(until, more).await {
                    Ok(0) => last = true,
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            match self.settle(&waiting).await {
                Ok(()) => {
                    failures = 0;
                    waiting.clear();
                }
                Err(error) => {
                    failures += 1;
                    if failures == 1 {
                        warn!(%error, "published events stay in the outbox for now");
                    }
                    if last {
                        // They are said again by whoever sweeps next.
                        break;
                    }
                    if waiting.len() >= limit {
                        tokio::time::sleep_until(until).await;
                    }
                }
            }
        }
    }

    async fn settle(&self, acked: &[Acked]) -> Result<(), ReadError> {
        if acked.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::after(self.settings.store_within);
        if self.bus.sync_interval().is_zero() {
            let ids: Vec<_> = acked.iter().map(|event| event.id.clone()).collect();
            return self.store.remove(&ids, deadline).await;
        }
        let mut trust = self.trust.lock().await;
        self.notice_epoch(&mut trust).await?;
        let now = self.clock.now();
        // An acknowledgement of an earlier connection may be lost: the row stays pending.
        let ids: Vec<_> = acked
            .iter()
            .filter(|event| event.epoch == trust.epoch)
            .map(|event| event.id.clone())
            .collect();
        if ids.is_empty() {
            return Ok(());
        }
        self.store.mark_published(&ids, now, deadline).await?;
        trust.last_ack = Some(now);
        Ok(())
    }

    /// Takes marks back after the connection was lost. The server may have gone down right
    /// after the last acknowledgement seen, however long ago that was; so the time of that
    /// one counts, not the time of the reconnection.
    async fn notice_epoch(&self, trust: &mut Trust) -> Result<(), ReadError> {
        let epoch = self.bus.epoch();
        if epoch != trust.epoch {
            let reach = self.bus.sync_interval() + self.settings.sync_margin;
            let since = trust.last_ack.map_or(Timestamp::from_millis(0), |at| at.minus(reach));
            trust.unpublish_since =
                Some(trust.unpublish_since.map_or(since, |earlier| earlier.min(since)));
            trust.epoch = epoch;
        }
        if let Some(since) = trust.unpublish_since {
            let deadline = Deadline::after(self.settings.store_within);
            let count = self.store.unpublish(since, deadline).await?;
            trust.unpublish_since = None;
            if count > 0 {
                self.settings.metrics.unpublished.inc_by(count);
                info!(count, "events are said again: the bus may not have kept them");
                self.catch_up.store(true, Ordering::Relaxed);
                self.sweep_now.notify_one();
            }
        }
        Ok(())
    }

    /// Removes marked rows whose sync interval has passed. Only while the connection holds:
    /// an interval in which the server was down does not count.
    async fn remove_all(&self) {
        let mut step = 0;
        loop {
            step += 1;
            tokio::time::sleep(self.spread(self.settings.remove_every, 1, step)).await;
            // With a bus that syncs first nothing is ever marked.
            if !self.bus.sync_interval().is_zero()
                && let Err(error) = self.remove_old().await
            {
                debug!(%error, "marked events are not removed for now");
            }
        }
    }

    async fn remove_old(&self) -> Result<(), ReadError> {
        let limit = self.settings.sweep_batch.max(1);
        let reach = self.bus.sync_interval() + self.settings.sync_margin;
        loop {
            let mut trust = self.trust.lock().await;
            self.bus.ping(Deadline::after(self.settings.publish_within)).await?;
            self.notice_epoch(&mut trust).await?;
            let before = self.clock.now().minus(reach);
            let deadline = Deadline::after(self.settings.store_within);
            let removed = self.store.remove_published(before, limit, deadline).await?;
            if usize::try_from(removed).unwrap_or(0) < limit {
                return Ok(());
            }
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
        let reach = if young_too { Duration::ZERO } else { self.settings.sweep_older_than };
        let older_than = self.clock.now().minus(reach).plus(Duration::from_millis(u64::from(young_too)));
        let mut clean = true;
        loop {
            let until = self.pause.lock().expect("held for assignments only").until;
            tokio::time::sleep_until(until).await;
            let deadline = Deadline::after(self.settings.store_within);
            // Refused events stay the oldest: they must not hide the ones behind them.
            let limit = self.settings.sweep_batch.max(1) + refused.len();
            let page = self.store.pending(older_than, limit, deadline).await?;
            let full = page.len() >= limit;
            let fresh: Vec<_> =
                page.into_iter().filter(|event| !refused.contains_key(&event.id)).collect();
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
            warn!(stream, events, "stream is full: its events wait in the outbox");
        }
        away
    }

    async fn measure(&self, empty: bool) -> Result<(), ReadError> {
        let metrics = &self.settings.metrics;
        let (count, oldest) = if empty {
            (0, None)
        } else {
            self.store.backlog(Deadline::after(self.settings.store_within)).await?
        };
        metrics.backlog.set(i64::try_from(count).unwrap_or(i64::MAX));
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
