//! Requests to commands: every check that needs no store, all violations at once.

use std::collections::BTreeSet;
use std::str::FromStr;

use fleet_graph::{Index, MAX_PAGE};
use fleet_proto::planning::v2 as pb;
use fleet_service::{Call, Fault, Reason, check_request_id};
use fleet_types::{DecisionId, EpicId, Role, StoryId, TaskId, Violations};

use crate::app::{
    AddDependency, ApprovePlan, CreateEpic, CreateProject, CreateStory, CreateTask, Judge, Listing,
    PageRequest, RemoveDependency, TransitionStory, UpdateStory, UpdateTask, token,
};
use crate::domain::{
    Lifecycle, Move, NewStory, NewTask, SYSTEM, Size, StoryEdit, StoryState, TaskEdit, TaskStatus,
    TaskType, Verdict,
};

/// Most entries of a list in a request.
const MAX_ENTRIES: usize = 100;
/// Entries of a page when the caller does not say.
const DEFAULT_LIMIT: usize = 100;

/// A required id, alone in its request.
pub fn id<T>(field: &'static str, value: &str) -> Result<T, Fault>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    let mut v = Violations::new();
    v.parse(field, value).ok_or_else(|| v.into())
}

fn start(request_id: &str) -> Violations {
    let mut v = Violations::new();
    check_request_id(&mut v, request_id);
    v
}

