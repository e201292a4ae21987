//! A task on its way: where it stands, who holds it, what was handed in.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_types::{Action, AgentId, Role, StoryId, TaskId, Timestamp};

use crate::fsm::{Kind, Machine, Outcome, State, StateId};

/// Somebody's right to work on a task until somebody else's hop takes it away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Who holds it.
    pub agent: AgentId,
    /// In which role.
    pub role: Role,
    /// From then on others may take it over.
    pub lease_until: Timestamp,
    /// How long the lease lasts when it is renewed without a wish.
    pub lease: Duration,
    /// Which claim of the task this is: 1, 2, …; the fencing token.
    pub epoch: i64,
    /// Where the task goes when the claim ends without a result.
    pub returns_to: StateId,
}

/// What was handed in last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// Who committed it; may not approve it.
    pub agent: AgentId,
    /// The authenticated caller.
    pub principal: String,
    /// The commit.
    pub commit_sha: String,
    /// Everything handed in, the commit included.
    pub artifacts: BTreeMap<String, String>,
    /// What the committer said about it.
    pub summary: String,
    /// The history entry of the commit.
    pub seq: i64,
    /// The claim it was done under; 0 if none.
    pub claim_epoch: i64,
}

/// How long verdicts took: from arrival at the role to its verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Judged {
    /// Verdicts of architects.
    pub architect: i64,
    /// Milliseconds they took together.
    pub architect_ms: i64,
    /// Verdicts of QA.
    pub qa: i64,
    /// Milliseconds they took together.
    pub qa_ms: i64,
}

impl Judged {
    /// One verdict more.
    pub fn add(&mut self, role: Role, took: Duration) {
        let ms = i64::try_from(took.as_millis()).unwrap_or(i64::MAX);
        match role {
            Role::Architect => {
                self.architect += 1;
                self.architect_ms = self.architect_ms.saturating_add(ms);
            }
            Role::Qa => {
                self.qa += 1;
                self.qa_ms = self.qa_ms.saturating_add(ms);
            }
            _ => {}
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            architect: self.architect + other.architect,
            architect_ms: self.architect_ms.saturating_add(other.architect_ms),
            qa: self.qa + other.qa,
            qa_ms: self.qa_ms.saturating_add(other.qa_ms),
        }
    }
}

/// A task in the workflow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRun {
    /// The task.
    pub task: TaskId,
    /// Its story.
    pub story: StoryId,
    /// The execution of the story that it is worked on for: 1, 2, ….
    pub execution: i64,
    /// Where it stands.
    pub state: StateId,
    /// From 1, the most urgent, upwards.
    pub priority: i32,
    /// Who does the work, if not the developer.
    pub worker: Option<Role>,
    /// The tasks that it builds on.
    pub depends_on: Vec<TaskId>,
    /// Those of them that are not done.
    pub blocked_by: Vec<TaskId>,
    /// The tasks that build on it.
    pub dependents: Vec<TaskId>,
    /// Who holds it; there is one exactly in active states.
    pub claim: Option<Claim>,
    /// Epoch of the latest claim; 0 before the first. Never falls.
    pub claim_epoch: i64,
    /// What the last rejection asked for, until an approval.
    pub feedback: Option<String>,
    /// Where the last rejection led, until an approval.
    pub rework: Option<StateId>,
    /// Rejections in this execution.
    pub rejections: i64,
    /// Rejections since the last retry; escalates at the machine's maximum.
    pub strikes: i64,
    /// How often it was started over.
    pub retries: i64,
    /// What was handed in last.
    pub work: Option<Work>,
    /// Where it was before it came to rest.
    pub origin: Option<StateId>,
    /// Where it was before it escalated.
    pub escalated_from: Option<StateId>,
    /// Length of its history.
    pub seq: i64,
    /// Since when it is in this state, or free to be taken up if that is later.
    pub waiting_since: Timestamp,
    /// Since when it is the turn of the role whose turn it is.
    pub turn_since: Timestamp,
    /// When it changed last. Never falls, whatever the clocks of replicas say.
    pub updated_at: Timestamp,
    /// When it was released first.
    pub created_at: Timestamp,
    /// When the lease or the wait ends.
    pub due_at: Option<Timestamp>,
    /// The action of the latest hop.
    pub last_action: Action,
    /// The role of the latest hop.
    pub last_role: Role,
    /// How long verdicts took.
    pub judged: Judged,
}

impl TaskRun {
    /// The state it is in.
    pub fn at<'m>(&self, machine: &'m Machine) -> &'m State {
        machine.state(self.state)
    }

    /// Whether it is over, and how.
    pub fn outcome(&self, machine: &Machine) -> Option<Outcome> {
        self.at(machine).outcome
    }

    /// Whether it is over.
    pub fn is_over(&self, machine: &Machine) -> bool {
        self.at(machine).kind == Kind::Terminal
    }

    /// The role that plays `role` of the machine for this task: a task with a worker of its
    /// own has that worker where the machine says developer.
    pub fn played_by(&self, role: Role) -> Role {
        match (role, self.worker) {
            (Role::Developer, Some(worker)) => worker,
            _ => role,
        }
    }

    /// Whose turn it is.
    pub fn role_in_charge(&self, machine: &Machine) -> Option<Role> {
        self.at(machine).role.map(|role| self.played_by(role))
    }

    /// Whether it waits for something that is not its own role's to give.
    pub fn is_blocked(&self, machine: &Machine) -> bool {
        !self.blocked_by.is_empty() && self.state == machine.initial()
    }

    /// The role that could take it up now.
    pub fn waiting_for(&self, machine: &Machine) -> Option<Role> {
        let state = self.at(machine);
        if state.kind == Kind::Waiting && !self.is_blocked(machine) {
            state.role.map(|role| self.played_by(role))
        } else {
            None
        }
    }
}
