//! What can be configured about planning, beside what every service has.

use fleet_events::ConsumerSettings;
use fleet_service::config::{Key, Kind, Settings};

use crate::domain::DEFAULT_THRESHOLD;

/// Planning's own keys.
pub const KEYS: &[Key] = &[
    Key::new(
        "planning_dor_threshold",
        "FLEET_PLANNING_DOR_THRESHOLD",
        Kind::Integer { min: 0, max: 100 },
        "What the Definition of Ready of a story must reach before planning.",
    )
    .or("80"),
    Key::new(
        "planning_commit_attempts",
        "FLEET_PLANNING_COMMIT_ATTEMPTS",
        Kind::Integer { min: 1, max: 1_000 },
        "How often a change is decided anew when others were faster, before ABORTED.",
    )
    .or("32"),
    Key::new(
        "planning_consumer_concurrency",
        "FLEET_PLANNING_CONSUMER_CONCURRENCY",
        Kind::Integer { min: 1, max: 1_000 },
        "Events handled side by side by each consumer.",
    )
    .or("16"),
];

/// The checked settings.
#[derive(Debug, Clone)]
pub struct Config {
    /// What the Definition of Ready must reach, 0 to 100.
    pub dor_threshold: i32,
    /// How often a change is decided anew when others were faster.
    pub commit_attempts: u32,
    /// How the consumer runs.
    pub consumer: ConsumerSettings,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dor_threshold: DEFAULT_THRESHOLD,
            commit_attempts: 32,
            consumer: ConsumerSettings::default(),
        }
    }
}

impl Config {
    /// Reads planning's own keys.
    pub fn from_settings(settings: &Settings) -> Self {
        let number = |name| u32::try_from(settings.integer(name)).expect("bounded by its kind");
        let consumer = ConsumerSettings {
            concurrency: settings.count("planning_consumer_concurrency"),
            ..ConsumerSettings::default()
        };
        Self {
            dor_threshold: i32::try_from(settings.integer("planning_dor_threshold"))
                .expect("bounded by its kind"),
            commit_attempts: number("planning_commit_attempts"),
            consumer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_defaults_agree() {
        let settings = Settings::load(KEYS, None, [], &[]).unwrap();
        let (read, default) = (Config::from_settings(&settings), Config::default());
        assert_eq!(read.dor_threshold, default.dor_threshold);
        assert_eq!(read.commit_attempts, default.commit_attempts);
        assert_eq!(read.consumer.concurrency, default.consumer.concurrency);
        let wrong = [("FLEET_PLANNING_DOR_THRESHOLD".to_owned(), "101".to_owned())];
        assert!(Settings::load(KEYS, None, wrong, &[]).is_err());
    }
}
