//! The bus port over the log table.

pub(crate) mod consumer;
pub(crate) mod cursor;
pub(crate) mod log;
pub(crate) mod parked;
pub(crate) mod recent;
mod registry;
mod tail;

use std::sync::{Arc, atomic::AtomicI64};

use async_trait::async_trait;
use fleet_events::{Bus, Drift, Fill, Parked, PublishError, Published, Subscription, Tail};
use fleet_graph::{Deadline, OutboxEvent, Unavailable};
use fleet_topology::{Consumer, STREAMS, Stream};

use self::{consumer::Puller, log::NewMessage, parked::ReplayError, tail::LogTail};
use crate::{
    error::{ReadFailure, away},
    ledger::Ledger,
    open::Inner,
    schema,
};

pub(crate) use registry::Registry;

/// How often a stream is rid of old messages, in milliseconds.
const PRUNE_EVERY: i64 = 60_000;

/// When each stream was last rid of old messages, in milliseconds since 1970.
pub(crate) struct Pruned([AtomicI64; STREAMS.len()]);

impl Pruned {
    pub(crate) fn never() -> Self {
        Self([const { AtomicI64::new(0) }; STREAMS.len()])
    }

    /// Whether it is time again; if so, the caller does it.
    fn due(&self, stream: usize, now: i64) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        let last = self.0[stream].load(Relaxed);
        now - last >= PRUNE_EVERY
            && self.0[stream]
                .compare_exchange(last, now, Relaxed, Relaxed)
                .is_ok()
    }
}

impl Inner {
    /// Rids the streams of these messages of old ones, if it is time again. By itself, so that
    /// it makes room also where the messages find none.
    pub(crate) async fn prune_due<'m>(
        &self,
        messages: impl IntoIterator<Item = &'m NewMessage>,
        deadline: Deadline,
    ) {
        let now = self.core.clock.now().millis();
        let mut streams: Vec<usize> = messages.into_iter().map(|m| m.stream).collect();
        streams.sort_unstable();
        streams.dedup();
        streams.retain(|&stream| self.pruned.due(stream, now));
        if streams.is_empty() {
            return;
        }
        let prune = move |tx: &mut crate::writer::Tx<'_>| {
            tx.allow_deletion()?;
            for stream in streams {
                log::prune(tx, stream, now)?;
            }
            Ok(Ok::<_, std::convert::Infallible>(()))
        };
        if let Err(away) = self.core.writer.submit(deadline, prune).await {
            tracing::warn!(reason = away.reason, "old messages are not removed yet");
        }
    }
}

/// The bus side of an open database.
pub(crate) struct EmbeddedBus {
    pub(crate) inner: Arc<Inner>,
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn publish(
        &self,
        events: &[OutboxEvent],
        deadline: Deadline,
    ) -> Vec<Result<Published, PublishError>> {
        let now = self.inner.core.clock.now().millis();
        let mut answers = Vec::with_capacity(events.len());
        let mut accepted = Vec::with_capacity(events.len());
        for event in events {
            match NewMessage::of(event) {
                Ok(message) => {
                    accepted.push(message);
                    answers.push(None);
                }
                Err(refusal) => answers.push(Some(Err(refusal))),
            }
        }
        let mut stored = Vec::new();
        if !accepted.is_empty() {
            let count = accepted.len();
            self.inner.prune_due(&accepted, deadline).await;
            let reply = self
                .inner
                .core
                .writer
                .submit(deadline, move |tx| {
                    let results: rusqlite::Result<Vec<_>> = accepted
                        .into_iter()
                        .map(|message| log::append(tx, message, now))
                        .collect();
                    results.map(Ok::<_, std::convert::Infallible>)
                })
                .await;
            stored = match reply {
                Ok(Ok(results)) => results,
                Ok(Err(never)) => match never {},
                Err(away) => vec![Err(PublishError::Unavailable(away)); count],
            };
        }
        let mut stored = stored.into_iter();
        answers
            .into_iter()
            .map(|refused| {
                refused.or_else(|| stored.next()).unwrap_or_else(|| {
                    Err(PublishError::Unavailable(away(
                        "no result for an event",
                        true,
                    )))
                })
            })
            .collect()
    }

