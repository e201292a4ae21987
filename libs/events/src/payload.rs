//! The body of every event, one type each. Field names are published: consumers outside this
//! repository read them. Each type has a golden JSON fixture under `tests/golden/`.
//!
//! Two fields every payload carries besides its own: `event_type` (the subject without its
//! first word, as published from the beginning) and `timestamp` (RFC 3339, `Z`).

use fleet_types::{
    Action, AgentId, DecisionId, EpicId, PlanId, ProjectId, Role, StoryId, TaskId, Timestamp,
};
use serde::{Deserialize, Serialize};

pub use heard::{
    DecidedThere, DeliberationCompleted, RehydrateRequest, TaskDispatched, UpdateChange,
    UpdateRequest, WorkArtifacts, WorkCompleted, WorkOutcome,
};

mod heard;

/// A payload knows its subject.
pub trait Payload: Serialize {
    /// The subject, e.g. `planning.story.created`.
    const SUBJECT: &'static str;
}

macro_rules! payloads {
    ($($(#[$meta:meta])* $name:ident = $subject:literal {
        $($(#[$fmeta:meta])* $field:ident: $type:ty),* $(,)?
    })+) => {
        $(
            $(#[$meta])*
            #[doc = concat!("\n\nSubject `", $subject, "`.")]
            #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
            #[cfg_attr(test, derive(schemars::JsonSchema))]
            pub struct $name {
                $($(#[$fmeta])* pub $field: $type,)*
                /// When it happened.
                pub timestamp: Timestamp,
            }

            impl Payload for $name {
                const SUBJECT: &'static str = $subject;
            }
        )+

        /// The subject of every payload type.
        pub const SUBJECTS: &[&str] = &[$($subject),+];

        #[cfg(test)]
        fn cases() -> Vec<tests::Case> {
            vec![$(tests::Case::of::<$name>()),+]
        }
    };
}

payloads! {
    /// A project exists.
    ProjectCreated = "planning.project.created" {
        /// The project.
        project_id: ProjectId,
        /// Its name.
        name: String,
        /// Its owner; may be empty.
        owner: String,
        /// Its status.
        status: String,
    }
    /// An epic exists.
    EpicCreated = "planning.epic.created" {
        /// The epic.
        epic_id: EpicId,
        /// Its project.
        project_id: ProjectId,
        /// Its title.
        title: String,
        /// Its status.
        status: String,
    }
    /// A story exists, in DRAFT.
    StoryCreated = "planning.story.created" {
        /// The story.
        story_id: StoryId,
        /// Its epic, unless it was created without.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epic_id: Option<EpicId>,
        /// Its title.
        title: String,
        /// Who created it.
        created_by: String,
    }
    /// The content of a story changed.
    StoryUpdated = "planning.story.updated" {
        /// The story.
        story_id: StoryId,
        /// Its version from now on.
        version: i64,
        /// The fields that changed, by their proto names.
        changed: Vec<String>,
        /// Who changed it.
        updated_by: String,
    }
    /// A story moved on (one event for each hop).
    StoryTransitioned = "planning.story.transitioned" {
        /// The story.
        story_id: StoryId,
        /// Where it was.
        from_state: String,
        /// Where it is.
        to_state: String,
        /// Who moved it; `system` if the fleet did.
        transitioned_by: String,
        /// Why, if a reason was given.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        reason: String,
        /// Which execution of the story this belongs to; 0 before the first.
        #[serde(default)]
        execution: i64,
        /// With `to_state` READY_FOR_EXECUTION: every task of the story. Otherwise absent.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tasks: Vec<ReleasedTask>,
    }
    /// A story could not be released because of its tasks.
    StoryTasksNotReady = "planning.story.tasks_not_ready" {
        /// The story.
        story_id: StoryId,
        /// Why, for people.
        reason: String,
        /// Tasks without a priority, if that is the reason.
        task_ids_without_priority: Vec<TaskId>,
        /// How many tasks the story has.
        total_tasks: u64,
        /// The dependency cycle, first task repeated at the end, if that is the reason.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cycle: Vec<TaskId>,
    }
    /// A task exists.
    TaskCreated = "planning.task.created" {
        /// The task.
        task_id: TaskId,
        /// Its story.
        story_id: StoryId,
        /// The plan it came from, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        plan_id: Option<PlanId>,
        /// Its title.
        title: String,
        /// Its type.
        #[serde(rename = "type")]
        kind: String,
        /// Its priority, 1 = highest.
        priority: i32,
        /// The tasks it waits for.
        #[serde(default)]
        depends_on: Vec<TaskId>,
    }
    /// The product owner accepted a decision.
    DecisionApproved = "planning.decision.approved" {
        /// The story.
        story_id: StoryId,
        /// The decision.
        decision_id: DecisionId,
        /// Who.
        approved_by: String,
        /// A remark.
        comment: Option<String>,
    }
    /// The product owner refused a decision.
    DecisionRejected = "planning.decision.rejected" {
        /// The story.
        story_id: StoryId,
        /// The decision.
        decision_id: DecisionId,
        /// Who.
        rejected_by: String,
        /// Why.
        reason: String,
    }
    /// A version of a story's plan was approved.
    PlanApproved = "planning.plan.approved" {
        /// The plan version.
        plan_id: PlanId,
        /// The story.
        story_id: StoryId,
        /// The roles that the plan needs.
        roles: Vec<String>,
        /// Who.
        approved_by: String,
        /// 1, 2, … per story.
        #[serde(default)]
        version: i64,
    }
    /// A task moved (one event for each hop).
    StateChanged = "workflow.state.changed" {
        /// The task.
        task_id: TaskId,
        /// Its story.
        story_id: StoryId,
        /// Which execution of the story.
        #[serde(default)]
        execution: i64,
        /// Where it was.
        from_state: String,
        /// Where it is.
        to_state: String,
        /// What was done.
        action: Action,
        /// In which role.
        actor_role: Role,
        /// By which agent, if one acted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        agent_id: Option<AgentId>,
        /// Who has to act next, if anyone.
        role_in_charge: Option<Role>,
        /// What is expected of that role.
        required_action: Option<Action>,
        /// What a reviewer said, if this hop carries feedback.
        feedback: Option<String>,
        /// How often the task was retried.
        retry_count: i64,
        /// The place of this hop in the task's history.
        #[serde(default)]
        seq: i64,
    }
    /// Somebody of a role has something to do on a task.
    TaskAssigned = "workflow.task.assigned" {
        /// The task.
        task_id: TaskId,
        /// Its story.
        story_id: StoryId,
        /// Which execution of the story.
        #[serde(default)]
        execution: i64,
        /// Who has to act.
        role: Role,
        /// What is expected.
        action_required: Action,
        /// The state that the task is in.
        #[serde(default)]
        current_state: String,
        /// On rework: what the reviewer said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        feedback: Option<String>,
        /// The commit to look at, once there is one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit_sha: Option<String>,
        /// On rework: the agent whose work was refused.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous_agent_id: Option<AgentId>,
    }
    /// Work waits for a verdict.
    ValidationRequired = "workflow.validation.required" {
        /// The task.
        task_id: TaskId,
        /// Its story.
        story_id: StoryId,
        /// Whose verdict.
        validator_role: Role,
        /// `design`, `tests` or `story`.
        artifact_type: String,
    }
    /// A task reached its end.
    TaskCompleted = "workflow.task.completed" {
        /// The task.
        task_id: TaskId,
        /// Its story.
        story_id: StoryId,
        /// Which execution of the story.
        #[serde(default)]
        execution: i64,
        /// `done` or `cancelled`.
        final_state: String,
    }
    /// A task needs the product owner, or still does (reminder).
    TaskEscalated = "workflow.task.escalated" {
        /// The task.
        task_id: TaskId,
        /// Its story.
        story_id: StoryId,
        /// Why: `max_rejections`, `sla`, `dependency_cancelled`, `reminder`.
        reason: String,
        /// The state it came from.
        from_state: String,
        /// The last feedback, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        feedback: Option<String>,
    }
    /// Every task of one execution of a story is done or cancelled. Said once per execution.
    StoryCompleted = "workflow.story.completed" {
        /// The story.
        story_id: StoryId,
        /// Which execution.
        execution: i64,
        /// Tasks done.
        tasks_done: i64,
        /// Tasks cancelled.
        tasks_cancelled: i64,
    }
    /// A claim's lease ran out and the task is free again.
    ClaimExpired = "workflow.claim.expired" {
        /// The task.
        task_id: TaskId,
        /// Its story.
        story_id: StoryId,
        /// Who held it.
        agent_id: AgentId,
        /// The epoch of that claim.
        claim_epoch: i64,
        /// Until when the lease ran.
        lease_until: Timestamp,
        /// Who took it over, if that is how it was noticed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        taken_over_by: Option<AgentId>,
    }
    /// Somebody tried what the role does not allow.
    RbacViolation = "workflow.rbac.violation" {
        /// The task.
        task_id: TaskId,
        /// The role that was used.
        role: Role,
        /// What was tried.
        action: Action,
        /// In which state.
        current_state: String,
        /// By which agent; may be empty.
        agent_id: String,
        /// Why it was refused, for people.
        reason: String,
    }
    /// The context of a story has a new version.
    ContextUpdated = "context.events.updated" {
        /// The story.
        story_id: StoryId,
        /// Counts the changes of the story's context.
        version: i64,
        /// What changed: `decision:DEC-…`, `task:T-…`, `milestone:…`, `summary:…`,
        /// `phase:BUILD`, `story:s-…`, `plan:PL-…`.
        changed: Vec<String>,
        /// Of what was changed: SHA-256, first 16 hexadecimal digits.
        hash: String,
    }
    /// A decision was recorded.
    DecisionAdded = "context.decision.added" {
        /// The story.
        story_id: StoryId,
        /// The decision.
        decision_id: DecisionId,
        /// Its title, redacted.
        title: String,
        /// What kind of decision.
        decision_type: String,
        /// Its status.
        status: String,
        /// The role that decided it; may be empty.
        decided_by: String,
        /// Tasks it has a say in.
        #[serde(default)]
        affects: Vec<TaskId>,
        /// Decisions it takes the place of.
        #[serde(default)]
        supersedes: Vec<DecisionId>,
    }
    /// What came of a request to change a story's context.
    UpdateAnswered = "context.update.response" {
        /// The story, as it was named.
        story_id: String,
        /// `success` or `error`.
        status: String,
        /// The version of the story's context from now on; 0 after an error.
        version: i64,
        /// Of what was changed; empty after an error.
        hash: String,
        /// Remarks.
        warnings: Vec<String>,
        /// What was wrong; empty after success.
        #[serde(default)]
        error: String,
        /// The event that asked.
        request: String,
    }
    /// What came of a request to put the packs of a story together.
    RehydrateAnswered = "context.rehydrate.response" {
        /// The story, as it was named.
        case_id: String,
        /// `success` or `error`.
        status: String,
        /// Milliseconds since 1970-01-01 UTC; 0 after an error.
        generated_at_ms: i64,
        /// How many packs there are.
        packs_count: u64,
        /// Under which id they are kept; empty after an error.
        bundle_id: String,
        /// Decisions of the story.
        #[serde(default)]
        decisions: u64,
        /// Relations between them.
        #[serde(default)]
        decision_edges: u64,
        /// Tasks they have a say in.
        #[serde(default)]
        impacts: u64,
        /// Milestones.
        #[serde(default)]
        events: u64,
        /// The roles.
        #[serde(default)]
        roles: Vec<String>,
        /// Remarks: what could not be read, or was left out.
        #[serde(default)]
        warnings: Vec<String>,
        /// What was wrong, packs that could not be kept included; empty after success.
        #[serde(default)]
        error: String,
        /// The event that asked.
        request: String,
    }
}

/// One task of a released story, as the workflow needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ReleasedTask {
    /// The task.
    pub task_id: TaskId,
    /// 1 = highest.
    #[serde(default = "one")]
    pub priority: i32,
    /// The role that works on it, if not the developer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Tasks of the same story that must be done first.
    #[serde(default)]
    pub depends_on: Vec<TaskId>,
    /// Its title, for people.
    #[serde(default)]
    pub title: String,
}

fn one() -> i32 {
    1
}

#[cfg(test)]
mod tests;
