//! In which role somebody calls.

use fleet_service::{Call, Fault, Reason};
use fleet_types::{Role, UnknownWord, Violations};

/// The roles that contexts are made for.
pub const ROLES: [Role; 6] = [
    Role::Architect,
    Role::Developer,
    Role::Qa,
    Role::Devops,
    Role::Data,
    Role::Po,
];

/// A role that a request names; blank is `None`. Whether the caller may name it is decided by
/// [`role_of`].
pub fn named(v: &mut Violations, field: &str, value: &str) -> Option<Role> {
    let value = value.trim();
    if value.is_empty() {
        return None;
    }
    // Roles without contexts are not offered to whoever misspells one.
    let words = ROLES.map(Role::as_str).join(", ");
    let problem = match value.parse() {
        Ok(role) if ROLES.contains(&role) => return Some(role),
        Ok(role) => format!("{role} has no context of its own; one of: {words}"),
        Err(UnknownWord { kind, found, .. }) => {
            format!("unknown {kind} {found:?}; one of: {words}")
        }
    };
    v.add(field, problem);
    None
}

/// The role that holds for a call: the one it names, if the caller may act in it; without one
/// the caller's only role; without identities whatever is named, `None` if nothing is.
///
/// # Errors
/// [`Fault::Denied`] for a role that the caller does not have, [`Fault::Invalid`] (on `role`) if
/// the call names none and the caller has not exactly one.
pub fn role_of(call: &Call, named: Option<Role>) -> Result<Option<Role>, Fault> {
    let Some(roles) = &call.principal.roles else {
        return Ok(named);
    };
    if let Some(role) = named {
        if roles.contains(&role) || roles.contains(&Role::Orchestrator) {
            return Ok(Some(role));
        }
        let message = format!("the caller does not have the role {role}");
        return Err(Fault::denied(Reason::RoleNotAllowed, message));
    }
    let mut own = roles.iter().filter(|role| ROLES.contains(role));
    match (own.next(), own.next()) {
        (Some(role), None) => Ok(Some(*role)),
        _ => Err(Fault::invalid(
            "role",
            "is required: the caller does not have exactly one role that a context is made for",
        )),
    }
}

/// As [`role_of`]; a call without role and identity sees what the product owner may see.
///
/// # Errors
/// As [`role_of`].
pub fn viewer(call: &Call, named: Option<Role>) -> Result<Role, Fault> {
    Ok(role_of(call, named)?.unwrap_or(Role::Po))
}

/// The agent that holds for a call: the one it names, if that is the caller or the caller acts
/// for others; without one the caller; without identities whatever is named.
///
/// # Errors
/// [`Fault::Denied`] for an agent that the caller may not act for.
pub fn agent_of(call: &Call, named: String) -> Result<String, Fault> {
    let Some(roles) = &call.principal.roles else {
        return Ok(named);
    };
    let own = call.principal.id.to_string();
    if named.is_empty() || named == own {
        return Ok(own);
    }
    if roles.contains(&Role::Orchestrator) {
        return Ok(named);
    }
    let message = format!("the caller may not act for {named}; the role orchestrator may");
    Err(Fault::denied(Reason::RoleNotAllowed, message))
}

/// Who is written down as the one who did it: the verified caller, else `given`, else the
/// service itself.
pub fn actor(call: &Call, given: &str) -> String {
    match (&call.principal.roles, given) {
        (Some(_), _) => call.principal.id.to_string(),
        (None, "") => "context".to_owned(),
        (None, given) => given.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use fleet_graph::Deadline;
    use fleet_types::PrincipalId;
    use tonic::Code;

    use super::*;

    fn call(roles: Option<&[Role]>) -> Call {
        let mut call = Call::local("test", Deadline::after(Duration::from_secs(1)));
        call.principal.id = PrincipalId::parse("ana").unwrap();
        call.principal.roles = roles.map(|roles| roles.iter().copied().collect::<BTreeSet<_>>());
        call
    }

    #[test]
    fn an_identity_binds_the_role() {
        let qa = call(Some(&[Role::Qa]));
        assert_eq!(role_of(&qa, Some(Role::Qa)).unwrap(), Some(Role::Qa));
        assert_eq!(role_of(&qa, None).unwrap(), Some(Role::Qa));
        let refused = role_of(&qa, Some(Role::Po)).unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);

        let both = call(Some(&[Role::Qa, Role::Po]));
        assert_eq!(
            role_of(&both, None).unwrap_err().code(),
            Code::InvalidArgument
        );
        let orchestrator = call(Some(&[Role::Orchestrator]));
        assert_eq!(
            role_of(&orchestrator, Some(Role::Data)).unwrap(),
            Some(Role::Data)
        );
        assert_eq!(
            viewer(&orchestrator, None).unwrap_err().code(),
            Code::InvalidArgument
        );
        let nobody = call(Some(&[]));
        assert_eq!(
            viewer(&nobody, None).unwrap_err().code(),
            Code::InvalidArgument
        );
    }

    #[test]
    fn an_identity_binds_the_agent() {
        let named = |roles: Option<&[Role]>, name: &str| agent_of(&call(roles), name.to_owned());
        let qa: Option<&[Role]> = Some(&[Role::Qa]);
        assert_eq!(named(qa, "").unwrap(), "ana");
        assert_eq!(named(qa, "ana").unwrap(), "ana");
        let refused = named(qa, "agent-7").unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied);
        let acts = named(Some(&[Role::Orchestrator]), "agent-7");
        assert_eq!(acts.unwrap(), "agent-7");
        assert_eq!(named(None, "agent-7").unwrap(), "agent-7");
        assert_eq!(named(None, "").unwrap(), "");
    }

    #[test]
    fn without_identities_the_role_is_as_given() {
        let open = call(None);
        assert_eq!(role_of(&open, None).unwrap(), None);
        assert_eq!(viewer(&open, None).unwrap(), Role::Po);
        assert_eq!(viewer(&open, Some(Role::Data)).unwrap(), Role::Data);
    }

    #[test]
    fn only_roles_with_contexts_are_named() {
        let mut v = Violations::new();
        assert_eq!(named(&mut v, "role", " TESTER "), Some(Role::Qa));
        assert_eq!(named(&mut v, "role", ""), None);
        assert!(v.is_empty());
        assert_eq!(named(&mut v, "role", "system"), None);
        assert_eq!(named(&mut v, "role", "orchestrator"), None);
        assert_eq!(named(&mut v, "role", "boss"), None);
        assert_eq!(v.iter().count(), 3);
        let six = "; one of: architect, developer, qa, devops, data, po";
        for violation in v.iter() {
            assert!(violation.problem.ends_with(six), "{violation:?}");
        }
    }
}
