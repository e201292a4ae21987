//! The graph port.

use std::sync::Arc;

use async_trait::async_trait;
use fleet_graph::{
    Commit, CommitError, Deadline, Digest, Digested, EXACT_TOTAL, GraphStore, Hits, Index, Node,
    NodeKey, Page, PastRequest, ReadError, Receipt, RequestKey, Scan, Search, Sketch, Sketched,
    Subgraph, Total, Unavailable, Walk, check_values,
};
use rusqlite::{Connection, OptionalExtension, types::Value as SqlValue};
use serde_json::Value;

use crate::{
    around,
    commit::{Prepared, request_sum},
    error::ReadFailure,
    listings,
    open::Inner,
    rows::{NODE_COLUMNS, node},
    schema::load_ledger,
    search,
    statements::Cached,
    walk,
    writer::Tx,
};

/// The store side of an open database.
pub(crate) struct EmbeddedStore {
    pub(crate) inner: Arc<Inner>,
    pub(crate) deployment: String,
    /// Commits put their events on the bus of the same directory.
    pub(crate) own_bus: bool,
}

impl EmbeddedStore {
    pub(crate) fn deployment(&self) -> &str {
        &self.deployment
    }

    pub(crate) async fn read<T, F>(&self, deadline: Deadline, read: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, ReadFailure> + Send + 'static,
    {
        self.inner.core.readers.read(deadline, read).await
    }

    /// A write that is never refused.
    pub(crate) async fn change<T, F>(&self, deadline: Deadline, change: F) -> Result<T, ReadError>
    where
        T: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let reply = self
            .inner
            .core
            .writer
            .submit(deadline, move |tx| {
                change(tx).map(Ok::<T, std::convert::Infallible>)
            })
            .await?;
        match reply {
            Ok(value) => Ok(value),
            Err(never) => match never {},
        }
    }
}

#[async_trait]
impl GraphStore for EmbeddedStore {
    async fn migrate(&self, deadline: Deadline) -> Result<(), ReadError> {
        // Opening the database did it.
        Ok(self.ping(deadline).await?)
    }

    async fn commit(&self, commit: &Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        commit.check().map_err(CommitError::Invalid)?;
        let prepared = Prepared::new(commit, self);
        self.inner.prune_due(prepared.messages(), deadline).await;
        self.inner
            .core
            .writer
            .submit(deadline, move |tx| prepared.apply(tx))
            .await?
    }

    async fn get(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError> {
        let keys = keys.to_vec();
        self.read(deadline, move |conn| {
            keys.iter().map(|key| get(conn, key)).collect()
        })
        .await
    }

    async fn past_request(
        &self,
        key: &RequestKey,
        deadline: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        let key = key.clone();
        self.read(deadline, move |conn| past_request(conn, &key))
            .await
    }

    async fn scan(&self, scan: &Scan, deadline: Deadline) -> Result<Page, ReadError> {
        scan.check().map_err(ReadError::Invalid)?;
        let scan = scan.clone();
        self.read(deadline, move |conn| page(conn, &scan)).await
    }

    async fn counts(
        &self,
        listings: &[(Index, Vec<Value>)],
        deadline: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        for (index, values) in listings {
            check_values(*index, values).map_err(ReadError::Invalid)?;
        }
        let listings = listings.to_vec();
        self.read(deadline, move |conn| {
            listings
                .iter()
                .map(|(index, values)| total(conn, *index, values))
                .collect()
        })
        .await
    }

    async fn walk(&self, walk: &Walk, deadline: Deadline) -> Result<Subgraph, ReadError> {
        walk.check().map_err(ReadError::Invalid)?;
        let walk = walk.clone();
        self.read(deadline, move |conn| walk::walk(conn, &walk))
            .await
    }

    async fn sketch(&self, sketch: &Sketch, deadline: Deadline) -> Result<Sketched, ReadError> {
        sketch.check().map_err(ReadError::Invalid)?;
        let sketch = sketch.clone();
        self.read(deadline, move |conn| around::sketch(conn, &sketch))
            .await
    }

    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        digest.check().map_err(ReadError::Invalid)?;
        let (digest, keys) = (digest.clone(), keys.to_vec());
        self.read(deadline, move |conn| {
            let versions = around::digest(conn, &digest)?;
            let nodes = keys.iter().map(|key| get(conn, key));
            Ok((versions, nodes.collect::<Result<_, _>>()?))
        })
        .await
    }

    async fn search(&self, search: &Search, deadline: Deadline) -> Result<Hits, ReadError> {
        search.check().map_err(ReadError::Invalid)?;
        let search = search.clone();
        self.read(deadline, move |conn| search::search(conn, &search))
            .await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.inner
            .core
            .readers
            .read(deadline, |conn| {
                conn.cached("SELECT seq FROM meta WHERE k = 0")?
                    .query_row((), |row| row.get::<_, i64>(0))?;
                Ok(())
            })
            .await
    }
}

