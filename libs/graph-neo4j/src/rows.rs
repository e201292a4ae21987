//! Reads, and rows of the driver as nodes and edges of the port.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use fleet_graph::{
    CorruptRow, Deadline, EXACT_TOTAL, Edge, EdgeType, Index, Node, NodeKey, Page, PastRequest,
    Props, ReadError, RequestKey, Scan, Subgraph, Total, Unavailable, Walk, check_values,
};
use neo4rs::{BoltType, DeError, Query, Row};
use serde_json::Value;

use crate::{
    Neo4j, commit, queries,
    value::{Params, bolt, list, number, seal, text},
};

/// A column of the only row that a query gives.
pub(crate) fn column<'a, T: serde::Deserialize<'a>>(
    row: &'a Option<Row>,
    name: &str,
) -> Result<T, ReadError> {
    let row = row.as_ref().ok_or(DeError::NoSuchProperty);
    let value = row.and_then(|row| row.get(name));
    value.map_err(|e| unreadable(&format!("column {name}: {e}")))
}

/// An answer that is not what the query asks for: nothing a retry can help.
pub(crate) fn unreadable(reason: &str) -> ReadError {
    Unavailable {
        store: "neo4j",
        reason: reason.to_owned(),
        retryable: false,
    }
    .into()
}

/// How often nodes are read again that were seen in the middle of a commit.
const TORN_TRIES: u32 = 10;

/// A node from its properties, and whether its checksum fits them.
pub(crate) fn node(mut props: Props) -> Result<(Node, bool), ReadError> {
    // Some reads give it, as a null or as it is; no part of the node.
    props.remove("_terms");
    let path = props.remove("_key");
    let path = path.as_ref().and_then(Value::as_str).unwrap_or_default();
    let key = NodeKey::from_path(path)
        .ok_or_else(|| unreadable(&format!("a node with the key {path:?}")))?;
    let version = props
        .remove("_version")
        .and_then(|version| version.as_i64());
    let (ord, sum) = (props.remove("_ord"), props.remove("_sum"));
    match (version, ord) {
        (Some(version), Some(Value::String(ord))) => {
            let sum = sum.as_ref().and_then(Value::as_i64);
            let whole = sum == Some(seal(path, version, &ord, &props));
            let node = Node {
                key,
                version,
                ord,
                props,
            };
            Ok((node, whole))
        }
        _ => Err(CorruptRow {
            key,
            problem: "has no version or no ord".into(),
        }
        .into()),
    }
}

/// What a read gave, as often as it takes to see nothing in the middle of somebody's commit.
/// `parse` says whether what it read is whole. What does not change from one try to the next
/// was written by somebody else than this adapter, and is given as it is.
pub(crate) async fn read_whole<T: PartialEq + Send>(
    store: &Neo4j,
    deadline: Deadline,
    query: impl Fn() -> Query + Send + Sync,
    parse: impl Fn(&Option<Row>) -> Result<(T, bool), ReadError> + Send + Sync,
) -> Result<(Option<Row>, T), ReadError> {
    let mut tries = 0;
    let mut before = None;
    loop {
        let row = store.read(deadline, &query).await?;
        let read = parse(&row);
        tries += 1;
        let last = tries >= TORN_TRIES || deadline.left().is_zero();
        match read {
            Ok((found, true)) => return Ok((row, found)),
            Ok((found, false)) if last && before.as_ref() == Some(&found) => {
                tracing::warn!("nodes without a fitting checksum: changed by other means");
                return Ok((row, found));
            }
            Ok((found, false)) if !last => before = Some(found),
            Ok((_, false)) => {
                return Err(Unavailable {
                    store: "neo4j",
                    reason: "nodes change faster than they can be read".into(),
                    retryable: true,
                }
                .into());
            }
            Err(error) if last => return Err(error),
            Err(_) => before = None,
        }
        tokio::time::sleep(Duration::from_millis(u64::from(tries))).await;
    }
}

/// The column `nodes`, and whether all of them are whole.
pub(crate) fn nodes(row: &Option<Row>) -> Result<(Vec<Node>, bool), ReadError> {
    let rows: Vec<Props> = column(row, "nodes")?;
    let read = rows.into_iter().map(node).collect::<Result<Vec<_>, _>>()?;
    let whole = read.iter().all(|(_, whole)| *whole);
    Ok((read.into_iter().map(|(node, _)| node).collect(), whole))
}

