//! The service over real gRPC, on the embedded stores and, where they are given, on Neo4j and
//! NATS. The same bodies run on both.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "part of tests only"
)]

mod support;

mod claims;
mod events;
mod identity;
mod lifecycle;
mod races;
mod refusals;
mod timers;
mod watch;
