//! Context as a process of its own, on Neo4j, NATS and Valkey. Any number of replicas.

use std::process::ExitCode;

use fleet_context::{Config, KEYS, start};

fn main() -> ExitCode {
    fleet_service::main(
        fleet_topology::services::CONTEXT.name,
        KEYS,
        |deps, settings| start(deps, Config::from_settings(settings)),
    )
}
