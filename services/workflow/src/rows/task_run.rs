use std::time::Duration;

use fleet_graph::{CorruptRow, Node, NodeKey, Props, props};
use fleet_types::{Action, AgentId, Role, StoryId, TaskId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{json, maybe_state, run_key, state, to_json};
use crate::domain::{Claim, Judged, TaskRun, Work};
use crate::fsm::Machine;

/// A task in the workflow, as it is stored. `story_id`, `state` and `waiting_for` are the
/// filters of listings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskRunRow {
    task_id: TaskId,
    story_id: StoryId,
    execution: i64,
    state: String,
    /// The role that could take it up now; empty if none could.
    waiting_for: String,
    priority: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    worker: Option<Role>,
    #[serde(default)]
    depends_on: Vec<TaskId>,
    #[serde(default)]
    blocked_by: Vec<TaskId>,
    #[serde(default)]
    dependents: Vec<TaskId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim_agent: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim_role: Option<Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lease_until: Option<Timestamp>,
    #[serde(default)]
    lease_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    claim_returns_to: Option<String>,
    claim_epoch: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feedback: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rework: Option<String>,
    rejections: i64,
    strikes: i64,
    retries: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    work_agent: Option<AgentId>,
    #[serde(default)]
    work_principal: String,
    #[serde(default)]
    work_commit_sha: String,
    #[serde(default)]
    work_artifacts_json: String,
    #[serde(default)]
    work_summary: String,
    #[serde(default)]
    work_seq: i64,
    #[serde(default)]
    work_claim_epoch: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    origin: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    escalated_from: Option<String>,
    seq: i64,
    waiting_since: Timestamp,
    turn_since: Timestamp,
    updated_at: Timestamp,
    created_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_at: Option<Timestamp>,
    last_action: Action,
    last_role: Role,
    architect_verdicts: i64,
    architect_ms: i64,
    qa_verdicts: i64,
    qa_ms: i64,
    /// Version of its timer row; 0 = it has none. Kept here so that a transition need not
    /// read the timer.
    pub timer_version: i64,
}

impl TaskRunRow {
    /// As it is stored.
    pub fn new(machine: &Machine, run: &TaskRun, timer_version: i64) -> Self {
        let name = |id| machine.name_of(id).to_owned();
        let claim = run.claim.as_ref();
        let work = run.work.as_ref();
        Self {
            task_id: run.task.clone(),
            story_id: run.story.clone(),
            execution: run.execution,
            state: name(run.state),
            waiting_for: run.waiting_for(machine).map_or("", Role::as_str).to_owned(),
            priority: run.priority,
            worker: run.worker,
            depends_on: run.depends_on.clone(),
            blocked_by: run.blocked_by.clone(),
            dependents: run.dependents.clone(),
            claim_agent: claim.map(|c| c.agent.clone()),
            claim_role: claim.map(|c| c.role),
            lease_until: claim.map(|c| c.lease_until),
            lease_ms: claim.map_or(0, |c| {
                u64::try_from(c.lease.as_millis()).unwrap_or(u64::MAX)
            }),
            claim_returns_to: claim.map(|c| name(c.returns_to)),
            claim_epoch: run.claim_epoch,
            feedback: run.feedback.clone(),
            rework: run.rework.map(name),
            rejections: run.rejections,
            strikes: run.strikes,
            retries: run.retries,
            work_agent: work.map(|w| w.agent.clone()),
            work_principal: work.map_or_else(String::new, |w| w.principal.clone()),
            work_commit_sha: work.map_or_else(String::new, |w| w.commit_sha.clone()),
            work_artifacts_json: work.map_or_else(String::new, |w| to_json(&w.artifacts)),
            work_summary: work.map_or_else(String::new, |w| w.summary.clone()),
            work_seq: work.map_or(0, |w| w.seq),
            work_claim_epoch: work.map_or(0, |w| w.claim_epoch),
            origin: run.origin.map(name),
            escalated_from: run.escalated_from.map(name),
            seq: run.seq,
            waiting_since: run.waiting_since,
            turn_since: run.turn_since,
            updated_at: run.updated_at,
            created_at: run.created_at,
            due_at: run.due_at,
            last_action: run.last_action,
            last_role: run.last_role,
            architect_verdicts: run.judged.architect,
            architect_ms: run.judged.architect_ms,
            qa_verdicts: run.judged.qa,
            qa_ms: run.judged.qa_ms,
            timer_version,
        }
    }

