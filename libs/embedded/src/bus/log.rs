//! The streams as one table: a message's row number is its stream's number and its sequence.

use std::sync::Arc;

use fleet_events::{PublishError, Published, RawMessage};
use fleet_graph::OutboxEvent;
use fleet_topology::{Discard, STREAMS, Stream};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::{checksum::Sum, error::ReadFailure, ledger::Table, statements::Cached, writer::Tx};

/// Bits of a row number that hold the sequence; the stream's number is above.
const SEQUENCE_BITS: u32 = 40;
/// Old messages removed by one publish, at most: a burst is spread over many.
const PRUNE_ROWS: i64 = 256;

/// The columns that [`message`] reads, in its order.
pub(crate) const COLUMNS: &str = "n, subject, msg_id, headers, body, at, crc";

/// Where the rows of a stream begin. Derived from the name, so that it needs no table and
/// never changes.
pub(crate) fn base(stream: &Stream) -> i64 {
    let number = Sum::new().text(stream.name).done() & 0x3f_ffff;
    number << SEQUENCE_BITS
}

/// Its place among [`STREAMS`].
pub(crate) fn place(name: &str) -> Option<usize> {
    STREAMS.iter().position(|stream| stream.name == name)
}

/// A message about to be stored.
pub(crate) struct NewMessage {
    /// Place of its stream among [`STREAMS`].
    pub(crate) stream: usize,
    msg_id: Option<String>,
    /// As they are stored.
    headers: String,
    /// Without its sequence.
    message: RawMessage,
}

impl NewMessage {
    /// An event as it goes on the bus; refused if no stream takes it or it is too large.
    pub(crate) fn of(event: &OutboxEvent) -> Result<Self, PublishError> {
        let refused = |reason: String| PublishError::Refused {
            subject: event.subject.clone(),
            reason,
        };
        if !is_plain(&event.subject) {
            return Err(refused("not a subject to publish on".to_owned()));
        }
        let stream = STREAMS
            .iter()
            .position(|stream| stream.stores(&event.subject))
            .ok_or_else(|| refused("no stream takes it".to_owned()))?;
        let headers = fleet_events::headers(event).into_iter();
        let message = RawMessage {
            stream: STREAMS[stream].name.to_owned(),
            sequence: 0,
            subject: event.subject.clone(),
            headers: headers
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            body: event.payload.clone().into_bytes(),
        };
        let message = Self {
            msg_id: Some(event.id.as_str().to_owned()),
            ..Self::again(stream, message)
        };
        let most = STREAMS[stream].max_message_bytes as usize;
        let size = message.headers.len() + message.message.body.len();
        if size > most {
            return Err(refused(format!("{size} bytes; at most {most}")));
        }
        Ok(message)
    }

    /// A message that was said before, to be said again: it has no id.
    pub(crate) fn again(stream: usize, message: RawMessage) -> Self {
        let headers = serde_json::to_string(&message.headers).expect("pairs of texts are JSON");
        Self {
            stream,
            msg_id: None,
            headers,
            message,
        }
    }

    fn size(&self) -> u64 {
        (self.message.subject.len() + self.headers.len() + self.message.body.len()) as u64
    }
}

/// Words of visible characters without wildcards, as NATS wants them.
fn is_plain(subject: &str) -> bool {
    subject.split('.').all(|word| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| !c.is_whitespace() && !matches!(c, '*' | '>' | '\0'))
    })
}

fn message_sum(
    n: i64,
    subject: &str,
    msg_id: Option<&str>,
    headers: &str,
    body: &[u8],
    at: i64,
) -> i64 {
    Sum::new()
        .int(n)
        .text(subject)
        .text(msg_id.unwrap_or_default())
        .text(headers)
        .bytes(body)
        .int(at)
        .done()
}

