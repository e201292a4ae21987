//! The services as the demo's actors call them: real gRPC on loopback.

use std::time::Duration;

use anyhow::bail;
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use fleet_proto::workflow::v1::workflow_orchestration_service_client::WorkflowOrchestrationServiceClient;
use fleet_proto::workflow::v1::{
    ClaimTaskRequest, ClaimTaskResponse, GetWorkflowStateRequest, GetWorkflowStateResponse,
    RequestValidationRequest, RequestValidationResponse, WorkResult,
};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::calls::connect;
pub use crate::calls::explain;

/// How long the demo waits for something that another service does.
const PATIENCE: Duration = Duration::from_secs(15);

/// Clients of the services.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// Projects, epics, stories, tasks.
    pub planning: PlanningServiceClient<Channel>,
    /// Tasks on their way.
    pub workflow: WorkflowOrchestrationServiceClient<Channel>,
    /// What agents are told.
    pub context: ContextServiceClient<Channel>,
}

/// An agent of the demo.
#[derive(Debug, Clone, Copy)]
pub struct Agent {
    /// Its role.
    pub role: &'static str,
    /// Its name.
    pub id: &'static str,
}

/// What an agent hands in with an action.
#[derive(Debug, Clone, Default)]
pub struct Work {
    /// Named artifacts, e.g. `commit_sha`.
    pub artifacts: Vec<(&'static str, String)>,
    /// What was done, in a sentence: whoever builds on it is told.
    pub reasoning: &'static str,
    /// A reviewer's words.
    pub feedback: &'static str,
    /// The fencing token of the claim.
    pub claim_epoch: Option<i64>,
}

impl Fleet {
    /// Connects to the services.
    pub async fn connect(planning: &str, workflow: &str, context: &str) -> anyhow::Result<Self> {
        Ok(Self {
            planning: PlanningServiceClient::new(connect(planning, None).await?),
            workflow: WorkflowOrchestrationServiceClient::new(connect(workflow, None).await?),
            context: ContextServiceClient::new(connect(context, None).await?),
        })
    }

    /// Claims whatever the task's state offers to the agent's role.
    pub async fn claim(
        &self,
        agent: Agent,
        task_id: &str,
        lease_seconds: Option<i32>,
    ) -> Result<ClaimTaskResponse, Status> {
        let request = ClaimTaskRequest {
            task_id: task_id.to_owned(),
            agent_id: agent.id.to_owned(),
            role: agent.role.to_owned(),
            lease_seconds,
            ..ClaimTaskRequest::default()
        };
        Ok(self
            .workflow
            .clone()
            .claim_task(Request::new(request))
            .await?
            .into_inner())
    }

    /// Does an action on a task.
    pub async fn act(
        &self,
        agent: Agent,
        task_id: &str,
        action: &str,
        work: Work,
    ) -> Result<RequestValidationResponse, Status> {
        let artifacts = work
            .artifacts
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v))
            .collect();
        let request = RequestValidationRequest {
            task_id: task_id.to_owned(),
            role: agent.role.to_owned(),
            action: action.to_owned(),
            agent_id: agent.id.to_owned(),
            claim_epoch: work.claim_epoch,
            result: Some(WorkResult {
                success: true,
                artifacts,
                reasoning: work.reasoning.to_owned(),
                feedback: work.feedback.to_owned(),
                ..WorkResult::default()
            }),
            ..RequestValidationRequest::default()
        };
        Ok(self
            .workflow
            .clone()
            .request_validation(Request::new(request))
            .await?
            .into_inner())
    }

    /// Where a task is.
    pub async fn state(&self, task_id: &str) -> Result<GetWorkflowStateResponse, Status> {
        let request = GetWorkflowStateRequest {
            task_id: task_id.to_owned(),
        };
        Ok(self
            .workflow
            .clone()
            .get_workflow_state(Request::new(request))
            .await?
            .into_inner())
    }

    /// Waits until the workflow has taken a released task up and nothing blocks it.
    pub async fn wait_until_free(&self, task_id: &str) -> anyhow::Result<()> {
        until(&format!("task {task_id} is free"), async || {
            match self.state(task_id).await {
                Ok(state) => Ok(state.blocked_by.is_empty().then_some(())),
                Err(status) if status.code() == Code::NotFound => Ok(None),
                Err(status) => Err(explain(&status)),
            }
        })
        .await
    }
}

/// Waits until `probe` gives something; asks again every few milliseconds, gives up after
/// [`PATIENCE`] and says what it waited for.
pub async fn until<T>(
    what: &str,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain until {what}", PATIENCE.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
