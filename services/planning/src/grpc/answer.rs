//! Entities and outcomes to answers. Total: everything that can come out has its answer.

use fleet_graph::{Total, Versioned};
use fleet_proto::planning::v2 as pb;
use prost::Message;

use crate::app::Listed;
use crate::app::rows::TransitionRow;
use crate::domain::{DecisionReview, Epic, Judged, PlanVersion, Project, Story, Task, Verdict};

/// A page ends when its entries have so many bytes, even if more are asked for: an answer has
/// to stay below what a server sends.
const MAX_PAGE_BYTES: usize = 4 * 1024 * 1024;

fn project(project: &Versioned<Project>) -> pb::Project {
    let Versioned { value: p, version } = project;
    pb::Project {
        project_id: p.project_id.to_string(),
        name: p.name.clone(),
        description: p.description.clone(),
        status: p.status.to_string(),
        owner: p.owner.clone(),
        created_at: p.created_at.rfc3339(),
        updated_at: p.updated_at.rfc3339(),
        version: *version,
    }
}

fn epic(epic: &Versioned<Epic>) -> pb::Epic {
    let Versioned { value: e, version } = epic;
    pb::Epic {
        epic_id: e.epic_id.to_string(),
        project_id: e.project_id.to_string(),
        title: e.title.clone(),
        description: e.description.clone(),
        status: e.status.to_string(),
        created_at: e.created_at.rfc3339(),
        updated_at: e.updated_at.rfc3339(),
        version: *version,
    }
}

/// A story.
pub fn story(story: &Versioned<Story>) -> pb::Story {
    let Versioned { value: s, version } = story;
    pb::Story {
        story_id: s.story_id.to_string(),
        epic_id: s
            .epic_id
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
        title: s.title.clone(),
        brief: s.brief.clone(),
        state: s.state.to_string(),
        dor_score: s.dor_score,
        created_by: s.created_by.clone(),
        created_at: s.created_at.rfc3339(),
        updated_at: s.updated_at.rfc3339(),
        version: *version,
        acceptance_criteria: s.acceptance_criteria.clone(),
        constraints: s.constraints.clone(),
        size: s.size.map(|size| size.to_string()).unwrap_or_default(),
        repository: s.repository.clone(),
        base_branch: s.base_branch.clone(),
        execution: s.execution,
    }
}

fn task(task: &Versioned<Task>) -> pb::Task {
    let Versioned { value: t, version } = task;
    pb::Task {
        task_id: t.task_id.to_string(),
        story_id: t.story_id.to_string(),
        plan_id: t.plan_id.as_ref().map(ToString::to_string),
        title: t.title.clone(),
        description: t.description.clone(),
        r#type: t.kind.to_string(),
        status: t.status.to_string(),
        assigned_to: t.assigned_to.clone(),
        estimated_hours: t.estimated_hours,
        priority: t.priority,
        created_at: t.created_at.rfc3339(),
        updated_at: t.updated_at.rfc3339(),
        version: *version,
        acceptance_criteria: t.acceptance_criteria.clone(),
        depends_on: t.depends_on.iter().map(ToString::to_string).collect(),
        role: t.role.to_string(),
    }
}

fn entry(row: &Versioned<TransitionRow>) -> pb::StoryHistoryEntry {
    let row = &row.value;
    pb::StoryHistoryEntry {
        seq: row.seq,
        from_state: row
            .from_state
            .map(|state| state.to_string())
            .unwrap_or_default(),
        to_state: row.to_state.to_string(),
        actor: row.actor.clone(),
        reason: row.reason.clone(),
        override_reason: row.override_reason.clone(),
        execution: row.execution,
        at: row.at.rfc3339(),
        event_id: row.event_id.to_string(),
    }
}

/// CreateProject.
pub fn project_created(created: &Versioned<Project>) -> pb::CreateProjectResponse {
    let message = format!("project {} created", created.value.project_id);
    pb::CreateProjectResponse {
        project: Some(project(created)),
        success: true,
        message,
    }
}