/// Stores a message at the end of its stream.
pub(crate) fn append(
    tx: &mut Tx<'_>,
    message: NewMessage,
    at: i64,
) -> rusqlite::Result<Result<Published, PublishError>> {
    let stream = &STREAMS[message.stream];
    if is_full(tx, &message) {
        prune(tx, message.stream, at)?;
    }
    if is_full(tx, &message) && stream.discard == Discard::Old {
        remove_oldest(tx, message.stream, None)?;
    }
    if is_full(tx, &message) {
        // What is there already is no new message.
        let there = match &message.msg_id {
            Some(id) => sequence_of(tx.conn, stream, id)?,
            None => None,
        };
        return Ok(match there {
            Some(sequence) => Ok(Published {
                sequence,
                duplicate: true,
            }),
            None => Err(PublishError::StreamFull {
                subject: message.message.subject,
            }),
        });
    }
    let state = tx.ledger.streams[message.stream];
    let sequence = state.last + 1;
    let n = base(stream) + sequence.cast_signed();
    let RawMessage { subject, body, .. } = &message.message;
    let msg_id = message.msg_id.as_deref();
    let crc = message_sum(n, subject, msg_id, &message.headers, body, at);
    let inserted = tx
        .conn
        .cached(
            "INSERT INTO log(n, subject, msg_id, headers, body, at, crc) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
        )?
        .execute((n, subject, msg_id, &message.headers, body, at, crc))?;
    if inserted == 0 {
        let id = msg_id.unwrap_or_default();
        let sequence =
            sequence_of(tx.conn, stream, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        return Ok(Ok(Published {
            sequence,
            duplicate: true,
        }));
    }
    tx.ledger.added(Table::Log, crc);
    let state = &mut tx.ledger.streams[message.stream];
    state.last = sequence;
    state.rows += 1;
    state.bytes += message.size();
    let stored = RawMessage {
        sequence,
        ..message.message
    };
    tx.appended.push((message.stream, Arc::new(stored)));
    Ok(Ok(Published {
        sequence,
        duplicate: false,
    }))
}

fn is_full(tx: &Tx<'_>, message: &NewMessage) -> bool {
    let stream = &STREAMS[message.stream];
    let state = tx.ledger.streams[message.stream];
    let most = tx
        .settings
        .max_stream_messages
        .unwrap_or(u64::MAX)
        .min(stream.max_messages);
    state.rows >= most || state.bytes + message.size() > stream.max_bytes
}

fn sequence_of(conn: &Connection, stream: &Stream, msg_id: &str) -> rusqlite::Result<Option<u64>> {
    let n: Option<i64> = conn
        .cached("SELECT n FROM log WHERE msg_id = ?1")?
        .query_row([msg_id], |row| row.get(0))
        .optional()?;
    Ok(n.map(|n| (n - base(stream)).unsigned_abs()))
}

/// Removes messages older than the stream keeps them, a few at a time.
pub(crate) fn prune(tx: &mut Tx<'_>, stream: usize, now: i64) -> rusqlite::Result<()> {
    let keep = i64::try_from(STREAMS[stream].max_age_secs.saturating_mul(1000)).unwrap_or(i64::MAX);
    remove_oldest(tx, stream, Some(now.saturating_sub(keep)))
}

/// Removes from the front of a stream: what is older than `before`, or anything.
fn remove_oldest(tx: &mut Tx<'_>, stream: usize, before: Option<i64>) -> rusqlite::Result<()> {
    let first = base(&STREAMS[stream]);
    let mut oldest: Vec<(i64, i64, i64)> = Vec::new();
    {
        let mut statement = tx.conn.cached(
            "SELECT n, at, crc, length(CAST(subject AS BLOB)) + length(CAST(headers AS BLOB)) \
             + length(body) FROM log WHERE n > ?1 AND n < ?2 ORDER BY n LIMIT ?3",
        )?;
        let mut rows = statement.query((first, first + (1 << SEQUENCE_BITS), PRUNE_ROWS))?;
        // A full stream is asked at every message: the first row that stays ends it.
        while let Some(row) = rows.next()? {
            let at: i64 = row.get(1)?;
            if before.is_some_and(|before| at >= before) {
                break;
            }
            oldest.push((row.get(0)?, row.get(2)?, row.get(3)?));
        }
    }
    for (n, crc, size) in oldest {
        tx.conn
            .cached("DELETE FROM log WHERE n = ?1")?
            .execute([n])?;
        tx.ledger.removed(Table::Log, crc);
        let state = &mut tx.ledger.streams[stream];
        state.rows = state.rows.saturating_sub(1);
        state.bytes = state.bytes.saturating_sub(size.unsigned_abs());
    }
    Ok(())
}

/// Reads a row of [`COLUMNS`] and checks it. The stream's name is left to the caller.
pub(crate) fn message(row: &Row<'_>) -> Result<(i64, RawMessage), ReadFailure> {
    let n: i64 = row.get(0)?;
    let msg_id: Option<String> = row.get(2)?;
    let headers = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
    let message = RawMessage {
        stream: String::new(),
        sequence: (n & ((1 << SEQUENCE_BITS) - 1)).unsigned_abs(),
        subject: row.get(1)?,
        headers: serde_json::from_str(headers).map_err(|_| damaged(n))?,
        body: row.get(4)?,
    };
    let (at, crc): (i64, i64) = (row.get(5)?, row.get(6)?);
    let sum = message_sum(
        n,
        &message.subject,
        msg_id.as_deref(),
        headers,
        &message.body,
        at,
    );
    if sum != crc {
        Err(damaged(n))
    } else {
        Ok((n, message))
    }
}

fn damaged(n: i64) -> ReadFailure {
    ReadFailure::Other(format!(
        "log row {n} of fleet.db does not carry its checksum"
    ))
}

/// How far one read of a stream looks for wanted subjects.
const READ_AHEAD: i64 = 1024;

/// Messages behind `after` of these subjects (all, if none are given), at most `limit`, and up
/// to where the stream was read.
pub(crate) fn read_after(
    conn: &Connection,
    stream: &'static Stream,
    subjects: &[&'static str],
    after: u64,
    last: u64,
    limit: usize,
) -> Result<(Vec<RawMessage>, u64), ReadFailure> {
    let first = base(stream);
    let from = first + after.cast_signed();
    // Skip what was removed for its age.
    let start: Option<i64> = conn
        .cached("SELECT n FROM log WHERE n > ?1 AND n <= ?2 ORDER BY n LIMIT 1")?
        .query_row((from, first + last.cast_signed()), |row| row.get(0))
        .optional()?;
    let Some(start) = start else {
        return Ok((Vec::new(), last));
    };
    let to = (start + READ_AHEAD).min(first + last.cast_signed());
    let wanted: String = match subjects {
        [] => String::new(),
        subjects => format!(" AND subject IN ({})", vec!["?"; subjects.len()].join(", ")),
    };
    let sql =
        format!("SELECT {COLUMNS} FROM log WHERE n >= ? AND n <= ?{wanted} ORDER BY n LIMIT ?");
    let mut params: Vec<&dyn rusqlite::ToSql> = vec![&start, &to];
    params.extend(
        subjects
            .iter()
            .map(|subject| subject as &dyn rusqlite::ToSql),
    );
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    params.push(&most);
    let mut statement = conn.cached(&sql)?;
    let mut rows = statement.query(params.as_slice())?;
    let mut messages = Vec::new();
    while let Some(row) = rows.next()? {
        let (_, mut found) = message(row)?;
        stream.name.clone_into(&mut found.stream);
        messages.push(found);
    }
    let read = match messages.last() {
        Some(found) if messages.len() == limit => found.sequence,
        _ => (to - first).unsigned_abs(),
    };
    Ok((messages, read))
}

/// One message; `None` if it was removed.
pub(crate) fn read_one(
    conn: &Connection,
    stream: &'static Stream,
    sequence: u64,
) -> Result<Option<RawMessage>, ReadFailure> {
    let sql = format!("SELECT {COLUMNS} FROM log WHERE n = ?1");
    let mut statement = conn.cached(&sql)?;
    let mut rows = statement.query([base(stream) + sequence.cast_signed()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let (_, mut found) = message(row)?;
    stream.name.clone_into(&mut found.stream);
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_streams_share_row_numbers() {
        let mut bases: Vec<i64> = STREAMS.iter().map(base).collect();
        bases.sort_unstable();
        bases.dedup();
        assert_eq!(bases.len(), STREAMS.len());
        assert!(bases.iter().all(|&base| base > 0));
    }
}
