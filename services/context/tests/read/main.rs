//! What context answers, through real gRPC on loopback, with the same tests on the embedded
//! backends and, where the environment names them, on Neo4j, NATS and Valkey.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod cost;
mod graph;
mod identity;
mod memory;
mod odd;
mod pairs;
mod policies;
mod receipts;
mod refusals;
mod seed;
mod sessions;
mod store;
mod updates;
mod world;
