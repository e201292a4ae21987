//! `fleet-planning` as a process: what it refuses, and its life on real servers.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "tests"
)]

use fleet_graph::conformance::test_server;
use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use fleet_events::Bus as _;
use fleet_events_nats::NatsBus;
use fleet_graph::Deadline;
use fleet_proto::planning::v2 as pb;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use tonic::Code;

const PATIENCE: Duration = Duration::from_secs(30);

/// The binary with nothing of our environment.
fn planning() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet-planning"));
    command.env_clear();
    command
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_wrong_configuration_is_refused_with_every_problem() {
    let refused = planning()
        .env("FLEET_PLANNING_DOR_TRESHOLD", "90")
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(64));
    let text = said(&refused);
    for part in [
        "FLEET_PLANNING_DOR_TRESHOLD",
        "NEO4J_URI",
        "NEO4J_PASSWORD",
        "NATS_URL",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let schema = planning().arg("config-schema").output().unwrap();
    assert!(schema.status.success());
    let schema: serde_json::Value = serde_json::from_slice(&schema.stdout).unwrap();
    assert_eq!(schema["properties"]["grpc_port"]["default"], 50_054);
    assert!(schema["properties"]["planning_dor_threshold"].is_object());
    let printed = planning()
        .args(["--print-config", "--planning-dor-threshold", "90"])
        .envs([
            ("NEO4J_URI", "bolt://x:1"),
            ("NEO4J_PASSWORD", "hunter2"),
            ("NATS_URL", "nats://x:1"),
        ])
        .output()
        .unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    assert!(
        printed.contains("planning_dor_threshold = 90") && !printed.contains("hunter2"),
        "{printed}"
    );
}

/// A port that is free now, and nobody else's as far as one can know.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Kills the process however the test ends.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn it_waits_for_its_streams_serves_and_stops_when_told() {
    let Some(nats) = test_server("nats", "FLEET_TEST_NATS_URL") else {
        return;
    };
    let Some(neo4j) = test_server("neo4j", "FLEET_TEST_NEO4J_URI") else {
        return;
    };
    let deployment = format!("proc{}", std::process::id());
    let (grpc, admin) = (free_port().to_string(), free_port().to_string());
    let user = std::env::var("FLEET_TEST_NEO4J_USER").unwrap_or_else(|_| "neo4j".to_owned());
    let password = std::env::var("FLEET_TEST_NEO4J_PASSWORD").unwrap_or_default();
    let child = planning()
        .envs([
            ("NEO4J_URI", neo4j.as_str()),
            ("NEO4J_USER", user.as_str()),
            ("NEO4J_PASSWORD", password.as_str()),
            ("NATS_URL", nats.as_str()),
            ("FLEET_DEPLOYMENT", deployment.as_str()),
            ("FLEET_NATS_MAX_STREAM_MIB", "16"),
            ("FLEET_GRPC_PORT", grpc.as_str()),
            ("FLEET_ADMIN_PORT", admin.as_str()),
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    let until = Instant::now() + PATIENCE;
    let mut client = loop {
        match PlanningServiceClient::connect(format!("http://127.0.0.1:{grpc}")).await {
            Ok(client) => break client,
            Err(_) => assert!(Instant::now() < until, "it listens"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    // Nobody made its streams: it serves nothing, and says so at once.
    let request = pb::CreateProjectRequest {
        name: "Shop".into(),
        ..Default::default()
    };
    let early = client.create_project(request.clone()).await.unwrap_err();
    assert_eq!(early.code(), Code::Unavailable, "{early}");

    let settings = fleet_events_nats::Settings {
        deployment: deployment.clone(),
        max_stream_bytes: Some(16 << 20),
        ..fleet_events_nats::Settings::new(nats.as_str())
    };
    let bus = NatsBus::connect(settings).await.unwrap();
    assert!(
        bus.apply(Deadline::after(PATIENCE))
            .await
            .unwrap()
            .is_empty()
    );
    let project = loop {
        match client.create_project(request.clone()).await {
            Ok(created) => break created.into_inner().project.unwrap(),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
        assert!(Instant::now() < until, "it becomes ready");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let found = client
        .get_project(pb::GetProjectRequest {
            project_id: project.project_id,
        })
        .await;
    assert!(found.unwrap().into_inner().success);

    let told = Command::new("kill")
        .args(["-TERM", &running.0.id().to_string()])
        .status()
        .unwrap();
    assert!(told.success());
    let code = loop {
        if let Some(code) = running.0.try_wait().unwrap() {
            break code;
        }
        assert!(Instant::now() < until, "it stops");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(code.code(), Some(0));
    let jetstream = async_nats::jetstream::new(async_nats::connect(&nats).await.unwrap());
    for stream in fleet_topology::STREAMS {
        let name = format!("{}_{}", deployment.to_ascii_uppercase(), stream.name);
        jetstream.delete_stream(name).await.unwrap();
    }
}
