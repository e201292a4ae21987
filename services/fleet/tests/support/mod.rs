//! The `fleet` binary as a person runs it.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use fleet_service::SystemIds;
use fleet_types::Ids as _;
use tonic::transport::ClientTlsConfig;

/// The binary, without settings of ours in its environment.
pub fn fleet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    for (name, _) in std::env::vars() {
        let ours = ["FLEET_", "NEO4J_", "NATS_URL", "VALKEY_URL"];
        if ours.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub fn run(arguments: &[&str]) -> Output {
    fleet().args(arguments).output().expect("the binary runs")
}

/// Standard output as text.
pub fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Standard error as text.
pub fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running `fleet up`; killed when dropped.
pub struct Up {
    pub child: Child,
    /// Base URI of each service's gRPC server.
    pub planning: String,
    pub workflow: String,
    pub context: String,
    /// What it said before it served.
    pub said: Vec<String>,
}

impl Up {
    /// Starts it on free ports and waits until it is ready.
    pub async fn start(data: &Path, configure: impl Fn(&mut Command)) -> Self {
        Self::with(data, None, configure).await
    }

    /// As [`Self::start`], where it is configured to serve TLS that this client trusts.
    pub async fn secured(
        data: &Path,
        tls: ClientTlsConfig,
        configure: impl Fn(&mut Command),
    ) -> Self {
        Self::with(data, Some(tls), configure).await
    }

    async fn with(
        data: &Path,
        tls: Option<ClientTlsConfig>,
        configure: impl Fn(&mut Command),
    ) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        for _ in 0..20 {
            let offset = free_offset();
            let mut command = fleet();
            command
                .args(["up", "--data"])
                .arg(data)
                .args(["--port-offset", &offset.to_string()]);
            configure(&mut command);
            let mut child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it starts");
            let stdout = BufReader::new(child.stdout.take().expect("piped"));
            let mut lines = stdout.lines().map_while(Result::ok);
            // Its last line before it serves; it ends early if a port was taken meanwhile.
            let mut said = Vec::new();
            let found = lines.find(|line| {
                said.push(line.clone());
                line.contains("Ctrl-C")
            });
            let Some(_) = found else {
                let output = child.wait_with_output().expect("it ended");
                let said = err(&output);
                assert!(said.contains("cannot listen on"), "fleet up failed: {said}");
                continue;
            };
            let up = Self {
                child,
                planning: format!("{scheme}://127.0.0.1:{}", 50_054 + offset),
                workflow: format!("{scheme}://127.0.0.1:{}", 50_056 + offset),
                context: format!("{scheme}://127.0.0.1:{}", 50_051 + offset),
                said,
            };
            up.until_ready(tls).await;
            return up;
        }
        panic!("no free range of ports");
    }

    /// The admin page of readiness.
    pub fn readiness(&self) -> serde_json::Value {
        use std::io::{Read as _, Write as _};
        let port: u16 = self.planning.rsplit(':').next().unwrap().parse().unwrap();
        let mut stream = std::net::TcpStream::connect(("127.0.0.1", port - 30_000)).unwrap();
        let request = "GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"))
    }

    async fn until_ready(&self, tls: Option<ClientTlsConfig>) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut endpoint =
            tonic::transport::Endpoint::from_shared(self.planning.clone()).expect("an address");
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).expect("certificates");
        }
        let channel = endpoint.connect_lazy();
        let mut client =
            fleet_proto::planning::v2::planning_service_client::PlanningServiceClient::new(channel);
        loop {
            let asked =
                client.list_projects(fleet_proto::planning::v2::ListProjectsRequest::default());
            match asked.await {
                Ok(_) => return,
                Err(status) => assert!(Instant::now() < deadline, "not ready: {status}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A deployment that nobody used before.
pub fn deployment() -> String {
    format!("t{:016x}", SystemIds.random())
}

/// An offset that leaves the six ports of `fleet up` free, as far as one can tell.
fn free_offset() -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let offset = 100 + u16::try_from(SystemIds.random() % 9_000).expect("small");
        if [50_051, 50_054, 50_056, 20_051, 20_054, 20_056]
            .iter()
            .all(|port| free(port + offset))
        {
            return offset;
        }
    }
}

/// Creates a story with one task and walks both to their end, as the roles would; gives its id.
pub async fn story_to_review(up: &Up) -> String {
    use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
    use fleet_proto::planning::v2::{
        CreateStoryRequest, CreateTaskRequest, GetStoryRequest, TransitionStoryRequest,
    };
    use fleet_proto::workflow::v1::workflow_orchestration_service_client::WorkflowOrchestrationServiceClient;
    use fleet_proto::workflow::v1::{
        GetWorkflowStateRequest, RequestValidationRequest, WorkResult,
    };

    let mut planning = PlanningServiceClient::connect(up.planning.clone())
        .await
        .unwrap();
    let mut workflow = WorkflowOrchestrationServiceClient::connect(up.workflow.clone())
        .await
        .unwrap();
    let story = CreateStoryRequest {
        title: "Say whether a service is ready".to_owned(),
        brief: "As an operator I want one address that says so, so that I sleep.".to_owned(),
        created_by: "ada".to_owned(),
        acceptance_criteria: vec!["It answers within 100 ms".to_owned()],
        constraints: vec!["No new port".to_owned()],
        size: "S".to_owned(),
        without_epic: true,
        ..CreateStoryRequest::default()
    };
    let story = planning
        .create_story(story)
        .await
        .unwrap()
        .into_inner()
        .story
        .unwrap();
    let task = CreateTaskRequest {
        story_id: story.story_id.clone(),
        title: "Serve /readyz".to_owned(),
        ..CreateTaskRequest::default()
    };
    let task = planning
        .create_task(task)
        .await
        .unwrap()
        .into_inner()
        .task
        .unwrap();
    for target in [
        "PO_REVIEW",
        "READY_FOR_PLANNING",
        "PLANNED",
        "READY_FOR_EXECUTION",
    ] {
        let request = TransitionStoryRequest {
            story_id: story.story_id.clone(),
            target_state: target.to_owned(),
            transitioned_by: "ada".to_owned(),
            ..TransitionStoryRequest::default()
        };
        planning.transition_story(request).await.unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    let known = GetWorkflowStateRequest {
        task_id: task.task_id.clone(),
    };
    while workflow.get_workflow_state(known.clone()).await.is_err() {
        assert!(
            Instant::now() < deadline,
            "the task does not reach the workflow"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let claim = fleet_proto::workflow::v1::ClaimTaskRequest {
        task_id: task.task_id.clone(),
        agent_id: "dev-1".to_owned(),
        role: "developer".to_owned(),
        ..Default::default()
    };
    workflow.claim_task(claim).await.unwrap();
    let sha = "0123456789abcdef0123456789abcdef01234567".to_owned();
    for (role, agent, action) in [
        ("developer", "dev-1", "commit_code"),
        ("architect", "arch-1", "approve_design"),
        ("qa", "qa-1", "approve_tests"),
        ("po", "ada", "approve_story"),
    ] {
        let result = WorkResult {
            artifacts: [("commit_sha".to_owned(), sha.clone())].into(),
            ..WorkResult::default()
        };
        let request = RequestValidationRequest {
            task_id: task.task_id.clone(),
            role: role.to_owned(),
            action: action.to_owned(),
            agent_id: agent.to_owned(),
            result: Some(result),
            ..RequestValidationRequest::default()
        };
        workflow.request_validation(request).await.unwrap();
    }
    loop {
        let request = GetStoryRequest {
            story_id: story.story_id.clone(),
        };
        let state = planning
            .get_story(request)
            .await
            .unwrap()
            .into_inner()
            .state;
        if state == "READY_TO_REVIEW" {
            return story.story_id;
        }
        assert!(Instant::now() < deadline, "the story stays in {state}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
