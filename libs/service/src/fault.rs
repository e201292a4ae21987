//! What can go wrong in a call, mapped once to a gRPC status with google.rpc details.

use std::error::Error;
use std::time::Duration;

use fleet_graph::{CommitError, ReadError, Unavailable};
use fleet_types::Violations;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use crate::{Call, Reason};

/// `google.rpc.ErrorInfo.domain` of every reason.
pub const DOMAIN: &str = "fleet";

/// When a caller should try again after [`Fault::Unavailable`] or [`Fault::Exhausted`].
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Details travel in HTTP/2 trailers, whose list many clients bound at 8 or 16 KiB: texts and
/// lists in a status stay far below.
const MAX_MESSAGE_CHARS: usize = 1024;
const MAX_DETAIL_BYTES: usize = 3 * 1024;

/// Facts for programs, as `ErrorInfo.metadata`: `current_version`, `lease_until`, ….
pub type Metadata = Vec<(&'static str, String)>;

/// Why a call failed; one variant per gRPC code. Becomes a [`Status`] with details: a caller
/// reads the reason from `ErrorInfo`, whether to try again from `RetryInfo`.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Fields are wrong: INVALID_ARGUMENT with one `BadRequest` violation each.
    #[error("{0}")]
    Invalid(Violations),
    /// There is no such thing: NOT_FOUND with `ResourceInfo`.
    #[error("{kind} {id:?} does not exist")]
    NotFound {
        /// What kind of thing, e.g. `story`.
        kind: &'static str,
        /// The id asked for.
        id: String,
    },
    /// There is such a thing already: ALREADY_EXISTS.
    #[error("{message}")]
    AlreadyExists {
        /// Which rule.
        reason: Reason,
        /// For a person.
        message: String,
    },
    /// The state of things does not allow it: FAILED_PRECONDITION with `PreconditionFailure`,
    /// whose subject is the metadata value under `subject`, if there is one.
    #[error("{message}")]
    Precondition {
        /// Which rule.
        reason: Reason,
        /// For a person: the current state and what is allowed.
        message: String,
        /// For a program.
        metadata: Metadata,
    },
    /// A race was lost: ABORTED; read again, then decide again.
    #[error("{message}")]
    Aborted {
        /// Which rule.
        reason: Reason,
        /// For a person.
        message: String,
        /// For a program.
        metadata: Metadata,
    },
    /// The caller is known and may not: PERMISSION_DENIED.
    #[error("{message}")]
    Denied {
        /// Which rule.
        reason: Reason,
        /// For a person.
        message: String,
    },
    /// The caller is not known: UNAUTHENTICATED.
    #[error("{message}")]
    Unauthenticated {
        /// For a person; says nothing that helps to forge an identity.
        message: String,
    },
    /// A limit of the server: RESOURCE_EXHAUSTED with `RetryInfo`.
    #[error("{message}")]
    Exhausted {
        /// For a person.
        message: String,
    },
    /// Something the server needs is away: UNAVAILABLE with `RetryInfo`.
    #[error("{dependency} is unavailable, try again")]
    Unavailable {
        /// What is away, e.g. `neo4j`.
        dependency: &'static str,
    },
    /// Time is up: DEADLINE_EXCEEDED. A change may or may not have happened; the same call
    /// with the same `request_id` finds out.
    #[error("the deadline of the call has passed")]
    Deadline,
    /// A bug: INTERNAL, opaque to the caller; the source is logged with its chain under the
    /// correlation id that the caller is told.
    #[error("internal error")]
    Internal(#[source] Box<dyn Error + Send + Sync>),
    /// The store says that this request was answered before.
    /// [`idempotent`](crate::idempotent) turns it into that answer; anywhere else it is a bug.
    #[error("this request was answered before")]
    Replayed {
        /// The encoded answer.
        response: Vec<u8>,
    },
}

impl Fault {
    /// A bug, with whatever explains it to us.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// [`Fault::NotFound`].
    pub fn not_found(kind: &'static str, id: impl std::fmt::Display) -> Self {
        Self::NotFound {
            kind,
            id: id.to_string(),
        }
    }

    /// One wrong field.
    pub fn invalid(field: &str, problem: impl std::fmt::Display) -> Self {
        let mut violations = Violations::new();
        violations.add(field, problem);
        Self::Invalid(violations)
    }

    /// [`Fault::Precondition`] without metadata.
    pub fn precondition(reason: Reason, message: impl Into<String>) -> Self {
        Self::Precondition {
            reason,
            message: message.into(),
            metadata: Metadata::new(),
        }
    }

    /// [`Fault::Aborted`] without metadata.
    pub fn aborted(reason: Reason, message: impl Into<String>) -> Self {
        Self::Aborted {
            reason,
            message: message.into(),
            metadata: Metadata::new(),
        }
    }

    /// [`Fault::Denied`].
    pub fn denied(reason: Reason, message: impl Into<String>) -> Self {
        Self::Denied {
            reason,
            message: message.into(),
        }
    }

    /// The caller's `expected_version` is not the `current` one.
    pub fn stale_version(what: impl std::fmt::Display, expected: i64, current: i64) -> Self {
        Self::Aborted {
            reason: Reason::StaleVersion,
            message: format!("{what} is at version {current}, not {expected}: read it again"),
            metadata: vec![("current_version", current.to_string())],
        }
    }

    /// Somebody else changed `what` between our read and our commit.
    pub fn concurrent_change(what: impl std::fmt::Display) -> Self {
        let message = format!("{what} was changed at the same time by somebody else: try again");
        Self::aborted(Reason::ConcurrentChange, message)
    }

    /// Adds a fact for programs; kept only by the variants that carry metadata.
    #[must_use]
    pub fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        if let Self::Precondition { metadata, .. } | Self::Aborted { metadata, .. } = &mut self {
            metadata.push((key, value.to_string()));
        }
        self
    }

    /// The stable reason.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::ValidationFailed,
            Self::NotFound { .. } => Reason::NotFound,
            Self::AlreadyExists { reason, .. }
            | Self::Precondition { reason, .. }
            | Self::Aborted { reason, .. }
            | Self::Denied { reason, .. } => *reason,
            Self::Unauthenticated { .. } => Reason::Unauthenticated,
            Self::Exhausted { .. } => Reason::Overloaded,
            Self::Unavailable { .. } => Reason::DependencyUnavailable,
            Self::Deadline => Reason::DeadlineExceeded,
            Self::Internal(_) | Self::Replayed { .. } => Reason::Internal,
        }
    }

    /// The gRPC code.
    pub fn code(&self) -> Code {
        match self {
            Self::Invalid(_) => Code::InvalidArgument,
            Self::NotFound { .. } => Code::NotFound,
            Self::AlreadyExists { .. } => Code::AlreadyExists,
            Self::Precondition { .. } => Code::FailedPrecondition,
            Self::Aborted { .. } => Code::Aborted,
            Self::Denied { .. } => Code::PermissionDenied,
            Self::Unauthenticated { .. } => Code::Unauthenticated,
            Self::Exhausted { .. } => Code::ResourceExhausted,
            Self::Unavailable { .. } => Code::Unavailable,
            Self::Deadline => Code::DeadlineExceeded,
            Self::Internal(_) | Self::Replayed { .. } => Code::Internal,
        }
    }

    fn details(&self, correlation: &str) -> ErrorDetails {
        let mut details = ErrorDetails::new();
        let mut facts = Metadata::new();
        match self {
            Self::Invalid(violations) => {
                details.set_bad_request(field_violations(violations));
            }
            Self::NotFound { kind, id } => {
                details.set_resource_info(*kind, cut(id, MAX_MESSAGE_CHARS), "", self.to_string());
            }
            Self::Precondition {
                reason,
                message,
                metadata,
            } => {
                let subject = metadata.iter().find(|(key, _)| *key == "subject");
                let subject = subject.map_or("", |(_, value)| value);
                details.set_precondition_failure(vec![PreconditionViolation::new(
                    reason.as_str(),
                    subject,
                    cut(message, MAX_MESSAGE_CHARS),
                )]);
                facts = bounded(metadata);
            }
            Self::Aborted { metadata, .. } => facts = bounded(metadata),
            Self::Exhausted { .. } => {
                details.set_retry_info(Some(RETRY_AFTER));
            }
            Self::Unavailable { dependency } => {
                details.set_retry_info(Some(RETRY_AFTER));
                facts.push(("dependency", (*dependency).to_owned()));
            }
            Self::Internal(_) | Self::Replayed { .. } => {
                facts.push(("correlation_id", correlation.to_owned()));
            }
            Self::AlreadyExists { .. }
            | Self::Denied { .. }
            | Self::Unauthenticated { .. }
            | Self::Deadline => {}
        }
        let facts = facts
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        details.set_error_info(
            self.reason().as_str(),
            DOMAIN,
            facts.collect::<std::collections::HashMap<_, _>>(),
        );
        details
    }
}

