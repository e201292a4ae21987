//! Projects, epics, stories, their plans and decisions.

use std::collections::BTreeSet;

use fleet_proto::planning::v2 as pb;
use fleet_service::{Call, Fault};
use fleet_types::{DecisionId, EpicId, Role, StoryId, Violations};

use super::{MAX_ENTRIES, actor, filter, optional, require_po, role, start, text_list, version};
use crate::app::{
    ApprovePlan, CreateEpic, CreateProject, CreateStory, Judge, TransitionStory, UpdateStory,
};
use crate::domain::{Move, NewStory, Size, StoryEdit, StoryState, Verdict};

/// CreateProject.
pub fn create_project(r: &pb::CreateProjectRequest, _: &Call) -> Result<CreateProject, Fault> {
    let mut v = start(&r.request_id);
    let name = v.text("name", &r.name);
    let description = v.optional_text("description", &r.description);
    let owner = v.optional_text("owner", &r.owner);
    v.into_result()?;
    Ok(CreateProject {
        name,
        description,
        owner,
    })
}

/// CreateEpic.
pub fn create_epic(r: &pb::CreateEpicRequest, _: &Call) -> Result<CreateEpic, Fault> {
    let mut v = start(&r.request_id);
    let project_id = v.parse("project_id", &r.project_id);
    let title = v.text("title", &r.title);
    let description = v.optional_text("description", &r.description);
    match project_id {
        Some(project_id) if v.is_empty() => Ok(CreateEpic {
            project_id,
            title,
            description,
        }),
        _ => Err(v.into()),
    }
}

/// CreateStory.
pub fn create_story(r: &pb::CreateStoryRequest, call: &Call) -> Result<CreateStory, Fault> {
    let mut v = start(&r.request_id);
    let epic_id: Option<EpicId> = if r.without_epic {
        if !r.epic_id.trim().is_empty() {
            v.add("epic_id", "must be empty when without_epic is true");
        }
        None
    } else if r.epic_id.trim().is_empty() {
        v.add("epic_id", "is required, unless without_epic is true");
        None
    } else {
        v.parse("epic_id", &r.epic_id)
    };
    let story_id: Option<StoryId> = filter(&mut v, "story_id", r.story_id.as_ref());
    let content = NewStory {
        title: v.text("title", &r.title),
        brief: v.text("brief", &r.brief),
        acceptance_criteria: v.texts("acceptance_criteria", &r.acceptance_criteria, MAX_ENTRIES),
        constraints: v.texts("constraints", &r.constraints, MAX_ENTRIES),
        size: v.parse_optional("size", &r.size),
        repository: v.optional_text("repository", &r.repository),
        base_branch: v.optional_text("base_branch", &r.base_branch),
        created_by: actor(&mut v, "created_by", &r.created_by, call),
    };
    v.into_result()?;
    Ok(CreateStory {
        story_id,
        epic_id,
        content,
    })
}

/// TransitionStory.
pub fn transition_story(
    r: &pb::TransitionStoryRequest,
    call: &Call,
) -> Result<TransitionStory, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse("story_id", &r.story_id);
    let to: Option<StoryState> = v.parse("target_state", &r.target_state);
    let actor = actor(&mut v, "transitioned_by", &r.transitioned_by, call);
    let reason = v.optional_text("reason", &r.reason);
    let override_reason = v.optional_text("override_reason", &r.override_reason);
    version(&mut v, r.expected_version);
    if to == Some(StoryState::Draft) && r.reason.trim().is_empty() {
        v.add("reason", "is required for a reset to DRAFT");
    }
    match (story_id, to) {
        (Some(story_id), Some(to)) if v.is_empty() => Ok(TransitionStory {
            story_id,
            wish: Move {
                to,
                actor,
                reason,
                override_reason,
            },
            expected_version: r.expected_version,
            po: call.principal.may_act_as(Role::Po),
        }),
        _ => Err(v.into()),
    }
}

