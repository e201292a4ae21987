//! How relay and consumers work: every queue, batch and wait has its bound here.

use std::time::Duration;

use crate::{Backoff, Metrics};

/// How a consumer is run.
#[derive(Debug, Clone)]
pub struct ConsumerSettings {
    /// At most so many events are handled side by side (by this process).
    pub concurrency: usize,
    /// At most so many are fetched at once.
    pub fetch_batch: usize,
    /// How long one fetch waits for the first message.
    pub fetch_wait: Duration,
    /// How long one handling may take.
    pub handle_within: Duration,
    /// Delays between deliveries of an event that fails.
    pub backoff: Backoff,
    /// Delays between deliveries of an event about something not known yet.
    pub not_yet_known_backoff: Backoff,
    /// How long such an event is tried, counted in delays between its deliveries.
    pub not_yet_known_for: Duration,
    /// How long an event is held while the store is away, before others get their turn.
    pub hold: Duration,
    /// Delays between attempts to handle it meanwhile.
    pub hold_backoff: Backoff,
    /// Delays between attempts to open the subscription.
    pub reopen: Backoff,
    /// How long the bus has to answer (subscribe, park).
    pub bus_within: Duration,
    /// How long running handlers have on shutdown.
    pub drain: Duration,
    /// Where it is counted.
    pub metrics: Metrics,
}

impl Default for ConsumerSettings {
    fn default() -> Self {
        let backoff = |first, max| Backoff {
            first: Duration::from_millis(first),
            max: Duration::from_millis(max),
        };
        Self {
            concurrency: 16,
            fetch_batch: 64,
            fetch_wait: Duration::from_secs(5),
            handle_within: Duration::from_secs(20),
            backoff: backoff(100, 30_000),
            not_yet_known_backoff: backoff(200, 5_000),
            not_yet_known_for: Duration::from_secs(60),
            hold: Duration::from_secs(600),
            hold_backoff: backoff(100, 10_000),
            reopen: backoff(100, 5_000),
            bus_within: Duration::from_secs(5),
            drain: Duration::from_secs(10),
            metrics: Metrics::default(),
        }
    }
}

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
            backoff: Backoff {
                first: Duration::from_millis(100),
                max: Duration::from_secs(5),
            },
            flush_within: Duration::from_secs(5),
            seed: 0,
            metrics: Metrics::default(),
        }
    }
}
