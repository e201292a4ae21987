//! Who acts: the caller, in a role, as an agent.

use fleet_service::Call;
use fleet_types::{AgentId, Role};

use crate::domain::Actor;

/// The actor of a call, and why he may not act so, if he may not.
///
/// Where an identity is configured, the role must be one of the caller's, and an agent acts
/// as itself; only the role `orchestrator` may act for the agent and role it names. Without
/// identity both are taken as given, but nobody is the orchestrator. The role `system` is
/// nobody's.
pub(super) fn actor(call: &Call, role: Role, agent: &AgentId) -> (Actor, Option<String>) {
    let principal = &call.principal;
    let refusal = match &principal.roles {
        _ if role == Role::System => Some("nobody may act as system".to_owned()),
        None if role == Role::Orchestrator => {
            Some("only an identity with the role orchestrator may act as one".to_owned())
        }
        None => None,
        Some(roles) if roles.contains(&Role::Orchestrator) => None,
        Some(roles) if !roles.contains(&role) => {
            let roles: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
            Some(format!(
                "{} has not the role {role}, but: {}",
                principal.id,
                roles.join(", ")
            ))
        }
        Some(_) if principal.id.as_str() != agent.as_str() => Some(format!(
            "{} may not act as {agent}; an orchestrator may",
            principal.id
        )),
        Some(_) => None,
    };
    let who = match &principal.roles {
        None => agent.to_string(),
        Some(_) => principal.id.to_string(),
    };
    (Actor::agent(role, agent.clone(), who), refusal)
}
