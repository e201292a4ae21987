//! A service as a real process: this binary runs itself again as one. Its own harness, because
//! the command line belongs to the service.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by it, and says what it did"
)]

mod common;

use fleet_graph::conformance::test_server;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use common::{Client, Controls, Health, Service, reason, state_of};
use fleet_events::Bus as _;
use fleet_graph::Deadline;
use fleet_proto::workflow::v1::workflow_orchestration_service_server::WorkflowOrchestrationServiceServer;
use fleet_service::config::{Key, Kind};
use fleet_service::{Deps, Mounted, SystemIds, limited};
use fleet_types::Ids as _;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1::Span;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

/// Set: this process is the service.
const CHILD: &str = "FLEET_TEST_CHILD";
const OWN: &[Key] = &[Key::new(
    "lease",
    "FLEET_LEASE",
    Kind::Duration,
    "How long a claim lasts.",
)
.or("15m")];

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return fleet_service::main("workflow", OWN, |deps: Deps, settings| {
            if settings.duration("lease").is_zero() {
                return Err("FLEET_LEASE must not be zero");
            }
            let service = Service {
                controls: Controls::default().into(),
                tasks: deps.tasks,
            };
            Ok(Mounted::new("workflow", fleet_proto::DESCRIPTOR_SET)
                .serve(limited!(WorkflowOrchestrationServiceServer::new(service))))
        });
    }
    let runtime = fleet_service::runtime(1).unwrap();
    for (name, test) in [
        (
            "wrong_configuration_is_refused",
            wrong_configuration_is_refused as fn(&tokio::runtime::Runtime),
        ),
        ("prints_what_it_was_asked_for", prints_what_it_was_asked_for),
        (
            "waits_for_its_backends_and_says_so",
            waits_for_its_backends_and_says_so,
        ),
        (
            "sends_its_traces_to_a_collector",
            sends_its_traces_to_a_collector,
        ),
        (
            "is_ready_once_its_streams_are_there",
            is_ready_once_its_streams_are_there,
        ),
    ] {
        test(&runtime);
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn command(environment: &[(&str, &str)], arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .env_clear()
        .envs([
            (CHILD, "1"),
            ("FLEET_GRPC_PORT", "0"),
            ("FLEET_ADMIN_PORT", "0"),
            ("FLEET_LOG_FORMAT", "json"),
        ])
        .envs([
            ("NEO4J_URI", "bolt://127.0.0.1:1"),
            ("NEO4J_PASSWORD", "hunter2"),
            ("NATS_URL", "nats://127.0.0.1:1"),
        ])
        .envs(environment.iter().copied())
        .args(arguments);
    command
}

fn wrong_configuration_is_refused(_: &tokio::runtime::Runtime) {
    for (environment, sentence) in [
        (
            ("FLEET_LESE", "1m"),
            "FLEET_LESE in the environment is not a setting of this process: did you mean FLEET_LEASE?",
        ),
        (
            ("FLEET_LEASE", "soon"),
            "FLEET_LEASE must be a time such as",
        ),
        (("FLEET_LEASE", "0s"), "FLEET_LEASE must not be zero"),
        (("NEO4J_PASSWORD", ""), "NEO4J_PASSWORD must not be empty"),
        (("NEO4J_URI", "not an address"), "NEO4J_URI is of no use"),
        (
            ("VALKEY_URL", "redis://:hunter2@h:port"),
            "VALKEY_URL is of no use",
        ),
        (
            ("FLEET_CACHE_MIB", "0"),
            "FLEET_CACHE_MIB must be a whole number from 1",
        ),
        (("FLEET_BIND", "0.0.0.0"), "FLEET_INSECURE=true"),
        (("FLEET_DEPLOYMENT", "Prod!"), "FLEET_DEPLOYMENT must be"),
        (("FLEET_LOG", "=="), "FLEET_LOG is not"),
        (
            ("FLEET_CONFIG", "/nowhere.toml"),
            "/nowhere.toml cannot be read",
        ),
    ] {
        let output = command(&[environment], &[]).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{environment:?}: {said}");
        assert!(said.contains(sentence), "{environment:?}: {said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = command(&[("FLEET_GRPC_PORT", &port)], &[])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(69), "{said}");
    assert!(
        said.contains("set FLEET_GRPC_PORT to a free port"),
        "{said}"
    );
}

fn prints_what_it_was_asked_for(_: &tokio::runtime::Runtime) {
    let cache = ("VALKEY_URL", "rediss://fleet:hunter2@h:6379");
    let output = command(&[cache], &["--print-config", "--lease", "5m"])
        .output()
        .unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success() && printed.contains("lease = \"5m\"  # flag"),
        "{printed}"
    );
    assert!(printed.contains("neo4j_password = \"***\""), "{printed}");
    assert!(
        printed.contains("valkey_url = \"rediss://***@h:6379\"") && !printed.contains("hunter2"),
        "{printed}"
    );
    let output = command(&[], &["config-schema"]).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["properties"]["grpc_port"]["default"], 50_056);
    let output = command(&[], &["--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(
        help.contains("--lease")
            && help.contains("FLEET_LEASE")
            && !help.contains("--neo4j-password"),
        "{help}"
    );
}

/// A running service with what it logs.
struct Running {
    child: Child,
    log: mpsc::Receiver<serde_json::Value>,
    grpc: String,
    admin: String,
    listening_after: Duration,
}

impl Running {
    fn start(environment: &[(&str, &str)]) -> Self {
        let started = Instant::now();
        let mut child = command(environment, &[])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(serde_json::Value::String(line));
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let mut running = Self {
            child,
            log,
            grpc: String::new(),
            admin: String::new(),
            listening_after: Duration::ZERO,
        };
        running.grpc = running.logged("serving grpc")["address"]
            .as_str()
            .unwrap()
            .to_owned();
        running.admin = running.logged("serving admin pages")["address"]
            .as_str()
            .unwrap()
            .to_owned();
        running.listening_after = started.elapsed();
        running
    }

    /// Waits for a message in the log.
    fn logged(&self, message: &str) -> serde_json::Value {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .log
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("{message:?} is logged"));
            assert!(!line.to_string().contains("hunter2"), "{line}");
            if line["message"] == message {
                return line;
            }
        }
    }

    async fn health(&self) -> Health {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.grpc));
        Health::new(endpoint.unwrap().connect().await.unwrap())
    }

    fn page(&self, path: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.admin).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn resident_mib(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.child.id())).unwrap();
        statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096 / 1024 / 1024
    }

    fn terminate(mut self) {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.logged("drained completely");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already if all went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn waits_for_its_backends_and_says_so(runtime: &tokio::runtime::Runtime) {
    let running = Running::start(&[]);
    println!(
        "listening after {:?}, {} MiB resident",
        running.listening_after,
        running.resident_mib()
    );
    runtime.block_on(async {
        let status = running
            .health()
            .await
            .check(HealthCheckRequest::default())
            .await
            .unwrap();
        assert_eq!(status.into_inner().status(), ServingStatus::NotServing);
        let mut client = Client::connect(format!("http://{}", running.grpc))
            .await
            .unwrap();
        let status = client
            .get_workflow_state(state_of("T-1"))
            .await
            .unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Unavailable, "DEPENDENCY_UNAVAILABLE")
        );
    });
    let waits = running.logged("dependency is away");
    assert!(
        ["neo4j", "nats"].contains(&waits["dependency"].as_str().unwrap()),
        "{waits}"
    );
    let page = running.page("/readyz");
    assert!(
        page.starts_with("HTTP/1.1 503") && page.contains("neo4j") && page.contains("nats"),
        "{page}"
    );
    assert!(running.page("/livez").starts_with("HTTP/1.1 200"));
    let config = running.page("/config");
    assert!(
        config.contains("***") && !config.contains("hunter2"),
        "{config}"
    );
    assert!(
        running.page("/metrics").contains("fleet_events"),
        "the relay is counted"
    );
    running.terminate();
}

