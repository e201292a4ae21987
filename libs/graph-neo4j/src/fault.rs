//! What can go wrong with a call, told apart by what helps.

use fleet_graph::Unavailable;
use neo4rs::{Error, Neo4jClientErrorKind, Neo4jErrorKind, Neo4jSecurityErrorKind};

/// Why an attempt gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The statement itself refused: a condition of the commit does not hold.
    Rejected,
    /// Another transaction came in between; nothing was done. Again, at once.
    Raced(String),
    /// The server cannot do it now (deadlock, leader switch, overload). Again, a little later.
    Transient(String),
    /// No connection; nothing was sent.
    Unreachable(String),
    /// The connection broke or the time was up after something was sent: outcome unknown.
    Lost(String),
    /// Credentials or rights.
    Denied(String),
    /// A retry cannot help: a bug, or a server that is not what we need.
    Broken(String),
}

/// How far an attempt had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Before the statement was sent.
    Begin,
    /// After that.
    Sent,
}

impl Fault {
    /// Sorts a driver error.
    pub(crate) fn of(error: &Error, stage: Stage) -> Self {
        let reason = error.to_string();
        match error {
            Error::Neo4j(failure) => Self::of_server(failure.code(), failure.kind(), reason),
            Error::AuthenticationError(_) => Self::Denied(reason),
            Error::UrlParseError(_)
            | Error::UnsupportedScheme(_)
            | Error::InvalidDnsName(_)
            | Error::InvalidConfig
            | Error::UnsupportedVersion(..)
            | Error::ProtocolMismatch(_)
            | Error::StringTooLong
            | Error::MapTooBig
            | Error::BytesTooBig
            | Error::ListTooLong
            | Error::ConversionError
            | Error::DeserializationError(_) => Self::Broken(reason),
            _ if stage == Stage::Begin => Self::Unreachable(reason),
            _ => Self::Lost(reason),
        }
    }

    fn of_server(code: &str, kind: Neo4jErrorKind, reason: String) -> Self {
        use Neo4jClientErrorKind as Client;
        match (code, kind) {
            // Raised by our own statement: `queries::commit` divides by zero on purpose.
            ("Neo.ClientError.Statement.ArithmeticError", _) => Self::Rejected,
            (
                "Neo.ClientError.Statement.EntityNotFound"
                | "Neo.ClientError.Schema.ConstraintValidationFailed",
                _,
            ) => Self::Raced(reason),
            (
                _,
                Neo4jErrorKind::Transient
                | Neo4jErrorKind::Client(
                    Client::SessionExpired
                    | Client::TransactionTerminated
                    | Client::Security(Neo4jSecurityErrorKind::AuthorizationExpired),
                ),
            ) => Self::Transient(reason),
            _ if code.starts_with("Neo.ClientError.Transaction.") => Self::Transient(reason),
            (_, Neo4jErrorKind::Client(Client::Security(_))) => Self::Denied(reason),
            // What the database says when its disk is full or it is shutting down: whether
            // it was done is not sure.
            (_, Neo4jErrorKind::Database) => Self::Lost(reason),
            _ => Self::Broken(reason),
        }
    }

    /// Whether connections other than this one are suspect too.
    pub(crate) fn is_about_the_connection(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Lost(_))
    }

    /// Whether the same call may succeed a little later.
    pub(crate) fn may_pass(&self) -> bool {
        !matches!(self, Self::Denied(_) | Self::Broken(_))
    }
}

impl From<Fault> for Unavailable {
    fn from(fault: Fault) -> Self {
        let retryable = fault.may_pass();
        let reason = match fault {
            Fault::Rejected => "a statement was refused".to_owned(),
            Fault::Raced(reason)
            | Fault::Transient(reason)
            | Fault::Unreachable(reason)
            | Fault::Lost(reason)
            | Fault::Denied(reason)
            | Fault::Broken(reason) => reason,
        };
        Self {
            store: "neo4j",
            reason,
            retryable,
        }
    }
}
