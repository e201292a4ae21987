//! Tasks and what they wait for.

use fleet_proto::planning::v2 as pb;
use fleet_service::{Call, Fault};
use fleet_types::{StoryId, TaskId, Violations};

use super::{MAX_ENTRIES, actor, at_least, filter, optional, role, start, text_list, version};
use crate::app::{AddDependency, CreateTask, RemoveDependency, UpdateTask};
use crate::domain::{NewTask, TaskEdit, TaskType};

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