/// UpdateStory.
pub fn update_story(r: &pb::UpdateStoryRequest, call: &Call) -> Result<UpdateStory, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse("story_id", &r.story_id);
    let edit = StoryEdit {
        title: optional(r.title.as_ref(), |text| v.text("title", text)),
        brief: optional(r.brief.as_ref(), |text| v.text("brief", text)),
        size: optional(r.size.as_ref(), |text| {
            v.parse_optional::<Size>("size", text)
        }),
        repository: optional(r.repository.as_ref(), |text| {
            v.optional_text("repository", text)
        }),
        base_branch: optional(r.base_branch.as_ref(), |text| {
            v.optional_text("base_branch", text)
        }),
        acceptance_criteria: text_list(
            &mut v,
            "acceptance_criteria",
            r.acceptance_criteria.as_ref(),
        ),
        constraints: text_list(&mut v, "constraints", r.constraints.as_ref()),
    };
    let epic_id: Option<EpicId> =
        optional(r.epic_id.as_ref(), |text| v.parse("epic_id", text)).flatten();
    if edit == StoryEdit::default() && r.epic_id.is_none() {
        v.add(
            "title",
            "nothing to change is given: set this or any other field of the content",
        );
    }
    let updated_by = actor(&mut v, "updated_by", &r.updated_by, call);
    version(&mut v, r.expected_version);
    let expected_version = r.expected_version;
    match story_id {
        Some(story_id) if v.is_empty() => Ok(UpdateStory {
            story_id,
            edit,
            epic_id,
            updated_by,
            expected_version,
        }),
        _ => Err(v.into()),
    }
}

/// ApprovePlan.
pub fn approve_plan(r: &pb::ApprovePlanRequest, call: &Call) -> Result<ApprovePlan, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse("story_id", &r.story_id);
    let approved_by = actor(&mut v, "approved_by", &r.approved_by, call);
    let comment = optional(r.comment.as_ref(), |text| v.optional_text("comment", text));
    let title = optional(r.title.as_ref(), |text| v.text("title", text));
    let description = optional(r.description.as_ref(), |text| v.text("description", text));
    version(&mut v, r.expected_version);
    let mut roles = BTreeSet::new();
    if r.roles.len() > MAX_ENTRIES {
        v.add(
            "roles",
            format!("has {} items; at most {MAX_ENTRIES}", r.roles.len()),
        );
    } else {
        for (i, text) in r.roles.iter().enumerate() {
            let field = format!("roles[{i}]");
            if text.trim().is_empty() {
                v.add(field, "is required");
            } else {
                roles.insert(role(&mut v, &field, text));
            }
        }
    }
    if roles.is_empty() {
        roles.insert(Role::Developer);
    }
    let Some(story_id) = story_id.filter(|_| v.is_empty()) else {
        return Err(v.into());
    };
    require_po(call, "approves plans")?;
    Ok(ApprovePlan {
        story_id,
        approved_by,
        comment: comment.unwrap_or_default(),
        roles: roles.into_iter().collect(),
        title,
        description,
        expected_version: r.expected_version,
    })
}

/// ApproveDecision.
pub fn approve_decision(r: &pb::ApproveDecisionRequest, call: &Call) -> Result<Judge, Fault> {
    let mut v = start(&r.request_id);
    let words = optional(r.comment.as_ref(), |text| v.optional_text("comment", text));
    let by = actor(&mut v, "approved_by", &r.approved_by, call);
    judge(
        v,
        (&r.story_id, &r.decision_id),
        Verdict::Approved,
        by,
        words,
        call,
    )
}

/// RejectDecision.
pub fn reject_decision(r: &pb::RejectDecisionRequest, call: &Call) -> Result<Judge, Fault> {
    let mut v = start(&r.request_id);
    let words = v.text("reason", &r.reason);
    let by = actor(&mut v, "rejected_by", &r.rejected_by, call);
    judge(
        v,
        (&r.story_id, &r.decision_id),
        Verdict::Rejected,
        by,
        Some(words),
        call,
    )
}

fn judge(
    mut v: Violations,
    (story, decision): (&str, &str),
    verdict: Verdict,
    by: String,
    words: Option<String>,
    call: &Call,
) -> Result<Judge, Fault> {
    let story_id: Option<StoryId> = v.parse("story_id", story);
    let decision_id: Option<DecisionId> = v.parse("decision_id", decision);
    match (story_id, decision_id) {
        (Some(story_id), Some(decision_id)) if v.is_empty() => {
            require_po(call, "judges decisions")?;
            Ok(Judge {
                story_id,
                decision_id,
                verdict,
                by,
                words,
            })
        }
        _ => Err(v.into()),
    }
}
