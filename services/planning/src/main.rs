//! Planning as a process of its own, on Neo4j and NATS. Any number of replicas.

use std::process::ExitCode;

use fleet_planning::{Config, KEYS, start};

fn main() -> ExitCode {
    fleet_service::main(
        fleet_topology::services::PLANNING.name,
        KEYS,
        |deps, settings| start(deps, Config::from_settings(settings)),
    )
}
