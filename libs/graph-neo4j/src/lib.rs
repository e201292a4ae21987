//! The commit port on Neo4j (5.26 or later, Community is enough), over Bolt.
//!
//! * Every node carries `:Entity` with a unique `_key` beside its own label; so do the store's
//!   own rows (commit markers, inbox, requests, outbox). Names with a leading `_` are ours.
//! * A commit is one statement in one explicit transaction: BEGIN, RUN, COMMIT. It first
//!   locks every node it is about, in the order of their keys, then compares, then writes.
//!   A rejected commit is looked into by a second transaction that takes the same locks.
//! * Each commit leaves a marker under its id, so that a retry after a lost reply finds the
//!   success it was.
//! * Every call has its own deadline, whatever the driver thinks. A connection on which a
//!   call was cut off is closed, never used again.
//! * Outbox, inbox, requests and markers belong to a deployment: two fleets on one server
//!   neither see nor prune each other's.
//! * Nodes that can be searched for carry their words in `_terms`, which a full-text index
//!   splits at blanks and nothing else; the commit writes both.
//! * Query texts are a closed set ([`queries`]); values are always parameters.
//!
//! This crate knows nothing about services, buses or what the nodes mean.

mod around;
mod commit;
mod fault;
mod graph;
mod migrate;
mod outbox;
mod pool;
pub mod queries;
mod rows;
mod search;
mod settings;
mod value;

pub use graph::Neo4j;
pub use settings::{InvalidSettings, Settings};
