//! The gRPC edge: messages in, messages out. Proto types stop here.
//!
//! Every changing call runs in a task of its own, so that a caller who hangs up cannot cut it
//! in half.

mod audit;
pub(crate) mod faults;
mod identity;
mod mutations;
mod pages;
mod parse;
mod queries;
pub(crate) mod render;
mod stats;

use std::sync::Arc;

use fleet_proto::workflow::v1 as pb;
use fleet_proto::workflow::v1::workflow_orchestration_service_server::WorkflowOrchestrationService;
use fleet_service::{Call, Tasks};
use tonic::{Request, Response, Status};

use crate::engine::Engine;
use crate::watch::{Hub, Watch};

/// `fleet.workflow.v1.WorkflowOrchestrationService`.
pub(crate) struct WorkflowService {
    pub engine: Arc<Engine>,
    pub tasks: Tasks,
    pub hub: Arc<Hub>,
}

/// A call that changes something: parsed, carried out and answered by `$body`, supervised.
macro_rules! changing {
    ($self:ident, $request:ident, $name:literal, $body:path) => {{
        let call = Call::of(&$request);
        let engine = $self.engine.clone();
        let message = $request.into_inner();
        let work = async move { $body(&engine, &call, message).await };
        Ok(Response::new($self.tasks.supervised($name, work).await?))
    }};
}

/// A call that only reads.
macro_rules! reading {
    ($self:ident, $request:ident, $body:path) => {{
        let call = Call::of(&$request);
        Ok(Response::new(
            $body(&$self.engine, &call, $request.into_inner()).await?,
        ))
    }};
}

#[tonic::async_trait]
impl WorkflowOrchestrationService for WorkflowService {
    async fn get_workflow_state(
        &self,
        request: Request<pb::GetWorkflowStateRequest>,
    ) -> Result<Response<pb::GetWorkflowStateResponse>, Status> {
        reading!(self, request, queries::state)
    }

    async fn request_validation(
        &self,
        request: Request<pb::RequestValidationRequest>,
    ) -> Result<Response<pb::RequestValidationResponse>, Status> {
        changing!(
            self,
            request,
            "request_validation",
            mutations::request_validation
        )
    }

    async fn get_pending_tasks(
        &self,
        request: Request<pb::GetPendingTasksRequest>,
    ) -> Result<Response<pb::GetPendingTasksResponse>, Status> {
        reading!(self, request, queries::pending)
    }

    async fn claim_task(
        &self,
        request: Request<pb::ClaimTaskRequest>,
    ) -> Result<Response<pb::ClaimTaskResponse>, Status> {
        changing!(self, request, "claim_task", mutations::claim)
    }

    async fn get_stats(
        &self,
        request: Request<pb::GetStatsRequest>,
    ) -> Result<Response<pb::GetStatsResponse>, Status> {
        reading!(self, request, stats::stats)
    }

    async fn renew_claim(
        &self,
        request: Request<pb::RenewClaimRequest>,
    ) -> Result<Response<pb::RenewClaimResponse>, Status> {
        changing!(self, request, "renew_claim", mutations::renew)
    }

    async fn release_claim(
        &self,
        request: Request<pb::ReleaseClaimRequest>,
    ) -> Result<Response<pb::ReleaseClaimResponse>, Status> {
        changing!(self, request, "release_claim", mutations::release)
    }

    async fn get_next_actions(
        &self,
        request: Request<pb::GetNextActionsRequest>,
    ) -> Result<Response<pb::GetNextActionsResponse>, Status> {
        reading!(self, request, queries::next)
    }

    type WatchTasksStream = Watch;

    async fn watch_tasks(
        &self,
        request: Request<pb::WatchTasksRequest>,
    ) -> Result<Response<Watch>, Status> {
        let call = Call::of(&request);
        let watch = self
            .hub
            .watch(&self.tasks, &call, request.into_inner())
            .await?;
        Ok(Response::new(watch))
    }

    async fn list_audit(
        &self,
        request: Request<pb::ListAuditRequest>,
    ) -> Result<Response<pb::ListAuditResponse>, Status> {
        reading!(self, request, audit::list)
    }
}
