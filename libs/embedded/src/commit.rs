//! A commit as rows, and how they are written.

use std::{collections::HashMap, fmt::Write as _};

use fleet_graph::{
    Answer, Commit, CommitError, EdgeType, EdgeWrite, Guard, Label, NodeKey, NodeWrite,
    OutboxEvent, Receipt, Request,
};
use rusqlite::{Connection, OptionalExtension, ToSql};

use crate::{
    bus::log::{self, NewMessage},
    checksum::Sum,
    graph::EmbeddedStore,
    ledger::Table,
    listings::{self, Filters},
    outbox,
    rows::{edge_sum, node_content, node_sum, props_text},
    search::{self, Words},
    statements::Cached,
    writer::Tx,
};

/// A commit with everything encoded that needs no database: that is done by the caller's
/// task, not by the writing thread.
pub(crate) struct Prepared {
    id: [u8; 16],
    at: i64,
    guards: Vec<Guard>,
    nodes: Vec<NodeRow>,
    edges: Vec<EdgeRow>,
    events: Vec<EventRow>,
    /// When the messages are stored, in milliseconds since 1970.
    now: i64,
    answers: Option<Answer>,
    request: Option<Request>,
    deployment: String,
    receipt: Receipt,
}

struct EventRow {
    event: OutboxEvent,
    /// As it goes on the bus, if it goes there at once.
    message: Option<NewMessage>,
}

struct NodeRow {
    key: NodeKey,
    expected: i64,
    /// `None`: the node is deleted.
    content: Option<Content>,
}

struct Content {
    ord: String,
    props: String,
    filters: Filters,
    /// What it is found by, if its kind is searched.
    words: Option<Words>,
    sum: Sum,
}

struct EdgeRow {
    from: NodeKey,
    kind: EdgeType,
    to: NodeKey,
    /// `None`: the relationship is removed.
    props: Option<String>,
}

impl Prepared {
    pub(crate) fn new(commit: &Commit, store: &EmbeddedStore) -> Self {
        let EmbeddedStore { inner, own_bus, .. } = store;
        let event_row = |event: &OutboxEvent| EventRow {
            event: event.clone(),
            message: own_bus.then(|| NewMessage::of(event).ok()).flatten(),
        };
        Self {
            now: inner.core.clock.now().millis(),
            events: commit.events.iter().map(event_row).collect(),
            id: *commit.id.as_bytes(),
            at: commit.time.millis(),
            guards: commit.guards.clone(),
            nodes: commit.nodes.iter().map(node_row).collect(),
            edges: commit.edges.iter().map(edge_row).collect(),
            answers: commit.answers.clone(),
            request: commit.request.clone(),
            deployment: store.deployment.clone(),
            receipt: commit.receipt(),
        }
    }

    /// What it puts on the bus.
    pub(crate) fn messages(&self) -> impl Iterator<Item = &NewMessage> {
        self.events.iter().filter_map(|row| row.message.as_ref())
    }

    /// Checks in the order that the port promises, then writes. The ends of relationships are
    /// found while writing: the caller undoes what a refusal leaves behind.
    pub(crate) fn apply(
        mut self,
        tx: &mut Tx<'_>,
    ) -> rusqlite::Result<Result<Receipt, CommitError>> {
        if known(tx.conn, &self.id)? {
            return Ok(Ok(self.receipt));
        }
        match self.check(tx.conn)? {
            Ok(found) => {
                if let Err(refusal) = self.write(tx, &found)? {
                    return Ok(Err(refusal));
                }
                if let Err(refusal) = self.say(tx)? {
                    return Ok(Err(refusal));
                }
                self.note(tx)?;
                Ok(Ok(self.receipt))
            }
            Err(refusal) => Ok(Err(refusal)),
        }
    }

    fn check(&self, conn: &Connection) -> rusqlite::Result<Result<Found, CommitError>> {
        if let Some(request) = &self.request
            && let Some((fingerprint, response)) = past_request(conn, request)?
        {
            let same = fingerprint == request.fingerprint;
            let refusal = if same {
                CommitError::Replayed { response }
            } else {
                CommitError::RequestMismatch
            };
            return Ok(Err(refusal));
        }
        if let Some(answer) = &self.answers
            && conn
                .cached("SELECT 1 FROM inbox WHERE consumer = ?1 AND event = ?2")?
                .exists((&answer.consumer, answer.event.as_str()))?
        {
            return Ok(Err(CommitError::AlreadyApplied));
        }
        for guard in &self.guards {
            let found = find(conn, guard.key())?;
            if let Err(refusal) = check_guard(guard, found) {
                return Ok(Err(refusal));
            }
        }
        let mut found = Found::default();
        for write in &self.nodes {
            let node = find_listed(conn, &write.key)?;
            let stored = node.as_ref().map(|node| node.stored);
            if let Err(refusal) = check_write(write, stored) {
                return Ok(Err(refusal));
            }
            if let Some(node) = node {
                found.nodes.insert(write.key.clone(), node);
            }
        }
        Ok(Ok(found))
    }

