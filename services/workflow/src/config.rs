//! The settings of the service, besides those that every process has.

use std::path::PathBuf;
use std::time::Duration;

use fleet_service::config::{Key, Kind, Settings};

use crate::fsm::{self, Machine, Report};

/// The service's own keys.
pub const KEYS: &[Key] = &[
    Key::new(
        "workflow_fsm_file",
        "FLEET_WORKFLOW_FSM_FILE",
        Kind::Path,
        "Machine that tasks walk; unset: the one that is built in. Check it with `fleet fsm check`.",
    ),
    Key::new(
        "workflow_sweep_every",
        "FLEET_WORKFLOW_SWEEP_EVERY",
        Kind::Duration,
        "How often leases and time limits are looked after; what this process set itself is acted on at once.",
    )
    .or("1s"),
    Key::new(
        "workflow_max_watchers",
        "FLEET_WORKFLOW_MAX_WATCHERS",
        Kind::Integer { min: 1, max: 100_000 },
        "Streams of WatchTasks at a time.",
    )
    .or("256"),
    Key::new(
        "workflow_consumer_concurrency",
        "FLEET_WORKFLOW_CONSUMER_CONCURRENCY",
        Kind::Integer { min: 1, max: 1_000 },
        "Events of one consumer that are handled at a time.",
    )
    .or("16"),
];

/// How the service is run.
#[derive(Debug, Clone)]
pub struct Config {
    /// The machine that tasks walk; `None` = the one that ships.
    pub fsm_file: Option<PathBuf>,
    /// How often timers are swept, give or take a quarter.
    pub sweep_every: Duration,
    /// Streams of WatchTasks at a time.
    pub max_watchers: usize,
    /// Events of one consumer that are handled at a time.
    pub consumer_concurrency: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            fsm_file: None,
            sweep_every: Duration::from_secs(1),
            max_watchers: 256,
            consumer_concurrency: 16,
        }
    }
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The file with the machine cannot be read.
    #[error("FLEET_WORKFLOW_FSM_FILE: {} cannot be read", file.display())]
    File {
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The machine is not sound.
    #[error(transparent)]
    Machine(#[from] Report),
}

impl Config {
    /// From checked settings that have [`KEYS`].
    pub fn from_settings(settings: &Settings) -> Self {
        Self {
            fsm_file: settings.path("workflow_fsm_file"),
            sweep_every: settings.duration("workflow_sweep_every"),
            max_watchers: settings.count("workflow_max_watchers"),
            consumer_concurrency: settings.count("workflow_consumer_concurrency"),
        }
    }

    /// Reads and checks the machine.
    ///
    /// # Errors
    /// A file that cannot be read, or a machine that is not sound.
    pub fn machine(&self) -> Result<Machine, StartError> {
        let Some(file) = &self.fsm_file else {
            return Ok(fsm::check(fsm::DEFAULT, fsm::DEFAULT_FILE)?);
        };
        let text = std::fs::read_to_string(file).map_err(|source| StartError::File {
            file: file.clone(),
            source,
        })?;
        Ok(fsm::check(&text, &file.display().to_string())?)
    }
}
