//! Stories and tasks that planning will create. It has the last word; what can be seen to be
//! wrong is said here, all at once.

use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault};
use fleet_types::{Role, StoryId, TaskId};

use super::{MAX_ENTRIES, start};
use crate::app::caller::actor;
use crate::app::{OpenContext, WantedStory};
use crate::domain::Phase;

/// CreateStory.
pub fn create_story(r: &pb::CreateStoryRequest, call: &Call) -> Result<WantedStory, Fault> {
    let mut v = start(&r.request_id);
    let story_id: Option<StoryId> = v.parse_optional("story_id", &r.story_id);
    let title = v.text("title", &r.title);
    let description = v.text("description", &r.description);
    let phase: Option<Phase> = v.parse_optional("initial_phase", &r.initial_phase);
    let created_by = v.optional_text("created_by", &r.created_by);
    if created_by.eq_ignore_ascii_case("system") {
        v.add("created_by", "\"system\" is the fleet itself");
    }
    v.into_result()?;
    Ok(WantedStory {
        story_id,
        title,
        description,
        created_by: actor(call, &created_by),
        phase: phase.unwrap_or(Phase::Design),
    })
}

/// The context of a story that planning created.
pub fn opening(wanted: &WantedStory, story: &StoryId) -> OpenContext {
    OpenContext {
        story_id: story.clone(),
        phase: wanted.phase,
    }
}

/// CreateTask; as it was sent, checked.
pub fn create_task(r: pb::CreateTaskRequest) -> Result<pb::CreateTaskRequest, Fault> {
    let mut v = start(&r.request_id);
    v.parse::<StoryId>("story_id", &r.story_id);
    let task_id: Option<TaskId> = v.parse_optional("task_id", &r.task_id);
    v.text("title", &r.title);
    v.optional_text("description", &r.description);
    if v.parse_optional("role", &r.role) == Some(Role::System) {
        v.add(
            "role",
            "system is the fleet itself, not a role that does tasks",
        );
    }
    if r.dependencies.len() > MAX_ENTRIES {
        let problem = format!("has {} items; at most {MAX_ENTRIES}", r.dependencies.len());
        v.add("dependencies", problem);
    } else {
        for (i, text) in r.dependencies.iter().enumerate() {
            let field = format!("dependencies[{i}]");
            if let Some(on) = v.parse::<TaskId>(&field, text)
                && Some(&on) == task_id.as_ref()
            {
                v.add(field, format!("is the task itself: {on} -> {on}"));
            }
        }
    }
    for (field, value) in [
        ("priority", r.priority),
        ("estimated_hours", r.estimated_hours),
    ] {
        if value < 0 {
            v.add(field, format!("is {value}; at least 0"));
        }
    }
    v.into_result()?;
    Ok(pb::CreateTaskRequest {
        task_id: task_id.map(|id| id.to_string()).unwrap_or_default(),
        ..r
    })
}