    fn write(&self, tx: &mut Tx<'_>, found: &Found) -> rusqlite::Result<Result<(), CommitError>> {
        let mut numbers = HashMap::with_capacity(self.nodes.len() + 2);
        for write in &self.nodes {
            let old = found.nodes.get(&write.key);
            numbers.insert(&write.key, write_node(tx, write, old)?);
        }
        for edge in &self.edges {
            let mut ends = [0; 2];
            for (end, key) in ends.iter_mut().zip([&edge.from, &edge.to]) {
                let number = match numbers.get(key) {
                    Some(number) => *number,
                    None => {
                        let number = find(tx.conn, key)?.map(|node| node.n);
                        numbers.insert(key, number);
                        number
                    }
                };
                match number {
                    Some(number) => *end = number,
                    None if edge.props.is_none() => {}
                    None => return Ok(Err(CommitError::Missing { key: key.clone() })),
                }
            }
            write_edge(tx, edge, ends)?;
        }
        Ok(Ok(()))
    }

    /// Puts the events on the bus or, what cannot go there now, into the outbox.
    fn say(&mut self, tx: &mut Tx<'_>) -> rusqlite::Result<Result<(), CommitError>> {
        self.receipt.on_bus = !self.events.is_empty();
        for EventRow { event, message } in self.events.drain(..) {
            let stored = match message {
                Some(message) => log::append(tx, message, self.now)?.ok(),
                None => None,
            };
            let new = match stored {
                Some(published) => !published.duplicate,
                None => {
                    self.receipt.on_bus = false;
                    outbox::insert(tx, &event, &self.deployment, self.at)?
                }
            };
            if !new {
                let problem = format!("event {} was said already", event.id);
                return Ok(Err(CommitError::Invalid(problem)));
            }
        }
        Ok(Ok(()))
    }

    /// Notes what was answered, what was asked, and that the commit happened.
    fn note(&self, tx: &mut Tx<'_>) -> rusqlite::Result<()> {
        if let Some(Answer { consumer, event }) = &self.answers {
            let crc = Sum::new()
                .text(consumer)
                .text(event.as_str())
                .int(self.at)
                .done();
            tx.conn
                .cached("INSERT INTO inbox(consumer, event, at, crc) VALUES (?1, ?2, ?3, ?4)")?
                .execute((consumer, event.as_str(), self.at, crc))?;
            tx.ledger.added(Table::Inbox, crc);
        }
        if let Some(request) = &self.request {
            write_request(tx, request, self.at)?;
        }
        let crc = Sum::new().bytes(&self.id).int(self.at).done();
        tx.conn
            .cached("INSERT INTO commits(id, at, crc) VALUES (?1, ?2, ?3)")?
            .execute((self.id, self.at, crc))?;
        tx.ledger.added(Table::Commits, crc);
        Ok(())
    }
}

/// The nodes that are there before the commit.
#[derive(Default)]
struct Found {
    nodes: HashMap<NodeKey, Listed>,
}

/// A node with its place in listings.
struct Listed {
    stored: Stored,
    ord: String,
    filters: Filters,
}

#[derive(Clone, Copy)]
struct Stored {
    n: i64,
    version: i64,
    crc: i64,
}

fn node_row(write: &NodeWrite) -> NodeRow {
    let content = match write {
        NodeWrite::Create { key, ord, props }
        | NodeWrite::Update {
            key, ord, props, ..
        } => {
            let text = props_text(props);
            let sum = node_content(key, write.expected() + 1, ord, &text);
            Some(Content {
                ord: ord.clone(),
                props: text,
                filters: listings::filters(key.label(), props),
                words: Words::of(key.label(), props),
                sum,
            })
        }
        NodeWrite::Delete { .. } => None,
    };
    NodeRow {
        key: write.key().clone(),
        expected: write.expected(),
        content,
    }
}

fn edge_row(write: &EdgeWrite) -> EdgeRow {
    match write {
        EdgeWrite::Relate(edge) => EdgeRow {
            from: edge.from.clone(),
            kind: edge.kind,
            to: edge.to.clone(),
            props: Some(props_text(&edge.props)),
        },
        EdgeWrite::Unrelate { from, kind, to } => EdgeRow {
            from: from.clone(),
            kind: *kind,
            to: to.clone(),
            props: None,
        },
    }
}

