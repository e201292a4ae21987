//! Context as a process of its own, on Neo4j, NATS and Valkey. Any number of replicas.

use std::process::ExitCode;

use fleet_context::{Config, KEYS, start};

/// Contexts are made of many small texts that live for a moment; the system's allocator takes a
/// third of the time that it takes to make one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fleet_service::main(
        fleet_topology::services::CONTEXT.name,
        KEYS,
        |deps, settings| start(deps, Config::from_settings(settings)),
    )
}
