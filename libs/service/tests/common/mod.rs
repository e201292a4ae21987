//! A served workflow service whose answers are under the tests' control.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fleet_proto::workflow::v1 as pb;
use fleet_proto::workflow::v1::workflow_orchestration_service_client::WorkflowOrchestrationServiceClient;
use fleet_proto::workflow::v1::workflow_orchestration_service_server::{
    WorkflowOrchestrationService, WorkflowOrchestrationServiceServer,
};
use fleet_service::{
    Call, Fault, Mounted, Process, ServerSettings, SystemClock, SystemIds, Tasks, limited,
};
use futures::Stream;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

pub type Client = WorkflowOrchestrationServiceClient<Channel>;
pub type Health = tonic_health::pb::health_client::HealthClient<Channel>;

/// What a test does to the service, and sees of it.
#[derive(Default)]
pub struct Controls {
    /// Calls that reached their handler.
    pub entered: Notify,
    /// Lets held calls go on.
    pub release: Notify,
    /// Held calls that went on to their end.
    pub finished: Notify,
    /// The last call.
    pub last: Mutex<Option<Call>>,
}

pub struct Service {
    pub controls: Arc<Controls>,
    pub tasks: Tasks,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl WorkflowOrchestrationService for Service {
    type WatchTasksStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchTasksResponse, Status>> + Send>>;

    /// A read: what happens is in the task id.
    async fn get_workflow_state(
        &self,
        request: Request<pb::GetWorkflowStateRequest>,
    ) -> Answer<pb::GetWorkflowStateResponse> {
        let call = Call::of(&request);
        assert_eq!(Call::current().as_ref(), Some(&call));
        *self.controls.last.lock().unwrap() = Some(call);
        let task_id = request.into_inner().task_id;
        self.controls.entered.notify_one();
        match task_id.as_str() {
            "panic" => panic!("asked for"),
            "broken" => return Err(Fault::internal("password=hunter2").into()),
            "missing" => return Err(Fault::not_found("task", "missing").into()),
            "held" => self.controls.release.notified().await,
            "for-ever" => std::future::pending().await,
            _ => {}
        }
        Ok(Response::new(pb::GetWorkflowStateResponse {
            task_id,
            ..Default::default()
        }))
    }

    /// A write: held in a supervised body.
    async fn claim_task(&self, _: Request<pb::ClaimTaskRequest>) -> Answer<pb::ClaimTaskResponse> {
        let controls = self.controls.clone();
        let body = async move {
            assert!(Call::current().is_some());
            controls.entered.notify_one();
            controls.release.notified().await;
            controls.finished.notify_one();
            Ok(pb::ClaimTaskResponse::default())
        };
        Ok(Response::new(self.tasks.supervised("claim", body).await?))
    }

    async fn watch_tasks(
        &self,
        _: Request<pb::WatchTasksRequest>,
    ) -> Answer<Self::WatchTasksStream> {
        use futures::StreamExt as _;
        let first = futures::stream::iter([Ok(pb::WatchTasksResponse::default())]);
        Ok(Response::new(Box::pin(
            first.chain(futures::stream::pending()),
        )))
    }

    async fn request_validation(
        &self,
        _: Request<pb::RequestValidationRequest>,
    ) -> Answer<pb::RequestValidationResponse> {
        Err(Status::unimplemented("not part of the tests"))
    }
    async fn get_pending_tasks(
        &self,
        _: Request<pb::GetPendingTasksRequest>,
    ) -> Answer<pb::GetPendingTasksResponse> {
        Err(Status::unimplemented("not part of the tests"))
    }
    async fn get_stats(&self, _: Request<pb::GetStatsRequest>) -> Answer<pb::GetStatsResponse> {
        Err(Status::unimplemented("not part of the tests"))
    }
    async fn renew_claim(
        &self,
        _: Request<pb::RenewClaimRequest>,
    ) -> Answer<pb::RenewClaimResponse> {
        Err(Status::unimplemented("not part of the tests"))
    }
    async fn release_claim(
        &self,
        _: Request<pb::ReleaseClaimRequest>,
    ) -> Answer<pb::ReleaseClaimResponse> {
        Err(Status::unimplemented("not part of the tests"))
    }
    async fn get_next_actions(
        &self,
        _: Request<pb::GetNextActionsRequest>,
    ) -> Answer<pb::GetNextActionsResponse> {
        Err(Status::unimplemented("not part of the tests"))
    }
    async fn list_audit(&self, _: Request<pb::ListAuditRequest>) -> Answer<pb::ListAuditResponse> {
        Err(Status::unimplemented("not part of the tests"))
    }
}

/// A process that serves the service on a free port.
pub struct Fixture {
    pub process: Process,
    pub controls: Arc<Controls>,
    pub address: SocketAddr,
    pub admin: SocketAddr,
}

impl Fixture {
    pub async fn start(settings: ServerSettings) -> Self {
        let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
        Self::start_on(process, settings).await
    }

    pub async fn start_on(process: Process, settings: ServerSettings) -> Self {
        let controls = Arc::new(Controls::default());
        let service = Service {
            controls: controls.clone(),
            tasks: process.tasks.clone(),
        };
        let mounted = Mounted::new("workflow", fleet_proto::DESCRIPTOR_SET)
            .serve(limited!(WorkflowOrchestrationServiceServer::new(service)))
            .deadline(
                "fleet.workflow.v1.WorkflowOrchestrationService/GetWorkflowState",
                Duration::from_secs(30),
            );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = process.serve(mounted, listener, settings).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = serde_json::json!({ "neo4j_password": { "value": "***" } });
        let admin = process
            .serve_admin(listener, &config, axum::Router::new())
            .unwrap();
        Self {
            process,
            controls,
            address,
            admin,
        }
    }

    pub async fn channel(&self) -> Channel {
        let endpoint = format!("http://{}", self.address);
        tonic::transport::Endpoint::from_shared(endpoint)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub async fn client(&self) -> Client {
        Client::new(self.channel().await)
    }

    pub async fn health(&self) -> Health {
        Health::new(self.channel().await)
    }

    /// One page of the admin listener: status line and body.
    pub async fn page(&self, path: &str) -> (String, String) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut stream = tokio::net::TcpStream::connect(self.admin).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

pub fn state_of(task: &str) -> Request<pb::GetWorkflowStateRequest> {
    Request::new(pb::GetWorkflowStateRequest {
        task_id: task.to_owned(),
    })
}

/// Runs something beside the test.
#[expect(
    clippy::disallowed_methods,
    reason = "tests end their tasks themselves"
)]
pub fn beside<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::spawn(future)
}

/// The stable reason of a status; empty if it has none.
pub fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status
        .get_error_details()
        .error_info()
        .map(|info| info.reason.clone())
        .unwrap_or_default()
}

/// Waits for a state with a deadline.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .expect("in time")
}
