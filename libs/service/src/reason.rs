//! The closed list of stable error reasons. Each has its cause and cure in `docs/errors.md`.

use tonic::Code;

macro_rules! reasons {
    ($($(#[$meta:meta])* $variant:ident = $word:literal: $code:ident),+ $(,)?) => {
        /// Why a call failed, as `google.rpc.ErrorInfo.reason` under the domain
        /// [`DOMAIN`](crate::DOMAIN). Stable: programs may branch on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$meta])* #[doc = concat!("`", $word, "`")] $variant),+ }

        impl Reason {
            /// Every reason.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// As written on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The only gRPC code it comes with.
            pub const fn code(self) -> Code {
                match self { $(Self::$variant => Code::$code),+ }
            }
        }
    };
}

reasons! {
    /// Fields are empty, malformed or too large; all of them are named.
    ValidationFailed = "VALIDATION_FAILED": InvalidArgument,
    /// An id that nobody has.
    NotFound = "NOT_FOUND": NotFound,
    /// Something with this id or name is there already.
    AlreadyExists = "ALREADY_EXISTS": AlreadyExists,
    /// The `request_id` was used before for a request of other content.
    RequestIdReused = "REQUEST_ID_REUSED": AlreadyExists,
    /// The caller's `expected_version` is not the current one.
    StaleVersion = "STALE_VERSION": Aborted,
    /// Somebody else changed the same thing at the same time.
    ConcurrentChange = "CONCURRENT_CHANGE": Aborted,
    /// The state of the story does not allow this.
    StoryState = "STORY_STATE": FailedPrecondition,
    /// The story does not meet the Definition of Ready.
    DorBelowThreshold = "DOR_BELOW_THRESHOLD": FailedPrecondition,
    /// The story has no tasks, or a cycle among them.
    StoryNotReleasable = "STORY_NOT_RELEASABLE": FailedPrecondition,
    /// Tasks and dependencies of a released story do not change.
    TasksFrozen = "TASKS_FROZEN": FailedPrecondition,
    /// The dependency would close a cycle.
    DependencyCycle = "DEPENDENCY_CYCLE": FailedPrecondition,
    /// The decision was judged before, the other way.
    DecisionContradicted = "DECISION_CONTRADICTED": FailedPrecondition,
    /// The status of the decision does not allow this.
    DecisionState = "DECISION_STATE": FailedPrecondition,
    /// It was deleted: it is not changed any more, and nothing new leads to it.
    Deleted = "DELETED": FailedPrecondition,
    /// What the fleet wrote down about changes is not changed.
    RecordKept = "RECORD_KEPT": FailedPrecondition,
    /// The story is in another phase.
    PhaseMismatch = "PHASE_MISMATCH": FailedPrecondition,
    /// The two things named belong to different parents.
    ParentMismatch = "PARENT_MISMATCH": FailedPrecondition,
    /// The project or epic is closed: nothing new goes under it.
    ParentClosed = "PARENT_CLOSED": FailedPrecondition,
    /// The story has as many tasks or dependencies as it may have.
    StoryFull = "STORY_FULL": FailedPrecondition,
    /// The state of the task does not allow this.
    TaskState = "TASK_STATE": FailedPrecondition,
    /// Dependencies of the task are not done.
    TaskBlocked = "TASK_BLOCKED": FailedPrecondition,
    /// The story left execution; the task rests.
    TaskSuspended = "TASK_SUSPENDED": FailedPrecondition,
    /// Somebody else holds the claim.
    ClaimHeld = "CLAIM_HELD": Aborted,
    /// The caller held the claim and does no more.
    ClaimLost = "CLAIM_LOST": Aborted,
    /// The caller's claim epoch is an older one.
    ClaimStale = "CLAIM_STALE": Aborted,
    /// The state of the task knows no claim.
    NotClaimable = "NOT_CLAIMABLE": FailedPrecondition,
    /// The role may not do this.
    RoleNotAllowed = "ROLE_NOT_ALLOWED": PermissionDenied,
    /// Whoever made it may not approve it.
    SeparationOfDuties = "SEPARATION_OF_DUTIES": PermissionDenied,
    /// A condition of the transition does not hold.
    GuardFailed = "GUARD_FAILED": FailedPrecondition,
    /// No identity, or one that could not be verified.
    Unauthenticated = "UNAUTHENTICATED": Unauthenticated,
    /// The store, the bus or another service is away.
    DependencyUnavailable = "DEPENDENCY_UNAVAILABLE": Unavailable,
    /// The server has as many calls in hand as it takes.
    Overloaded = "OVERLOADED": ResourceExhausted,
    /// The message is larger than the server takes.
    MessageTooLarge = "MESSAGE_TOO_LARGE": ResourceExhausted,
    /// The answer did not come in time.
    DeadlineExceeded = "DEADLINE_EXCEEDED": DeadlineExceeded,
    /// A bug of the server.
    Internal = "INTERNAL": Internal,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}