/// Who acts: required; the verified principal where identity is configured.
fn actor(v: &mut Violations, field: &str, value: &str, call: &Call) -> String {
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
fn role(v: &mut Violations, field: &str, value: &str) -> Role {
    let role = v.parse_optional(field, value).unwrap_or(Role::Developer);
    if role == Role::System {
        v.add(
            field,
            "system is the fleet itself, not a role that does tasks",
        );
    }
    role
}

fn version(v: &mut Violations, expected: Option<i64>) {
    if expected.is_some_and(|version| version < 1) {
        v.add("expected_version", "versions count from 1");
    }
}

fn at_least(v: &mut Violations, field: &str, value: i32, least: i32) {
    if value < least {
        v.add(field, format!("is {value}; at least {least}"));
    }
}

fn optional<T>(value: Option<&String>, mut read: impl FnMut(&str) -> T) -> Option<T> {
    value.map(|text| read(text))
}

/// An optional id or word where blank means absent.
fn filter<T>(v: &mut Violations, field: &str, value: Option<&String>) -> Option<T>
where
    T: FromStr,
    T::Err: std::fmt::Display,
{
    value.and_then(|text| v.parse_optional(field, text))
}

fn text_list(v: &mut Violations, field: &str, list: Option<&pb::TextList>) -> Option<Vec<String>> {
    list.map(|list| v.texts(&format!("{field}.items"), &list.items, MAX_ENTRIES))
}

/// What the product owner alone may do.
fn require_po(call: &Call, what: &str) -> Result<(), Fault> {
    if call.principal.may_act_as(Role::Po) {
        return Ok(());
    }
    let message = format!("only the role po {what}");
    Err(Fault::denied(Reason::RoleNotAllowed, message))
}

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

/// CreateTask.
pub fn create_task(r: &pb::CreateTaskRequest, _: &Call) -> Result<CreateTask, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse("story_id", &r.story_id);
    let task_id: Option<TaskId> = filter(&mut v, "task_id", r.task_id.as_ref());
    let content = NewTask {
        plan_id: filter(&mut v, "plan_id", r.plan_id.as_ref()),
        title: v.text("title", &r.title),
        description: v.optional_text("description", &r.description),
        kind: v
            .parse_optional("type", &r.r#type)
            .unwrap_or(TaskType::Development),
        assigned_to: v.optional_text("assigned_to", &r.assigned_to),
        estimated_hours: r.estimated_hours,
        priority: if r.priority == 0 { 1 } else { r.priority },
        role: role(&mut v, "role", &r.role),
        acceptance_criteria: v.texts("acceptance_criteria", &r.acceptance_criteria, MAX_ENTRIES),
    };
    at_least(&mut v, "estimated_hours", content.estimated_hours, 0);
    at_least(&mut v, "priority", content.priority, 1);
    let mut depends_on: Vec<TaskId> = Vec::new();
    if r.depends_on.len() > MAX_ENTRIES {
        v.add(
            "depends_on",
            format!("has {} items; at most {MAX_ENTRIES}", r.depends_on.len()),
        );
    } else {
        for (i, text) in r.depends_on.iter().enumerate() {
            let field = format!("depends_on[{i}]");
            match v.parse::<TaskId>(&field, text) {
                Some(on) if Some(&on) == task_id.as_ref() => v.add(field, "is the task itself"),
                Some(on) if !depends_on.contains(&on) => depends_on.push(on),
                _ => {}
            }
        }
    }
    match story_id {
        Some(story_id) if v.is_empty() => Ok(CreateTask {
            task_id,
            story_id,
            content,
            depends_on,
        }),
        _ => Err(v.into()),
    }
}

/// UpdateTask.
pub fn update_task(r: &pb::UpdateTaskRequest, call: &Call) -> Result<UpdateTask, Fault> {
    let mut v = start(&r.request_id);
    let task_id: Option<TaskId> = v.parse("task_id", &r.task_id);
    let edit = TaskEdit {
        title: optional(r.title.as_ref(), |text| v.text("title", text)),
        description: optional(r.description.as_ref(), |text| {
            v.optional_text("description", text)
        }),
        kind: optional(r.r#type.as_ref(), |text| v.parse("type", text)).flatten(),
        assigned_to: optional(r.assigned_to.as_ref(), |text| {
            v.optional_text("assigned_to", text)
        }),
        estimated_hours: r.estimated_hours,
        priority: r.priority,
        role: optional(r.role.as_ref(), |text| role(&mut v, "role", text)),
        acceptance_criteria: text_list(
            &mut v,
            "acceptance_criteria",
            r.acceptance_criteria.as_ref(),
        ),
    };
    at_least(&mut v, "estimated_hours", r.estimated_hours.unwrap_or(0), 0);
    at_least(&mut v, "priority", r.priority.unwrap_or(1), 1);
    if edit == TaskEdit::default() && r.r#type.is_none() {
        v.add(
            "title",
            "nothing to change is given: set this or any other field of the content",
        );
    }
    let updated_by = actor(&mut v, "updated_by", &r.updated_by, call);
    version(&mut v, r.expected_version);
    let expected_version = r.expected_version;
    match task_id {
        Some(task_id) if v.is_empty() => Ok(UpdateTask {
            task_id,
            edit,
            updated_by,
            expected_version,
        }),
        _ => Err(v.into()),
    }
}

/// AddTaskDependency.
pub fn add_dependency(
    r: &pb::AddTaskDependencyRequest,
    call: &Call,
) -> Result<AddDependency, Fault> {
    let mut v = start(&r.request_id);
    let reason = v.optional_text("reason", &r.reason);
    let changed_by = actor(&mut v, "changed_by", &r.changed_by, call);
    version(&mut v, r.expected_version);
    let (task_id, on) = pair(v, &r.task_id, &r.depends_on_task_id)?;
    let expected_version = r.expected_version;
    Ok(AddDependency {
        task_id,
        on,
        reason,
        changed_by,
        expected_version,
    })
}

/// RemoveTaskDependency.
pub fn remove_dependency(
    r: &pb::RemoveTaskDependencyRequest,
    call: &Call,
) -> Result<RemoveDependency, Fault> {
    let mut v = start(&r.request_id);
    v.optional_text("reason", &r.reason);
    let changed_by = actor(&mut v, "changed_by", &r.changed_by, call);
    version(&mut v, r.expected_version);
    let (task_id, on) = pair(v, &r.task_id, &r.depends_on_task_id)?;
    let expected_version = r.expected_version;
    Ok(RemoveDependency {
        task_id,
        on,
        changed_by,
        expected_version,
    })
}

fn pair(mut v: Violations, task: &str, on: &str) -> Result<(TaskId, TaskId), Fault> {
    let task: Option<TaskId> = v.parse("task_id", task);
    let on: Option<TaskId> = v.parse("depends_on_task_id", on);
    if task.is_some() && task == on {
        v.add("depends_on_task_id", "is the task itself");
    }
    match (task, on) {
        (Some(task), Some(on)) if v.is_empty() => Ok((task, on)),
        _ => Err(v.into()),
    }
}

/// ListProjects.
pub fn list_projects(r: &pb::ListProjectsRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let status: Option<Lifecycle> = filter(&mut v, "status_filter", r.status_filter.as_ref());
    let listing = match status {
        None => listing(Index::Projects, &[]),
        Some(status) => listing(Index::ProjectsByStatus, &[status.as_str()]),
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// ListEpics.
pub fn list_epics(r: &pb::ListEpicsRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let project: Option<fleet_types::ProjectId> =
        filter(&mut v, "project_id", r.project_id.as_ref());
    let status: Option<Lifecycle> = filter(&mut v, "status_filter", r.status_filter.as_ref());
    let listing = match (&project, status) {
        (None, None) => listing(Index::Epics, &[]),
        (Some(project), None) => listing(Index::EpicsByProject, &[project.as_str()]),
        (None, Some(status)) => listing(Index::EpicsByStatus, &[status.as_str()]),
        (Some(project), Some(status)) => listing(
            Index::EpicsByProjectStatus,
            &[project.as_str(), status.as_str()],
        ),
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// ListStories.
pub fn list_stories(r: &pb::ListStoriesRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let state: Option<StoryState> = filter(&mut v, "state_filter", r.state_filter.as_ref());
    let epic: Option<EpicId> = filter(&mut v, "epic_id", r.epic_id.as_ref());
    let listing = match (&epic, state) {
        (None, None) => listing(Index::Stories, &[]),
        (Some(epic), None) => listing(Index::StoriesByEpic, &[epic.as_str()]),
        (None, Some(state)) => listing(Index::StoriesByState, &[state.as_str()]),
        (Some(epic), Some(state)) => {
            listing(Index::StoriesByEpicState, &[epic.as_str(), state.as_str()])
        }
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// ListTasks.
pub fn list_tasks(r: &pb::ListTasksRequest) -> Result<(Listing, PageRequest), Fault> {
    let mut v = Violations::new();
    let story: Option<StoryId> = filter(&mut v, "story_id", r.story_id.as_ref());
    let status: Option<TaskStatus> = filter(&mut v, "status_filter", r.status_filter.as_ref());
    let listing = match (&story, status) {
        (None, None) => listing(Index::Tasks, &[]),
        (Some(story), None) => listing(Index::TasksByStory, &[story.as_str()]),
        (None, Some(status)) => listing(Index::TasksByStatus, &[status.as_str()]),
        (Some(story), Some(status)) => listing(
            Index::TasksByStoryStatus,
            &[story.as_str(), status.as_str()],
        ),
    };
    page(v, listing, r.limit, r.offset, &r.page_token)
}

/// GetStoryHistory.
pub fn story_history(
    r: &pb::GetStoryHistoryRequest,
) -> Result<(StoryId, (Listing, PageRequest)), Fault> {
    let mut v = Violations::new();
    let story: Option<StoryId> = v.parse("story_id", &r.story_id);
    let values = [story.as_ref().map_or("", StoryId::as_str)];
    let listing = listing(Index::StoryTransitionsByStory, &values);
    let page = page(v, listing, r.limit, 0, &r.page_token)?;
    Ok((
        story.expect("page refuses when a violation was noted"),
        page,
    ))
}

fn listing(index: Index, values: &[&str]) -> Listing {
    Listing {
        index,
        values: values.iter().map(|value| (*value).into()).collect(),
    }
}

fn page(
    mut v: Violations,
    listing: Listing,
    limit: i32,
    offset: i32,
    page_token: &str,
) -> Result<(Listing, PageRequest), Fault> {
    let limit = match usize::try_from(limit) {
        Ok(0) | Err(_) => DEFAULT_LIMIT,
        Ok(limit) => limit.min(MAX_PAGE),
    };
    let (after, offset) = match page_token.trim() {
        "" => (None, usize::try_from(offset).unwrap_or(0)),
        // With a wrong filter the token would only be blamed for it.
        given if v.is_empty() => match token::decode(&listing, given) {
            Ok(after) => (Some(after), 0),
            Err(problem) => {
                v.add("page_token", problem);
                (None, 0)
            }
        },
        _ => (None, 0),
    };
    v.into_result()?;
    Ok((
        listing,
        PageRequest {
            limit,
            offset,
            after,
        },
    ))
}