/// GetProject.
pub fn project_found(found: &Versioned<Project>) -> pb::ProjectResponse {
    let message = format!("project {} found", found.value.project_id);
    pb::ProjectResponse {
        project: Some(project(found)),
        success: true,
        message,
    }
}

/// CreateEpic.
pub fn epic_created(created: &Versioned<Epic>) -> pb::CreateEpicResponse {
    let message = format!("epic {} created", created.value.epic_id);
    pb::CreateEpicResponse {
        epic: Some(epic(created)),
        success: true,
        message,
    }
}

/// GetEpic.
pub fn epic_found(found: &Versioned<Epic>) -> pb::EpicResponse {
    let message = format!("epic {} found", found.value.epic_id);
    pb::EpicResponse {
        epic: Some(epic(found)),
        success: true,
        message,
    }
}

/// CreateStory.
pub fn story_created(created: &Versioned<Story>) -> pb::CreateStoryResponse {
    let message = format!("story {} created", created.value.story_id);
    pb::CreateStoryResponse {
        story: Some(story(created)),
        success: true,
        message,
    }
}

/// TransitionStory.
pub fn story_moved(moved: &Versioned<Story>) -> pb::TransitionStoryResponse {
    let message = format!(
        "story {} is in {} now",
        moved.value.story_id, moved.value.state
    );
    pb::TransitionStoryResponse {
        story: Some(story(moved)),
        success: true,
        message,
    }
}

/// UpdateStory.
pub fn story_updated((updated, changed): &(Versioned<Story>, bool)) -> pb::UpdateStoryResponse {
    let message = updated_message("story", updated.value.story_id.as_str(), *changed);
    pb::UpdateStoryResponse {
        story: Some(story(updated)),
        success: true,
        message,
    }
}

/// CreateTask.
pub fn task_created(created: &Versioned<Task>) -> pb::CreateTaskResponse {
    let message = format!("task {} created", created.value.task_id);
    pb::CreateTaskResponse {
        task: Some(task(created)),
        success: true,
        message,
    }
}

/// GetTask.
pub fn task_found(found: &Versioned<Task>) -> pb::TaskResponse {
    let message = format!("task {} found", found.value.task_id);
    pb::TaskResponse {
        task: Some(task(found)),
        success: true,
        message,
    }
}

/// UpdateTask.
pub fn task_updated((updated, changed): &(Versioned<Task>, bool)) -> pb::UpdateTaskResponse {
    let message = updated_message("task", updated.value.task_id.as_str(), *changed);
    pb::UpdateTaskResponse {
        task: Some(task(updated)),
        success: true,
        message,
    }
}

fn updated_message(what: &str, id: &str, changed: bool) -> String {
    if changed {
        format!("{what} {id} updated")
    } else {
        format!("{what} {id} was like this already")
    }
}

/// AddTaskDependency.
pub fn dependency_added(
    (waiting, changed): &(Versioned<Task>, bool),
) -> pb::AddTaskDependencyResponse {
    let message = if *changed {
        "dependency added"
    } else {
        "the dependency was there already"
    };
    let message = message.to_owned();
    pb::AddTaskDependencyResponse {
        task: Some(task(waiting)),
        success: true,
        message,
    }
}

/// RemoveTaskDependency.
pub fn dependency_removed(
    (waiting, changed): &(Versioned<Task>, bool),
) -> pb::RemoveTaskDependencyResponse {
    let message = if *changed {
        "dependency removed"
    } else {
        "there was no such dependency"
    };
    let message = message.to_owned();
    pb::RemoveTaskDependencyResponse {
        task: Some(task(waiting)),
        success: true,
        message,
    }
}

fn verdict(judged: &Judged) -> String {
    let say = |review: &DecisionReview| {
        let verdict = match review.verdict {
            Verdict::Approved => "approved",
            Verdict::Rejected => "rejected",
        };
        (
            format!("decision {}", review.decision_id),
            verdict,
            review.by.clone(),
            review.at,
        )
    };
    match judged {
        Judged::New(review) => {
            let (decision, verdict, ..) = say(review);
            format!("{decision} {verdict}")
        }
        Judged::Same(review) => {
            let (decision, verdict, by, at) = say(review);
            format!("{decision} was {verdict} already, by {by} at {at}")
        }
    }
}

