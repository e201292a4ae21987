//! The complete check of a database: its structure, every row's checksum, and that no row
//! is missing.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use rusqlite::{Connection, Row};

use crate::{
    bus,
    checksum::Sum,
    commit::request_sum,
    error::ReadFailure,
    ledger::{Ledger, Table, Tally},
    listings, outbox, rows, search,
};

/// What is wrong, in words; `Ok(None)` if nothing is.
pub(crate) fn verify(conn: &Connection, ledger: &Ledger) -> rusqlite::Result<Option<String>> {
    let structure: String = conn.query_row("PRAGMA integrity_check(1)", (), |row| row.get(0))?;
    if structure != "ok" {
        return Ok(Some(structure.replace('\n', " ")));
    }
    // Those of an older version are about to be made anew.
    let listed = listings::are_current(conn)?;
    for table in Table::ALL {
        match tally(conn, table, listed) {
            Ok(found) => {
                let noted = ledger.table(table);
                if found != noted {
                    return Ok(Some(format!(
                        "table {} holds {} rows, {} were written, or their contents differ",
                        table.name(),
                        found.rows,
                        noted.rows
                    )));
                }
            }
            Err(ReadFailure::Engine(error)) => return Err(error),
            Err(ReadFailure::Row(row)) => return Ok(Some(row.to_string())),
            Err(ReadFailure::Other(problem)) => return Ok(Some(problem)),
        }
    }
    if search::is_current(conn)?
        && let Some(problem) = search::verify(conn)?
    {
        return Ok(Some(problem));
    }
    let labels: i64 = fleet_graph::Label::ALL
        .iter()
        .map(|&label| ledger.label(label).cast_signed())
        .sum();
    if labels != ledger.table(Table::Nodes).rows {
        return Ok(Some(
            "the counts of nodes by label do not add up".to_owned(),
        ));
    }
    Ok(None)
}

