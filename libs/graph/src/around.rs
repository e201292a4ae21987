//! Reads around one node: a sketch (a few columns of everything near it), and a digest (whether
//! anything near it has changed).

use serde_json::Value;

use crate::{CorruptRow, Direction, Edge, EdgeType, MAX_WALK_NODES, Node, NodeKey};

/// Most branches of a sketch and most paths of a digest.
pub const MAX_BRANCHES: usize = 12;
/// Most steps of one branch or path.
pub const MAX_PATH: usize = 3;

/// A way from a node to others: one relationship for each step. Each step goes on from
/// everything that the step before reached, once, so that a way may lead back to where it began.
pub type Path = Vec<(EdgeType, Direction)>;

/// Which properties of a node are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Columns {
    /// All of them.
    All,
    /// These, as lists of values in this order ([`LightNode`]): at most [`MAX_COLUMNS`] names of
    /// letters, digits and `_`.
    Only(&'static [&'static str]),
}

/// Most columns of [`Columns::Only`].
pub const MAX_COLUMNS: usize = 64;

/// The nodes at the end of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// How to get there from the root; 1 to [`MAX_PATH`] steps.
    pub path: Path,
    /// What to read of them.
    pub columns: Columns,
    /// Only those of which a property is a whole number larger than this one: what is new since
    /// somebody looked. A name like those of [`Columns::Only`]. Texts, lists and what is not there
    /// are never above; for a property of whole numbers only: of a fraction each store thinks
    /// what it likes.
    pub above: Option<(&'static str, i64)>,
    /// Relationships that start at them and are wanted too, wherever they end.
    pub edges: Vec<EdgeType>,
    /// Largest (`ord`, key) first: the whole order backwards.
    pub newest_first: bool,
    /// At most so many, the first in that order; 1 to [`MAX_WALK_NODES`].
    pub max_nodes: usize,
}

impl Branch {
    /// All columns of all nodes at the end of `path`, without their relationships.
    pub fn new(path: Path) -> Self {
        Self {
            path,
            columns: Columns::All,
            above: None,
            edges: Vec::new(),
            newest_first: false,
            max_nodes: MAX_WALK_NODES,
        }
    }
}

/// Everything near a node, as lightly as the caller wants. One round trip whatever the number
/// of branches; the cost is that of what is reached, not of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// Where it starts; read with all its columns.
    pub root: NodeKey,
    /// At most [`MAX_BRANCHES`].
    pub branches: Vec<Branch>,
}

/// A node of which only some columns were read. It may be half of a commit that is just being
/// applied, where the store shows that; whoever shows its content to somebody reads it by key
/// before.
#[derive(Debug, Clone, PartialEq)]
pub struct LightNode {
    /// Its key.
    pub key: NodeKey,
    /// Its version.
    pub version: i64,
    /// One for each column asked for, in that order; null where it has none.
    pub values: Vec<Value>,
}

/// What one branch reached: `nodes` with [`Columns::All`], `light` with [`Columns::Only`].
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reached {
    /// The nodes, each once, in order of (`ord`, key).
    pub nodes: Vec<Node>,
    /// Likewise, with the columns asked for.
    pub light: Vec<LightNode>,
    /// Relationships that start at those nodes, in order of (from, kind, to).
    pub edges: Vec<Edge>,
    /// Whether the limit left some out.
    pub truncated: bool,
    /// Rows that cannot be read as nodes; they are not among `nodes`.
    pub corrupt: Vec<CorruptRow>,
}

impl Reached {
    /// The keys of all nodes, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &NodeKey> {
        let light = self.light.iter().map(|node| &node.key);
        self.nodes.iter().map(|node| &node.key).chain(light)
    }

    /// What a digest would say of them.
    pub fn versions(&self) -> Versions {
        let light = self.light.iter().map(|node| node.version);
        let sum = self.nodes.iter().map(|node| node.version).chain(light);
        Versions {
            nodes: (self.nodes.len() + self.light.len()) as u64,
            sum: sum.sum(),
        }
    }
}

/// What a sketch found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sketched {
    /// The root; without it all branches are empty.
    pub root: Option<Node>,
    /// One for each branch.
    pub branches: Vec<Reached>,
}

/// Asks for the versions around a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    /// The node.
    pub root: NodeKey,
    /// At most [`MAX_BRANCHES`] ways to other nodes.
    pub paths: Vec<Path>,
}

/// How many nodes there are at the end of a path, and the sum of their versions. Versions only
/// grow; where nodes are never removed, two different states never look the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Versions {
    /// Distinct nodes.
    pub nodes: u64,
    /// The sum of their versions.
    pub sum: i64,
}

/// The versions around a node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Digested {
    /// The version of the root; `None`: it does not exist.
    pub root: Option<i64>,
    /// One for each path.
    pub paths: Vec<Versions>,
}

fn check_path(path: &Path) -> Result<(), String> {
    if (1..=MAX_PATH).contains(&path.len()) {
        return Ok(());
    }
    Err(format!("a path of {} steps; 1 to {MAX_PATH}", path.len()))
}

fn check_branches(count: usize) -> Result<(), String> {
    if count <= MAX_BRANCHES {
        return Ok(());
    }
    Err(format!("{count} branches; at most {MAX_BRANCHES}"))
}

/// Names of columns stand in query texts.
fn check_columns(columns: &[&str]) -> Result<(), String> {
    if columns.len() > MAX_COLUMNS {
        return Err(format!("{} columns; at most {MAX_COLUMNS}", columns.len()));
    }
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        let first = bytes.next();
        first.is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
            && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    match columns.iter().find(|name| !is_name(name)) {
        Some(name) => Err(format!("{name:?} is no name of a column")),
        None => Ok(()),
    }
}

impl Sketch {
    /// Checks the bounds.
    pub fn check(&self) -> Result<(), String> {
        check_branches(self.branches.len())?;
        for branch in &self.branches {
            check_path(&branch.path)?;
            if let Columns::Only(columns) = branch.columns {
                check_columns(columns)?;
            }
            if let Some((name, _)) = branch.above {
                check_columns(&[name])?;
            }
            if !(1..=MAX_WALK_NODES).contains(&branch.max_nodes) {
                return Err(format!(
                    "a branch of {} nodes; 1 to {MAX_WALK_NODES}",
                    branch.max_nodes
                ));
            }
        }
        Ok(())
    }
}

impl Digest {
    /// Checks the bounds.
    pub fn check(&self) -> Result<(), String> {
        check_branches(self.paths.len())?;
        self.paths.iter().try_for_each(check_path)
    }
}
