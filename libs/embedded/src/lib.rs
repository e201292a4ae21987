//! The zero-install default: graph and bus in one durable SQLite database.
//!
//! [`Embedded::open`] takes a directory and gives both ports: [`fleet_graph::Store`] and
//! [`fleet_events::Bus`]. One process owns a directory at a time (a second one is refused with
//! the owner's pid). All writes go through one thread that commits whatever waits as a group;
//! an answer means that the change is on disk.
//!
//! Files: `fleet.db` and `fleet.db-wal` (the database), `fleet.ack` (how far writes were
//! acknowledged: a database that ends before it has lost data and is refused), `fleet.lock`
//! (who owns the directory).
//!
//! This crate knows nothing about what nodes and events mean.

mod around;
mod bus;
mod checksum;
mod commit;
mod error;
mod graph;
mod ledger;
mod listings;
mod lock;
mod open;
mod options;
mod outbox;
mod readers;
mod rows;
mod schema;
mod search;
mod statements;
mod verify;
mod walk;
mod witness;
mod writer;

pub use error::OpenError;
pub use lock::{OwnerInfo, owner};
pub use open::Embedded;
pub use options::{FaultHook, Options, Point};
