//! The service without a store: runs, histories, stories, and what must always hold of them.

use std::collections::BTreeMap;
use std::time::Duration;

use fleet_types::{Action, AgentId, Role, StoryId, TaskId, Timestamp};
use fleet_workflow::domain::{
    Actor, Change, Command, Handed, Hop, Notice, Phase, Rejection, Release, Released, StoryRun,
    TaskRun, decide, next_actions, release, task_ended,
};
use fleet_workflow::fsm::{self, Kind, Machine, Outcome, Target};

pub const TASKS: usize = 4;
pub const AGENTS: usize = 3;
pub const ROLES: [Role; 6] = [
    Role::Developer,
    Role::Architect,
    Role::Qa,
    Role::Po,
    Role::Devops,
    Role::System,
];
pub const ACTIONS: [Action; 16] = [
    Action::ClaimTask,
    Action::CommitCode,
    Action::ReviseCode,
    Action::ClaimReview,
    Action::ApproveDesign,
    Action::RejectDesign,
    Action::ClaimTesting,
    Action::ApproveTests,
    Action::RejectTests,
    Action::ApproveStory,
    Action::RejectStory,
    Action::Retry,
    Action::DiscardTask,
    Action::Cancel,
    Action::Suspend,
    Action::DeployService,
];

/// Which epoch a caller names.
#[derive(Debug, Clone, Copy)]
pub enum Epoch {
    None,
    Current,
    Older,
}

#[derive(Debug, Clone)]
pub enum Op {
    Act {
        task: usize,
        role: usize,
        agent: usize,
        action: usize,
        words: bool,
        sha: bool,
        epoch: Epoch,
    },
    /// Whatever the role may do next, done properly: keeps the sequences moving.
    Forward {
        task: usize,
        agent: usize,
        pick: usize,
    },
    Claim {
        task: usize,
        role: usize,
        agent: usize,
    },
    Renew {
        task: usize,
        role: usize,
        agent: usize,
        epoch: Epoch,
    },
    GiveBack {
        task: usize,
        role: usize,
        agent: usize,
    },
    Wait {
        minutes: u64,
    },
    Timers,
    CarryOver,
    Reset,
    ReleaseAgain,
}

pub fn task(i: usize) -> TaskId {
    TaskId::parse(&format!("T-{i}")).unwrap()
}

pub fn agent(i: usize) -> AgentId {
    AgentId::parse(&format!("agent-{i}")).unwrap()
}

/// T-1 builds on T-0, T-2 on both; T-3 stands alone.
pub fn depends_on(i: usize) -> Vec<TaskId> {
    match i {
        1 => vec![task(0)],
        2 => vec![task(0), task(1)],
        _ => Vec::new(),
    }
}

pub struct World {
    pub machine: Machine,
    pub now: Timestamp,
    pub runs: BTreeMap<TaskId, TaskRun>,
    pub histories: BTreeMap<TaskId, Vec<Hop>>,
    pub stories: BTreeMap<i64, StoryRun>,
    pub completed: BTreeMap<i64, usize>,
}

impl World {
    pub fn new() -> Self {
        let mut world = Self {
            machine: fsm::shipped(),
            now: Timestamp::from_millis(1_762_603_200_000),
            runs: BTreeMap::new(),
            histories: BTreeMap::new(),
            stories: BTreeMap::new(),
            completed: BTreeMap::new(),
        };
        world.release(false);
        world
    }

    pub fn execution(&self) -> i64 {
        self.stories.keys().last().copied().unwrap_or(0)
    }

