//! What can be configured about context, beside what every service has.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fleet_events::ConsumerSettings;
use fleet_service::config::{Key, Kind, Settings};
use tonic::transport::Channel;

use crate::domain::{Policies, Redaction, Report, Scopes};

/// Context's own keys.
pub const KEYS: &[Key] = &[
    Key::new(
        "planning_uri",
        "FLEET_PLANNING_URI",
        Kind::Text,
        "Where stories and tasks are created: address of the planning service, https:// with TLS; unset: the planning of the same process, else http://127.0.0.1:50054.",
    )
    .optional(),
    Key::new(
        "planning_ca_file",
        "FLEET_PLANNING_CA_FILE",
        Kind::Path,
        "PEM file of the authorities of a planning service with TLS; unset: the system's.",
    ),
    Key::new(
        "context_scopes_file",
        "FLEET_CONTEXT_SCOPES_FILE",
        Kind::Path,
        "Which sections a role gets in a phase (YAML); the one that comes with the service if not given.",
    )
    .optional(),
    Key::new(
        "context_policies_file",
        "FLEET_CONTEXT_POLICIES_FILE",
        Kind::Path,
        "Which rows and columns a role may see (YAML); the one that comes with the service if not given.",
    )
    .optional(),
    Key::new(
        "context_pack_ttl",
        "FLEET_CONTEXT_PACK_TTL",
        Kind::Duration,
        "How long a rendered context stays in the cache.",
    )
    .or("1h"),
    Key::new(
        "context_receipt_ttl",
        "FLEET_CONTEXT_RECEIPT_TTL",
        Kind::Duration,
        "How long a receipt can be asked for by its hash.",
    )
    .or("24h"),
    Key::new(
        "context_max_watchers",
        "FLEET_CONTEXT_MAX_WATCHERS",
        Kind::Integer { min: 1, max: 100_000 },
        "Most streams of updates that are open at the same time.",
    )
    .or("1000"),
    Key::new(
        "context_commit_attempts",
        "FLEET_CONTEXT_COMMIT_ATTEMPTS",
        Kind::Integer { min: 1, max: 1_000 },
        "How often a change is decided anew when others were faster, before ABORTED.",
    )
    .or("32"),
    Key::new(
        "context_consumer_concurrency",
        "FLEET_CONTEXT_CONSUMER_CONCURRENCY",
        Kind::Integer { min: 1, max: 1_000 },
        "Events handled side by side by each consumer.",
    )
    .or("16"),
    Key::new(
        "context_counted_texts",
        "FLEET_CONTEXT_COUNTED_TEXTS",
        Kind::Integer { min: 1, max: 10_000_000 },
        "How many texts the process remembers the tokens of.",
    )
    .or("50000"),
    Key::new(
        "context_story_memory",
        "FLEET_CONTEXT_STORY_MEMORY",
        Kind::Integer { min: 0, max: 1 << 40 },
        "Most bytes of stories that the process remembers between two questions about one; 0: none.",
    )
    .or("16777216"),
];

/// Where planning is, if nobody says.
pub(crate) const DEFAULT_PLANNING: &str = "http://127.0.0.1:50054";

/// The checked settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address of planning, if somebody says it.
    pub planning_uri: Option<String>,
    /// Who signed planning's certificate; `None`: the system's authorities.
    pub planning_ca_file: Option<PathBuf>,
    /// The way to the planning of the same process, for when no address is said.
    pub planning: Option<Channel>,
    /// Sections by role and phase; `None`: those that come with the service.
    pub scopes_file: Option<PathBuf>,
    /// Rows and columns by role; `None`: those that come with the service.
    pub policies_file: Option<PathBuf>,
    /// How long a rendered context stays in the cache.
    pub pack_ttl: Duration,
    /// How long a receipt is kept.
    pub receipt_ttl: Duration,
    /// Most streams of updates at the same time.
    pub max_watchers: usize,
    /// How often a change is decided anew when others were faster.
    pub commit_attempts: u32,
    /// How the consumers run.
    pub consumer: ConsumerSettings,
    /// How many texts are remembered with their tokens; at least 1.
    pub counted_texts: usize,
    /// Most bytes of stories that are remembered; 0: none is.
    pub story_memory: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            planning_uri: None,
            planning_ca_file: None,
            planning: None,
            scopes_file: None,
            policies_file: None,
            pack_ttl: Duration::from_secs(60 * 60),
            receipt_ttl: Duration::from_secs(24 * 60 * 60),
            max_watchers: 1_000,
            commit_attempts: 32,
            consumer: ConsumerSettings::default(),
            counted_texts: 50_000,
            story_memory: 16 << 20,
        }
    }
}

