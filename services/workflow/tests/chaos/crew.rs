//! Agents that walk tasks from role to role through services that die under their hands.
//!
//! Every change has a request id and is asked for, at whichever replica is there, until it is
//! acknowledged. With that, only "away" is a reason to ask again: any other refusal would mean
//! that an earlier attempt had its effect and was forgotten, or had it halfway.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use fleet_events::{Bus, Origin, payload::WorkCompleted};
use fleet_graph::Deadline;
use fleet_proto::workflow::v1 as pb;
use fleet_proto::workflow::v1::workflow_orchestration_service_client::WorkflowOrchestrationServiceClient;
use fleet_service::{SystemClock, SystemIds};
use fleet_types::{Action, AgentId, Clock as _, Ids as _, Role, TaskId};
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use super::dice::Dice;

/// How long anything may take that comes by itself: longer than a dead replica keeps the
/// messages that it had fetched (30 s).
pub const PATIENCE: Duration = Duration::from_secs(120);
/// One call.
const CALL: Duration = Duration::from_secs(5);

pub type Workflow = WorkflowOrchestrationServiceClient<Channel>;

/// The replicas of one service, as its callers see them.
#[derive(Debug, Clone)]
pub struct Doors(Arc<Vec<Channel>>);

impl Doors {
    /// Connects when first used, and again after every loss.
    pub fn to(ports: &[u16]) -> Self {
        let channel = |port: &u16| {
            Endpoint::from_shared(format!("http://127.0.0.1:{port}"))
                .unwrap()
                .connect_timeout(Duration::from_secs(2))
                .timeout(CALL)
                .connect_lazy()
        };
        Self(Arc::new(ports.iter().map(channel).collect()))
    }

    /// One of them.
    pub fn channel(&self, which: usize) -> Channel {
        self.0[which % self.0.len()].clone()
    }