impl From<Fault> for Status {
    /// The one place where failures become statuses. Logs an internal one, once.
    fn from(fault: Fault) -> Self {
        debug_assert_eq!(
            fault.reason().code(),
            fault.code(),
            "{} comes with one code",
            fault.reason()
        );
        let correlation =
            Call::current().map_or_else(|| "none".to_owned(), |call| call.correlation);
        let message = match &fault {
            Fault::Internal(source) => {
                tracing::error!(
                    correlation,
                    error = chain(source.as_ref()),
                    "internal error"
                );
                format!(
                    "internal error; the server's log has it under correlation id {correlation}"
                )
            }
            Fault::Replayed { .. } => {
                tracing::error!(
                    correlation,
                    "a replayed request was not answered from its record"
                );
                format!(
                    "internal error; the server's log has it under correlation id {correlation}"
                )
            }
            other => cut(&other.to_string(), MAX_MESSAGE_CHARS),
        };
        let details = fault.details(&correlation);
        Status::with_error_details(fault.code(), message, details)
    }
}

impl From<Violations> for Fault {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Unavailable> for Fault {
    fn from(e: Unavailable) -> Self {
        tracing::debug!(store = e.store, reason = e.reason, "store unavailable");
        Self::Unavailable {
            dependency: e.store,
        }
    }
}

impl From<ReadError> for Fault {
    fn from(e: ReadError) -> Self {
        match e {
            ReadError::Unavailable(e) => e.into(),
            ReadError::Corrupt(_) | ReadError::Invalid(_) => Self::internal(e),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(e: CommitError) -> Self {
        match e {
            CommitError::Conflict {
                key,
                expected,
                found,
            } => Self::stale_version(key, expected, found),
            CommitError::Missing { key } => Self::not_found(key.label().as_str(), key.id()),
            CommitError::AlreadyExists { key } => Self::AlreadyExists {
                reason: Reason::AlreadyExists,
                message: format!("{key} exists already"),
            },
            CommitError::RequestMismatch => Self::AlreadyExists {
                reason: Reason::RequestIdReused,
                message: "this request_id was used before for a request of other content"
                    .to_owned(),
            },
            CommitError::Replayed { response } => Self::Replayed { response },
            CommitError::Unavailable(e) => e.into(),
            CommitError::AlreadyApplied | CommitError::Invalid(_) => Self::internal(e),
        }
    }
}

/// An error with everything behind it, `a: b: c`.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Transparent wrappers repeat what they wrap.
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

fn cut(text: &str, max_chars: usize) -> String {
    match text.char_indices().nth(max_chars) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

fn bounded(metadata: &Metadata) -> Metadata {
    let mut left = MAX_DETAIL_BYTES;
    let mut kept = Metadata::new();
    for (key, value) in metadata {
        let value = cut(value, MAX_MESSAGE_CHARS);
        let size = key.len() + value.len();
        if size > left {
            break;
        }
        left -= size;
        kept.push((*key, value));
    }
    kept
}

fn field_violations(violations: &Violations) -> Vec<FieldViolation> {
    let total = violations.iter().count();
    let mut left = MAX_DETAIL_BYTES;
    let mut listed = Vec::new();
    for violation in violations.iter() {
        let problem = cut(&violation.problem, 256);
        let field = cut(&violation.field, 128);
        let size = problem.len() + field.len();
        if size > left {
            let more = total - listed.len();
            listed.push(FieldViolation::new("", format!("and {more} more")));
            break;
        }
        left -= size;
        listed.push(FieldViolation::new(field, problem));
    }
    listed
}