/// The service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file cannot be read.
    #[error("{key}: {} cannot be read", file.display())]
    File {
        /// Which key names it.
        key: &'static str,
        /// Which file.
        file: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Scopes or policies are wrong.
    #[error(transparent)]
    Rules(#[from] Report),
    /// The address of planning is none.
    #[error("FLEET_PLANNING_URI is {found:?}; expected something like {DEFAULT_PLANNING}")]
    Planning {
        /// What was found.
        found: String,
        /// Why it is none.
        #[source]
        source: tonic::transport::Error,
    },
}

impl Config {
    /// From checked settings that have [`KEYS`].
    pub fn from_settings(settings: &Settings) -> Self {
        let number = |name| u32::try_from(settings.integer(name)).expect("bounded by its kind");
        Self {
            planning_uri: settings.optional("planning_uri").map(str::to_owned),
            planning_ca_file: settings.path("planning_ca_file"),
            planning: None,
            scopes_file: settings.path("context_scopes_file"),
            policies_file: settings.path("context_policies_file"),
            pack_ttl: settings.duration("context_pack_ttl"),
            receipt_ttl: settings.duration("context_receipt_ttl"),
            max_watchers: settings.count("context_max_watchers"),
            commit_attempts: number("context_commit_attempts"),
            consumer: ConsumerSettings {
                concurrency: settings.count("context_consumer_concurrency"),
                ..ConsumerSettings::default()
            },
            counted_texts: settings.count("context_counted_texts"),
            story_memory: settings.count("context_story_memory"),
        }
    }

    /// Reads and checks the scopes.
    ///
    /// # Errors
    /// A file that cannot be read, or that is wrong.
    pub fn scopes(&self) -> Result<Scopes, StartError> {
        let Some(file) = &self.scopes_file else {
            return Ok(Scopes::shipped());
        };
        let text = read("FLEET_CONTEXT_SCOPES_FILE", file)?;
        Ok(Scopes::load(&file.display().to_string(), &text)?)
    }

    /// Reads and checks the policies.
    ///
    /// # Errors
    /// A file that cannot be read, or that is wrong.
    pub fn policies(&self, redaction: Redaction) -> Result<Policies, StartError> {
        let Some(file) = &self.policies_file else {
            return Ok(Policies::shipped(redaction));
        };
        let text = read("FLEET_CONTEXT_POLICIES_FILE", file)?;
        let name = file.display().to_string();
        Ok(Policies::load(&name, &text, redaction)?)
    }
}

fn read(key: &'static str, file: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(file).map_err(|source| StartError::File {
        key,
        file: file.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_defaults_agree() {
        let settings = Settings::load(KEYS, None, [], &[]).unwrap();
        let (read, default) = (Config::from_settings(&settings), Config::default());
        assert_eq!(read.planning_uri, default.planning_uri);
        assert!(read.planning_ca_file.is_none() && read.planning.is_none());
        assert_eq!(read.pack_ttl, default.pack_ttl);
        assert_eq!(read.receipt_ttl, default.receipt_ttl);
        assert_eq!(read.max_watchers, default.max_watchers);
        assert_eq!(read.commit_attempts, default.commit_attempts);
        assert_eq!(read.consumer.concurrency, default.consumer.concurrency);
        assert_eq!(read.counted_texts, default.counted_texts);
        assert_eq!(read.story_memory, default.story_memory);
        assert!(read.scopes_file.is_none() && read.policies_file.is_none());
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let config = Config {
            scopes_file: Some("/nowhere/scopes.yaml".into()),
            ..Config::default()
        };
        let error = config.scopes().unwrap_err().to_string();
        assert_eq!(
            error,
            "FLEET_CONTEXT_SCOPES_FILE: /nowhere/scopes.yaml cannot be read"
        );
    }
}
