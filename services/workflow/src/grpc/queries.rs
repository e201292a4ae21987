//! The calls that only read one task, or the tasks of a role.

use std::time::Duration;

use fleet_graph::{Deadline, Index, ReadError, Scan};
use fleet_proto::workflow::v1 as pb;
use fleet_service::{Call, Fault};
use fleet_types::{AgentId, Role, StoryId, TaskId, Violations};

use super::{pages, render};
use crate::domain::{NextActions, TaskRun, WhyNot, next_actions};
use crate::engine::{Engine, Stored};
use crate::rows::HopRow;

/// Steps of a task that are shown with it; the latest ones.
const MAX_HISTORY: usize = 200;
/// How long to wait before the history of a task is read again.
const HISTORY_PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(2),
    Duration::from_millis(10),
    Duration::from_millis(50),
];
/// Most rows that a listing with a filter of its own looks at.
const MAX_LOOKED_AT: usize = 10_000;

/// GetWorkflowState. Two reads side by side; one more for each time that the history was read
/// before the task had changed.
pub(super) async fn state(
    engine: &Engine,
    call: &Call,
    message: pb::GetWorkflowStateRequest,
) -> Result<pb::GetWorkflowStateResponse, Fault> {
    let task = task_id(&message.task_id)?;
    let (stored, steps) = tokio::join!(
        engine.load(&task, call.deadline),
        steps(engine, &task, call.deadline)
    );
    let stored = stored?.ok_or_else(|| Fault::not_found("task", &task))?;
    let steps = reaching(stored.run.seq, steps?, engine, call, &task).await?;
    // What happened after the task was read is left for the next call.
    let steps = steps.iter().filter(|row| row.seq <= stored.run.seq);
    let history: Result<_, _> = steps.map(render::hop).collect();
    Ok(render::state(
        &engine.machine,
        &stored.run,
        stored.version,
        history.map_err(Fault::internal)?,
    ))
}

/// The latest steps of a task, the oldest of them first. One read.
async fn steps(
    engine: &Engine,
    task: &TaskId,
    deadline: Deadline,
) -> Result<Vec<HopRow>, ReadError> {
    let mut scan = Scan::new(
        Index::TaskTransitionsByTask,
        vec![task.as_str().into()],
        MAX_HISTORY,
    );
    scan.descending = true;
    let page = engine.committer.store().scan(&scan, deadline).await?;
    let rows = page.nodes.iter().rev().map(HopRow::read);
    Ok(rows.collect::<Result<_, _>>()?)
}

/// `steps`, or what they are now if they do not reach to step `last`: two reads are not one, and
/// a server may show a commit's task a moment before its step.
async fn reaching(
    last: i64,
    mut steps: Vec<HopRow>,
    engine: &Engine,
    call: &Call,
    task: &TaskId,
) -> Result<Vec<HopRow>, Fault> {
    for pause in HISTORY_PAUSES {
        if steps.last().map_or(0, |row| row.seq) >= last {
            return Ok(steps);
        }
        if pause >= call.deadline.left() {
            break;
        }
        tokio::time::sleep(pause).await;
        steps = self::steps(engine, task, call.deadline).await?;
    }
    if steps.last().map_or(0, |row| row.seq) < last {
        tracing::warn!(%task, step = last, "the history lacks the last step");
    }
    Ok(steps)
}

/// GetNextActions. One read.
pub(super) async fn next(
    engine: &Engine,
    call: &Call,
    message: pb::GetNextActionsRequest,
) -> Result<pb::GetNextActionsResponse, Fault> {
    let mut v = Violations::new();
    let task: Option<TaskId> = v.parse("task_id", &message.task_id);
    let role: Option<Role> = v.parse("role", &message.role);
    let agent: Option<AgentId> = v.parse_optional("agent_id", &message.agent_id);
    let (Some(task), Some(role), Ok(())) = (task, role, v.clone().into_result()) else {
        return Err(v.into());
    };
    let stored = engine.load(&task, call.deadline).await?;
    let Stored { run, version, .. } = stored.ok_or_else(|| Fault::not_found("task", &task))?;
    let machine = &engine.machine;
    let NextActions { actions, why_not } =
        next_actions(machine, &run, role, agent.as_ref(), engine.clock.now());
    let (why_not_code, why_not) = match why_not {
        None => ("", String::new()),
        Some(why) => explain(engine, &run, role, &why),
    };
    Ok(pb::GetNextActionsResponse {
        task_id: run.task.to_string(),
        current_state: machine.name_of(run.state).to_owned(),
        actions: actions
            .iter()
            .map(|next| pb::NextAction {
                action: next.action.to_string(),
                to_state: machine.name_of(next.to).to_owned(),
                is_claim: next.is_claim,
                min_feedback_chars: render::int32(next.min_feedback_chars),
                required_artifacts: next
                    .required_artifacts
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
            })
            .collect(),
        why_not,
        why_not_code: why_not_code.to_owned(),
        blocked_by: render::ids(&run.blocked_by),
        holder_agent_id: run
            .claim
            .as_ref()
            .map_or_else(String::new, |c| c.agent.to_string()),
        lease_until_ms: render::lease_until_ms(&run),
        role_in_charge: render::role(run.role_in_charge(machine)),
        version,
    })
}