    /// Asks one after the other, beginning with `first`, until there is an answer; `None` is
    /// "not found".
    pub async fn find<T>(
        &self,
        what: &str,
        first: u64,
        mut call: impl AsyncFnMut(Channel) -> Result<Response<T>, Status>,
    ) -> Option<T> {
        let until = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(10);
        for attempt in first.. {
            match call(self.channel(usize::try_from(attempt).unwrap())).await {
                Ok(answer) => return Some(answer.into_inner()),
                Err(status) if status.code() == Code::NotFound => return None,
                Err(status) if is_away(&status) => {
                    assert!(Instant::now() < until, "{what}: nobody answers: {status:?}");
                }
                Err(status) => panic!("{what}: {status:?}"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
        unreachable!("attempts do not end")
    }

    /// As [`Self::find`], for what must be there.
    pub async fn ask<T>(
        &self,
        what: &str,
        first: u64,
        call: impl AsyncFnMut(Channel) -> Result<Response<T>, Status>,
    ) -> T {
        self.find(what, first, call)
            .await
            .unwrap_or_else(|| panic!("{what}: it is not known"))
    }

    /// Where a task is; `None` if it is not known (yet).
    pub async fn state(&self, task: &str, first: u64) -> Option<pb::GetWorkflowStateResponse> {
        let what = format!("state of {task}");
        self.find(&what, first, async |channel| {
            let request = pb::GetWorkflowStateRequest {
                task_id: task.to_owned(),
            };
            Workflow::new(channel).get_workflow_state(request).await
        })
        .await
    }

    /// Waits until a task is as `enough` wants it.
    pub async fn until(
        &self,
        task: &str,
        what: &str,
        enough: impl Fn(&pb::GetWorkflowStateResponse) -> bool,
    ) -> pb::GetWorkflowStateResponse {
        let until = Instant::now() + PATIENCE;
        for attempt in 0.. {
            let state = self.state(task, attempt).await;
            match state {
                Some(state) if enough(&state) => return state,
                other => assert!(Instant::now() < until, "{task} is never {what}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        unreachable!("attempts do not end")
    }
}

/// Whether nobody (who knows) answered. A status that we made ourselves has a source.
pub fn is_away(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled
    ) || status.source().is_some()
}

/// One thing that an agent did to a task, as the history must tell it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    pub action: String,
    pub agent: String,
    pub sha: String,
}

/// A task with everything that was acknowledged about it.
#[derive(Debug, Clone)]
pub struct Walked {
    pub task: String,
    pub deeds: Vec<Deed>,
    /// The version of the last acknowledged change.
    pub version: i64,
    /// How many changes were acknowledged.
    pub acknowledged: usize,
}

/// Walks one task to its end.
pub struct Walker {
    doors: Doors,
    dice: Dice,
    /// Where agents report commits instead of calling, now and then.
    reports: Option<Arc<dyn Bus>>,
    walked: Walked,
    requests: u64,
    epoch: i64,
}

const FEEDBACK: &str = "the empty case is not handled";

impl Walker {
    pub fn new(doors: &Doors, dice: Dice, task: &str, reports: Option<Arc<dyn Bus>>) -> Self {
        let walked = Walked {
            task: task.to_owned(),
            deeds: Vec::new(),
            version: 0,
            acknowledged: 0,
        };
        Self {
            doors: doors.clone(),
            dice,
            reports,
            walked,
            requests: 0,
            epoch: 0,
        }
    }

    /// From `todo` to `done`, with detours as the dice have it.
    pub async fn walk(mut self) -> Walked {
        let task = self.walked.task.clone();
        self.doors
            .until(&task, "free", |state| state.blocked_by.is_empty())
            .await;
        if self.dice.once_in(4) {
            self.claim("developer", "claim_task", "dev-a").await;
            self.give_back("dev-a").await;
        }
        self.claim("developer", "claim_task", "dev-b").await;
        self.commit("dev-b").await;
        if self.dice.once_in(3) {
            self.claim("architect", "claim_review", "arch").await;
            self.act("architect", "reject_design", "arch", "").await;
            self.claim("developer", "revise_code", "dev-b").await;
            self.commit("dev-b").await;
        }
        self.review("architect", "claim_review", "approve_design", "arch")
            .await;
        if self.dice.once_in(3) {
            self.claim("qa", "claim_testing", "tester").await;
            self.act("qa", "reject_tests", "tester", "").await;
            self.claim("developer", "revise_code", "dev-c").await;
            self.commit("dev-c").await;
            self.review("architect", "claim_review", "approve_design", "arch")
                .await;
        }
        self.review("qa", "claim_testing", "approve_tests", "tester")
            .await;
        self.act("po", "approve_story", "owner", "").await;
        self.walked
    }

    /// With a claim of its own, or with one that the verdict brings along.
    async fn review(&mut self, role: &str, claim: &str, verdict: &str, agent: &str) {
        if self.dice.once_in(2) {
            self.claim(role, claim, agent).await;
        } else {
            self.did(claim, agent, "");
            self.epoch = 0;
        }
        self.act(role, verdict, agent, "").await;
    }

    async fn claim(&mut self, role: &str, action: &str, agent: &str) {
        let request = pb::ClaimTaskRequest {
            task_id: self.walked.task.clone(),
            agent_id: agent.to_owned(),
            role: role.to_owned(),
            request_id: self.request_id(),
            ..pb::ClaimTaskRequest::default()
        };
        let what = format!("{} on {}", request.request_id, request.task_id);
        let (first, again) = (self.dice.next() >> 1, self.dice.once_in(8));
        let ask = async |first| {
            let claim = async |channel| Workflow::new(channel).claim_task(request.clone()).await;
            self.doors.ask(&what, first, claim).await
        };
        let answer = ask(first).await;
        if again {
            assert_eq!(
                ask(first + 1).await,
                answer,
                "{what}: the same request, another answer"
            );
        }
        assert_eq!(answer.action, action, "{what}");
        self.epoch = answer.claim_epoch;
        self.did(action, agent, "");
        self.acknowledged(answer.version).await;
    }

    async fn act(&mut self, role: &str, action: &str, agent: &str, sha: &str) {
        let mut result = pb::WorkResult {
            success: true,
            ..pb::WorkResult::default()
        };
        if action.starts_with("reject") {
            result.feedback = FEEDBACK.to_owned();
        }
        if !sha.is_empty() {
            result
                .artifacts
                .insert("commit_sha".to_owned(), sha.to_owned());
        }
        let request = pb::RequestValidationRequest {
            task_id: self.walked.task.clone(),
            role: role.to_owned(),
            action: action.to_owned(),
            agent_id: agent.to_owned(),
            claim_epoch: (self.epoch > 0 && role != "po").then_some(self.epoch),
            request_id: self.request_id(),
            result: Some(result),
            ..pb::RequestValidationRequest::default()
        };
        let what = format!("{} ({action}) on {}", request.request_id, request.task_id);
        let (first, again) = (self.dice.next() >> 1, self.dice.once_in(8));
        let ask = async |first| {
            let act = async |channel| {
                Workflow::new(channel)
                    .request_validation(request.clone())
                    .await
            };
            self.doors.ask(&what, first, act).await
        };
        let answer = ask(first).await;
        if again {
            assert_eq!(
                ask(first + 1).await,
                answer,
                "{what}: the same request, another answer"
            );
        }
        self.did(action, agent, sha);
        self.acknowledged(answer.version).await;
    }

    async fn give_back(&mut self, agent: &str) {
        let request = pb::ReleaseClaimRequest {
            task_id: self.walked.task.clone(),
            agent_id: agent.to_owned(),
            role: "developer".to_owned(),
            claim_epoch: Some(self.epoch),
            request_id: self.request_id(),
            ..pb::ReleaseClaimRequest::default()
        };
        let what = format!("{} (release) on {}", request.request_id, request.task_id);
        let first = self.dice.next() >> 1;
        let release = async |channel| Workflow::new(channel).release_claim(request.clone()).await;
        let answer = self.doors.ask(&what, first, release).await;
        self.did("release_claim", agent, "");
        self.acknowledged(answer.version).await;
    }

    async fn commit(&mut self, agent: &str) {
        let sha = format!("{:016x}", self.dice.next());
        match self.reports.clone() {
            Some(bus) if self.dice.once_in(3) => self.report(&*bus, agent, &sha).await,
            _ => self.act("developer", "commit_code", agent, &sha).await,
        }
    }

    /// The same deed, by event: said twice, as a producer does that heard no answer.
    async fn report(&mut self, bus: &dyn Bus, agent: &str, sha: &str) {
        let task = self.walked.task.clone();
        let work = WorkCompleted {
            task_id: TaskId::parse(&task).unwrap(),
            action: Action::CommitCode,
            actor_role: Role::Developer,
            agent_id: Some(AgentId::parse(agent).unwrap()),
            claim_epoch: Some(self.epoch),
            feedback: None,
            branch: None,
            commit_sha: Some(sha.to_owned()),
            files_changed: Vec::new(),
            result: None,
            timestamp: SystemClock.now(),
        };
        let event = fleet_graph::OutboxEvent {
            id: fleet_types::EventId::mint(SystemIds.uuid()),
            subject: "agent.work.completed".to_owned(),
            source: "fleet-ray-executor".to_owned(),
            aggregate: task.clone(),
            aggregate_version: 0,
            time: work.timestamp,
            payload: serde_json::to_string(&work).unwrap(),
            correlation: String::new(),
            causation: String::new(),
            traceparent: String::new(),
        };
        say(bus, std::slice::from_ref(&event)).await;
        say(bus, &[event]).await;
        self.did("commit_code", agent, sha);
        let arrived = |state: &pb::GetWorkflowStateResponse| {
            state
                .history
                .iter()
                .any(|hop| hop.artifacts.get("commit_sha").is_some_and(|s| s == sha))
        };
        let state = self.doors.until(&task, "told of the commit", arrived).await;
        self.acknowledged(state.version).await;
    }

    fn request_id(&mut self) -> String {
        self.requests += 1;
        format!("{}-{}", self.walked.task, self.requests)
    }

    fn did(&mut self, action: &str, agent: &str, sha: &str) {
        let (action, agent, sha) = (action.to_owned(), agent.to_owned(), sha.to_owned());
        self.walked.deeds.push(Deed { action, agent, sha });
    }

    /// What is acknowledged can be read at once, everywhere.
    async fn acknowledged(&mut self, version: i64) {
        let Walked {
            task,
            version: before,
            ..
        } = &self.walked;
        assert!(
            version > *before,
            "{task}: version {version} follows {before}"
        );
        self.walked.version = version;
        self.walked.acknowledged += 1;
        if self.dice.once_in(3) {
            let state = self
                .doors
                .state(&self.walked.task, self.dice.next() >> 1)
                .await;
            let read = state.map_or(0, |state| state.version);
            assert!(
                read >= version,
                "{}: {version} acknowledged, {read} read",
                self.walked.task
            );
        }
    }
}

/// Publishes until the bus has it.
pub async fn say(bus: &dyn Bus, events: &[fleet_graph::OutboxEvent]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let outcomes = bus
            .publish(events, Deadline::after(Duration::from_secs(5)))
            .await;
        match outcomes.into_iter().find_map(Result::err) {
            None => return,
            Some(error) => assert!(Instant::now() < until, "cannot publish: {error}"),
        }
    }
}

/// Releases a story as planning does: `tasks` with what each waits for.
pub async fn release(bus: &dyn Bus, story: &str, tasks: &[(String, Vec<String>)]) {
    let id = |task: &String| TaskId::parse(task).unwrap();
    let released =
        |(task, depends_on): &(String, Vec<String>)| fleet_events::payload::ReleasedTask {
            task_id: id(task),
            priority: 1,
            role: None,
            depends_on: depends_on.iter().map(id).collect(),
            title: String::new(),
        };
    let now = SystemClock.now();
    let moved = fleet_events::payload::StoryTransitioned {
        story_id: fleet_types::StoryId::parse(story).unwrap(),
        from_state: "PLANNED".to_owned(),
        to_state: "READY_FOR_EXECUTION".to_owned(),
        transitioned_by: "po".to_owned(),
        reason: String::new(),
        execution: 1,
        tasks: tasks.iter().map(released).collect(),
        timestamp: now,
    };
    let origin = Origin {
        source: "fleet-planning",
        correlation: story.to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    };
    say(bus, &[origin.event(&SystemIds, now, story, 1, &moved)]).await;
}
