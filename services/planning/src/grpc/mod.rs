//! `fleet.planning.v2.PlanningService`: requests in, commands to [`App`], answers out.
//!
//! Proto types stop here. Every call is parsed first, all violations at once; a change then
//! runs in a task of its own, so that a caller who hangs up cannot cut it in half.

mod answer;
mod parse;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use fleet_graph::{NodeKey, Versioned};
use fleet_proto::Keyed;
use fleet_proto::planning::v2 as pb;
use fleet_proto::planning::v2::planning_service_server::PlanningService;
use fleet_service::{Call, Fault, idempotent};
use prost::Message;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status};

use crate::app::rows::TransitionRow;
use crate::app::{App, Command, Listed, Listing, PageRequest, SOURCE, rows};
use crate::domain::{Epic, Project, Story, Task};

type Answer<T> = Result<Response<T>, Status>;

/// The service.
#[derive(Clone)]
pub struct Planning {
    app: Arc<App>,
}

impl Planning {
    /// Serves what `app` does.
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// A change: parsed, then decided and committed in a task of its own.
    async fn change<Req, C, Res>(
        &self,
        name: &'static str,
        request: Request<Req>,
        parse: fn(&Req, &Call) -> Result<C, Fault>,
        answer: fn(&C::Outcome) -> Res,
    ) -> Answer<Res>
    where
        Req: Keyed,
        C: Command + 'static,
        Res: Message + Default + 'static,
    {
        let call = Call::of(&request);
        let mut request = request.into_inner();
        let command = parse(&request, &call).inspect_err(|fault| note(&self.app, fault, &call))?;
        let request_id = request.take_request_id();
        let app = self.app.clone();
        let body = async move {
            let (app, command, call) = (&app, &command, &call);
            idempotent(
                &*app.store,
                call,
                &request_id,
                &request,
                |repeatable| async move {
                    let record = |outcome: &C::Outcome| {
                        repeatable
                            .as_ref()
                            .map(|request| request.record(&answer(outcome)))
                    };
                    let origin = call.origin(SOURCE);
                    let outcome = app
                        .execute(command, &origin, call.deadline, record)
                        .await
                        .inspect_err(|fault| note(app, fault, call))?;
                    Ok(answer(&outcome))
                },
            )
            .await
        };
        Ok(Response::new(self.app.tasks.supervised(name, body).await?))
    }

    /// One entity; one round trip.
    async fn one<T: DeserializeOwned>(
        &self,
        call: &Call,
        key: NodeKey,
    ) -> Result<Versioned<T>, Fault> {
        let scene = self.app.scene(call.origin(SOURCE), call.deadline);
        scene.get(vec![key.clone()]).await?.need(&key)
    }

    /// One page of a list.
    async fn page<T: DeserializeOwned>(
        &self,
        call: &Call,
        (listing, page): (Listing, PageRequest),
    ) -> Result<Listed<T>, Fault> {
        Ok(self.app.list(&listing, &page, call.deadline).await?)
    }
}

/// Keeps a record of a caller who lacked the role.
fn note(app: &App, fault: &Fault, call: &Call) {
    if let Fault::Denied { message, .. } = fault {
        app.metrics.denied();
        tracing::info!(principal = %call.principal.id, method = call.method, message, "role refused");
    }
}

#[tonic::async_trait]
impl PlanningService for Planning {
    async fn create_project(
        &self,
        request: Request<pb::CreateProjectRequest>,
    ) -> Answer<pb::CreateProjectResponse> {
        self.change(
            "CreateProject",
            request,
            parse::create_project,
            answer::project_created,
        )
        .await
    }

    async fn get_project(
        &self,
        request: Request<pb::GetProjectRequest>,
    ) -> Answer<pb::ProjectResponse> {
        let call = Call::of(&request);
        let id = parse::id("project_id", &request.get_ref().project_id)?;
        let project = self.one::<Project>(&call, rows::project(&id)).await?;
        Ok(Response::new(answer::project_found(&project)))
    }

    async fn list_projects(
        &self,
        request: Request<pb::ListProjectsRequest>,
    ) -> Answer<pb::ListProjectsResponse> {
        let call = Call::of(&request);
        let listed = self
            .page(&call, parse::list_projects(request.get_ref())?)
            .await?;
        Ok(Response::new(answer::projects(&listed)))
    }

    async fn create_epic(
        &self,
        request: Request<pb::CreateEpicRequest>,
    ) -> Answer<pb::CreateEpicResponse> {
        self.change(
            "CreateEpic",
            request,
            parse::create_epic,
            answer::epic_created,
        )
        .await
    }

    async fn get_epic(&self, request: Request<pb::GetEpicRequest>) -> Answer<pb::EpicResponse> {
        let call = Call::of(&request);
        let id = parse::id("epic_id", &request.get_ref().epic_id)?;
        let epic = self.one::<Epic>(&call, rows::epic(&id)).await?;
        Ok(Response::new(answer::epic_found(&epic)))
    }

    async fn list_epics(
        &self,
        request: Request<pb::ListEpicsRequest>,
    ) -> Answer<pb::ListEpicsResponse> {
        let call = Call::of(&request);
        let listed = self
            .page(&call, parse::list_epics(request.get_ref())?)
            .await?;
        Ok(Response::new(answer::epics(&listed)))
    }

