//! One failure for several callers.

use std::sync::Arc;

use fleet_service::Fault;

/// The same failure once more, for somebody else who waited for the same thing.
pub(crate) fn again(fault: &Arc<Fault>) -> Fault {
    match &**fault {
        Fault::Invalid(violations) => Fault::Invalid(violations.clone()),
        Fault::NotFound { kind, id } => Fault::NotFound {
            kind,
            id: id.clone(),
        },
        Fault::AlreadyExists { reason, message } => Fault::AlreadyExists {
            reason: *reason,
            message: message.clone(),
        },
        Fault::Precondition {
            reason,
            message,
            metadata,
        } => Fault::Precondition {
            reason: *reason,
            message: message.clone(),
            metadata: metadata.clone(),
        },
        Fault::Aborted {
            reason,
            message,
            metadata,
        } => Fault::Aborted {
            reason: *reason,
            message: message.clone(),
            metadata: metadata.clone(),
        },
        Fault::Denied { reason, message } => Fault::denied(*reason, message.clone()),
        Fault::Unauthenticated { message } => Fault::Unauthenticated {
            message: message.clone(),
        },
        Fault::Exhausted { message } => Fault::Exhausted {
            message: message.clone(),
        },
        Fault::Unavailable { dependency } => Fault::Unavailable { dependency },
        Fault::Deadline => Fault::Deadline,
        Fault::Internal(_) | Fault::Replayed { .. } => Fault::internal(Shared(fault.clone())),
    }
}

/// A bug that several callers met at once.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Shared(Arc<Fault>);
