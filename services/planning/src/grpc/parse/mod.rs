//! Requests to commands: every check that needs no store, all violations at once.

mod lists;
mod stories;
mod tasks;

use std::str::FromStr;

use fleet_proto::planning::v2 as pb;
use fleet_service::{Call, Fault, Reason, check_request_id};
use fleet_types::{Role, Violations};

use crate::domain::SYSTEM;

pub use lists::{list_epics, list_projects, list_stories, list_tasks, story_history};
pub use stories::{
    approve_decision, approve_plan, create_epic, create_project, create_story, reject_decision,
    transition_story, update_story,
};
pub use tasks::{add_dependency, create_task, remove_dependency, update_task};

/// Most entries of a list in a request.
const MAX_ENTRIES: usize = 100;

/// A required id, alone in its request.
pub fn id<T>(field: &'static str, value: &str) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let mut v = Violations::new();
    v.parse(field, value).ok_or_else(|| v.into())
}

pub(super) fn start(request_id: &str) -> Violations {
    let mut v = Violations::new();
    check_request_id(&mut v, request_id);
    v
}

/// Who acts: required; the verified principal where identity is configured.
pub(super) fn actor(v: &mut Violations, field: &str, value: &str, call: &Call) -> String {
    let given = v.text(field, value);
    if given.eq_ignore_ascii_case(SYSTEM) {
        v.add(field, format!("{SYSTEM:?} is the fleet itself"));
    }
    match &call.principal.roles {
        Some(_) => call.principal.id.to_string(),
        None => given,
    }
}

/// A role that a caller may name; blank means developer.
pub(super) fn role(v: &mut Violations, field: &str, value: &str) -> Role {
    let role = v.parse_optional(field, value).unwrap_or(Role::Developer);
    if role == Role::System {
        v.add(
            field,
            "system is the fleet itself, not a role that does tasks",
        );
    }
    role
}

pub(super) fn version(v: &mut Violations, expected: Option<i64>) {
    if expected.is_some_and(|version| version < 1) {
        v.add("expected_version", "versions count from 1");
    }
}

pub(super) fn at_least(v: &mut Violations, field: &str, value: i32, least: i32) {
    if value < least {
        v.add(field, format!("is {value}; at least {least}"));
    }
}

pub(super) fn optional<T>(value: Option<&String>, mut read: impl FnMut(&str) -> T) -> Option<T> {
    value.map(|text| read(text))
}

/// An optional id or word where blank means absent.
pub(super) fn filter<T>(v: &mut Violations, field: &str, value: Option<&String>) -> Option<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    value.and_then(|text| v.parse_optional(field, text))
}

pub(super) fn text_list(
    v: &mut Violations,
    field: &str,
    list: Option<&pb::TextList>,
) -> Option<Vec<String>> {
    list.map(|list| v.texts(&format!("{field}.items"), &list.items, MAX_ENTRIES))
}

/// What the product owner alone may do.
pub(super) fn require_po(call: &Call, what: &str) -> Result<(), Fault> {
    if call.principal.may_act_as(Role::Po) {
        return Ok(());
    }
    let message = format!("only the role po {what}");
    Err(Fault::denied(Reason::RoleNotAllowed, message))
}
