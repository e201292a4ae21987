//! Sketches and digests: from the root along the two orders of the edge table, looking at
//! nothing that is not reached.

use std::{collections::BTreeSet, rc::Rc};

use fleet_graph::{
    Branch, Columns, Digest, Digested, Direction, Edge, EdgeType, Label, LightNode, NodeKey, Path,
    Reached, Sketch, Sketched, Versions,
};
use rusqlite::{Connection, OptionalExtension, Statement};

use crate::{
    error::ReadFailure,
    rows::{NODE_COLUMNS, edge_sum, light_node, node, props, some_props},
    statements::Cached,
};

const OUT_SQL: &str = "SELECT dst FROM edges WHERE src = ?1 AND kind = ?2";
const IN_SQL: &str = "SELECT src FROM edges INDEXED BY edges_in WHERE dst = ?1 AND kind = ?2";

/// The nodes at the ends of paths, by row number, each once and in order. Paths that begin the
/// same way share what was found there.
struct Ends<'a> {
    conn: &'a Connection,
    root: i64,
    known: Vec<(Path, Rc<[i64]>)>,
}

impl<'a> Ends<'a> {
    fn new(conn: &'a Connection, root: i64) -> Self {
        Self {
            conn,
            root,
            known: Vec::new(),
        }
    }

    fn of(&mut self, path: &[(EdgeType, Direction)]) -> Result<Rc<[i64]>, ReadFailure> {
        let Some(((kind, direction), before)) = path.split_last() else {
            return Ok(Rc::from([self.root]));
        };
        if let Some((_, ends)) = self.known.iter().find(|(known, _)| known == path) {
            return Ok(Rc::clone(ends));
        }
        let from = self.of(before)?;
        let mut statement = self.conn.cached(match direction {
            Direction::Out => OUT_SQL,
            Direction::In => IN_SQL,
        })?;
        let mut ends = Vec::new();
        for n in from.iter() {
            let mut rows = statement.query((n, kind.as_str()))?;
            while let Some(row) = rows.next()? {
                ends.push(row.get::<_, i64>(0)?);
            }
        }
        ends.sort_unstable();
        ends.dedup();
        let ends: Rc<[i64]> = ends.into();
        self.known.push((path.to_vec(), Rc::clone(&ends)));
        Ok(ends)
    }
}

fn no_node(n: i64) -> ReadFailure {
    ReadFailure::Other(format!("an edge of fleet.db ends at no node ({n})"))
}

pub(crate) fn sketch(conn: &Connection, sketch: &Sketch) -> Result<Sketched, ReadFailure> {
    let sql = format!("SELECT {NODE_COLUMNS} FROM nodes WHERE label = ?1 AND id = ?2");
    let mut statement = conn.cached(&sql)?;
    let mut rows = statement.query((sketch.root.label().as_str(), sketch.root.id()))?;
    let Some((n, root)) = rows.next()?.map(node).transpose()? else {
        return Ok(Sketched {
            root: None,
            branches: vec![Reached::default(); sketch.branches.len()],
        });
    };
    let mut ends = Ends::new(conn, n);
    let branches = sketch
        .branches
        .iter()
        .map(|branch| reached(conn, branch, &ends.of(&branch.path)?))
        .collect::<Result<_, _>>()?;
    Ok(Sketched {
        root: Some(root),
        branches,
    })
}

fn reached(conn: &Connection, branch: &Branch, ends: &[i64]) -> Result<Reached, ReadFailure> {
    let newer = branch.above.map(|above| newer(conn, above, ends));
    let newer = newer.transpose()?;
    let ends = newer.as_deref().unwrap_or(ends);
    let mut found = Reached {
        truncated: ends.len() > branch.max_nodes,
        ..Reached::default()
    };
    let kept = match found.truncated {
        true => first(conn, branch, ends)?,
        false => ends.to_vec(),
    };
    let sql = format!("SELECT {NODE_COLUMNS} FROM nodes WHERE n = ?1");
    let mut statement = conn.cached(&sql)?;
    let kinds: BTreeSet<EdgeType> = branch.edges.iter().copied().collect();
    let mut edges = conn.cached(RELATIONS_SQL)?;
    let mut places: Vec<(String, LightNode)> = Vec::new();
    for n in kept {
        let mut rows = statement.query([n])?;
        let row = rows.next()?.ok_or_else(|| no_node(n))?;
        let read = match branch.columns {
            Columns::All => node(row).map(|(_, node)| {
                let key = node.key.clone();
                found.nodes.push(node);
                key
            }),
            Columns::Only(columns) => light_node(row, columns).map(|(_, ord, node)| {
                let key = node.key.clone();
                places.push((ord, node));
                key
            }),
        };
        match read {
            Ok(key) => {
                for &kind in &kinds {
                    relations(&mut edges, n, &key, kind, &mut found.edges)?;
                }
            }
            Err(ReadFailure::Row(row)) => found.corrupt.push(row),
            Err(other) => return Err(other),
        }
    }
    found
        .nodes
        .sort_by(|a, b| (&a.ord, &a.key).cmp(&(&b.ord, &b.key)));
    places.sort_by(|(a, x), (b, y)| (a, &x.key).cmp(&(b, &y.key)));
    found.light = places.into_iter().map(|(_, node)| node).collect();
    if branch.newest_first {
        found.nodes.reverse();
        found.light.reverse();
    }
    found
        .edges
        .sort_by(|a, b| (&a.from, a.kind, &a.to).cmp(&(&b.from, b.kind, &b.to)));
    Ok(found)
}