    async fn create_story(
        &self,
        request: Request<pb::CreateStoryRequest>,
    ) -> Answer<pb::CreateStoryResponse> {
        self.change(
            "CreateStory",
            request,
            parse::create_story,
            answer::story_created,
        )
        .await
    }

    async fn list_stories(
        &self,
        request: Request<pb::ListStoriesRequest>,
    ) -> Answer<pb::ListStoriesResponse> {
        let call = Call::of(&request);
        let listed = self
            .page(&call, parse::list_stories(request.get_ref())?)
            .await?;
        Ok(Response::new(answer::stories(&listed)))
    }

    async fn transition_story(
        &self,
        request: Request<pb::TransitionStoryRequest>,
    ) -> Answer<pb::TransitionStoryResponse> {
        self.change(
            "TransitionStory",
            request,
            parse::transition_story,
            answer::story_moved,
        )
        .await
    }

    async fn approve_decision(
        &self,
        request: Request<pb::ApproveDecisionRequest>,
    ) -> Answer<pb::ApproveDecisionResponse> {
        self.change(
            "ApproveDecision",
            request,
            parse::approve_decision,
            answer::approved,
        )
        .await
    }

    async fn reject_decision(
        &self,
        request: Request<pb::RejectDecisionRequest>,
    ) -> Answer<pb::RejectDecisionResponse> {
        self.change(
            "RejectDecision",
            request,
            parse::reject_decision,
            answer::rejected,
        )
        .await
    }

    async fn get_story(&self, request: Request<pb::GetStoryRequest>) -> Answer<pb::Story> {
        let call = Call::of(&request);
        let id = parse::id("story_id", &request.get_ref().story_id)?;
        let story = self.one::<Story>(&call, rows::story(&id)).await?;
        Ok(Response::new(answer::story(&story)))
    }

    async fn create_task(
        &self,
        request: Request<pb::CreateTaskRequest>,
    ) -> Answer<pb::CreateTaskResponse> {
        self.change(
            "CreateTask",
            request,
            parse::create_task,
            answer::task_created,
        )
        .await
    }

    async fn get_task(&self, request: Request<pb::GetTaskRequest>) -> Answer<pb::TaskResponse> {
        let call = Call::of(&request);
        let id = parse::id("task_id", &request.get_ref().task_id)?;
        let task = self.one::<Task>(&call, rows::task(&id)).await?;
        Ok(Response::new(answer::task_found(&task)))
    }

    async fn list_tasks(
        &self,
        request: Request<pb::ListTasksRequest>,
    ) -> Answer<pb::ListTasksResponse> {
        let call = Call::of(&request);
        let listed = self
            .page(&call, parse::list_tasks(request.get_ref())?)
            .await?;
        Ok(Response::new(answer::tasks(&listed)))
    }

    async fn get_readiness(
        &self,
        request: Request<pb::GetReadinessRequest>,
    ) -> Answer<pb::GetReadinessResponse> {
        let call = Call::of(&request);
        let id = parse::id("story_id", &request.get_ref().story_id)?;
        let story = self.one::<Story>(&call, rows::story(&id)).await?;
        Ok(Response::new(answer::readiness(
            &story,
            self.app.dor_threshold,
        )))
    }

    async fn update_story(
        &self,
        request: Request<pb::UpdateStoryRequest>,
    ) -> Answer<pb::UpdateStoryResponse> {
        self.change(
            "UpdateStory",
            request,
            parse::update_story,
            answer::story_updated,
        )
        .await
    }

    async fn update_task(
        &self,
        request: Request<pb::UpdateTaskRequest>,
    ) -> Answer<pb::UpdateTaskResponse> {
        self.change(
            "UpdateTask",
            request,
            parse::update_task,
            answer::task_updated,
        )
        .await
    }

    async fn add_task_dependency(
        &self,
        request: Request<pb::AddTaskDependencyRequest>,
    ) -> Answer<pb::AddTaskDependencyResponse> {
        let (parse, answer) = (parse::add_dependency, answer::dependency_added);
        self.change("AddTaskDependency", request, parse, answer)
            .await
    }

    async fn remove_task_dependency(
        &self,
        request: Request<pb::RemoveTaskDependencyRequest>,
    ) -> Answer<pb::RemoveTaskDependencyResponse> {
        let (parse, answer) = (parse::remove_dependency, answer::dependency_removed);
        self.change("RemoveTaskDependency", request, parse, answer)
            .await
    }

    async fn get_story_history(
        &self,
        request: Request<pb::GetStoryHistoryRequest>,
    ) -> Answer<pb::GetStoryHistoryResponse> {
        let call = Call::of(&request);
        let (id, page) = parse::story_history(request.get_ref())?;
        let listed = self.page::<TransitionRow>(&call, page).await?;
        if listed.entries.is_empty() {
            // Every story has at least the entry of its creation.
            self.one::<Story>(&call, rows::story(&id)).await?;
        }
        Ok(Response::new(answer::history(&listed)))
    }

    async fn approve_plan(
        &self,
        request: Request<pb::ApprovePlanRequest>,
    ) -> Answer<pb::ApprovePlanResponse> {
        self.change(
            "ApprovePlan",
            request,
            parse::approve_plan,
            answer::plan_approved,
        )
        .await
    }
}
