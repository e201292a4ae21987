//! Changes of contexts through real gRPC on loopback, with planning beside; the same tests on
//! the embedded backends and, where the environment names them, on Neo4j and NATS.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod ask;
mod commute;
mod counted;
mod creations;
mod decisions;
mod events;
mod identity;
mod phases;
mod races;
mod refusals;
mod relations;
mod requests;
mod updates;
mod world;
