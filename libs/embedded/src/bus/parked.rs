//! Messages that a consumer could not digest.

use fleet_events::{Parked, PublishError, RawMessage, TARGET_CONSUMER};
use fleet_topology::STREAMS;
use rusqlite::{Connection, OptionalExtension, Row};

use super::log::{self, NewMessage};
use crate::{checksum::Sum, error::ReadFailure, ledger::Table, statements::Cached, writer::Tx};

/// The stream that counts them.
const STREAM: &str = "FLEET_PARKED";

/// The columns that [`parked`] reads, in its order.
pub(crate) const COLUMNS: &str = "n, stream, seq, consumer, reason, deliveries, parked_at, subject, \
     headers, body, at, crc";

fn parked_sum(parked: &Parked, headers: &str, at: i64) -> i64 {
    Sum::new()
        .int(parked.sequence.cast_signed())
        .text(&parked.stream)
        .int(parked.message.sequence.cast_signed())
        .text(&parked.consumer)
        .text(&parked.reason)
        .int(parked.deliveries.cast_signed())
        .text(&parked.parked_at)
        .text(&parked.message.subject)
        .text(headers)
        .bytes(&parked.message.body)
        .int(at)
        .done()
}

/// Stores a message once.
pub(crate) fn insert(tx: &mut Tx<'_>, mut parked: Parked, at: i64) -> rusqlite::Result<()> {
    let key = (
        &parked.stream,
        parked.message.sequence.cast_signed(),
        &parked.consumer,
    );
    let there = tx
        .conn
        .cached("SELECT 1 FROM parked WHERE stream = ?1 AND seq = ?2 AND consumer = ?3")?
        .exists(key)?;
    if there {
        return Ok(());
    }
    let place = log::place(STREAM).unwrap_or_default();
    prune(tx, at - STREAMS[place].max_age_secs.cast_signed() * 1000)?;
    tx.ledger.streams[place].last += 1;
    parked.sequence = tx.ledger.streams[place].last;
    let headers = headers_text(&parked.message.headers);
    let crc = parked_sum(&parked, &headers, at);
    tx.conn
        .cached(
            "INSERT INTO parked(n, stream, seq, consumer, reason, deliveries, parked_at, subject, \
             headers, body, at, crc) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        )?
        .execute((
            parked.sequence.cast_signed(),
            &parked.stream,
            parked.message.sequence.cast_signed(),
            &parked.consumer,
            &parked.reason,
            parked.deliveries.cast_signed(),
            &parked.parked_at,
            &parked.message.subject,
            &headers,
            &parked.message.body,
            at,
            crc,
        ))?;
    tx.ledger.added(Table::Parked, crc);
    Ok(())
}

/// Removes a few of the oldest messages, if they were parked before `before`.
fn prune(tx: &mut Tx<'_>, before: i64) -> rusqlite::Result<()> {
    let sql = "DELETE FROM parked WHERE n IN (SELECT n FROM \
               (SELECT n, at FROM parked WHERE n > 0 ORDER BY n LIMIT 64) WHERE at < ?1) RETURNING crc";
    crate::commit::remove_returning(tx, Table::Parked, sql, [before]).map(drop)
}

/// Reads a row of [`COLUMNS`] and checks it.
pub(crate) fn parked(row: &Row<'_>) -> Result<Parked, ReadFailure> {
    let n: i64 = row.get(0)?;
    let damaged = || {
        ReadFailure::Other(format!(
            "parked row {n} of fleet.db does not carry its checksum"
        ))
    };
    let headers: String = row.get(8)?;
    let stream: String = row.get(1)?;
    let parked = Parked {
        sequence: n.unsigned_abs(),
        stream: stream.clone(),
        consumer: row.get(3)?,
        reason: row.get(4)?,
        deliveries: row.get::<_, i64>(5)?.unsigned_abs(),
        parked_at: row.get(6)?,
        message: RawMessage {
            stream,
            sequence: row.get::<_, i64>(2)?.unsigned_abs(),
            subject: row.get(7)?,
            headers: serde_json::from_str(&headers).map_err(|_| damaged())?,
            body: row.get(9)?,
        },
    };
    let (at, crc): (i64, i64) = (row.get(10)?, row.get(11)?);
    if parked_sum(&parked, &headers, at) == crc {
        Ok(parked)
    } else {
        Err(damaged())
    }
}

pub(crate) fn list(
    conn: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<Parked>, ReadFailure> {
    let sql = format!("SELECT {COLUMNS} FROM parked WHERE n > ?1 ORDER BY n LIMIT ?2");
    let mut statement = conn.cached(&sql)?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut rows = statement.query((after.cast_signed(), limit))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(parked(row)?);
    }
    Ok(found)
}

/// Removes a message; `false` if there is none.
pub(crate) fn remove(tx: &mut Tx<'_>, sequence: u64) -> rusqlite::Result<bool> {
    let sql = "DELETE FROM parked WHERE n = ?1 RETURNING crc";
    let n = sequence.cast_signed();
    crate::commit::remove_returning(tx, Table::Parked, sql, [n]).map(|gone| gone > 0)
}

/// Why a parked message was not said again.
pub(crate) enum ReplayError {
    Publish(PublishError),
    /// The row is damaged, or its stream is no more.
    Unusable(String),
}

/// Puts a message at the end of its stream for its consumer alone, and removes it here.
pub(crate) fn replay(
    tx: &mut Tx<'_>,
    sequence: u64,
    now: i64,
) -> rusqlite::Result<Result<bool, ReplayError>> {
    let sql = format!("SELECT {COLUMNS} FROM parked WHERE n = ?1");
    let found = tx
        .conn
        .cached(&sql)?
        .query_row([sequence.cast_signed()], |row| Ok(parked(row)))
        .optional()?;
    let parked = match found {
        None => return Ok(Ok(false)),
        Some(Ok(parked)) => parked,
        Some(Err(ReadFailure::Engine(error))) => return Err(error),
        Some(Err(ReadFailure::Other(problem))) => return Ok(Err(ReplayError::Unusable(problem))),
        Some(Err(ReadFailure::Row(row))) => {
            return Ok(Err(ReplayError::Unusable(row.to_string())));
        }
    };
    let Some(stream) = log::place(&parked.stream) else {
        return Ok(Err(ReplayError::Unusable(format!(
            "there is no stream {}",
            parked.stream
        ))));
    };
    let mut message = parked.message;
    let headers = &mut message.headers;
    headers.retain(|(name, _)| !name.eq_ignore_ascii_case(TARGET_CONSUMER));
    headers.push((TARGET_CONSUMER.to_owned(), parked.consumer));
    match log::append(tx, NewMessage::again(stream, message), now)? {
        Ok(_) => remove(tx, sequence).map(Ok),
        Err(error) => Ok(Err(ReplayError::Publish(error))),
    }
}

fn headers_text(headers: &[(String, String)]) -> String {
    serde_json::to_string(headers).expect("pairs of texts are JSON")
}
