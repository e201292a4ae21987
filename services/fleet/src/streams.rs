//! `fleet streams`: the streams and consumers of a NATS server against the topology.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Subcommand;
use fleet_events::{Bus, Drift, Fill};
use fleet_graph::Deadline;
use fleet_service::config::{COMMON_KEYS, Common, Key, Settings};
use fleet_service::{backends, cli};
use fleet_topology::STREAM_ALARM_PERCENT;

/// How long the server may take to answer.
const WITHIN: Duration = Duration::from_secs(30);

/// How long the server may take until it is clear that there is none.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);

/// How long to wait before looking again whether it answers.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
    #[arg(
        long,
        global = true,
        env = "FLEET_NATS_REPLICAS",
        default_value_t = 1,
        value_parser = replicas
    )]
    pub replicas: usize,
}

/// What a JetStream cluster takes and can lose a minority of.
fn replicas(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ (1 | 3 | 5)) => Ok(count),
        _ => Err("1, 3 or 5".to_owned()),
    }
}

/// What to do about them.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Say what `apply` would do.
    Plan,
    /// Create what is missing, update what differs; never delete.
    Apply,
    /// Exit code 0 if everything is as it should be and no stream fills up, 1 otherwise.
    Check,
}

/// A bus on a NATS server that must be there now.
///
/// # Errors
/// It is not, or the environment says nonsense about it.
pub async fn connect(url: &str, deployment: &str) -> anyhow::Result<Arc<dyn Bus>> {
    open(url, &[("deployment", deployment)]).await
}

/// Reads `FLEET_NATS_*` as the services do, so that the operator's commands reach whatever the
/// services reach, and expect of its streams what the services expect.
async fn open(url: &str, flags: &[(&str, &str)]) -> anyhow::Result<Arc<dyn Bus>> {
    let keys: Vec<Key> = COMMON_KEYS
        .iter()
        .chain(backends::BACKEND_KEYS)
        .map(|key| key.optional())
        .collect();
    // What else the environment says is the business of services.
    let environment = cli::environment().filter(|(name, _)| name.starts_with("FLEET_NATS_"));
    let flags: Vec<(String, String)> = flags
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let settings = Settings::load(&keys, None, environment, &flags)?;
    let common = Common::from_settings(&settings)?;
    let bus = backends::nats(&settings, &common, url, 0).await?;
    let away = || {
        format!(
            "no NATS server answers at {url}; start one with JetStream (nats-server -js), or name another with --nats"
        )
    };
    // The client connects in the background: that it has not yet is not that it cannot.
    let deadline = Deadline::after(ANSWERS_WITHIN);
    while let Err(error) = bus.ping(deadline).await {
        if deadline.left().is_zero() {
            return Err(error).with_context(away);
        }
        tokio::time::sleep(LOOK_AGAIN.min(deadline.left())).await;
    }
    Ok(bus)
}

/// Runs the command.
///
/// # Errors
/// The server is away.
pub async fn run(target: &Target, command: Command) -> anyhow::Result<ExitCode> {
    let replicas = target.replicas.to_string();
    let flags = [
        ("deployment", target.deployment.as_str()),
        ("nats_replicas", replicas.as_str()),
    ];
    let bus = open(&target.nats, &flags).await?;
    let drift = bus.drift(Deadline::after(WITHIN)).await?;
    for line in drift.iter().flat_map(describe) {
        crate::out(&line);
    }
    let immutable = |drift: &[Drift]| drift.iter().any(|d| matches!(d, Drift::Immutable { .. }));
    let full: Vec<Fill> = match command {
        Command::Check => bus.fill(Deadline::after(WITHIN)).await?,
        Command::Plan | Command::Apply => Vec::new(),
    };
    let full: Vec<&Fill> = full
        .iter()
        .filter(|fill| fill.percent() >= u64::from(STREAM_ALARM_PERCENT))
        .collect();
    for fill in &full {
        crate::out(&format!(
            "stream {} is {} % full; at 100 it refuses its publishers",
            fill.stream,
            fill.percent()
        ));
    }
    let stuck = "settings marked ! cannot be changed in place: move the messages to a new stream by hand, or change topology.toml back";
    match command {
        _ if drift.is_empty() => {
            crate::out("streams and consumers are as the topology says");
            if !full.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
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