fn explain(engine: &Engine, run: &TaskRun, role: Role, why: &WhyNot) -> (&'static str, String) {
    let task = &run.task;
    let state = engine.machine.name_of(run.state);
    match why {
        WhyNot::TerminalState => ("TERMINAL_STATE", format!("task {task} is over: {state}")),
        WhyNot::OtherRole(other) => {
            let turn = other.map_or_else(
                || "nobody's".to_owned(),
                |other| format!("the turn of {other}"),
            );
            (
                "OTHER_ROLE",
                format!("task {task} is in {state}: it is {turn}, not of {role}"),
            )
        }
        WhyNot::Blocked(by) => {
            let by = render::ids(by).join(", ");
            (
                "BLOCKED_BY_DEPENDENCIES",
                format!("task {task} waits for {by}"),
            )
        }
        WhyNot::HeldByOther { agent, lease_until } => (
            "HELD_BY_OTHER",
            format!("task {task} is held by {agent} until {lease_until}"),
        ),
        WhyNot::SeparationOfDuties => (
            "SEPARATION_OF_DUTIES",
            format!("the agent committed the work of task {task} itself"),
        ),
        WhyNot::Suspended => (
            "SUSPENDED",
            format!("the story of task {task} was carried over"),
        ),
    }
}

/// GetPendingTasks. One read, or two with the total; with a story, one for each 1,000 of its
/// tasks.
pub(super) async fn pending(
    engine: &Engine,
    call: &Call,
    message: pb::GetPendingTasksRequest,
) -> Result<pb::GetPendingTasksResponse, Fault> {
    let mut v = Violations::new();
    let role: Option<Role> = v.parse("role", &message.role);
    let story: Option<StoryId> = message
        .story_id
        .as_deref()
        .and_then(|story| v.parse_optional("story_id", story));
    let filters = format!(
        "pending:{}:{}",
        role.map_or("", Role::as_str),
        story.as_ref().map_or("", StoryId::as_str)
    );
    let after = pages::after(&mut v, &filters, &message.page_token);
    let offset = usize::try_from(message.offset).unwrap_or_else(|_| {
        v.add("offset", "is less than 0");
        0
    });
    let (Some(role), Ok(())) = (role, v.clone().into_result()) else {
        return Err(v.into());
    };
    let offset = if after.is_some() { 0 } else { offset };
    let asked = Asked {
        role,
        after,
        offset,
        limit: pages::limit(message.limit, 10),
    };
    let found = match &story {
        None => pending_of_role(engine, call, &asked).await?,
        Some(story) => pending_of_story(engine, call, &asked, story).await?,
    };
    Ok(pb::GetPendingTasksResponse {
        next_page_token: match (&found.last, found.more) {
            (Some(ord), true) => pages::token(&filters, ord),
            _ => String::new(),
        },
        tasks: found.tasks,
        total_count: render::int32(found.total),
        total_is_lower_bound: found.is_lower_bound,
    })
}

struct Asked {
    role: Role,
    after: Option<String>,
    offset: usize,
    limit: usize,
}

#[derive(Default)]
struct Found {
    tasks: Vec<pb::PendingTask>,
    last: Option<String>,
    more: bool,
    total: u64,
    is_lower_bound: bool,
}

async fn pending_of_role(engine: &Engine, call: &Call, asked: &Asked) -> Result<Found, Fault> {
    let filter = vec![asked.role.as_str().into()];
    let mut scan = Scan::new(Index::TaskRunsByWaiting, filter, asked.limit);
    scan.after.clone_from(&asked.after);
    scan.offset = asked.offset;
    scan.total = true;
    let page = engine.committer.store().scan(&scan, call.deadline).await?;
    let mut found = Found {
        more: page.more,
        ..Found::default()
    };
    if let Some(total) = page.total {
        (found.total, found.is_lower_bound) = (total.count, total.is_lower_bound);
    }
    for node in &page.nodes {
        let stored = engine.stored(node).map_err(Fault::internal)?;
        found.tasks.push(render::pending(
            &engine.machine,
            &stored.run,
            stored.version,
        ));
        found.last = Some(node.ord.clone());
    }
    Ok(found)
}

/// The tasks of one story are few: they are all looked at.
async fn pending_of_story(
    engine: &Engine,
    call: &Call,
    asked: &Asked,
    story: &StoryId,
) -> Result<Found, Fault> {
    let mut found = Found::default();
    let mut skip = asked.offset;
    let mut scan = Scan::new(
        Index::TaskRunsByStory,
        vec![story.as_str().into()],
        fleet_graph::MAX_PAGE,
    );
    let mut looked_at = 0;
    loop {
        let page = engine.committer.store().scan(&scan, call.deadline).await?;
        looked_at += page.nodes.len();
        for node in &page.nodes {
            let stored = engine.stored(node).map_err(Fault::internal)?;
            if stored.run.waiting_for(&engine.machine) != Some(asked.role) {
                continue;
            }
            found.total += 1;
            if asked.after.as_ref().is_some_and(|after| node.ord <= *after) {
                continue;
            }
            if skip > 0 {
                skip -= 1;
            } else if found.tasks.len() < asked.limit {
                found.tasks.push(render::pending(
                    &engine.machine,
                    &stored.run,
                    stored.version,
                ));
                found.last = Some(node.ord.clone());
            } else {
                found.more = true;
            }
        }
        found.is_lower_bound = page.more;
        match page.nodes.last() {
            Some(last) if page.more && looked_at < MAX_LOOKED_AT => {
                scan.after = Some(last.ord.clone());
            }
            _ => return Ok(found),
        }
    }
}

fn task_id(text: &str) -> Result<TaskId, Fault> {
    let mut v = Violations::new();
    v.parse("task_id", text).ok_or_else(|| v.into())
}