/// Those of which a property is above a number, and those of which that cannot be told.
fn newer(
    conn: &Connection,
    (name, above): (&'static str, i64),
    ends: &[i64],
) -> Result<Vec<i64>, ReadFailure> {
    let mut statement = conn.cached("SELECT props FROM nodes WHERE n = ?1")?;
    let mut newer = Vec::new();
    for &n in ends {
        let mut rows = statement.query([n])?;
        let row = rows.next()?.ok_or_else(|| no_node(n))?;
        let text = row.get_ref(0)?.as_str();
        let values = text.map(|text| some_props(text, &[name]));
        let Ok(Ok(values)) = values else {
            newer.push(n);
            continue;
        };
        newer.extend(values[0].as_i64().filter(|value| *value > above).map(|_| n));
    }
    Ok(newer)
}

/// Of more nodes than are wanted, the first in the order of the branch: found by their places
/// alone.
fn first(conn: &Connection, branch: &Branch, ends: &[i64]) -> Result<Vec<i64>, ReadFailure> {
    let mut statement = conn.cached("SELECT label, id, ord FROM nodes WHERE n = ?1")?;
    let mut places = Vec::with_capacity(ends.len());
    for &n in ends {
        let place = statement
            .query_row([n], |row| {
                let (label, id): (String, String) = (row.get(0)?, row.get(1)?);
                Ok((row.get::<_, String>(2)?, Label::from_name(&label), id, n))
            })
            .optional()?;
        places.push(place.ok_or_else(|| no_node(n))?);
    }
    places.sort_unstable();
    if branch.newest_first {
        places.reverse();
    }
    places.truncate(branch.max_nodes);
    // In the order of rows again: neighbours share pages.
    let mut kept: Vec<i64> = places.into_iter().map(|(.., n)| n).collect();
    kept.sort_unstable();
    Ok(kept)
}

/// Relationships of one kind that start at a node.
const RELATIONS_SQL: &str = "SELECT edges.dst, edges.props, edges.crc, nodes.label, nodes.id \
     FROM edges CROSS JOIN nodes ON nodes.n = edges.dst \
     WHERE edges.src = ?1 AND edges.kind = ?2";

/// Adds the relationships of one kind that start at a node.
fn relations(
    statement: &mut Statement<'_>,
    src: i64,
    from: &NodeKey,
    kind: EdgeType,
    into: &mut Vec<Edge>,
) -> Result<(), ReadFailure> {
    let mut rows = statement.query((src, kind.as_str()))?;
    while let Some(row) = rows.next()? {
        let engine = rusqlite::Error::from;
        let dst: i64 = row.get(0)?;
        let text = row.get_ref(1)?.as_str().map_err(engine)?;
        let damaged = |problem: &str| {
            let kind = kind.as_str();
            ReadFailure::Other(format!("edge {src} {kind} {dst} of fleet.db: {problem}"))
        };
        if edge_sum(src, kind.as_str(), dst, text) != row.get::<_, i64>(2)? {
            return Err(damaged("does not carry its checksum"));
        }
        let label = row.get_ref(3)?.as_str().map_err(engine)?;
        let Some(label) = Label::from_name(label) else {
            return Err(damaged("ends at a node of an unknown kind"));
        };
        into.push(Edge {
            from: from.clone(),
            kind,
            to: NodeKey::new(label, row.get::<_, String>(4)?),
            props: props(text).map_err(|e| damaged(&e))?,
        });
    }
    Ok(())
}

pub(crate) fn digest(conn: &Connection, digest: &Digest) -> Result<Digested, ReadFailure> {
    let root: Option<(i64, i64)> = conn
        .cached("SELECT n, version FROM nodes WHERE label = ?1 AND id = ?2")?
        .query_row((digest.root.label().as_str(), digest.root.id()), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    let Some((n, version)) = root else {
        return Ok(Digested {
            root: None,
            paths: vec![Versions::default(); digest.paths.len()],
        });
    };
    let mut ends = Ends::new(conn, n);
    let mut statement = conn.cached("SELECT version FROM nodes WHERE n = ?1")?;
    let mut paths = Vec::with_capacity(digest.paths.len());
    for path in &digest.paths {
        let mut versions = Versions::default();
        for n in ends.of(path)?.iter() {
            let version: Option<i64> = statement.query_row([n], |row| row.get(0)).optional()?;
            versions.nodes += 1;
            versions.sum += version.ok_or_else(|| no_node(*n))?;
        }
        paths.push(versions);
    }
    Ok(Digested {
        root: Some(version),
        paths,
    })
}
