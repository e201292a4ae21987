//! `fleet streams`: the streams and consumers of a NATS server against the topology.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use fleet_events::{Bus, Drift};
use fleet_events_nats::NatsBus;
use fleet_graph::Deadline;

/// How long the server may take to answer.
const WITHIN: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Debug, clap::Args)]
pub struct Target {
    /// The NATS server.
    #[arg(
        long,
        global = true,
        env = "NATS_URL",
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222"
    )]
    pub nats: String,
    /// Which deployment, where several share servers.
    #[arg(
        long,
        global = true,
        env = "FLEET_DEPLOYMENT",
        default_value = "default"
    )]
    pub deployment: String,
    /// Replicas that each stream should have (1, 3 or 5).
    #[arg(long, global = true, env = "FLEET_NATS_REPLICAS", default_value_t = 1)]
    pub replicas: usize,
}

/// What to do about them.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Say what `apply` would do.
    Plan,
    /// Create what is missing, update what differs; never delete.
    Apply,
    /// Exit code 0 if everything is as it should be, 1 otherwise.
    Check,
}

/// A bus on a NATS server that must be there now.
///
/// # Errors
/// It is not.
pub async fn connect(url: &str, deployment: &str) -> anyhow::Result<Arc<dyn Bus>> {
    open(url, deployment, 1).await
}

async fn open(url: &str, deployment: &str, replicas: usize) -> anyhow::Result<Arc<dyn Bus>> {
    let settings = fleet_events_nats::Settings {
        deployment: deployment.to_owned(),
        replicas,
        ..fleet_events_nats::Settings::new(url)
    };
    let bus = NatsBus::connect(settings).await?;
    let away = || {
        format!(
            "no NATS server answers at {url}; start one with JetStream (nats-server -js), or name another with --nats"
        )
    };
    bus.ping(Deadline::after(Duration::from_secs(5)))
        .await
        .with_context(away)?;
    Ok(Arc::new(bus))
}

/// Runs the command.
///
/// # Errors
/// The server is away.
pub async fn run(target: &Target, command: Command) -> anyhow::Result<ExitCode> {
    let bus = open(&target.nats, &target.deployment, target.replicas).await?;
    let drift = bus.drift(Deadline::after(WITHIN)).await?;
    for line in drift.iter().flat_map(describe) {
        crate::out(&line);
    }
    let immutable = |drift: &[Drift]| drift.iter().any(|d| matches!(d, Drift::Immutable { .. }));
    let stuck = "settings marked ! cannot be changed in place: move the messages to a new stream by hand, or change topology.toml back";
    match command {
        _ if drift.is_empty() => crate::out("streams and consumers are as the topology says"),
        Command::Plan if immutable(&drift) => crate::out(stuck),
        Command::Plan => crate::out("`fleet streams apply` does this"),
        Command::Check => {
            crate::out("`fleet streams apply` mends what is not marked !");
            return Ok(ExitCode::FAILURE);
        }
        Command::Apply => {
            let left = bus.apply(Deadline::after(WITHIN)).await?;
            if immutable(&left) {
                crate::out(stuck);
                return Ok(ExitCode::FAILURE);
            }
            crate::out("applied");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn describe(drift: &Drift) -> Vec<String> {
    let (mark, kind, name, changes) = match drift {
        Drift::Missing { kind, name } => return vec![format!("+ {kind} {name}")],
        Drift::Different {
            kind,
            name,
            changes,
        } => ('~', kind, name, changes),
        Drift::Immutable {
            kind,
            name,
            changes,
        } => ('!', kind, name, changes),
    };
    std::iter::once(format!("{mark} {kind} {name}"))
        .chain(changes.iter().map(|change| format!("    {change}")))
        .collect()
}