fn is_ready_once_its_streams_are_there(runtime: &tokio::runtime::Runtime) {
    let (Some(nats), Some(uri), Some(password)) = (
        test_server("nats", "FLEET_TEST_NATS_URL"),
        test_server("neo4j", "FLEET_TEST_NEO4J_URI"),
        test_server("neo4j", "FLEET_TEST_NEO4J_PASSWORD"),
    ) else {
        return;
    };
    let deployment = format!("t{}", &SystemIds.uuid().simple().to_string()[20..]);
    let running = Running::start(&[
        ("NATS_URL", &nats),
        ("NEO4J_URI", &uri),
        (
            "NEO4J_USER",
            &std::env::var("FLEET_TEST_NEO4J_USER")
                .ok()
                .unwrap_or_else(|| "neo4j".to_owned()),
        ),
        ("NEO4J_PASSWORD", &password),
        ("FLEET_DEPLOYMENT", &deployment),
        ("FLEET_NATS_MAX_STREAM_MIB", "32"),
    ]);
    let waits = loop {
        let waits = running.logged("dependency is away");
        if waits["dependency"] == "nats" {
            break waits;
        }
    };
    assert!(
        waits["waiting_for"]
            .as_str()
            .unwrap()
            .contains("fleet streams apply"),
        "{waits}"
    );
    runtime.block_on(async {
        let bus = fleet_events_nats::NatsBus::connect(fleet_events_nats::Settings {
            deployment: deployment.clone(),
            max_stream_bytes: Some(32 << 20),
            ..fleet_events_nats::Settings::new(&nats)
        });
        let left = bus
            .await
            .unwrap()
            .apply(Deadline::after(Duration::from_secs(20)))
            .await
            .unwrap();
        assert_eq!(left, []);
        let mut watch = running
            .health()
            .await
            .watch(HealthCheckRequest::default())
            .await
            .unwrap()
            .into_inner();
        let serving = async {
            while watch.message().await.unwrap().unwrap().status() != ServingStatus::Serving {}
        };
        common::within(serving).await;
        let mut client = Client::connect(format!("http://{}", running.grpc))
            .await
            .unwrap();
        client.get_workflow_state(state_of("T-1")).await.unwrap();
    });
    println!("{} MiB resident when ready", running.resident_mib());
    running.terminate();
    runtime.block_on(async {
        let client = async_nats::connect(&nats).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        for stream in fleet_topology::STREAMS {
            let name = format!("{}_{}", deployment.to_ascii_uppercase(), stream.name);
            assert!(jetstream.delete_stream(name).await.unwrap().success);
        }
    });
}

