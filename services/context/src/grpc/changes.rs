//! Calls that change something.

use fleet_proto::Keyed;
use fleet_proto::context::v1 as pb;
use fleet_service::{Call, Fault, idempotent};
use prost::Message;
use tonic::{Request, Response};

use super::{Answer, Context, answer, parse};
use crate::app::{App, Command, Forwarded, Passport, SOURCE};

impl Context {
    /// A change: parsed, then decided and committed in a task of its own.
    pub(super) async fn change<Req, C, Res>(
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
        let body =
            async move { repeatable(&app, &call, &request_id, &request, &command, answer).await };
        Ok(Response::new(self.app.tasks.supervised(name, body).await?))
    }

    /// CreateStory: planning creates it, then its context is opened. A repetition after a crash
    /// in between finds the story at planning and opens the context.
    pub(super) async fn story(
        &self,
        request: Request<pb::CreateStoryRequest>,
    ) -> Answer<pb::CreateStoryResponse> {
        let call = Call::of(&request);
        let passport = Passport::of(&request, &call);
        let mut request = request.into_inner();
        let wish = parse::create_story(&request, &call)?;
        let request_id = request.take_request_id();
        let app = self.app.clone();
        let body = async move {
            let story = match app
                .planning
                .create_story(&passport, &wish, &request_id)
                .await?
            {
                Forwarded::Done(story) => story,
                Forwarded::Refused(status) => return Ok(Err(*status)),
            };
            let open = parse::opening(&wish, &story);
            let answer = answer::opened;
            let opened = repeatable(&app, &call, &request_id, &request, &open, answer).await?;
            Ok(Ok(opened))
        };
        let created = self.app.tasks.supervised("CreateStory", body).await?;
        created.map(Response::new)
    }

    /// CreateTask: planning's, in our words.
    pub(super) async fn task(
        &self,
        request: Request<pb::CreateTaskRequest>,
    ) -> Answer<pb::CreateTaskResponse> {
        let call = Call::of(&request);
        let passport = Passport::of(&request, &call);
        let wish = parse::create_task(request.into_inner())?;
        let app = self.app.clone();
        let body = async move {
            match app.planning.create_task(&passport, wish).await? {
                Forwarded::Done(task) => Ok(Ok(answer::task_created(task))),
                Forwarded::Refused(status) => Ok(Err(*status)),
            }
        };
        let created = self.app.tasks.supervised("CreateTask", body).await?;
        created.map(Response::new)
    }
}

/// Executes a command so that the same request has one effect and one answer.
async fn repeatable<Req, C, Res>(
    app: &App,
    call: &Call,
    request_id: &str,
    request: &Req,
    command: &C,
    answer: fn(&C::Outcome) -> Res,
) -> Result<Res, Fault>
where
    Req: Message,
    C: Command,
    Res: Message + Default,
{
    idempotent(
        &*app.store,
        call,
        request_id,
        request,
        |repeatable| async move {
            let origin = call.origin(SOURCE);
            let outcome = app
                .execute(command, &origin, call.deadline, |_, outcome, commit| {
                    let record =
                        |request: &fleet_service::Idempotency| request.record(&answer(outcome));
                    commit.request = repeatable.as_ref().map(record);
                })
                .await
                .inspect_err(|fault| note(app, fault, call))?;
            Ok(answer(&outcome))
        },
    )
    .await
}

/// Keeps a record of a caller who lacked the role.
pub fn note(app: &App, fault: &Fault, call: &Call) {
    if let Fault::Denied { message, .. } = fault {
        app.metrics.denied();
        tracing::info!(principal = %call.principal.id, method = call.method, message, "role refused");
    }
}
