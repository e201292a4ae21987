//! What a consumer does about an event, and how it says that it could not.

use std::time::Duration;

use async_trait::async_trait;
use fleet_graph::{Answer, CommitError, Deadline, ReadError, Receipt};
use serde::de::DeserializeOwned;

use crate::Event;

/// What is done about an event. Handlers are state-based: the same event may come twice, and
/// events may come in any order.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Handles one event; its effect is committed when this returns `Ok`. The future may be
    /// dropped after `deadline`, so an effect is one commit.
    async fn handle(&self, event: &Event, deadline: Deadline) -> Result<(), HandleError>;
}

/// Why an event was not handled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// Another time it may work; after the consumer's `max_deliveries` it is parked.
    #[error("{reason}")]
    Retry {
        /// Why, for logs and the parked message.
        reason: String,
        /// When to try again; by default the delay grows with each delivery.
        after: Option<Duration>,
    },
    /// It is about something that may still become known; parked when
    /// [`crate::ConsumerSettings::not_yet_known_for`] is over.
    #[error("{what} is not known yet")]
    NotYetKnown {
        /// What is missing.
        what: String,
    },
    /// It can never work: parked at once.
    #[error("{reason}")]
    Permanent {
        /// Why.
        reason: String,
    },
    /// Something that the handler needs is away; no fault of the event. It is held and tried
    /// again, and does not count against the event as long as no other event succeeds.
    #[error("{reason}")]
    Unavailable {
        /// What is away, for logs.
        reason: String,
    },
    /// It was handled before: a success, for handlers that give a commit's error on with `?`.
    #[error("this event was applied before")]
    AlreadyApplied,
}

impl HandleError {
    /// It can never work, for this reason.
    pub fn permanent(reason: impl Into<String>) -> Self {
        Self::Permanent {
            reason: reason.into(),
        }
    }

    /// It can never work: the handler knows no events of this type.
    pub fn unknown(event: &Event) -> Self {
        let kind = &event.kind;
        Self::permanent(format!("{kind} is not a type that this consumer knows"))
    }
}

impl Event {
    /// The body as a typed payload, for a handler.
    ///
    /// # Errors
    /// [`HandleError::Permanent`] if it does not read as one.
    pub fn parsed<T: DeserializeOwned>(&self) -> Result<T, HandleError> {
        self.payload().map_err(HandleError::permanent)
    }

    /// What goes into [`fleet_graph::Commit::answers`] of its effect.
    pub fn answered_by(&self, consumer: &str) -> Answer {
        Answer {
            consumer: consumer.to_owned(),
            event: self.id.clone(),
        }
    }
}

/// How soon a lost race is run again.
const AFTER_CONFLICT: Duration = Duration::from_millis(25);
impl From<CommitError> for HandleError {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Unavailable(away) => Self::Unavailable {
                reason: away.to_string(),
            },
            CommitError::Conflict { .. } | CommitError::AlreadyExists { .. } => Self::Retry {
                reason: error.to_string(),
                after: Some(AFTER_CONFLICT),
            },
            CommitError::Missing { key } => Self::NotYetKnown {
                what: key.to_string(),
            },
            CommitError::AlreadyApplied => Self::AlreadyApplied,
            CommitError::Replayed { .. }
            | CommitError::RequestMismatch
            | CommitError::Invalid(_) => Self::Permanent {
                reason: error.to_string(),
            },
        }
    }
}

impl From<ReadError> for HandleError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Unavailable(away) => Self::Unavailable {
                reason: away.to_string(),
            },
            ReadError::Corrupt(_) | ReadError::Invalid(_) => Self::Permanent {
                reason: error.to_string(),
            },
        }
    }
}

/// The outcome of a handler's commit; an event that was applied before is a success.
pub fn applied(outcome: Result<Receipt, CommitError>) -> Result<(), HandleError> {
    match outcome {
        Ok(_) | Err(CommitError::AlreadyApplied) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
