//! The outbox, and what only time removes.

use async_trait::async_trait;
use fleet_graph::{Deadline, Outbox, OutboxEvent, Pruning, ReadError};
use fleet_types::{EventId, Timestamp};
use rusqlite::{OptionalExtension, Row};

use crate::{
    checksum::Sum, commit::remove_returning, error::ReadFailure, graph::EmbeddedStore,
    ledger::Table, statements::Cached, writer::Tx,
};

/// Everything but `published`, which is mixed in by [`published_mark`].
fn content_sum(event: &OutboxEvent, deployment: &str, committed: i64) -> i64 {
    Sum::new()
        .text(event.id.as_str())
        .text(deployment)
        .int(committed)
        .text(&event.subject)
        .text(&event.source)
        .text(&event.aggregate)
        .int(event.aggregate_version)
        .int(event.time.millis())
        .text(&event.payload)
        .text(&event.correlation)
        .text(&event.causation)
        .text(&event.traceparent)
        .done()
}

/// Combined with the content's checksum by exclusive or, so that marking a row as published
/// need not read it.
pub(crate) fn published_mark(published: Option<i64>) -> i64 {
    published.map_or(0, |at| Sum::new().int(at).done())
}

/// Adds an event; `false` if its id is there already.
pub(crate) fn insert(
    tx: &mut Tx<'_>,
    event: &OutboxEvent,
    deployment: &str,
    committed: i64,
) -> rusqlite::Result<bool> {
    let crc = content_sum(event, deployment, committed) ^ published_mark(None);
    let inserted = tx
        .conn
        .cached(
            "INSERT INTO outbox(id, deployment, committed, subject, source, aggregate, \
             aggregate_version, time, payload, correlation, causation, traceparent, crc) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13) \
             ON CONFLICT DO NOTHING",
        )?
        .execute((
            event.id.as_str(),
            deployment,
            committed,
            &event.subject,
            &event.source,
            &event.aggregate,
            event.aggregate_version,
            event.time.millis(),
            &event.payload,
            &event.correlation,
            &event.causation,
            &event.traceparent,
            crc,
        ))?;
    if inserted == 1 {
        tx.ledger.added(Table::Outbox, crc);
    }
    Ok(inserted == 1)
}

pub(crate) const OUTBOX_COLUMNS: &str = "id, deployment, committed, published, subject, source, \
     aggregate, aggregate_version, time, payload, correlation, causation, traceparent, crc";

/// Reads a row of [`OUTBOX_COLUMNS`] and checks it.
pub(crate) fn event(row: &Row<'_>) -> Result<OutboxEvent, ReadFailure> {
    let id: String = row.get(0)?;
    let (deployment, committed, published): (String, i64, Option<i64>) =
        (row.get(1)?, row.get(2)?, row.get(3)?);
    let damaged = || {
        ReadFailure::Other(format!(
            "outbox row {id:?} of fleet.db does not carry its checksum"
        ))
    };
    let event = OutboxEvent {
        id: EventId::parse(&id).map_err(|_| damaged())?,
        subject: row.get(4)?,
        source: row.get(5)?,
        aggregate: row.get(6)?,
        aggregate_version: row.get(7)?,
        time: Timestamp::from_millis(row.get(8)?),
        payload: row.get(9)?,
        correlation: row.get(10)?,
        causation: row.get(11)?,
        traceparent: row.get(12)?,
    };
    let crc: i64 = row.get(13)?;
    if content_sum(&event, &deployment, committed) ^ published_mark(published) != crc {
        return Err(damaged());
    }
    Ok(event)
}

/// Sets `published` of rows given by number, old value and checksum.
fn mark(
    tx: &mut Tx<'_>,
    rows: &[(i64, Option<i64>, i64)],
    at: Option<i64>,
) -> rusqlite::Result<()> {
    for &(n, published, old) in rows {
        let crc = old ^ published_mark(published) ^ published_mark(at);
        tx.conn
            .cached("UPDATE outbox SET published = ?2, crc = ?3 WHERE n = ?1")?
            .execute((n, at, crc))?;
        tx.ledger.replaced(Table::Outbox, old, crc);
    }
    Ok(())
}

fn ids_text(ids: &[EventId]) -> Vec<String> {
    ids.iter().map(|id| id.as_str().to_owned()).collect()
}

