//! Tables and indexes. What a database holds must be exactly this text; listings may be added
//! and dropped, what searches need is made anew when it differs, and other tables change only
//! with a new [`VERSION`].

use std::path::Path;

use rusqlite::Connection;

use crate::{OpenError, checksum::Sum, ledger::Ledger, listings, search, statements::Cached};

/// Raised with every change of a table, and with everything that a program must keep up to date
/// when it writes.
const VERSION: i64 = 2;
/// The oldest that [`update`] can bring up to date: it had no searches.
const OLDEST: i64 = 1;
/// Marks the file as ours ("FLT1").
const APPLICATION_ID: i64 = 0x464c_5431;

const TABLES: &[(&str, &str)] = &[
    (
        "meta",
        "CREATE TABLE meta(k INTEGER PRIMARY KEY, seq INTEGER NOT NULL, ledger TEXT NOT NULL, \
         crc INTEGER NOT NULL)",
    ),
    (
        "nodes",
        "CREATE TABLE nodes(n INTEGER PRIMARY KEY, label TEXT NOT NULL, id TEXT NOT NULL, \
         version INTEGER NOT NULL, ord TEXT NOT NULL, props TEXT NOT NULL, crc INTEGER NOT NULL, \
         f1, f2, f3, f4)",
    ),
    (
        "nodes_key",
        "CREATE UNIQUE INDEX nodes_key ON nodes(label, id)",
    ),
    (
        "edges",
        "CREATE TABLE edges(src INTEGER NOT NULL, kind TEXT NOT NULL, dst INTEGER NOT NULL, \
         props TEXT NOT NULL, crc INTEGER NOT NULL, PRIMARY KEY(src, kind, dst)) WITHOUT ROWID",
    ),
    ("edges_in", "CREATE INDEX edges_in ON edges(dst, kind, src)"),
    (
        "outbox",
        "CREATE TABLE outbox(n INTEGER PRIMARY KEY, id TEXT NOT NULL, deployment TEXT NOT NULL, \
         committed INTEGER NOT NULL, published INTEGER, subject TEXT NOT NULL, \
         source TEXT NOT NULL, aggregate TEXT NOT NULL, aggregate_version INTEGER NOT NULL, \
         time INTEGER NOT NULL, payload TEXT NOT NULL, correlation TEXT NOT NULL, \
         causation TEXT NOT NULL, traceparent TEXT NOT NULL, crc INTEGER NOT NULL)",
    ),
    ("outbox_id", "CREATE UNIQUE INDEX outbox_id ON outbox(id)"),
    (
        "outbox_pending",
        "CREATE INDEX outbox_pending ON outbox(deployment, committed) WHERE published IS NULL",
    ),
    (
        "outbox_published",
        "CREATE INDEX outbox_published ON outbox(deployment, published) \
         WHERE published IS NOT NULL",
    ),
    (
        "inbox",
        "CREATE TABLE inbox(consumer TEXT NOT NULL, event TEXT NOT NULL, at INTEGER NOT NULL, \
         crc INTEGER NOT NULL, PRIMARY KEY(consumer, event)) WITHOUT ROWID",
    ),
    ("inbox_at", "CREATE INDEX inbox_at ON inbox(at)"),
    (
        "requests",
        "CREATE TABLE requests(n INTEGER PRIMARY KEY, method TEXT NOT NULL, \
         principal TEXT NOT NULL, request_id TEXT NOT NULL, fingerprint TEXT NOT NULL, \
         response BLOB NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL)",
    ),
    (
        "requests_key",
        "CREATE UNIQUE INDEX requests_key ON requests(method, principal, request_id)",
    ),
    ("requests_at", "CREATE INDEX requests_at ON requests(at)"),
    (
        "commits",
        "CREATE TABLE commits(id BLOB NOT NULL PRIMARY KEY, at INTEGER NOT NULL, \
         crc INTEGER NOT NULL) WITHOUT ROWID",
    ),
    ("commits_at", "CREATE INDEX commits_at ON commits(at)"),
    (
        "log",
        "CREATE TABLE log(n INTEGER PRIMARY KEY, subject TEXT NOT NULL, msg_id TEXT, \
         headers TEXT NOT NULL, body BLOB NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL)",
    ),
    (
        "log_msg_id",
        "CREATE UNIQUE INDEX log_msg_id ON log(msg_id) WHERE msg_id IS NOT NULL",
    ),
    (
        "parked",
        "CREATE TABLE parked(n INTEGER PRIMARY KEY, stream TEXT NOT NULL, seq INTEGER NOT NULL, \
         consumer TEXT NOT NULL, reason TEXT NOT NULL, deliveries INTEGER NOT NULL, \
         parked_at TEXT NOT NULL, subject TEXT NOT NULL, headers TEXT NOT NULL, \
         body BLOB NOT NULL, at INTEGER NOT NULL, crc INTEGER NOT NULL)",
    ),
    (
        "parked_once",
        "CREATE UNIQUE INDEX parked_once ON parked(stream, seq, consumer)",
    ),
    (
        "consumers",
        "CREATE TABLE consumers(name TEXT NOT NULL PRIMARY KEY, stream TEXT NOT NULL, \
         floor INTEGER NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID",
    ),
    (
        "deliveries",
        "CREATE TABLE deliveries(consumer TEXT NOT NULL, seq INTEGER NOT NULL, \
         count INTEGER NOT NULL, due INTEGER, crc INTEGER NOT NULL, \
         PRIMARY KEY(consumer, seq)) WITHOUT ROWID",
    ),
];

