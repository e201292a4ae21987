//! Reads around one node.

use std::fmt;

use fleet_graph::{
    Branch, Columns, CorruptRow, Deadline, Digest, Digested, Edge, EdgeType, LightNode, Node,
    NodeKey, Props, Reached, ReadError, Sketch, Sketched, Versions,
};
use neo4rs::{Query, Row};
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::Value;

use crate::{
    Neo4j,
    commit::ONE_PIECE,
    queries,
    rows::{column, get, in_order, node, nodes, paths, read_whole},
    value::{Params, number},
};

/// A relationship of a node: its kind, the key of its end, its properties.
type Link = (Value, Value, Props);
/// A node with a few columns.
struct Light<'a> {
    key: Option<&'a str>,
    version: Option<i64>,
    /// And its relationships, if they are wanted.
    values: Vec<Value>,
}
/// A node with all of them.
type Full = (Props, Vec<Link>);

pub(crate) async fn sketch(
    store: &Neo4j,
    sketch: &Sketch,
    deadline: Deadline,
) -> Result<Sketched, ReadError> {
    sketch.check().map_err(ReadError::Invalid)?;
    let query = || sketch_query(sketch);
    let parse = |row: &Option<Row>| sketched(sketch, row);
    let (_, found) = read_whole(store, deadline, query, parse).await?;
    Ok(found)
}

fn sketch_query(sketch: &Sketch) -> Query {
    let mut params = Params::new().with("root", sketch.root.path());
    for (i, branch) in sketch.branches.iter().enumerate() {
        // One more than asked, to know whether there are more.
        params = params.with(&format!("max{i}"), number(branch.max_nodes + 1));
        if let Some((_, above)) = branch.above {
            params = params.with(&format!("above{i}"), above);
        }
    }
    params.query(queries::sketch(sketch))
}

fn sketched(sketch: &Sketch, row: &Option<Row>) -> Result<(Sketched, bool), ReadError> {
    let root: Option<Props> = column(row, "root")?;
    let root = root.map(node).transpose()?;
    let mut all_whole = root.as_ref().is_none_or(|(_, whole)| *whole);
    let mut branches = Vec::with_capacity(sketch.branches.len());
    for (i, branch) in sketch.branches.iter().enumerate() {
        let name = format!("n{i}");
        let mut reading = Reading::new(branch);
        match branch.columns {
            Columns::All => {
                let rows: Vec<Full> = column(row, &name)?;
                for (props, links) in reading.kept(rows) {
                    if let Some((node, whole)) = reading.read(node(props)) {
                        reading.whole &= whole;
                        reading.links(&node.key, links);
                        reading.reached.nodes.push(node);
                    }
                }
            }
            Columns::Only(_) => {
                let rows: Vec<Light<'_>> = column(row, &name)?;
                reading.reached.light.reserve_exact(rows.len());
                for Light {
                    key,
                    version,
                    mut values,
                } in reading.kept(rows)
                {
                    let links = match branch.edges.is_empty() {
                        true => Vec::new(),
                        false => links(values.pop())?,
                    };
                    if let Some(node) = reading.read(light(key, version, values)) {
                        reading.links(&node.key, links);
                        reading.reached.light.push(node);
                    }
                }
            }
        }
        let (reached, whole) = reading.done();
        all_whole &= whole;
        branches.push(reached);
    }
    let root = root.map(|(node, _)| node);
    Ok((Sketched { root, branches }, all_whole))
}

fn links(value: Option<Value>) -> Result<Vec<Link>, ReadError> {
    let value = value.unwrap_or_default();
    serde_json::from_value(value).map_err(|e| crate::rows::unreadable(&format!("links: {e}")))
}

impl<'de: 'a, 'a> Deserialize<'de> for Light<'a> {
    fn deserialize<D: Deserializer<'de>>(row: D) -> Result<Self, D::Error> {
        struct Row;
        impl<'de> Visitor<'de> for Row {
            type Value = Light<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("key, version, values")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut row: A) -> Result<Light<'de>, A::Error> {
                let key = row.next_element()?.flatten();
                let version = row.next_element()?.flatten();
                let mut values = Vec::with_capacity(row.size_hint().unwrap_or_default());
                while let Some(value) = row.next_element()? {
                    values.push(value);
                }
                Ok(Light {
                    key,
                    version,
                    values,
                })
            }
        }
        row.deserialize_seq(Row)
    }
}

/// What one branch reached, row by row.
struct Reading {
    max_nodes: usize,
    reached: Reached,
    whole: bool,
}

