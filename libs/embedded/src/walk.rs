//! Bounded walks, breadth first, over the two orders of the edge table.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use fleet_graph::{
    CorruptRow, Direction, Edge, EdgeType, Node, NodeKey, Props, Step, Subgraph, Walk,
};
use rusqlite::{Connection, OptionalExtension};

use crate::{
    error::ReadFailure,
    rows::{NODE_COLUMNS, edge_sum, node, props},
    statements::Cached,
};

pub(crate) const OUT_SQL: &str =
    "SELECT src, dst, props, crc FROM edges WHERE src = ?1 AND kind = ?2 ORDER BY dst";
pub(crate) const IN_SQL: &str = "SELECT src, dst, props, crc FROM edges INDEXED BY edges_in \
     WHERE dst = ?1 AND kind = ?2 ORDER BY src";

/// An edge by the row numbers of its ends.
type Link = (i64, EdgeType, i64);

/// What was found so far.
struct Found {
    nodes: HashMap<i64, Node>,
    links: HashMap<Link, Props>,
    corrupt: BTreeMap<i64, CorruptRow>,
    most: usize,
    truncated: bool,
}

pub(crate) fn walk(conn: &Connection, walk: &Walk) -> Result<Subgraph, ReadFailure> {
    let mut found = Found {
        nodes: HashMap::new(),
        links: HashMap::new(),
        corrupt: BTreeMap::new(),
        most: walk.max_nodes,
        truncated: false,
    };
    let mut reached = BTreeSet::new();
    for key in &walk.roots {
        if let Some(n) = root(conn, key)? {
            if !found.admit(conn, n)? {
                break;
            }
            reached.insert(n);
        }
    }
    for step in &walk.steps {
        reached = follow(conn, step, reached, &mut found)?;
    }
    Ok(found.into_subgraph())
}

/// Follows one step from `start`; gives every node it reached.
fn follow(
    conn: &Connection,
    step: &Step,
    start: BTreeSet<i64>,
    found: &mut Found,
) -> Result<BTreeSet<i64>, ReadFailure> {
    let mut reached = BTreeSet::new();
    let mut expanded = HashSet::new();
    let mut frontier = start;
    for _ in 0..step.hops {
        let mut next = BTreeSet::new();
        for n in frontier {
            if !expanded.insert(n) {
                continue;
            }
            for (link, props) in links(conn, n, step)? {
                let other = if step.direction == Direction::Out {
                    link.2
                } else {
                    link.0
                };
                if !found.admit(conn, other)? {
                    continue;
                }
                found.links.insert(link, props);
                reached.insert(other);
                next.insert(other);
            }
        }
        frontier = next;
    }
    Ok(reached)
}

fn links(conn: &Connection, n: i64, step: &Step) -> Result<Vec<(Link, Props)>, ReadFailure> {
    let sql = match step.direction {
        Direction::Out => OUT_SQL,
        Direction::In => IN_SQL,
    };
    let kind = step.edge;
    let mut statement = conn.cached(sql)?;
    let mut rows = statement.query((n, kind.as_str()))?;
    let mut links = Vec::new();
    while let Some(row) = rows.next()? {
        let (src, dst): (i64, i64) = (row.get(0)?, row.get(1)?);
        let text = row.get_ref(2)?.as_str().map_err(rusqlite::Error::from)?;
        let damaged = |problem: &str| {
            ReadFailure::Other(format!(
                "edge {src} {} {dst} of fleet.db: {problem}",
                kind.as_str()
            ))
        };
        if edge_sum(src, kind.as_str(), dst, text) != row.get::<_, i64>(3)? {
            return Err(damaged("does not carry its checksum"));
        }
        links.push(((src, kind, dst), props(text).map_err(|e| damaged(&e))?));
    }
    Ok(links)
}

fn root(conn: &Connection, key: &NodeKey) -> Result<Option<i64>, ReadFailure> {
    let mut statement = conn.cached("SELECT n FROM nodes WHERE label = ?1 AND id = ?2")?;
    let found = statement.query_row((key.label().as_str(), key.id()), |row| row.get(0));
    Ok(found.optional()?)
}

impl Found {
    /// Takes a node into the result; `false` if there is no room for it.
    fn admit(&mut self, conn: &Connection, n: i64) -> Result<bool, ReadFailure> {
        if self.nodes.contains_key(&n) || self.corrupt.contains_key(&n) {
            return Ok(true);
        }
        if self.nodes.len() + self.corrupt.len() >= self.most {
            self.truncated = true;
            return Ok(false);
        }
        let sql = format!("SELECT {NODE_COLUMNS} FROM nodes WHERE n = ?1");
        let mut statement = conn.cached(&sql)?;
        let mut rows = statement.query([n])?;
        let Some(row) = rows.next()? else {
            return Err(ReadFailure::Other(format!(
                "an edge of fleet.db ends at no node ({n})"
            )));
        };
        match node(row) {
            Ok((n, node)) => {
                self.nodes.insert(n, node);
            }
            Err(ReadFailure::Row(row)) => {
                self.corrupt.insert(n, row);
            }
            Err(other) => return Err(other),
        }
        Ok(true)
    }

    fn into_subgraph(self) -> Subgraph {
        let key = |n: &i64| self.nodes.get(n).map(|node| node.key.clone());
        let mut edges: Vec<Edge> = self
            .links
            .iter()
            .filter_map(|((src, kind, dst), props)| {
                Some(Edge {
                    from: key(src)?,
                    kind: *kind,
                    to: key(dst)?,
                    props: props.clone(),
                })
            })
            .collect();
        edges.sort_by(|a, b| (&a.from, a.kind, &a.to).cmp(&(&b.from, b.kind, &b.to)));
        let mut nodes: Vec<Node> = self.nodes.into_values().collect();
        nodes.sort_by(|a, b| a.key.cmp(&b.key));
        let mut corrupt: Vec<CorruptRow> = self.corrupt.into_values().collect();
        corrupt.sort_by(|a, b| a.key.cmp(&b.key));
        Subgraph {
            nodes,
            edges,
            truncated: self.truncated,
            corrupt,
        }
    }
}