/// Checks a row and gives its checksum.
type CheckRow = fn(&Row<'_>) -> Result<i64, ReadFailure>;

/// Reads a whole table, checks every row and adds up.
fn tally(conn: &Connection, table: Table, listed: bool) -> Result<Tally, ReadFailure> {
    let (columns, check): (&str, CheckRow) = match table {
        Table::Nodes if listed => (LISTED_COLUMNS, listed_node),
        Table::Nodes => (rows::NODE_COLUMNS, |row| {
            rows::node(row)?;
            Ok(row.get(6)?)
        }),
        Table::Edges => ("src, kind, dst, props, crc", |row| {
            let (src, kind, dst): (i64, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let props: String = row.get(3)?;
            same(
                rows::edge_sum(src, &kind, dst, &props),
                row.get(4)?,
                "edges",
            )
        }),
        Table::Outbox => (outbox::OUTBOX_COLUMNS, |row| {
            outbox::event(row)?;
            Ok(row.get(13)?)
        }),
        Table::Inbox => ("consumer, event, at, crc", |row| {
            let (consumer, event): (String, String) = (row.get(0)?, row.get(1)?);
            let crc = Sum::new()
                .text(&consumer)
                .text(&event)
                .int(row.get(2)?)
                .done();
            same(crc, row.get(3)?, "inbox")
        }),
        Table::Requests => (
            "method, principal, request_id, fingerprint, response, at, crc",
            |row| {
                let (method, principal, id): (String, String, String) =
                    (row.get(0)?, row.get(1)?, row.get(2)?);
                let (fingerprint, response): (String, Vec<u8>) = (row.get(3)?, row.get(4)?);
                let crc = request_sum(
                    [&method, &principal, &id],
                    &fingerprint,
                    &response,
                    row.get(5)?,
                );
                same(crc, row.get(6)?, "requests")
            },
        ),
        Table::Commits => ("id, at, crc", |row| {
            let id: Vec<u8> = row.get(0)?;
            same(
                Sum::new().bytes(&id).int(row.get(1)?).done(),
                row.get(2)?,
                "commits",
            )
        }),
        Table::Log => (bus::log::COLUMNS, |row| {
            bus::log::message(row)?;
            Ok(row.get(6)?)
        }),
        Table::Parked => (bus::parked::COLUMNS, |row| {
            bus::parked::parked(row)?;
            Ok(row.get(11)?)
        }),
        Table::Consumers => ("name, stream, floor, crc", |row| {
            let (name, stream): (String, String) = (row.get(0)?, row.get(1)?);
            same(
                bus::cursor::cursor_sum(&name, &stream, row.get(2)?),
                row.get(3)?,
                "consumers",
            )
        }),
        Table::Deliveries => ("consumer, seq, count, due, crc", |row| {
            let name: String = row.get(0)?;
            let crc = bus::cursor::delivery_sum(&name, row.get(1)?, row.get(2)?, row.get(3)?);
            same(crc, row.get(4)?, "deliveries")
        }),
    };
    let mut statement = conn.prepare(&format!("SELECT {columns} FROM {}", table.name()))?;
    let mut found = Tally::default();
    let mut rows = statement.query(())?;
    while let Some(row) = rows.next()? {
        found.rows += 1;
        found.sum = found.sum.wrapping_add(check(row)?);
    }
    Ok(found)
}

/// Node columns and those of the listings.
const LISTED_COLUMNS: &str = "n, label, id, version, ord, props, crc, f1, f2, f3, f4";

/// Checks a node, and that listings have it under the values that it has.
fn listed_node(row: &Row<'_>) -> Result<i64, ReadFailure> {
    let (n, node) = rows::node(row)?;
    let listed: listings::Filters = [row.get(7)?, row.get(8)?, row.get(9)?, row.get(10)?];
    if listed != listings::filters(node.key.label(), &node.props) {
        let problem = format!("node row {n} is listed under other values than it has");
        return Err(ReadFailure::Other(problem));
    }
    Ok(row.get(6)?)
}

fn same(computed: i64, stored: i64, table: &str) -> Result<i64, ReadFailure> {
    if computed == stored {
        Ok(stored)
    } else {
        Err(ReadFailure::Other(format!(
            "a row of {table} does not carry its checksum"
        )))
    }
}

const WAL_HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

/// Whether the log holds at least one whole commit, as SQLite's own recovery would find it.
pub(crate) fn log_holds_a_commit(wal: &Path) -> io::Result<bool> {
    let mut file = match File::open(wal) {
        Ok(file) => io::BufReader::new(file),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(e),
    };
    let mut header = [0; WAL_HEADER];
    if !read_whole(&mut file, &mut header)? {
        return Ok(false);
    }
    let word = |bytes: &[u8], at: usize| {
        u32::from_be_bytes(bytes[at..at + 4].try_into().expect("a slice of four bytes"))
    };
    let big_endian = match word(&header, 0) {
        0x377f_0682 => false,
        0x377f_0683 => true,
        _ => return Ok(false),
    };
    let page = word(&header, 8) as usize;
    if !(512..=65_536).contains(&page) || !page.is_power_of_two() {
        return Ok(false);
    }
    let mut sum = frame_sum((0, 0), &header[..24], big_endian);
    if sum != (word(&header, 24), word(&header, 28)) {
        return Ok(false);
    }
    let mut frame = vec![0; FRAME_HEADER + page];
    while read_whole(&mut file, &mut frame)? {
        if frame[8..16] != header[16..24] {
            return Ok(false);
        }
        sum = frame_sum(sum, &frame[..8], big_endian);
        sum = frame_sum(sum, &frame[FRAME_HEADER..], big_endian);
        if sum != (word(&frame, 16), word(&frame, 20)) {
            return Ok(false);
        }
        // A frame that ends a commit says how many pages the database has.
        if word(&frame, 4) != 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn read_whole(file: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(into) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// The running checksum of SQLite's log format.
fn frame_sum((mut a, mut b): (u32, u32), bytes: &[u8], big_endian: bool) -> (u32, u32) {
    let word = |bytes: &[u8]| {
        let bytes = bytes.try_into().expect("chunks of four bytes");
        if big_endian {
            u32::from_be_bytes(bytes)
        } else {
            u32::from_le_bytes(bytes)
        }
    };
    for pair in bytes.chunks_exact(8) {
        a = a.wrapping_add(word(&pair[..4])).wrapping_add(b);
        b = b.wrapping_add(word(&pair[4..])).wrapping_add(a);
    }
    (a, b)
}
