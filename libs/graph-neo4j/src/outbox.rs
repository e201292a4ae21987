//! The outbox, and the rows that only time makes useless.

use async_trait::async_trait;
use fleet_graph::{Deadline, Outbox, OutboxEvent, Pruning, ReadError, Unavailable};
use fleet_types::{EventId, Timestamp};
use neo4rs::{BoltType, Query};
use serde_json::Value;

use crate::{
    Neo4j,
    commit::{event_key, outbox_time},
    queries::{self, INBOX, MARKER, REQUEST},
    rows::column,
    value::{Params, list, number, text},
};

/// Most rows that one transaction changes: the server keeps a transaction in memory.
const BATCH: usize = 1_000;

impl Neo4j {
    fn ours(&self) -> Params {
        Params::new().with("deployment", self.deployment())
    }

    async fn counted(
        &self,
        deadline: Deadline,
        query: impl Fn() -> Query + Send + Sync,
    ) -> Result<u64, ReadError> {
        let row = self.write(deadline, query).await?;
        column(&row, "count")
    }
}

/// Keys in one order, so that two writers do not wait for each other in a circle.
fn keys(ids: &[EventId]) -> BoltType {
    let mut keys: Vec<_> = ids.iter().map(event_key).collect();
    keys.sort_unstable();
    list(keys.iter().map(|key| text(key)))
}

#[async_trait]
impl Outbox for Neo4j {
    async fn pending(
        &self,
        older_than: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<OutboxEvent>, ReadError> {
        let query = || {
            self.ours()
                .with("before", outbox_time(older_than))
                .with("limit", number(limit))
                .query(queries::PENDING)
        };
        let row = self.read(deadline, query).await?;
        let rows: Vec<Value> = column(&row, "events")?;
        rows.iter().map(event).collect()
    }

    async fn mark_published(
        &self,
        ids: &[EventId],
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), ReadError> {
        for ids in ids.chunks(BATCH) {
            let query = || {
                self.ours()
                    .with("keys", keys(ids))
                    .with("at", at.millis())
                    .query(queries::MARK_PUBLISHED)
            };
            self.write(deadline, query).await?;
        }
        Ok(())
    }

    async fn unpublish(&self, since: Timestamp, deadline: Deadline) -> Result<u64, ReadError> {
        let query = || {
            self.ours()
                .with("since", since.millis())
                .with("limit", number(BATCH))
                .query(queries::UNPUBLISH)
        };
        // What has gone back to pending is not found again: this ends.
        let mut all = 0;
        loop {
            let some = self.counted(deadline, query).await?;
            all += some;
            if some < BATCH as u64 {
                return Ok(all);
            }
        }
    }

    async fn remove(&self, ids: &[EventId], deadline: Deadline) -> Result<(), ReadError> {
        for ids in ids.chunks(BATCH) {
            self.write(deadline, || {
                self.ours().with("keys", keys(ids)).query(queries::REMOVE)
            })
            .await?;
        }
        Ok(())
    }

    async fn remove_published(
        &self,
        before: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        let query = || {
            self.ours()
                .with("before", before.millis())
                .with("limit", number(limit))
                .query(queries::REMOVE_PUBLISHED)
        };
        self.counted(deadline, query).await
    }

    async fn backlog(&self, deadline: Deadline) -> Result<(u64, Option<Timestamp>), ReadError> {
        let row = self
            .read(deadline, || self.ours().query(queries::BACKLOG))
            .await?;
        let oldest: Option<String> = column(&row, "oldest")?;
        let millis = oldest
            .as_deref()
            .and_then(|place| place.split('|').next()?.parse().ok());
        Ok((column(&row, "count")?, millis.map(Timestamp::from_millis)))
    }
}

#[async_trait]
impl Pruning for Neo4j {
    async fn prune(
        &self,
        inbox: Timestamp,
        requests: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        // A marker serves retries of its commit; by then both others have forgotten it.
        let markers = inbox.min(requests);
        let mut gone = 0;
        for (label, before) in [(INBOX, inbox), (REQUEST, requests), (MARKER, markers)] {
            let query = || {
                self.ours()
                    .with("before", before.millis())
                    .with("limit", number(limit))
                    .query(queries::prune(label))
            };
            gone += self.counted(deadline, query).await?;
        }
        Ok(gone)
    }
}

/// An outbox row as the event it keeps.
fn event(row: &Value) -> Result<OutboxEvent, ReadError> {
    let text = |name: &str| row[name].as_str().map(str::to_owned);
    let whole = || {
        Some(OutboxEvent {
            id: EventId::parse(row["id"].as_str()?).ok()?,
            subject: text("subject")?,
            source: text("source")?,
            aggregate: text("aggregate")?,
            aggregate_version: row["aggregate_version"].as_i64()?,
            time: Timestamp::from_millis(row["time"].as_i64()?),
            payload: text("payload")?,
            correlation: text("correlation")?,
            causation: text("causation")?,
            traceparent: text("traceparent")?,
        })
    };
    whole().ok_or_else(|| {
        let reason = format!("an outbox row that is no event: {}", row["_key"]);
        Unavailable {
            store: "neo4j",
            reason,
            retryable: false,
        }
        .into()
    })
}