#[async_trait]
impl Outbox for EmbeddedStore {
    async fn pending(
        &self,
        older_than: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<Vec<OutboxEvent>, ReadError> {
        let deployment = self.deployment().to_owned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.read(deadline, move |conn| {
            let sql = format!(
                "SELECT {OUTBOX_COLUMNS} FROM outbox INDEXED BY outbox_pending \
                 WHERE deployment = ?1 AND published IS NULL AND committed < ?2 \
                 ORDER BY committed, n LIMIT ?3"
            );
            let mut statement = conn.cached(&sql)?;
            let mut rows = statement.query((deployment, older_than.millis(), limit))?;
            let mut events = Vec::new();
            while let Some(row) = rows.next()? {
                events.push(event(row)?);
            }
            Ok(events)
        })
        .await
    }

    async fn mark_published(
        &self,
        ids: &[EventId],
        at: Timestamp,
        deadline: Deadline,
    ) -> Result<(), ReadError> {
        let ids = ids_text(ids);
        let deployment = self.deployment().to_owned();
        self.change(deadline, move |tx| {
            let mut rows = Vec::with_capacity(ids.len());
            for id in &ids {
                let row = tx
                    .conn
                    .cached(
                        "SELECT n, published, crc FROM outbox WHERE id = ?1 AND deployment = ?2",
                    )?
                    .query_row((id, &deployment), |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .optional()?;
                rows.extend(row);
            }
            mark(tx, &rows, Some(at.millis()))
        })
        .await
    }

    async fn unpublish(&self, since: Timestamp, deadline: Deadline) -> Result<u64, ReadError> {
        let deployment = self.deployment().to_owned();
        self.change(deadline, move |tx| {
            let rows: Vec<_> = tx
                .conn
                .cached(
                    "SELECT n, published, crc FROM outbox INDEXED BY outbox_published \
                     WHERE deployment = ?1 AND published IS NOT NULL AND published >= ?2",
                )?
                .query_map((deployment, since.millis()), |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                })?
                .collect::<Result<_, _>>()?;
            mark(tx, &rows, None)?;
            Ok(rows.len() as u64)
        })
        .await
    }

    async fn remove(&self, ids: &[EventId], deadline: Deadline) -> Result<(), ReadError> {
        let ids = ids_text(ids);
        let deployment = self.deployment().to_owned();
        self.change(deadline, move |tx| {
            for id in &ids {
                let sql = "DELETE FROM outbox WHERE id = ?1 AND deployment = ?2 RETURNING crc";
                remove_returning(tx, Table::Outbox, sql, (id, &deployment))?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_published(
        &self,
        before: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        let deployment = self.deployment().to_owned();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.change(deadline, move |tx| {
            let sql = "DELETE FROM outbox WHERE n IN (SELECT n FROM outbox \
                       INDEXED BY outbox_published WHERE deployment = ?1 \
                       AND published IS NOT NULL AND published < ?2 ORDER BY published LIMIT ?3) \
                       RETURNING crc";
            remove_returning(tx, Table::Outbox, sql, (deployment, before.millis(), limit))
        })
        .await
    }

    async fn backlog(&self, deadline: Deadline) -> Result<(u64, Option<Timestamp>), ReadError> {
        let deployment = self.deployment().to_owned();
        self.read(deadline, move |conn| {
            let (rows, oldest): (i64, Option<i64>) = conn
                .cached(
                    "SELECT count(*), min(committed) FROM outbox INDEXED BY outbox_pending \
                     WHERE deployment = ?1 AND published IS NULL",
                )?
                .query_row([deployment], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok((rows.unsigned_abs(), oldest.map(Timestamp::from_millis)))
        })
        .await
    }
}

#[async_trait]
impl Pruning for EmbeddedStore {
    async fn prune(
        &self,
        inbox: Timestamp,
        requests: Timestamp,
        limit: usize,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        // A marker serves the retries of one commit, which last seconds; the younger limit of
        // the two is more than enough.
        let commits = inbox.max(requests);
        self.change(deadline, move |tx| {
            let inbox_sql = "DELETE FROM inbox WHERE (consumer, event) IN \
                 (SELECT consumer, event FROM inbox INDEXED BY inbox_at \
                  WHERE at < ?1 ORDER BY at LIMIT ?2) RETURNING crc";
            let requests_sql = "DELETE FROM requests WHERE n IN \
                 (SELECT n FROM requests INDEXED BY requests_at \
                  WHERE at < ?1 ORDER BY at LIMIT ?2) RETURNING crc";
            let commits_sql = "DELETE FROM commits WHERE id IN \
                 (SELECT id FROM commits INDEXED BY commits_at \
                  WHERE at < ?1 ORDER BY at LIMIT ?2) RETURNING crc";
            let gone = remove_returning(tx, Table::Inbox, inbox_sql, (inbox.millis(), limit))?
                + remove_returning(
                    tx,
                    Table::Requests,
                    requests_sql,
                    (requests.millis(), limit),
                )?
                + remove_returning(tx, Table::Commits, commits_sql, (commits.millis(), limit))?;
            Ok(gone)
        })
        .await
    }
}
