//! The way of a task as data: states, actions, roles, guards, claims and timers, read from a
//! file. A machine is used only after [`check`] found nothing wrong with it.
//!
//! This module knows nothing about tasks, stores or calls.

mod build;
mod check;
mod fields;
mod graph;
mod machine;
mod source;
mod ways;

pub use fleet_yaml::{Report, Violation};
pub use graph::{Format, graph};
pub use machine::{
    BackTo, ClaimRule, Guard, Kind, Limits, Machine, OnDue, Outcome, Rule, State, StateId, Target,
    Timer,
};

/// The machine that ships, and the name it is known by in messages.
pub const DEFAULT: &str =
    include_str!("../../../../deploy/k8s/00-foundation/config/workflow.fsm.yaml");
/// Name of the file that ships.
pub const DEFAULT_FILE: &str = "workflow.fsm.yaml";

/// Reads a machine and proves that it is sound.
///
/// # Errors
/// Everything that is wrong with it. Properties of the whole (reachability, cycles…) are
/// checked only once every word in the file is understood, because a misspelt name would
/// otherwise be reported as a dozen consequences.
pub fn check(text: &str, file_name: &str) -> Result<Machine, Report> {
    let mut findings = fleet_yaml::Findings::default();
    let machine =
        source::read(text, &mut findings).and_then(|source| build::build(&source, &mut findings));
    if findings.is_empty()
        && let Some(machine) = &machine
    {
        check::soundness(machine, &mut findings);
    }
    findings.into_report(file_name)?;
    Ok(machine.expect("a file without findings makes a machine"))
}

/// The machine that ships.
///
/// # Panics
/// If the file that ships is not sound; a test reads it.
pub fn shipped() -> Machine {
    match check(DEFAULT, DEFAULT_FILE) {
        Ok(machine) => machine,
        Err(report) => panic!("the machine that ships is broken: {report}"),
    }
}