    async fn subscribe(
        &self,
        consumer: &'static Consumer,
        deadline: Deadline,
    ) -> Result<Box<dyn Subscription>, Unavailable> {
        let shared = self
            .inner
            .registry
            .consumer(&self.inner.core, consumer, deadline)
            .await?;
        Ok(Box::new(Puller::new(shared)))
    }

    async fn tail(
        &self,
        stream: &'static Stream,
        subjects: &[&str],
        _deadline: Deadline,
    ) -> Result<Box<dyn Tail>, Unavailable> {
        LogTail::open(Arc::clone(&self.inner.core), stream, subjects)
            .map(|tail| Box::new(tail) as Box<dyn Tail>)
    }

    async fn park(&self, parked: &Parked, deadline: Deadline) -> Result<(), Unavailable> {
        let parked = parked.clone();
        let now = self.inner.core.clock.now().millis();
        self.change(deadline, move |tx| parked::insert(tx, parked, now))
            .await
    }

    async fn parked(
        &self,
        after: u64,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<Parked>, Unavailable> {
        self.inner
            .core
            .readers
            .read(deadline, move |conn| parked::list(conn, after, limit))
            .await
    }

    async fn replay_parked(&self, sequence: u64, deadline: Deadline) -> Result<bool, Unavailable> {
        let now = self.inner.core.clock.now().millis();
        let reply = self
            .inner
            .core
            .writer
            .submit(deadline, move |tx| parked::replay(tx, sequence, now))
            .await?;
        match reply {
            Ok(found) => Ok(found),
            Err(ReplayError::Publish(PublishError::Unavailable(away))) => Err(away),
            Err(ReplayError::Publish(full)) => Err(away(full.to_string(), true)),
            Err(ReplayError::Unusable(problem)) => Err(away(problem, false)),
        }
    }

    async fn drop_parked(&self, sequence: u64, deadline: Deadline) -> Result<bool, Unavailable> {
        self.change(deadline, move |tx| parked::remove(tx, sequence))
            .await
    }

    async fn drift(&self, _deadline: Deadline) -> Result<Vec<Drift>, Unavailable> {
        // Streams and consumers are the topology of this very program.
        Ok(Vec::new())
    }

    async fn apply(&self, _deadline: Deadline) -> Result<Vec<Drift>, Unavailable> {
        Ok(Vec::new())
    }

    async fn fill(&self, deadline: Deadline) -> Result<Vec<Fill>, Unavailable> {
        let read = self.inner.core.readers.read(deadline, |conn| {
            schema::load_ledger(conn)?.ok_or_else(|| {
                ReadFailure::Other("the ledger does not carry its checksum".to_owned())
            })
        });
        let ledger: Result<Ledger, Unavailable> = read.await;
        let fill = STREAMS
            .iter()
            .zip(ledger?.streams)
            .map(|(stream, state)| Fill {
                stream: stream.name,
                messages: state.rows,
                max_messages: stream.max_messages,
                bytes: state.bytes,
                max_bytes: stream.max_bytes,
            });
        Ok(fill.collect())
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.inner
            .core
            .readers
            .read(deadline, |conn| {
                Ok(conn.query_row("SELECT 1", (), |_| Ok(()))?)
            })
            .await
    }

    fn epoch(&self) -> u64 {
        0
    }

    fn sync_interval(&self) -> std::time::Duration {
        std::time::Duration::ZERO
    }
}

impl EmbeddedBus {
    /// A write that is never refused.
    async fn change<T, F>(&self, deadline: Deadline, change: F) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        F: FnOnce(&mut crate::writer::Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let work =
            move |tx: &mut crate::writer::Tx<'_>| change(tx).map(Ok::<T, std::convert::Infallible>);
        match self.inner.core.writer.submit(deadline, work).await? {
            Ok(value) => Ok(value),
            Err(never) => match never {},
        }
    }
}