    pub fn release(&mut self, after_reset: bool) {
        let story = StoryId::parse("s-1").unwrap();
        let execution = self.execution() + 1;
        let spec = Release {
            story: story.clone(),
            execution,
            after_reset,
            late: None,
        };
        let settled = |run: &TaskRun| {
            run.outcome(&self.machine) == Some(Outcome::Done)
                || (run.is_over(&self.machine) && run.last_role != Role::System)
        };
        let blocks = |id: &TaskId| !self.runs.get(id).is_some_and(settled);
        let described: Vec<Released> = (0..TASKS)
            .map(|i| Released {
                task: task(i),
                priority: 1,
                worker: (i == 3).then_some(Role::Devops),
                depends_on: depends_on(i),
                blocked_by: depends_on(i).into_iter().filter(blocks).collect(),
                dependents: (0..TASKS)
                    .filter(|j| depends_on(*j).contains(&task(i)))
                    .map(task)
                    .collect(),
            })
            .collect();
        let mut run = StoryRun::new(story, execution, Phase::Active, self.now);
        for released in &described {
            let existing = self.runs.get(&released.task);
            let change = release(&self.machine, existing, released, &spec, self.now);
            let after = change
                .as_ref()
                .map(|change| &change.run)
                .or(existing)
                .unwrap();
            run.total += 1;
            match after.outcome(&self.machine) {
                Some(Outcome::Done) => run.done += 1,
                Some(Outcome::Cancelled) => run.cancelled += 1,
                None => {}
            }
            if let Some(change) = change {
                self.keep(change);
            }
        }
        if run.complete(self.now) {
            *self.completed.entry(execution).or_default() += 1;
        }
        self.stories.insert(execution, run);
    }

    pub fn end(&mut self, phase: Phase) {
        let execution = self.execution();
        let command = match phase {
            Phase::Abandoned => Command::Cancel {
                reason: "reset".to_owned(),
            },
            _ => Command::Suspend,
        };
        let runs: Vec<TaskRun> = self
            .runs
            .values()
            .filter(|r| r.execution == execution)
            .cloned()
            .collect();
        for run in runs {
            if let Some(change) = decide(&self.machine, &run, &command, self.now).unwrap() {
                self.keep(change);
            }
        }
        let story = self.stories.get_mut(&execution).unwrap();
        story.phase = story.phase.max(phase);
    }

    /// What the service does with a change, without a store.
    pub fn commit(&mut self, change: Change) {
        let ended = change.run.clone();
        let outcome = ended.outcome(&self.machine);
        self.keep(change);
        let Some(outcome) = outcome else { return };
        let story = self.stories[&ended.execution].clone();
        let dependents: Vec<TaskRun> = ended
            .dependents
            .iter()
            .map(|id| self.runs[id].clone())
            .collect();
        let ended = task_ended(
            &self.machine,
            &story,
            &ended,
            outcome,
            &dependents,
            self.now,
        );
        if ended.completed {
            *self.completed.entry(ended.story.execution).or_default() += 1;
        }
        self.stories.insert(ended.story.execution, ended.story);
        for change in ended.dependents {
            self.keep(change);
        }
    }

    pub fn keep(&mut self, change: Change) {
        let before = self.runs.get(&change.run.task);
        self.check_change(before, &change);
        let history = self.histories.entry(change.run.task.clone()).or_default();
        history.extend(change.hops);
        self.runs.insert(change.run.task.clone(), change.run);
    }

    pub fn check_change(&self, before: Option<&TaskRun>, change: &Change) {
        let run = &change.run;
        let mut seq = before.map_or(0, |before| before.seq);
        let mut at = before.map(|before| before.state);
        for hop in &change.hops {
            seq += 1;
            assert_eq!(hop.seq, seq, "history without gaps");
            if let Some(from) = hop.from {
                assert_eq!(Some(from), at, "each hop starts where the last one ended");
            }
            assert!(self.legal(run, hop), "not a way of the machine: {hop:?}");
            at = Some(hop.to);
        }
        assert_eq!(run.seq, seq);
        assert_eq!(Some(run.state), at, "replaying the hops gives the state");
        assert_eq!(
            run.claim.is_some(),
            run.at(&self.machine).kind == Kind::Active,
            "held when active"
        );
        assert_ne!(
            run.at(&self.machine).kind,
            Kind::Automatic,
            "nobody rests in between"
        );
        if let Some(claim) = &run.claim {
            assert_eq!(claim.epoch, run.claim_epoch);
        }
        if let Some(before) = before {
            assert!(run.claim_epoch >= before.claim_epoch, "epochs never fall");
            assert!(run.updated_at >= before.updated_at, "time never falls");
            self.check_duties(before, change);
        }
        let max = self.machine.limits().max_rejections.unwrap();
        let stuck = Some(run.state) == self.machine.escalation() || run.origin.is_some();
        assert!(
            run.strikes < max || run.is_over(&self.machine) || stuck,
            "rework is bounded"
        );
        let ended = change
            .notices
            .iter()
            .filter(|n| matches!(n, Notice::Completed(_)))
            .count();
        assert_eq!(
            ended == 1,
            run.is_over(&self.machine) && !change.hops.is_empty()
        );
    }

