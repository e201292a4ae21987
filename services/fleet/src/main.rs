//! One binary for people: all services in one process, the demo, and the operator's commands.

mod calls;
#[cfg(test)]
mod config_doc;
mod context;
mod demo;
mod fsm;
mod parked;
mod remote;
mod stack;
mod streams;
mod up;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use fleet_service::cli::{self, Invocation};

/// Where `fleet up` keeps its data unless told otherwise.
pub(crate) const DEFAULT_DATA: &str = ".fleet/data";

/// A fleet of software-engineering agents, with people in charge of the gates.
#[derive(Debug, Parser)]
#[command(name = "fleet", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What agents are told: print it, compare it, verify a receipt, draw the graph behind it.
    Context {
        #[command(flatten)]
        target: context::Target,
        #[command(subcommand)]
        command: context::Command,
    },
    /// Play a story from idea to "ready to review", on embedded storage.
    Demo(demo::Options),
    /// Task state machines: check or draw one.
    #[command(subcommand)]
    Fsm(fsm::Command),
    /// Messages that a consumer could not digest.
    Parked {
        #[command(flatten)]
        target: parked::Target,
        #[command(subcommand)]
        command: parked::Command,
    },
    /// Streams and consumers of a NATS server against the topology.
    Streams {
        #[command(flatten)]
        target: streams::Target,
        #[command(subcommand)]
        command: streams::Command,
    },
}

fn main() -> ExitCode {
    // Ours is the only provider; if somebody installed one before, it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let up = cli::command(
        "up",
        "Serve all services in one process, until Ctrl-C.",
        &up::keys(),
    );
    let matches = Cli::command().subcommand(up).get_matches();
    let done = match matches.subcommand() {
        Some(("up", up)) => return start(up),
        _ => match Cli::from_arg_matches(&matches) {
            Ok(cli) => run(&cli.command),
            Err(e) => e.exit(),
        },
    };
    done.unwrap_or_else(|error| fail(&error, 1))
}

/// `fleet up`: the configuration is refused with its own exit code.
fn start(matches: &clap::ArgMatches) -> ExitCode {
    match cli::settings(matches, &up::keys(), cli::environment()) {
        Ok(Invocation::Print(text)) => {
            out(text.trim_end());
            ExitCode::SUCCESS
        }
        Ok(Invocation::Serve(settings)) => up::run(&settings).unwrap_or_else(|error| {
            let of_config = error.is::<fleet_service::config::Problems>();
            fail(
                &error,
                if of_config {
                    fleet_service::config::EXIT_CONFIG
                } else {
                    1
                },
            )
        }),
        Err(problems) => fail(&problems.into(), fleet_service::config::EXIT_CONFIG),
    }
}

fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let runtime = fleet_service::runtime(0)?;
    match command {
        Command::Context { target, command } => runtime.block_on(context::run(target, command)),
        Command::Demo(options) => runtime
            .block_on(demo::run(options))
            .map(|()| ExitCode::SUCCESS),
        Command::Fsm(command) => fsm::run(command).map(|()| ExitCode::SUCCESS),
        Command::Parked { target, command } => runtime
            .block_on(parked::run(target, command))
            .map(|()| ExitCode::SUCCESS),
        Command::Streams { target, command } => runtime.block_on(streams::run(target, *command)),
    }
}

fn fail(error: &anyhow::Error, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "fleet: {error:#}");
    ExitCode::from(code)
}

/// Prints one line to standard output; a closed pipe ends the telling, not the run.
pub(crate) fn out(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

/// Prints one line to standard error: what belongs beside the output, not into it.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "fleet: {line}");
}
