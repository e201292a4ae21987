//! What becomes of an outbox row once the bus has acknowledged its event.

use std::sync::atomic::Ordering;

use fleet_graph::{Deadline, ReadError};
use fleet_types::Timestamp;
use tokio::{sync::mpsc, time::Instant};
use tracing::{debug, info, warn};

use super::{Acked, Shared};
use crate::fault;

/// What is known about the memory of the bus.
pub(super) struct Trust {
    /// The connection under which marks count.
    pub(super) epoch: u64,
    /// The latest acknowledgement under it.
    pub(super) last_ack: Option<Timestamp>,
    /// Marks since then are to be taken back.
    pub(super) unpublish_since: Option<Timestamp>,
}

impl Shared {
    /// Removes or marks the rows of acknowledged events, many at a time.
    pub(super) async fn settle_all(&self, mut acked: mpsc::Receiver<Acked>) {
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

    pub(super) async fn settle(&self, acked: &[Acked]) -> Result<(), ReadError> {
        if acked.is_empty() {
            return Ok(());
        }
        let deadline = Deadline::after(self.settings.store_within);
        if self.bus.sync_interval().is_zero() {
            let ids: Vec<_> = acked.iter().map(|event| event.id.clone()).collect();
            self.store.remove(&ids, deadline).await?;
            fault::point(fault::RELAY_AFTER_SETTLE);
            return Ok(());
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
        fault::point(fault::RELAY_AFTER_SETTLE);
        trust.last_ack = Some(now);
        Ok(())
    }

    /// Takes marks back after the connection was lost. The server may have gone down right
    /// after the last acknowledgement seen, however long ago that was; so the time of that
    /// one counts, not the time of the reconnection.
    pub(super) async fn notice_epoch(&self, trust: &mut Trust) -> Result<(), ReadError> {
        let epoch = self.bus.epoch();
        if epoch != trust.epoch {
            let reach = self.bus.sync_interval() + self.settings.sync_margin;
            let since = trust
                .last_ack
                .map_or(Timestamp::from_millis(0), |at| at.minus(reach));
            trust.unpublish_since = Some(
                trust
                    .unpublish_since
                    .map_or(since, |earlier| earlier.min(since)),
            );
            trust.epoch = epoch;
        }
        if let Some(since) = trust.unpublish_since {
            let deadline = Deadline::after(self.settings.store_within);
            let count = self.store.unpublish(since, deadline).await?;
            trust.unpublish_since = None;
            if count > 0 {
                self.settings.metrics.unpublished.inc_by(count);
                info!(
                    count,
                    "events are said again: the bus may not have kept them"
                );
                self.catch_up.store(true, Ordering::Relaxed);
                self.sweep_now.notify_one();
            }
        }
        Ok(())
    }

    /// Removes marked rows whose sync interval has passed. Only while the connection holds:
    /// an interval in which the server was down does not count.
    pub(super) async fn remove_all(&self) {
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
            self.bus
                .ping(Deadline::after(self.settings.publish_within))
                .await?;
            self.notice_epoch(&mut trust).await?;
            let before = self.clock.now().minus(reach);
            let deadline = Deadline::after(self.settings.store_within);
            let removed = self.store.remove_published(before, limit, deadline).await?;
            if usize::try_from(removed).unwrap_or(0) < limit {
                return Ok(());
            }
        }
    }
}
