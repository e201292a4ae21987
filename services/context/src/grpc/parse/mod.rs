//! Requests to commands: every check that needs no store, all violations at once.

mod creations;
mod updates;

use std::str::FromStr;

use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault, check_request_id};
use fleet_types::{DecisionId, Role, StoryId, TaskId, Violations};

use crate::app::caller::{self, actor, role_of};
use crate::app::{AddDecision, NewDecision, TransitionPhase};
use crate::domain::Phase;

pub use creations::{create_story, create_task, opening};
pub use updates::update_context;

/// Most entries of a list in a request.
const MAX_ENTRIES: usize = 100;
/// Longest word for a kind of thing, in bytes.
const MAX_WORD_BYTES: usize = 100;

pub(super) fn start(request_id: &str) -> Violations {
    let mut v = Violations::new();
    check_request_id(&mut v, request_id);
    v
}

/// AddProjectDecision.
pub fn add_decision(r: &pb::AddProjectDecisionRequest, call: &Call) -> Result<AddDecision, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse("story_id", &r.story_id);
    let decision_type = v.text("decision_type", &r.decision_type);
    if decision_type.len() > MAX_WORD_BYTES || decision_type.contains(char::is_control) {
        let problem = format!("must be one line of at most {MAX_WORD_BYTES} bytes");
        v.add("decision_type", problem);
    }
    let title = v.text("title", &r.title);
    let rationale = v.optional_text("rationale", &r.rationale);
    let alternatives = alternatives(&mut v, &r.alternatives_considered);
    let said = metadata(&mut v, r);
    let mut affects = ids(&mut v, "affects", &r.affects);
    let mut supersedes = ids(&mut v, "supersedes", &r.supersedes);
    add(&mut affects, said.affects);
    add(&mut supersedes, said.supersedes);
    let Some(story_id) = story_id.filter(|_| v.is_empty()) else {
        return Err(v.into());
    };
    // Who has several roles need not say in which a decision was made.
    let role = match said.role {
        Some(role) => role_of(call, Some(role))?,
        None => role_of(call, None).ok().flatten(),
    };
    let agent = caller::agent_of(call, said.agent)?;
    Ok(AddDecision {
        story_id,
        new: NewDecision {
            title,
            rationale,
            decision_type,
            alternatives,
            author_role: role.map(|role| role.to_string()).unwrap_or_default(),
            author_agent: agent,
            affects,
            depends_on: said.depends_on,
            supersedes,
        },
    })
}

/// TransitionPhase.
pub fn transition_phase(
    r: &pb::TransitionPhaseRequest,
    call: &Call,
) -> Result<TransitionPhase, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse("story_id", &r.story_id);
    let from: Option<Phase> = v.parse("from_phase", &r.from_phase);
    let to: Option<Phase> = v.parse("to_phase", &r.to_phase);
    if to.is_some() && from == to {
        v.add("to_phase", "must be another phase than from_phase");
    }
    let rationale = v.optional_text("rationale", &r.rationale);
    match (story_id, from, to) {
        (Some(story_id), Some(from), Some(to)) if v.is_empty() => Ok(TransitionPhase {
            story_id,
            from,
            to,
            rationale,
            by: actor(call, ""),
        }),
        _ => Err(v.into()),
    }
}

/// One alternative per line, blank lines apart.
fn alternatives(v: &mut Violations, text: &str) -> Vec<String> {
    let text = v.optional_text("alternatives_considered", text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines: Vec<String> = lines.map(str::to_owned).collect();
    if lines.len() > MAX_ENTRIES {
        let problem = format!("has {} lines; at most {MAX_ENTRIES}", lines.len());
        v.add("alternatives_considered", problem);
    }
    lines
}

/// What the metadata of a decision say.
#[derive(Default)]
struct Said {
    role: Option<Role>,
    agent: String,
    affects: Vec<TaskId>,
    depends_on: Vec<DecisionId>,
    supersedes: Vec<DecisionId>,
}

fn metadata(v: &mut Violations, r: &pb::AddProjectDecisionRequest) -> Said {
    let mut said = Said::default();
    if r.metadata.len() > MAX_ENTRIES {
        let problem = format!("has {} entries; at most {MAX_ENTRIES}", r.metadata.len());
        v.add("metadata", problem);
        return said;
    }
    for (name, value) in &r.metadata {
        let field = format!("metadata.{}", shown(name));
        let list = || -> Vec<String> {
            let parts = value.split(',').map(str::trim);
            parts
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        match name.as_str() {
            "role" => said.role = caller::named(v, &field, value),
            "winner" => {
                let agent = v.parse_optional::<fleet_types::AgentId>(&field, value);
                said.agent = agent.map(|agent| agent.to_string()).unwrap_or_default();
            }
            "affects" => said.affects = ids(v, &field, &list()),
            "depends_on" => said.depends_on = ids(v, &field, &list()),
            "supersedes" => said.supersedes = ids(v, &field, &list()),
            _ => v.add(
                field,
                "is not known; one of: role, winner, affects, depends_on, supersedes",
            ),
        }
    }
    said
}

/// A name from outside, as it may be shown.
fn shown(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).take(64).collect()
}

/// Ids, each once, in the order given.
fn ids<T>(v: &mut Violations, field: &str, given: &[String]) -> Vec<T>
where
    T: FromStr + PartialEq,
    T::Err: std::fmt::Display,
{
    if given.len() > MAX_ENTRIES {
        v.add(
            field,
            format!("has {} items; at most {MAX_ENTRIES}", given.len()),
        );
        return Vec::new();
    }
    let mut ids = Vec::new();
    for (i, text) in given.iter().enumerate() {
        if let Some(id) = v.parse(&format!("{field}[{i}]"), text) {
            add(&mut ids, [id]);
        }
    }
    ids
}

fn add<T: PartialEq>(ids: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for id in more {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
}
