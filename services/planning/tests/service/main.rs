//! Planning through real gRPC on loopback, with the same tests on the embedded backends and,
//! where the environment names them, on Neo4j and NATS.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "tests"
)]

mod ask;
mod consumer;
mod content;
mod decisions;
mod fleet;
mod gates;
mod identity;
mod lists;
mod races;
mod refusals;
mod round_trips;
mod sequences;
mod tasks;