impl Reading {
    fn new(branch: &Branch) -> Self {
        Self {
            max_nodes: branch.max_nodes,
            reached: Reached::default(),
            whole: true,
        }
    }

    /// The rows that are within the limit.
    fn kept<T>(&mut self, rows: Vec<T>) -> impl Iterator<Item = T> + use<T> {
        self.reached.truncated = rows.len() > self.max_nodes;
        rows.into_iter().take(self.max_nodes)
    }

    /// What was read of a row, unless nothing can be.
    fn read<T>(&mut self, read: Result<T, ReadError>) -> Option<T> {
        match read {
            Ok(read) => return Some(read),
            Err(ReadError::Corrupt(row)) => self.reached.corrupt.push(row),
            // It has no key of ours: not one of the graph, or not yet.
            Err(_) => {}
        }
        self.whole = false;
        None
    }

    fn links(&mut self, from: &NodeKey, links: Vec<Link>) {
        for (kind, to, props) in links {
            let kind = kind.as_str().and_then(EdgeType::from_name);
            let to = to.as_str().and_then(NodeKey::from_path);
            let (Some(kind), Some(to)) = (kind, to) else {
                self.whole = false;
                continue;
            };
            let from = from.clone();
            self.reached.edges.push(Edge {
                from,
                kind,
                to,
                props,
            });
        }
    }

    fn done(mut self) -> (Reached, bool) {
        let edges = &mut self.reached.edges;
        edges.sort_by(|x, y| (&x.from, x.kind, &x.to).cmp(&(&y.from, y.kind, &y.to)));
        (self.reached, self.whole)
    }
}

/// A node with some of its columns. Nothing tells whether they are of one state, only whether
/// the node has what every node has.
fn light(
    key: Option<&str>,
    version: Option<i64>,
    values: Vec<Value>,
) -> Result<LightNode, ReadError> {
    let path = key.unwrap_or_default();
    let key = NodeKey::from_path(path)
        .ok_or_else(|| crate::rows::unreadable(&format!("a node with the key {path:?}")))?;
    let Some(version) = version else {
        let problem = "has no version".into();
        return Err(CorruptRow { key, problem }.into());
    };
    Ok(LightNode {
        key,
        version,
        values,
    })
}

/// The versions around a node, with nodes. One round trip for some 120 keys of usual length,
/// which fit into a message that is sent in one piece; one more for each 120 beyond.
pub(crate) async fn digest(
    store: &Neo4j,
    digest: &Digest,
    keys: &[NodeKey],
    deadline: Deadline,
) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
    digest.check().map_err(ReadError::Invalid)?;
    let text = queries::digest(digest, !keys.is_empty());
    let (before, keys_here) = keys.split_at(start_of_last(keys, text.len()));
    // First the nodes, then the digest: that is what tells that they are of one state.
    let mut nodes = Vec::with_capacity(keys.len());
    let mut left = before;
    while !left.is_empty() {
        let (part, rest) = left.split_at(left.len().min(IN_ONE_PIECE));
        nodes.extend(get(store, part, deadline).await?);
        left = rest;
    }
    let query = || {
        let mut params = Params::new().with("root", digest.root.path());
        if !keys.is_empty() {
            params = params.with("keys", paths(keys_here));
        }
        params.query(text.as_str())
    };
    let (_, (digested, found)) = read_whole(store, deadline, query, digested).await?;
    nodes.extend(in_order(keys_here, found));
    Ok((digested, nodes))
}

/// Keys of a usual length that fit into a message which is sent in one piece (see
/// [`crate::commit`]): 120 nodes took 6 ms, 150 in a message of two pieces 50 ms.
const IN_ONE_PIECE: usize = 120;

/// Where those keys start that are read together with the digest.
fn start_of_last(keys: &[NodeKey], text: usize) -> usize {
    let room = ONE_PIECE.saturating_sub(text + 1_024);
    let mut size = 0;
    let fit = keys.iter().rev().take_while(|key| {
        size += key.path().len() + 5;
        size <= room
    });
    keys.len() - fit.count()
}

fn digested(row: &Option<Row>) -> Result<((Digested, Vec<Node>), bool), ReadError> {
    let (nodes, mut whole) = nodes(row)?;
    let (found, root): (bool, Option<i64>) = (column(row, "found")?, column(row, "version")?);
    let counted: Vec<(u64, i64, u64)> = column(row, "paths")?;
    whole &= found == root.is_some();
    let mut paths = Vec::with_capacity(counted.len());
    for (nodes, sum, versions) in counted {
        whole &= nodes == versions;
        paths.push(Versions { nodes, sum });
    }
    Ok(((Digested { root, paths }, nodes), whole))
}
