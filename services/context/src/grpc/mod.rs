//! `fleet.context.v1.ContextService`: requests in, answers out.
//!
//! Proto types of changes stop here: every call is parsed first, all violations at once; a
//! change then runs in a task of its own, so that a caller who hangs up cannot cut it in half.
//! What only reads is `crate::read`'s.

mod answer;
mod changes;
pub(crate) mod parse;

use std::sync::Arc;

use fleet_proto::context::v1 as pb;
use fleet_proto::context::v1::context_service_server::ContextService;
use fleet_service::Call;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::app::App;
use crate::read;

type Answer<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Clone)]
pub struct Context {
    app: Arc<App>,
}

impl Context {
    /// Serves what `app` does.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }
}

/// A call that only reads: what `crate::read` makes of it.
macro_rules! reads {
    ($self:ident, $request:ident, $read:path) => {{
        let call = Call::of(&$request);
        let answer = $read(&$self.app, &call, $request.into_inner()).await;
        let answer = answer.inspect_err(|fault| changes::note(&$self.app, fault, &call))?;
        Ok(Response::new(answer))
    }};
}

#[tonic::async_trait]
impl ContextService for Context {
    async fn get_context(
        &self,
        request: Request<pb::GetContextRequest>,
    ) -> Answer<pb::GetContextResponse> {
        reads!(self, request, read::get_context)
    }

    async fn update_context(
        &self,
        request: Request<pb::UpdateContextRequest>,
    ) -> Answer<pb::UpdateContextResponse> {
        self.change(
            "UpdateContext",
            request,
            parse::update_context,
            answer::updated,
        )
        .await
    }

    async fn rehydrate_session(
        &self,
        request: Request<pb::RehydrateSessionRequest>,
    ) -> Answer<pb::RehydrateSessionResponse> {
        reads!(self, request, read::rehydrate_session)
    }

    async fn validate_scope(
        &self,
        request: Request<pb::ValidateScopeRequest>,
    ) -> Answer<pb::ValidateScopeResponse> {
        reads!(self, request, read::validate_scope)
    }

    async fn create_story(
        &self,
        request: Request<pb::CreateStoryRequest>,
    ) -> Answer<pb::CreateStoryResponse> {
        self.story(request).await
    }

    async fn create_task(
        &self,
        request: Request<pb::CreateTaskRequest>,
    ) -> Answer<pb::CreateTaskResponse> {
        self.task(request).await
    }

    async fn add_project_decision(
        &self,
        request: Request<pb::AddProjectDecisionRequest>,
    ) -> Answer<pb::AddProjectDecisionResponse> {
        self.change(
            "AddProjectDecision",
            request,
            parse::add_decision,
            answer::added,
        )
        .await
    }

    async fn transition_phase(
        &self,
        request: Request<pb::TransitionPhaseRequest>,
    ) -> Answer<pb::TransitionPhaseResponse> {
        self.change(
            "TransitionPhase",
            request,
            parse::transition_phase,
            answer::moved,
        )
        .await
    }

    async fn get_graph_relationships(
        &self,
        request: Request<pb::GetGraphRelationshipsRequest>,
    ) -> Answer<pb::GetGraphRelationshipsResponse> {
        reads!(self, request, read::get_graph_relationships)
    }

    type StreamContextUpdatesStream =
        ReceiverStream<Result<pb::StreamContextUpdatesResponse, Status>>;

    async fn stream_context_updates(
        &self,
        request: Request<pb::StreamContextUpdatesRequest>,
    ) -> Answer<Self::StreamContextUpdatesStream> {
        reads!(self, request, read::stream_context_updates)
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Answer<pb::GetReceiptResponse> {
        reads!(self, request, read::get_receipt)
    }

    async fn search_decisions(
        &self,
        request: Request<pb::SearchDecisionsRequest>,
    ) -> Answer<pb::SearchDecisionsResponse> {
        reads!(self, request, read::search_decisions)
    }

    async fn explain_scope(
        &self,
        request: Request<pb::ExplainScopeRequest>,
    ) -> Answer<pb::ExplainScopeResponse> {
        reads!(self, request, read::explain_scope)
    }
}