/// Whether the database has tables at all.
pub(crate) fn is_empty(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT count(*) FROM sqlite_master", (), |row| row.get(0))
        .map(|objects: i64| objects == 0)
}

/// Creates everything in an empty database.
pub(crate) fn create(conn: &Connection) -> rusqlite::Result<()> {
    let tx = conn.unchecked_transaction()?;
    for (_, sql) in TABLES {
        tx.execute_batch(sql)?;
    }
    listings::create(&tx)?;
    search::create(&tx)?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.execute(
        "INSERT INTO meta(k, seq, ledger, crc) VALUES (0, 0, '', 0)",
        (),
    )?;
    store_ledger(&tx, &Ledger::empty())?;
    tx.commit()
}

/// Checks that the tables are ours, of this version or one that can be brought up to date,
/// unchanged.
pub(crate) fn check(conn: &Connection, file: &Path) -> Result<(), OpenError> {
    let engine = |e| OpenError::engine(file, e);
    let pragma = |name: &str| -> rusqlite::Result<i64> {
        conn.pragma_query_value(None, name, |row| row.get(0))
    };
    let application = pragma("application_id").map_err(engine)?;
    let version = pragma("user_version").map_err(engine)?;
    if application != APPLICATION_ID || !(OLDEST..=VERSION).contains(&version) {
        let problem = format!(
            "its mark is {application:#x} version {version}, this program writes \
             {APPLICATION_ID:#x} version {VERSION}; another program or a newer version wrote it, \
             or it is damaged"
        );
        return Err(OpenError::Foreign {
            file: file.to_owned(),
            problem,
        });
    }
    for (name, sql) in TABLES {
        let found = stored_sql(conn, name).map_err(engine)?;
        if found.as_deref() != Some(*sql) {
            return Err(OpenError::damaged(
                file,
                format!("its table or index {name} is not as it was created"),
            ));
        }
    }
    Ok(())
}

/// Brings an older database up to date, whole or not at all. The tables were checked.
pub(crate) fn update(conn: &Connection) -> rusqlite::Result<()> {
    listings::update(conn)?;
    if search::is_current(conn)? {
        return Ok(());
    }
    let tx = conn.unchecked_transaction()?;
    search::rebuild(&tx)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.commit()
}

/// The text by which a table or index was created, if it is there.
pub(crate) fn stored_sql(conn: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    use rusqlite::OptionalExtension;
    conn.query_row(
        "SELECT sql FROM sqlite_master WHERE name = ?1",
        [name],
        |row| row.get(0),
    )
    .optional()
}

/// Writes the ledger into its row.
pub(crate) fn store_ledger(conn: &Connection, ledger: &Ledger) -> rusqlite::Result<()> {
    let text = ledger.to_text();
    let seq = ledger.seq.cast_signed();
    let crc = Sum::new().int(seq).text(&text).done();
    conn.cached("UPDATE meta SET seq = ?1, ledger = ?2, crc = ?3 WHERE k = 0")?
        .execute((seq, text, crc))?;
    Ok(())
}

/// Reads the ledger; `Ok(None)` if the row does not carry its checksum.
pub(crate) fn load_ledger(conn: &Connection) -> rusqlite::Result<Option<Ledger>> {
    let (seq, text, crc): (i64, String, i64) = conn
        .cached("SELECT seq, ledger, crc FROM meta WHERE k = 0")?
        .query_row((), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    if Sum::new().int(seq).text(&text).done() != crc {
        return Ok(None);
    }
    Ok(Ledger::from_text(seq.cast_unsigned(), &text).ok())
}