/// Likewise, with those in their places that have what no node of ours lacks.
type Read = Vec<Result<Node, CorruptRow>>;

fn nodes_or_corrupt(row: &Option<Row>) -> Result<(Read, bool), ReadError> {
    let rows: Vec<Props> = column(row, "nodes")?;
    let mut all_whole = true;
    let mut read = Vec::with_capacity(rows.len());
    for props in rows {
        match node(props) {
            Ok((node, whole)) => {
                all_whole &= whole;
                read.push(Ok(node));
            }
            Err(ReadError::Corrupt(row)) => {
                all_whole = false;
                read.push(Err(row));
            }
            Err(other) => return Err(other),
        }
    }
    Ok((read, all_whole))
}

/// Nodes up to a limit.
#[derive(Default)]
pub(crate) struct Bounded {
    pub nodes: Vec<Node>,
    pub corrupt: Vec<CorruptRow>,
    pub more: bool,
}

/// Runs a query that gives nodes, at most `most` of which are kept; says whether there are
/// more. What cannot be read as a node is given beside them; both in order of keys.
pub(crate) async fn read_bounded(
    store: &Neo4j,
    deadline: Deadline,
    most: usize,
    query: impl Fn() -> Query + Send + Sync,
) -> Result<(Option<Row>, Bounded), ReadError> {
    let (row, found) = read_whole(store, deadline, query, nodes_or_corrupt).await?;
    let mut bounded = Bounded {
        more: found.len() > most,
        ..Bounded::default()
    };
    for read in found.into_iter().take(most) {
        match read {
            Ok(node) => bounded.nodes.push(node),
            Err(row) => bounded.corrupt.push(row),
        }
    }
    bounded.nodes.sort_by(|x, y| x.key.cmp(&y.key));
    bounded.corrupt.sort_by(|x, y| x.key.cmp(&y.key));
    Ok((row, bounded))
}

/// Runs a query that gives nodes.
pub(crate) async fn read_nodes(
    store: &Neo4j,
    deadline: Deadline,
    query: impl Fn() -> Query + Send + Sync,
) -> Result<(Option<Row>, Vec<Node>), ReadError> {
    read_whole(store, deadline, query, nodes).await
}

/// Nodes by their keys, each at most once, as a parameter.
pub(crate) fn paths(keys: &[NodeKey]) -> BoltType {
    let paths: BTreeSet<String> = keys.iter().map(NodeKey::path).collect();
    list(paths.iter().map(|path| text(path)))
}

/// Nodes in the order in which their keys were asked for.
pub(crate) fn in_order(keys: &[NodeKey], found: Vec<Node>) -> Vec<Option<Node>> {
    let found = found.into_iter().map(|node| (node.key.clone(), node));
    let mut found: HashMap<NodeKey, Node> = found.collect();
    let distinct: HashSet<&NodeKey> = keys.iter().collect();
    if distinct.len() < keys.len() {
        return keys.iter().map(|key| found.get(key).cloned()).collect();
    }
    keys.iter().map(|key| found.remove(key)).collect()
}

pub(crate) async fn get(
    store: &Neo4j,
    keys: &[NodeKey],
    deadline: Deadline,
) -> Result<Vec<Option<Node>>, ReadError> {
    if keys.is_empty() {
        return Ok(Vec::new());
    }
    let query = || {
        Params::new()
            .with("keys", paths(keys))
            .query(queries::GET.as_str())
    };
    let (_, found) = read_nodes(store, deadline, query).await?;
    Ok(in_order(keys, found))
}

pub(crate) async fn past_request(
    store: &Neo4j,
    key: &RequestKey,
    deadline: Deadline,
) -> Result<Option<PastRequest>, ReadError> {
    let key = commit::request_key(store.deployment(), key);
    let query = || {
        Params::new()
            .with("key", key.as_str())
            .query(queries::PAST_REQUEST)
    };
    let row = store.read(deadline, query).await?;
    if row.is_none() {
        return Ok(None);
    }
    let (fingerprint, response) = (column(&row, "fingerprint")?, column(&row, "response")?);
    Ok(Some(PastRequest {
        fingerprint,
        response,
    }))
}