fn known(conn: &Connection, id: &[u8; 16]) -> rusqlite::Result<bool> {
    conn.cached("SELECT 1 FROM commits WHERE id = ?1")?
        .exists([id])
}

fn find(conn: &Connection, key: &NodeKey) -> rusqlite::Result<Option<Stored>> {
    conn.cached("SELECT n, version, crc FROM nodes WHERE label = ?1 AND id = ?2")?
        .query_row((key.label().as_str(), key.id()), |row| {
            Ok(Stored {
                n: row.get(0)?,
                version: row.get(1)?,
                crc: row.get(2)?,
            })
        })
        .optional()
}

fn find_listed(conn: &Connection, key: &NodeKey) -> rusqlite::Result<Option<Listed>> {
    conn.cached(
        "SELECT n, version, crc, ord, f1, f2, f3, f4 FROM nodes WHERE label = ?1 AND id = ?2",
    )?
    .query_row((key.label().as_str(), key.id()), |row| {
        Ok(Listed {
            stored: Stored {
                n: row.get(0)?,
                version: row.get(1)?,
                crc: row.get(2)?,
            },
            ord: row.get(3)?,
            filters: [row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?],
        })
    })
    .optional()
}

fn past_request(
    conn: &Connection,
    request: &Request,
) -> rusqlite::Result<Option<(String, Vec<u8>)>> {
    let key = &request.key;
    conn.cached(
        "SELECT fingerprint, response FROM requests \
         WHERE method = ?1 AND principal = ?2 AND request_id = ?3",
    )?
    .query_row((&key.method, &key.principal, &key.request_id), |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
    .optional()
}

fn check_guard(guard: &Guard, found: Option<Stored>) -> Result<(), CommitError> {
    match (guard, found) {
        (Guard::Present(_), Some(_)) | (Guard::Absent(_), None) => Ok(()),
        (Guard::Absent(key), Some(_)) => Err(CommitError::AlreadyExists { key: key.clone() }),
        (Guard::Present(key) | Guard::Version(key, _), None) => {
            Err(CommitError::Missing { key: key.clone() })
        }
        (Guard::Version(key, expected), Some(node)) => check_version(key, *expected, node.version),
    }
}

fn check_write(write: &NodeRow, found: Option<Stored>) -> Result<(), CommitError> {
    match (write.expected, found) {
        (0, None) => Ok(()),
        (0, Some(_)) => Err(CommitError::AlreadyExists {
            key: write.key.clone(),
        }),
        (_, None) => Err(CommitError::Missing {
            key: write.key.clone(),
        }),
        (expected, Some(node)) => check_version(&write.key, expected, node.version),
    }
}

fn check_version(key: &NodeKey, expected: i64, found: i64) -> Result<(), CommitError> {
    if expected == found {
        Ok(())
    } else {
        Err(CommitError::Conflict {
            key: key.clone(),
            expected,
            found,
        })
    }
}

/// Writes one node; gives its row number if it exists afterwards.
fn write_node(
    tx: &mut Tx<'_>,
    write: &NodeRow,
    old: Option<&Listed>,
) -> rusqlite::Result<Option<i64>> {
    let label = write.key.label();
    match (&write.content, old) {
        (Some(content), None) => {
            tx.ledger.last_node += 1;
            let n = tx.ledger.last_node;
            let crc = node_sum(content.sum.clone(), n);
            tx.conn
                .cached(
                    "INSERT INTO nodes(n, label, id, version, ord, props, crc, f1, f2, f3, f4) \
                     VALUES (?1, ?2, ?3, 1, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
                )?
                .execute((
                    n,
                    label.as_str(),
                    write.key.id(),
                    &content.ord,
                    &content.props,
                    crc,
                    &content.filters[0],
                    &content.filters[1],
                    &content.filters[2],
                    &content.filters[3],
                ))?;
            if let Some(words) = &content.words {
                words.add(tx.conn, n)?;
            }
            tx.ledger.added(Table::Nodes, crc);
            *tx.ledger.label_mut(label) += 1;
            Ok(Some(n))
        }
        (Some(content), Some(old)) => {
            let crc = node_sum(content.sum.clone(), old.stored.n);
            update_node(tx.conn, content, old, crc)?;
            if let Some(words) = &content.words {
                words.replace(tx.conn, old.stored.n)?;
            }
            tx.ledger.replaced(Table::Nodes, old.stored.crc, crc);
            Ok(Some(old.stored.n))
        }
        (None, Some(old)) => {
            delete_node(tx, label, &old.stored)?;
            Ok(None)
        }
        (None, None) => Ok(None),
    }
}

/// Names only the columns that change: the indexes on the others are not touched.
fn update_node(
    conn: &Connection,
    content: &Content,
    old: &Listed,
    crc: i64,
) -> rusqlite::Result<()> {
    let (n, version) = (old.stored.n, old.stored.version + 1);
    let mut sql = "UPDATE nodes SET version = ?2, props = ?3, crc = ?4".to_owned();
    let mut values: Vec<&dyn ToSql> = vec![&n, &version, &content.props, &crc];
    if content.ord != old.ord {
        values.push(&content.ord);
        sql.push_str(", ord = ?5");
    }
    for (at, (new, old)) in content.filters.iter().zip(&old.filters).enumerate() {
        if new != old {
            values.push(new);
            // Writing to a text does not fail.
            let _ = write!(sql, ", f{} = ?{}", at + 1, values.len());
        }
    }
    sql.push_str(" WHERE n = ?1");
    conn.cached(&sql)?.execute(values.as_slice())?;
    Ok(())
}

fn delete_node(tx: &mut Tx<'_>, label: Label, old: &Stored) -> rusqlite::Result<()> {
    tx.allow_deletion()?;
    for sql in [
        "DELETE FROM edges WHERE src = ?1 RETURNING crc",
        "DELETE FROM edges WHERE dst = ?1 RETURNING crc",
    ] {
        remove_returning(tx, Table::Edges, sql, [old.n])?;
    }
    tx.conn
        .cached("DELETE FROM nodes WHERE n = ?1")?
        .execute([old.n])?;
    search::remove(tx.conn, label, old.n)?;
    tx.ledger.removed(Table::Nodes, old.crc);
    *tx.ledger.label_mut(label) -= 1;
    Ok(())
}

/// Runs a `DELETE … RETURNING crc` and accounts for the rows. Gives how many went.
pub(crate) fn remove_returning(
    tx: &mut Tx<'_>,
    table: Table,
    sql: &str,
    params: impl rusqlite::Params,
) -> rusqlite::Result<u64> {
    let mut statement = tx.conn.cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut gone = 0;
    while let Some(row) = rows.next()? {
        tx.ledger.removed(table, row.get(0)?);
        gone += 1;
    }
    Ok(gone)
}

fn write_edge(tx: &mut Tx<'_>, edge: &EdgeRow, [src, dst]: [i64; 2]) -> rusqlite::Result<()> {
    let kind = edge.kind.as_str();
    let Some(props) = &edge.props else {
        let sql = "DELETE FROM edges WHERE src = ?1 AND kind = ?2 AND dst = ?3 RETURNING crc";
        return remove_returning(tx, Table::Edges, sql, (src, kind, dst)).map(drop);
    };
    let crc = edge_sum(src, kind, dst, props);
    let inserted = tx
        .conn
        .cached(
            "INSERT INTO edges(src, kind, dst, props, crc) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT DO NOTHING",
        )?
        .execute((src, kind, dst, props, crc))?;
    if inserted == 1 {
        tx.ledger.added(Table::Edges, crc);
        return Ok(());
    }
    let old: i64 = tx
        .conn
        .cached("SELECT crc FROM edges WHERE src = ?1 AND kind = ?2 AND dst = ?3")?
        .query_row((src, kind, dst), |row| row.get(0))?;
    tx.conn
        .cached("UPDATE edges SET props = ?4, crc = ?5 WHERE src = ?1 AND kind = ?2 AND dst = ?3")?
        .execute((src, kind, dst, props, crc))?;
    tx.ledger.replaced(Table::Edges, old, crc);
    Ok(())
}

/// The checksum of a stored request.
pub(crate) fn request_sum(key: [&str; 3], fingerprint: &str, response: &[u8], at: i64) -> i64 {
    let [method, principal, request_id] = key;
    Sum::new()
        .text(method)
        .text(principal)
        .text(request_id)
        .text(fingerprint)
        .bytes(response)
        .int(at)
        .done()
}

fn write_request(tx: &mut Tx<'_>, request: &Request, at: i64) -> rusqlite::Result<()> {
    let Request {
        key,
        fingerprint,
        response,
    } = request;
    let crc = request_sum(
        [&key.method, &key.principal, &key.request_id],
        fingerprint,
        response,
        at,
    );
    tx.conn
        .cached(
            "INSERT INTO requests(method, principal, request_id, fingerprint, response, at, crc) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute((
            &key.method,
            &key.principal,
            &key.request_id,
            fingerprint,
            response,
            at,
            crc,
        ))?;
    tx.ledger.added(Table::Requests, crc);
    Ok(())
}