    /// Its properties.
    pub fn props(&self) -> Props {
        props(self)
    }

    /// Its place in listings: what was refused most often first, then by priority, then what
    /// waits longest.
    pub fn ord(&self) -> String {
        let rejections = 999_999 - self.rejections.clamp(0, 999_999);
        let priority = self.priority.clamp(0, 999_999);
        let since = self.waiting_since.rfc3339();
        format!("{rejections:06}|{priority:06}|{since}|{}", self.task_id)
    }

    /// The run, and the version of its timer.
    ///
    /// # Errors
    /// If the row is not one of ours, or of another machine.
    pub fn read(machine: &Machine, node: &Node) -> Result<(TaskRun, i64), CorruptRow> {
        let row: Self = node.row()?;
        let timer_version = row.timer_version;
        Ok((row.into_run(machine)?, timer_version))
    }

    fn into_run(self, machine: &Machine) -> Result<TaskRun, CorruptRow> {
        let key = run_key(&self.task_id);
        Ok(TaskRun {
            state: state(machine, &key, &self.state)?,
            claim: self.claim(machine, &key)?,
            rework: maybe_state(machine, &key, self.rework.as_deref())?,
            work: self.work(&key)?,
            origin: maybe_state(machine, &key, self.origin.as_deref())?,
            escalated_from: maybe_state(machine, &key, self.escalated_from.as_deref())?,
            judged: Judged {
                architect: self.architect_verdicts,
                architect_ms: self.architect_ms,
                qa: self.qa_verdicts,
                qa_ms: self.qa_ms,
            },
            task: self.task_id,
            story: self.story_id,
            execution: self.execution,
            priority: self.priority,
            worker: self.worker,
            depends_on: self.depends_on,
            blocked_by: self.blocked_by,
            dependents: self.dependents,
            claim_epoch: self.claim_epoch,
            feedback: self.feedback,
            rejections: self.rejections,
            strikes: self.strikes,
            retries: self.retries,
            seq: self.seq,
            waiting_since: self.waiting_since,
            turn_since: self.turn_since,
            updated_at: self.updated_at,
            created_at: self.created_at,
            due_at: self.due_at,
            last_action: self.last_action,
            last_role: self.last_role,
        })
    }

    fn claim(&self, machine: &Machine, key: &NodeKey) -> Result<Option<Claim>, CorruptRow> {
        let Some(agent) = self.claim_agent.clone() else {
            return Ok(None);
        };
        let incomplete = || CorruptRow {
            key: key.clone(),
            problem: "a claim without role, lease or place to return to".to_owned(),
        };
        let returns_to = self.claim_returns_to.as_deref().ok_or_else(incomplete)?;
        Ok(Some(Claim {
            agent,
            role: self.claim_role.ok_or_else(incomplete)?,
            lease_until: self.lease_until.ok_or_else(incomplete)?,
            lease: Duration::from_millis(self.lease_ms),
            epoch: self.claim_epoch,
            returns_to: state(machine, key, returns_to)?,
        }))
    }

    fn work(&self, key: &NodeKey) -> Result<Option<Work>, CorruptRow> {
        let Some(agent) = self.work_agent.clone() else {
            return Ok(None);
        };
        Ok(Some(Work {
            agent,
            principal: self.work_principal.clone(),
            commit_sha: self.work_commit_sha.clone(),
            artifacts: json(key, "work_artifacts_json", &self.work_artifacts_json)?,
            summary: self.work_summary.clone(),
            seq: self.work_seq,
            claim_epoch: self.work_claim_epoch,
        }))
    }
}