    /// Holders and committers.
    pub fn check_duties(&self, before: &TaskRun, change: &Change) {
        let mut holder = before.claim.as_ref().map(|claim| claim.agent.clone());
        let mut committer = before.work.as_ref().map(|work| work.agent.clone());
        for hop in &change.hops {
            let Some(from) = hop.from else { continue };
            let state = self.machine.state(from);
            let by_its_role = state.role.map(|role| before.played_by(role)) == Some(hop.role);
            if state.kind == Kind::Active && by_its_role {
                assert_eq!(hop.agent, holder, "only the holder acts: {hop:?}");
            }
            if hop.action.is_approval() {
                assert_ne!(
                    hop.agent, committer,
                    "nobody approves his own work: {hop:?}"
                );
            }
            if from == self.machine.initial() && self.machine.is_claim(hop.action) {
                assert!(before.blocked_by.is_empty(), "not before what it builds on");
            }
            if self.machine.state(hop.to).kind == Kind::Active {
                holder = hop.agent.clone();
            }
            if hop.action == Action::CommitCode {
                committer = hop.agent.clone();
            }
        }
    }

    /// Whether a hop is one of the machine's, or one that the fleet makes by itself.
    pub fn legal(&self, run: &TaskRun, hop: &Hop) -> bool {
        let machine = &self.machine;
        let Some(from) = hop.from else {
            return hop.action == Action::ReleaseTask && hop.to == machine.initial();
        };
        let ends_claim = |to| {
            let held = machine.state(from).kind == Kind::Active;
            held && machine.rules().iter().any(|rule| {
                rule.target == Target::State(from) && rule.claim.is_some_and(|c| c.returns_to == to)
            })
        };
        match hop.action {
            Action::ReleaseClaim => ends_claim(hop.to) && hop.role != Role::System,
            Action::ExpireClaim => ends_claim(hop.to) && hop.role == Role::System,
            Action::Escalate => Some(hop.to) == machine.escalation() && hop.role == Role::System,
            action => machine.rules_for(from, action).any(|rule| {
                let leads_there = match rule.target {
                    Target::State(to) => to == hop.to,
                    Target::Back { .. } => machine.state(hop.to).kind == Kind::Waiting,
                    Target::Via(_) => false,
                };
                leads_there
                    && rule
                        .roles
                        .iter()
                        .any(|role| run.played_by(*role) == hop.role)
            }),
        }
    }

    pub fn check(&self) {
        for (execution, story) in &self.stories {
            let times = self.completed.get(execution).copied().unwrap_or(0);
            assert!(times <= 1, "execution {execution} completed {times} times");
            assert_eq!(times == 1, story.completed_at.is_some());
        }
        let latest = &self.stories[&self.execution()];
        let open = self
            .runs
            .values()
            .filter(|run| !run.is_over(&self.machine))
            .count();
        if latest.phase == Phase::Active {
            assert_eq!(
                latest.open(),
                i64::try_from(open).unwrap(),
                "the story counts its tasks"
            );
            assert_eq!(
                latest.completed_at.is_some(),
                open == 0,
                "complete when all are over"
            );
        }
    }

