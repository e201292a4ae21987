//! The graph and its one way of change: the commit port.
//!
//! Every state change is one [`Commit`]: conditions, node and relationship writes, the events
//! it causes (outbox), the event it answers (inbox) and the request it answers. An adapter
//! applies it whole or not at all, durably. Adapters: `fleet-graph-neo4j`, `fleet-embedded`;
//! each passes the [`conformance`] suite.
//!
//! This crate knows nothing about what the nodes mean; services do. It knows only who may
//! write which kind ([`Label::owner`]).

mod around;
mod commit;
pub mod conformance;
mod model;
mod read;
mod search;
mod store;

pub use around::{
    Branch, Columns, Digest, Digested, LightNode, MAX_BRANCHES, MAX_COLUMNS, MAX_PATH, Path,
    Reached, Sketch, Sketched, Versions,
};
pub use commit::{
    Answer, Commit, EdgeWrite, Guard, MAX_COMMIT_BYTES, MAX_WRITES, NodeWrite, OutboxEvent,
    Receipt, Request, RequestKey,
};
pub use model::{
    CorruptRow, Edge, EdgeType, Label, MAX_NODE_ID, Node, NodeKey, Owner, Props, Versioned, props,
};
pub use read::{
    Direction, EXACT_TOTAL, Index, MAX_PAGE, MAX_STEPS, MAX_WALK_NODES, Page, Scan, Step, Subgraph,
    Total, Walk, check_values,
};
pub use search::{
    Hits, MAX_HITS, MAX_NODE_TERMS, MAX_TERM, MAX_TERMS, Search, SearchIndex, terms, weight,
};
pub use store::{
    CommitError, Deadline, GraphStore, Outbox, PastRequest, Pruning, ReadError, Store, Unavailable,
};
