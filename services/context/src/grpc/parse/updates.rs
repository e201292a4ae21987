//! UpdateContext.

use std::collections::HashMap;

use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault};
use fleet_types::{AgentId, DecisionId, StoryId, TaskId, Timestamp, Violations};

use super::start;
use crate::app::UpdateContext;
use crate::app::caller::{actor, named, role_of};
use crate::record::{
    Change, DecisionPatch, Kind, MilestonePatch, Operation, Patch, SummaryPatch, WORDS_BY_OTHERS,
    patch,
};

/// Most changes of one call.
const MAX_CHANGES: usize = 200;
/// Most relations that the changes of one call name together.
const MAX_RELATIONS: usize = 2_000;

/// UpdateContext.
pub fn update_context(r: &pb::UpdateContextRequest, call: &Call) -> Result<UpdateContext, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse("story_id", &r.story_id);
    let task_id: Option<TaskId> = v.parse_optional("task_id", &r.task_id);
    if r.role.trim().is_empty() && call.principal.roles.is_none() {
        v.add("role", "is required");
    }
    let role = named(&mut v, "role", &r.role);
    let stated_at = stated_at(&mut v, &r.timestamp);
    if r.expected_version.is_some_and(|version| version < 0) {
        v.add(
            "expected_version",
            "versions count from 1; 0 = there is none yet",
        );
    }
    let changes = changes(&mut v, &r.changes);
    let Some(story_id) = story_id.filter(|_| v.is_empty()) else {
        return Err(v.into());
    };
    let role = role_of(call, role)?.ok_or_else(|| Fault::invalid("role", "is required"))?;
    Ok(UpdateContext {
        story_id,
        task_id,
        role,
        by: actor(call, role.as_str()),
        changes,
        stated_at,
        expected_version: r.expected_version,
    })
}

/// A time as somebody says it, in our spelling; without an offset it is taken as UTC.
fn stated_at(v: &mut Violations, text: &str) -> String {
    let text = text.trim();
    if text.is_empty() {
        return String::new();
    }
    let time = Timestamp::parse(text).or_else(|e| {
        let utc: String = text.chars().take(40).chain(['Z']).collect();
        Timestamp::parse(&utc).map_err(|_| e)
    });
    match time {
        Ok(time) => time.rfc3339(),
        Err(problem) => {
            v.add("timestamp", problem);
            String::new()
        }
    }
}

fn changes(v: &mut Violations, given: &[pb::ContextChange]) -> Vec<Change> {
    if given.is_empty() || given.len() > MAX_CHANGES {
        let problem = format!("has {} entries; 1 to {MAX_CHANGES}", given.len());
        v.add("changes", problem);
        return Vec::new();
    }
    let mut first: HashMap<(Kind, String), usize> = HashMap::new();
    let mut changes = Vec::with_capacity(given.len());
    for (i, given) in given.iter().enumerate() {
        let field = |name: &str| format!("changes[{i}].{name}");
        let operation: Option<Operation> = v.parse(&field("operation"), &given.operation);
        let kind = kind(v, &field("entity_type"), &given.entity_type);
        let reason = v.optional_text(&field("reason"), &given.reason);
        let Some(kind) = kind else { continue };
        let id = entity_id(v, &field("entity_id"), kind, &given.entity_id);
        if let Some(id) = &id {
            let known = first.entry((kind, id.clone())).or_insert(i);
            if *known != i {
                let problem = format!("{id} is changed by changes[{known}] already");
                v.add(field("entity_id"), problem);
            }
        }
        let Some(operation) = operation else { continue };
        let decision = id.as_deref().and_then(|id| DecisionId::parse(id).ok());
        let patch = payload(
            v,
            &field("payload"),
            (operation, kind),
            decision.as_ref(),
            &given.payload,
        );
        if let (Some(id), Some(patch)) = (id, patch) {
            changes.push(Change {
                operation,
                id,
                patch,
                reason,
            });
        }
    }
    let relations: usize = changes.iter().map(relations).sum();
    if relations > MAX_RELATIONS {
        let problem = format!("name {relations} relations; at most {MAX_RELATIONS} in one call");
        v.add("changes", problem);
    }
    changes
}

fn relations(change: &Change) -> usize {
    match &change.patch {
        Patch::Decision(_, patch) => patch.tasks().count() + patch.decisions().count(),
        Patch::Milestone(_) | Patch::Summary(_) => 0,
    }
}

fn kind(v: &mut Violations, field: &str, word: &str) -> Option<Kind> {
    let others = WORDS_BY_OTHERS.iter();
    let mut others = others.filter(|(other, _)| word.trim().eq_ignore_ascii_case(other));
    if let Some((other, by)) = others.next() {
        v.add(field, format!("{other} is not changed here: {by}"));
        return None;
    }
    v.parse(field, word)
}

fn entity_id(v: &mut Violations, field: &str, kind: Kind, id: &str) -> Option<String> {
    match kind {
        Kind::Decision => v.parse::<DecisionId>(field, id).map(|id| id.to_string()),
        // The grammar of ids without prefix.
        Kind::Milestone | Kind::Summary => v.parse::<AgentId>(field, id).map(|id| id.to_string()),
    }
}

fn payload(
    v: &mut Violations,
    field: &str,
    (operation, kind): (Operation, Kind),
    decision: Option<&DecisionId>,
    payload: &str,
) -> Option<Patch> {
    let blank = matches!(payload.trim(), "" | "{}");
    if operation == Operation::Delete {
        if !blank {
            v.add(field, "must be empty for DELETE");
            return None;
        }
        return match kind {
            Kind::Decision => Some(Patch::Decision(decision?.clone(), Box::default())),
            Kind::Milestone => Some(Patch::Milestone(MilestonePatch::default())),
            Kind::Summary => Some(Patch::Summary(SummaryPatch::default())),
        };
    }
    if blank {
        let problem = match operation {
            Operation::Create => format!("is required; with {:?} at least", needed(kind)),
            _ => "names nothing to change".to_owned(),
        };
        v.add(field, problem);
        return None;
    }
    // A decision without a valid id is refused anyway; its payload is looked at all the same.
    let stand_in = DecisionId::parse("DEC-0").ok();
    let decision_or = decision.or(stand_in.as_ref());
    let patch = patch(v, field, kind, decision_or, payload)?;
    if operation == Operation::Create && !has_needed(&patch) {
        v.add(format!("{field}.{}", needed(kind)), "is required");
        return None;
    }
    Some(patch)
}

/// What a thing cannot be created without.
fn needed(kind: Kind) -> &'static str {
    match kind {
        Kind::Decision => "title",
        Kind::Milestone => "description",
        Kind::Summary => "text",
    }
}

fn has_needed(patch: &Patch) -> bool {
    match patch {
        Patch::Decision(_, patch) => {
            let DecisionPatch { title, .. } = &**patch;
            title.is_some()
        }
        Patch::Milestone(patch) => patch.description.is_some(),
        Patch::Summary(patch) => patch.text.is_some(),
    }
}
