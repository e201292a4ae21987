//! The workflow service as a process of its own.

use std::process::ExitCode;

use fleet_workflow::{Config, KEYS, NAME, start};

fn main() -> ExitCode {
    fleet_service::main(NAME, KEYS, |deps, settings| {
        start(deps, Config::from_settings(settings))
    })
}