fn get(conn: &Connection, key: &NodeKey) -> Result<Option<Node>, ReadFailure> {
    let sql = format!("SELECT {NODE_COLUMNS} FROM nodes WHERE label = ?1 AND id = ?2");
    let mut statement = conn.cached(&sql)?;
    let mut rows = statement.query((key.label().as_str(), key.id()))?;
    match rows.next()? {
        Some(row) => Ok(Some(node(row)?.1)),
        None => Ok(None),
    }
}

fn past_request(conn: &Connection, key: &RequestKey) -> Result<Option<PastRequest>, ReadFailure> {
    let row: Option<(String, Vec<u8>, i64, i64)> = conn
        .cached(
            "SELECT fingerprint, response, at, crc FROM requests \
             WHERE method = ?1 AND principal = ?2 AND request_id = ?3",
        )?
        .query_row((&key.method, &key.principal, &key.request_id), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((fingerprint, response, at, crc)) = row else {
        return Ok(None);
    };
    let names = [key.method.as_str(), &key.principal, &key.request_id];
    if request_sum(names, &fingerprint, &response, at) != crc {
        let problem = format!(
            "the stored answer to {} does not carry its checksum",
            key.request_id
        );
        return Err(ReadFailure::Other(problem));
    }
    Ok(Some(PastRequest {
        fingerprint,
        response,
    }))
}

/// The condition of a listing without cursor; its parameters come first.
fn listing_condition(index: Index) -> String {
    let mut sql = format!("label = '{}'", index.label().as_str());
    for (at, filter) in index.filters().iter().enumerate() {
        sql.push_str(&format!(
            " AND {} = ?{}",
            listings::column(index, filter),
            at + 1
        ));
    }
    sql
}

/// The text of a page, and where its cursors, limit and offset go among the parameters.
pub(crate) fn page_sql(scan: &Scan) -> String {
    let mut sql = format!(
        "SELECT {NODE_COLUMNS} FROM nodes INDEXED BY {} WHERE {}",
        listings::name(scan.index),
        listing_condition(scan.index)
    );
    let mut at = scan.index.filters().len();
    for (bound, operator) in [(&scan.after, ">"), (&scan.before, "<")] {
        if bound.is_some() {
            at += 1;
            sql.push_str(&format!(" AND ord {operator} ?{at}"));
        }
    }
    let direction = if scan.descending { "DESC" } else { "ASC" };
    sql.push_str(&format!(
        " ORDER BY ord {direction} LIMIT ?{} OFFSET ?{}",
        at + 1,
        at + 2
    ));
    sql
}

pub(crate) fn count_sql(index: Index) -> String {
    format!(
        "SELECT count(*) FROM (SELECT 1 FROM nodes INDEXED BY {} WHERE {} LIMIT {})",
        listings::name(index),
        listing_condition(index),
        EXACT_TOTAL + 1
    )
}

fn page(conn: &Connection, scan: &Scan) -> Result<Page, ReadFailure> {
    let mut params = filter_values(&scan.values);
    params.extend(
        scan.after
            .iter()
            .chain(&scan.before)
            .cloned()
            .map(SqlValue::Text),
    );
    params.push(SqlValue::Integer(
        i64::try_from(scan.limit + 1).unwrap_or(i64::MAX),
    ));
    params.push(SqlValue::Integer(
        i64::try_from(scan.offset).unwrap_or(i64::MAX),
    ));
    let mut statement = conn.cached(&page_sql(scan))?;
    let mut rows = statement.query(rusqlite::params_from_iter(params))?;
    let mut nodes = Vec::new();
    while let Some(row) = rows.next()? {
        nodes.push(node(row)?.1);
    }
    let more = nodes.len() > scan.limit;
    nodes.truncate(scan.limit);
    let total = match scan.total {
        true => Some(total(conn, scan.index, &scan.values)?),
        false => None,
    };
    Ok(Page { nodes, more, total })
}

fn total(conn: &Connection, index: Index, values: &[Value]) -> Result<Total, ReadFailure> {
    if index.filters().is_empty() {
        let ledger = load_ledger(conn)?.ok_or_else(|| {
            ReadFailure::Other("the ledger of fleet.db does not carry its checksum".to_owned())
        })?;
        return Ok(Total {
            count: ledger.label(index.label()),
            is_lower_bound: false,
        });
    }
    let count: i64 = conn
        .cached(&count_sql(index))?
        .query_row(rusqlite::params_from_iter(filter_values(values)), |row| {
            row.get(0)
        })?;
    let count = count.unsigned_abs();
    Ok(Total {
        count: count.min(EXACT_TOTAL),
        is_lower_bound: count > EXACT_TOTAL,
    })
}

fn filter_values(values: &[Value]) -> Vec<SqlValue> {
    values.iter().map(listings::value).collect()
}