/// Keeps the spans that are sent to it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let spans = request
            .into_inner()
            .resource_spans
            .into_iter()
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.0.lock().unwrap().extend(spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn sends_its_traces_to_a_collector(runtime: &tokio::runtime::Runtime) {
    let collector = Collector::default();
    let endpoint = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(tonic::transport::server::TcpIncoming::from(listener));
        common::beside(server);
        format!("http://{address}")
    });
    for threads in ["1", "2"] {
        let running = Running::start(&[
            ("FLEET_OTLP_ENDPOINT", &endpoint),
            ("FLEET_WORKER_THREADS", threads),
        ]);
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let status = runtime.block_on(async {
            let mut client = Client::connect(format!("http://{}", running.grpc))
                .await
                .unwrap();
            let mut request = state_of("T-1");
            let parent = format!("00-{trace}-b7ad6b7169203331-01").parse().unwrap();
            request.metadata_mut().insert("traceparent", parent);
            client.get_workflow_state(request).await.unwrap_err()
        });
        assert_eq!(status.code(), Code::Unavailable);
        // The end flushes what is left; the collector's runtime must go on meanwhile.
        runtime.block_on(async {
            tokio::task::spawn_blocking(move || running.terminate())
                .await
                .unwrap();
        });
        let spans = std::mem::take(&mut *collector.0.lock().unwrap());
        let hexed = |id: &[u8]| id.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let ours: Vec<_> = spans
            .iter()
            .filter(|span| hexed(&span.trace_id) == trace)
            .collect();
        assert_eq!(ours.len(), 1, "{spans:?}");
        assert_eq!(hexed(&ours[0].parent_span_id), "b7ad6b7169203331");
        assert!(
            ours[0].name.ends_with("/GetWorkflowState"),
            "{:?}",
            ours[0].name
        );
    }
}
