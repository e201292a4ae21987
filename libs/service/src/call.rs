//! Who calls, until when, and what the call belongs to.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_events::Origin;
use fleet_graph::Deadline;
use fleet_types::{PrincipalId, Role};
use tonic::Request;

/// Longest server-side time for a call that says nothing and whose method has no limit.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);

/// Name of the metadata entry by which a caller gives (and is given) the correlation id.
pub const CORRELATION_HEADER: &str = "x-correlation-id";

/// Who called, as the identity layer knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The verified subject; `anonymous` if no identity is configured.
    pub id: PrincipalId,
    /// The verified roles. `None`: no identity is configured (loopback), and the role that a
    /// request names is taken as given.
    pub roles: Option<BTreeSet<Role>>,
}

impl Principal {
    /// The caller of a server without identity.
    pub fn anonymous() -> Self {
        let id = PrincipalId::parse("anonymous").expect("follows the grammar of ids");
        Self { id, roles: None }
    }

    /// Whether the principal may act in this role.
    pub fn may_act_as(&self, role: Role) -> bool {
        self.roles
            .as_ref()
            .is_none_or(|roles| roles.contains(&role))
    }
}

/// What a handler knows about the call besides its message. Built by the server's layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The full method, e.g. `fleet.planning.v2.PlanningService/CreateStory`.
    pub method: String,
    /// Who calls.
    pub principal: Principal,
    /// Until when store and bus may take; a little before the caller gives up, so that a
    /// better answer than DEADLINE_EXCEEDED can still reach him.
    pub deadline: Deadline,
    /// One id from the first request to the last effect.
    pub correlation: String,
    /// W3C trace context of the server's span; empty if there is none.
    pub traceparent: String,
}

tokio::task_local! {
    static CURRENT: Call;
}

impl Call {
    /// A call that did not come through a server (tests, in-process calls).
    pub fn local(method: impl Into<String>, deadline: Deadline) -> Self {
        Self {
            method: method.into(),
            principal: Principal::anonymous(),
            deadline,
            correlation: String::new(),
            traceparent: String::new(),
        }
    }

    /// The call of a request; [`Call::local`] if it did not pass the server's layers.
    pub fn of<T>(request: &Request<T>) -> Self {
        match request.extensions().get::<Self>() {
            Some(call) => call.clone(),
            None => Self::local("", Deadline::after(DEFAULT_DEADLINE)),
        }
    }

    /// The call that the current task works for, if any.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Runs `future` as part of this call: [`Call::current`] finds it there.
    pub async fn scope<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// The origin of the events that this call causes.
    pub fn origin(&self, source: &'static str) -> Origin {
        Origin {
            source,
            correlation: self.correlation.clone(),
            causation: String::new(),
            traceparent: self.traceparent.clone(),
        }
    }
}