    pub fn run_op(&mut self, op: &Op) {
        // The edge never lets a caller act as the fleet.
        if let Op::Act { role, .. }
        | Op::Claim { role, .. }
        | Op::Renew { role, .. }
        | Op::GiveBack { role, .. } = op
            && ROLES[*role] == Role::System
        {
            return;
        }
        match op {
            Op::Wait { minutes } => self.now = self.now.plus(Duration::from_secs(minutes * 60)),
            Op::Timers => {
                for i in 0..TASKS {
                    self.try_command(i, &Command::TimeIsUp);
                }
            }
            Op::CarryOver => self.end(Phase::Suspended),
            Op::Reset => self.end(Phase::Abandoned),
            Op::ReleaseAgain => {
                let phase = self.stories[&self.execution()].phase;
                if phase != Phase::Active {
                    self.release(phase == Phase::Abandoned);
                }
            }
            Op::Act {
                task,
                role,
                agent: who,
                action,
                words,
                sha,
                epoch,
            } => {
                let mut handed = Handed::default();
                if *words {
                    handed.feedback = "please add the missing tests".to_owned();
                }
                if *sha {
                    handed
                        .artifacts
                        .insert("commit_sha".to_owned(), "abc123".to_owned());
                }
                let command = Command::Act {
                    actor: Actor::agent(ROLES[*role], agent(*who), "test"),
                    action: ACTIONS[*action],
                    handed,
                    epoch: self.epoch(*task, *epoch),
                };
                self.try_command(*task, &command);
            }
            Op::Forward {
                task: i,
                agent: who,
                pick,
            } => self.forward(*i, *who, *pick),
            Op::Claim {
                task,
                role,
                agent: who,
            } => {
                let actor = Actor::agent(ROLES[*role], agent(*who), "test");
                self.try_command(*task, &Command::Claim { actor, lease: None });
            }
            Op::Renew {
                task,
                role,
                agent: who,
                epoch,
            } => {
                let actor = Actor::agent(ROLES[*role], agent(*who), "test");
                let epoch = self.epoch(*task, *epoch);
                self.try_command(
                    *task,
                    &Command::Renew {
                        actor,
                        epoch,
                        lease: None,
                    },
                );
            }
            Op::GiveBack {
                task,
                role,
                agent: who,
            } => {
                let actor = Actor::agent(ROLES[*role], agent(*who), "test");
                let reason = "had to stop".to_owned();
                self.try_command(
                    *task,
                    &Command::GiveBack {
                        actor,
                        epoch: None,
                        reason,
                    },
                );
            }
        }
    }

    pub fn epoch(&self, i: usize, epoch: Epoch) -> Option<i64> {
        let current = self.runs[&task(i)].claim_epoch;
        match epoch {
            Epoch::None => None,
            Epoch::Current => Some(current),
            Epoch::Older => Some(current - 1),
        }
    }

    /// Does one of the things that are said to be possible: that must not be refused.
    pub fn forward(&mut self, i: usize, who: usize, pick: usize) {
        let run = self.runs[&task(i)].clone();
        let Some(role) = run.role_in_charge(&self.machine) else {
            return;
        };
        // Mostly the holder goes on; others are tried too.
        let held_by =
            (0..AGENTS).find(|i| run.claim.as_ref().is_some_and(|c| c.agent == agent(*i)));
        let who = held_by.filter(|_| pick == 0).unwrap_or(who);
        let next = next_actions(&self.machine, &run, role, Some(&agent(who)), self.now);
        assert_eq!(next.actions.is_empty(), next.why_not.is_some());
        let Some(action) = next.actions.get(pick % next.actions.len().max(1)) else {
            return;
        };
        // Cancelling is possible nearly everywhere and would end every sequence early.
        if matches!(action.action, Action::Cancel | Action::DiscardTask) {
            return;
        }
        let actor = Actor::agent(role, agent(who), "test");
        let command = if action.is_claim {
            Command::Claim { actor, lease: None }
        } else {
            let feedback = "x".repeat(action.min_feedback_chars);
            let artifacts = action
                .required_artifacts
                .iter()
                .map(|name| ((*name).to_owned(), "abc".to_owned()));
            let handed = Handed {
                feedback,
                artifacts: artifacts.collect(),
                ..Handed::default()
            };
            Command::Act {
                actor,
                action: action.action,
                handed,
                epoch: None,
            }
        };
        let change = decide(&self.machine, &run, &command, self.now)
            .unwrap_or_else(|e| panic!("{action:?} was said to be possible: {e:?}"))
            .expect("an action changes something");
        let went_on = change.run.strikes < self.machine.limits().max_rejections.unwrap_or(i64::MAX);
        if went_on || !action.action.is_rejection() {
            assert_eq!(
                change.run.state, action.to,
                "it leads where it was said to lead"
            );
        }
        self.commit(change);
    }

    pub fn try_command(&mut self, i: usize, command: &Command) {
        let run = self.runs[&task(i)].clone();
        match decide(&self.machine, &run, command, self.now) {
            Ok(Some(change)) => self.commit(change),
            Ok(None) => {}
            Err(Rejection::HeldByOther {
                agent,
                lease_until,
                epoch,
            }) => {
                let claim = run.claim.as_ref().expect("somebody holds it");
                assert_eq!(
                    (&claim.agent, claim.lease_until, claim.epoch),
                    (&agent, lease_until, epoch)
                );
            }
            Err(_) => {}
        }
    }
}
