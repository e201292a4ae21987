//! Where a consumer is, as it is stored.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension};

use crate::{
    checksum::Sum, commit::remove_returning, error::ReadFailure, ledger::Table, statements::Cached,
    writer::Tx,
};

/// A message above the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// How often it was delivered.
    pub(crate) count: u64,
    /// When it is due again, in milliseconds since 1970; `None`: it is settled.
    pub(crate) due: Option<i64>,
}

/// A consumer's place: everything up to `floor` is settled, and these above.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    pub(crate) floor: u64,
    pub(crate) above: BTreeMap<u64, Stored>,
}

/// What changed since the last write.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) name: &'static str,
    pub(crate) stream: &'static str,
    pub(crate) floor: u64,
    /// Rows above the floor to write.
    pub(crate) rows: Vec<(u64, Stored)>,
}

pub(crate) fn cursor_sum(name: &str, stream: &str, floor: i64) -> i64 {
    Sum::new().text(name).text(stream).int(floor).done()
}

pub(crate) fn delivery_sum(consumer: &str, seq: i64, count: i64, due: Option<i64>) -> i64 {
    Sum::new()
        .text(consumer)
        .int(seq)
        .int(count)
        .int(due.unwrap_or(-1))
        .done()
}

/// Reads a consumer's place. One that is new, or reads another stream than before, begins at
/// the beginning.
pub(crate) fn load(conn: &Connection, name: &str, stream: &str) -> Result<Cursor, ReadFailure> {
    let damaged = || {
        ReadFailure::Other(format!(
            "consumer {name} of fleet.db does not carry its checksum"
        ))
    };
    let found: Option<(String, i64, i64)> = conn
        .cached("SELECT stream, floor, crc FROM consumers WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let Some((of, floor, crc)) = found else {
        return Ok(Cursor::default());
    };
    if cursor_sum(name, &of, floor) != crc {
        return Err(damaged());
    }
    if of != stream {
        return Ok(Cursor::default());
    }
    let mut cursor = Cursor {
        floor: floor.unsigned_abs(),
        above: BTreeMap::new(),
    };
    let mut statement = conn
        .cached("SELECT seq, count, due, crc FROM deliveries WHERE consumer = ?1 AND seq > ?2")?;
    let mut rows = statement.query((name, floor))?;
    while let Some(row) = rows.next()? {
        let (seq, count, due): (i64, i64, Option<i64>) = (row.get(0)?, row.get(1)?, row.get(2)?);
        if delivery_sum(name, seq, count, due) != row.get::<_, i64>(3)? {
            return Err(damaged());
        }
        cursor.above.insert(
            seq.unsigned_abs(),
            Stored {
                count: count.unsigned_abs(),
                due,
            },
        );
    }
    Ok(cursor)
}

/// Writes what changed. Two writes may overtake each other: the floor never sinks.
pub(crate) fn store(tx: &mut Tx<'_>, change: &Change) -> rusqlite::Result<()> {
    let Change {
        name,
        stream,
        floor,
        rows,
    } = change;
    let found: Option<(String, i64, i64)> = tx
        .conn
        .cached("SELECT stream, floor, crc FROM consumers WHERE name = ?1")?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    let mut floor = floor.cast_signed();
    match found {
        None => {
            let crc = cursor_sum(name, stream, floor);
            tx.conn
                .cached("INSERT INTO consumers(name, stream, floor, crc) VALUES (?1, ?2, ?3, ?4)")?
                .execute((name, stream, floor, crc))?;
            tx.ledger.added(Table::Consumers, crc);
        }
        Some((of, stored, old)) => {
            if of == *stream {
                floor = floor.max(stored);
            } else {
                // Places in another stream mean nothing here.
                let sql = "DELETE FROM deliveries WHERE consumer = ?1 RETURNING crc";
                remove_returning(tx, Table::Deliveries, sql, [name])?;
            }
            let crc = cursor_sum(name, stream, floor);
            tx.conn
                .cached("UPDATE consumers SET stream = ?2, floor = ?3, crc = ?4 WHERE name = ?1")?
                .execute((name, stream, floor, crc))?;
            tx.ledger.replaced(Table::Consumers, old, crc);
        }
    }
    let sql = "DELETE FROM deliveries WHERE consumer = ?1 AND seq <= ?2 RETURNING crc";
    remove_returning(tx, Table::Deliveries, sql, (name, floor))?;
    for (seq, stored) in rows {
        let (seq, count) = (seq.cast_signed(), stored.count.cast_signed());
        if seq <= floor {
            continue;
        }
        let sql = "DELETE FROM deliveries WHERE consumer = ?1 AND seq = ?2 RETURNING crc";
        remove_returning(tx, Table::Deliveries, sql, (name, seq))?;
        let crc = delivery_sum(name, seq, count, stored.due);
        tx.conn
            .cached(
                "INSERT INTO deliveries(consumer, seq, count, due, crc) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute((name, seq, count, stored.due, crc))?;
        tx.ledger.added(Table::Deliveries, crc);
    }
    Ok(())
}