pub(crate) async fn scan(
    store: &Neo4j,
    scan: &Scan,
    deadline: Deadline,
) -> Result<Page, ReadError> {
    scan.check().map_err(ReadError::Invalid)?;
    let query = || {
        let mut params = Params::new()
            .with("after", scan.after.as_deref().unwrap_or(""))
            .with("offset", number(scan.offset))
            // One more than asked, to know whether there is more.
            .with("limit", number(scan.limit + 1));
        if let Some(before) = &scan.before {
            params = params.with("before", before.as_str());
        }
        for (n, value) in scan.values.iter().enumerate() {
            params = params.with(&format!("v{n}"), bolt(value));
        }
        params.query(queries::scan_of(scan))
    };
    let (row, mut nodes) = read_nodes(store, deadline, query).await?;
    let more = nodes.len() > scan.limit;
    nodes.truncate(scan.limit);
    let total = match scan.total {
        true => Some(total(scan.index, column(&row, "total")?)),
        false => None,
    };
    Ok(Page { nodes, more, total })
}

/// A count as the port gives it: exact without filters, and up to the bound with them.
fn total(index: Index, count: u64) -> Total {
    let is_lower_bound = count > EXACT_TOTAL && !index.filters().is_empty();
    let count = if is_lower_bound { EXACT_TOTAL } else { count };
    Total {
        count,
        is_lower_bound,
    }
}

pub(crate) async fn counts(
    store: &Neo4j,
    listings: &[(Index, Vec<Value>)],
    deadline: Deadline,
) -> Result<Vec<Total>, ReadError> {
    let mut asked: BTreeMap<Index, Vec<&Vec<Value>>> = BTreeMap::new();
    for (index, values) in listings {
        check_values(*index, values).map_err(ReadError::Invalid)?;
        asked.entry(*index).or_default().push(values);
    }
    if asked.is_empty() {
        return Ok(Vec::new());
    }
    let indexes: BTreeSet<Index> = asked.keys().copied().collect();
    let query = || {
        let mut params = Params::new();
        for (index, values) in &asked {
            let values = values.iter().map(|values| list(values.iter().map(bolt)));
            params = params.with(&format!("q_{}", index.as_str()), list(values));
        }
        params.query(queries::counts(&indexes))
    };
    let row = store.read(deadline, query).await?;
    let mut found = HashMap::new();
    for index in indexes {
        let counts: Vec<u64> = column(&row, &format!("c_{}", index.as_str()))?;
        found.insert(index, counts.into_iter());
    }
    let next = |(index, _): &(Index, _)| {
        let count = found.get_mut(index).and_then(Iterator::next);
        count
            .map(|count| total(*index, count))
            .ok_or_else(|| unreadable("too few counts"))
    };
    listings.iter().map(next).collect()
}

pub(crate) async fn walk(
    store: &Neo4j,
    walk: &Walk,
    deadline: Deadline,
) -> Result<Subgraph, ReadError> {
    walk.check().map_err(ReadError::Invalid)?;
    let query = || {
        Params::new()
            .with("roots", paths(&walk.roots))
            .with("nodes", number(walk.max_nodes + 1))
            // Enough for any graph that fits, and a bound for one that does not.
            .with("edges", number(10 * walk.max_nodes + 10_000))
            .query(queries::walk(&walk.steps))
    };
    let (row, found) = read_bounded(store, deadline, walk.max_nodes, query).await?;
    let cut: bool = column(&row, "cut")?;
    let (nodes, truncated) = (found.nodes, cut || found.more);
    let corrupt = found.corrupt;
    let found: Vec<(String, String, String, Props)> = column(&row, "edges")?;
    let mut edges = Vec::with_capacity(found.len());
    let kept: HashSet<&NodeKey> = nodes.iter().map(|node| &node.key).collect();
    for (from, kind, to, props) in found {
        let edge = edge(&from, &kind, &to, props)?;
        if kept.contains(&edge.from) && kept.contains(&edge.to) {
            edges.push(edge);
        }
    }
    edges.sort_by(|x, y| (&x.from, x.kind, &x.to).cmp(&(&y.from, y.kind, &y.to)));
    Ok(Subgraph {
        nodes,
        edges,
        truncated,
        corrupt,
    })
}

fn edge(from: &str, kind: &str, to: &str, props: Props) -> Result<Edge, ReadError> {
    let ends = (
        NodeKey::from_path(from),
        EdgeType::from_name(kind),
        NodeKey::from_path(to),
    );
    match ends {
        (Some(from), Some(kind), Some(to)) => Ok(Edge {
            from,
            kind,
            to,
            props,
        }),
        _ => Err(unreadable(&format!(
            "a relationship ({from})-[{kind}]->({to})"
        ))),
    }
}