/// ApproveDecision.
pub fn approved(judged: &Judged) -> pb::ApproveDecisionResponse {
    pb::ApproveDecisionResponse {
        success: true,
        message: verdict(judged),
    }
}

/// RejectDecision.
pub fn rejected(judged: &Judged) -> pb::RejectDecisionResponse {
    pb::RejectDecisionResponse {
        success: true,
        message: verdict(judged),
    }
}

/// ApprovePlan.
pub fn plan_approved(plan: &PlanVersion) -> pb::ApprovePlanResponse {
    pb::ApprovePlanResponse {
        plan_id: plan.plan_id.to_string(),
        plan_version: i32::try_from(plan.number).unwrap_or(i32::MAX),
        success: true,
        message: format!("plan {} of story {} approved", plan.number, plan.story_id),
    }
}

/// GetReadiness.
pub fn readiness(story: &Versioned<Story>, threshold: i32) -> pb::GetReadinessResponse {
    let readiness = story.value.readiness();
    let criteria = readiness
        .criteria
        .iter()
        .map(|criterion| pb::ReadinessCriterion {
            name: criterion.name.to_owned(),
            weight: criterion.weight,
            points: criterion.points,
            met: criterion.met(),
            reason: criterion.reason.clone(),
        });
    pb::GetReadinessResponse {
        score: readiness.score(),
        threshold,
        ready: readiness.score() >= threshold,
        criteria: criteria.collect(),
        version: story.version,
    }
}

/// What all lists answer.
struct Page<M> {
    items: Vec<M>,
    total_count: i32,
    message: String,
    next_page_token: String,
    total_is_lower_bound: bool,
}

fn page<T, M: Message>(listed: &Listed<T>, map: fn(&Versioned<T>) -> M) -> Page<M> {
    let mut items = Vec::with_capacity(listed.entries.len());
    let mut bytes = 0;
    for (entry, _) in &listed.entries {
        let item = map(entry);
        bytes += item.encoded_len();
        if bytes > MAX_PAGE_BYTES && !items.is_empty() {
            break;
        }
        items.push(item);
    }
    let last = items
        .len()
        .checked_sub(1)
        .and_then(|last| listed.entries.get(last));
    let next_page_token = if items.len() < listed.entries.len() {
        last.map(|(_, token)| token.clone())
    } else {
        listed.next.clone()
    };
    let Total {
        count,
        is_lower_bound,
    } = listed.total;
    Page {
        total_count: i32::try_from(count).unwrap_or(i32::MAX),
        message: format!(
            "{} of {count}{}",
            items.len(),
            if is_lower_bound { " or more" } else { "" }
        ),
        items,
        next_page_token: next_page_token.unwrap_or_default(),
        total_is_lower_bound: is_lower_bound,
    }
}

macro_rules! list_answers {
    ($($(#[$meta:meta])* $name:ident($entity:ty) -> $response:ident.$field:ident by $map:path;)+) => {
        $($(#[$meta])*
        pub fn $name(listed: &Listed<$entity>) -> pb::$response {
            let page = page(listed, $map);
            pb::$response {
                $field: page.items,
                total_count: page.total_count,
                success: true,
                message: page.message,
                next_page_token: page.next_page_token,
                total_is_lower_bound: page.total_is_lower_bound,
            }
        })+
    };
}

list_answers! {
    /// ListProjects.
    projects(Project) -> ListProjectsResponse.projects by project;
    /// ListEpics.
    epics(Epic) -> ListEpicsResponse.epics by epic;
    /// ListStories.
    stories(Story) -> ListStoriesResponse.stories by story;
    /// ListTasks.
    tasks(Task) -> ListTasksResponse.tasks by task;
    /// GetStoryHistory.
    history(TransitionRow) -> GetStoryHistoryResponse.entries by entry;
}
