//! Replicas of the service on real servers, in a deployment of their own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet_events::Bus;
use fleet_events_nats::NatsBus;
use fleet_graph::Deadline;
use fleet_graph::conformance::test_server;
use tempfile::TempDir;
use tokio::time::Instant;

use super::crew::{self, Doors, PATIENCE, Walked, Walker};
use super::dice::Dice;
use super::process::{Program, free_port, log_in};
use super::verdict::{CHECKED, Heard};

/// What a test runs on.
pub struct World {
    pub nats: String,
    pub neo4j: String,
    user: String,
    password: String,
    pub deployment: String,
    directory: TempDir,
}

impl World {
    /// The shared servers; `None` says what is missing, or fails if the environment demands it.
    pub fn given() -> Option<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let nats = test_server("nats", "FLEET_TEST_NATS_URL")?;
        let neo4j = test_server("neo4j", "FLEET_TEST_NEO4J_URI")?;
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        Some(Self {
            nats,
            neo4j,
            user: std::env::var("FLEET_TEST_NEO4J_USER").unwrap_or_else(|_| "neo4j".to_owned()),
            password: std::env::var("FLEET_TEST_NEO4J_PASSWORD").unwrap_or_default(),
            deployment: format!("chaos{}-{next}", std::process::id()),
            directory: TempDir::new().unwrap(),
        })
    }

    fn settings(&self) -> fleet_events_nats::Settings {
        fleet_events_nats::Settings {
            deployment: self.deployment.clone(),
            // The topology's sizes are reserved by the server, for every test again.
            max_stream_bytes: Some(16 << 20),
            ..fleet_events_nats::Settings::new(self.nats.as_str())
        }
    }

    /// A client of the bus, whether or not the server is there.
    pub async fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(NatsBus::connect(self.settings()).await.unwrap())
    }

    /// The same, with the streams made.
    pub async fn applied(&self) -> Arc<dyn Bus> {
        let bus = self.bus().await;
        assert_eq!(bus.apply(Deadline::after(PATIENCE)).await.unwrap(), []);
        bus
    }

    /// A replica that was not started yet, and the port of its calls. `sync`: what it is told
    /// of the server's habits.
    pub fn replica(&self, name: &str, sync: &str) -> (Program, u16) {
        let (grpc, admin) = (free_port(), free_port());
        let environment = [
            ("NEO4J_URI", self.neo4j.as_str()),
            ("NEO4J_USER", &self.user),
            ("NEO4J_PASSWORD", &self.password),
            ("NATS_URL", &self.nats),
            ("FLEET_DEPLOYMENT", &self.deployment),
            ("FLEET_GRPC_PORT", &grpc.to_string()),
            ("FLEET_ADMIN_PORT", &admin.to_string()),
            ("FLEET_NATS_MAX_STREAM_MIB", "16"),
            ("FLEET_NATS_SYNC_INTERVAL", sync),
            ("FLEET_WORKER_THREADS", "2"),
        ];
        let log = log_in(self.directory.path(), name);
        let binary = env!("CARGO_BIN_EXE_fleet-workflow");
        (Program::new(binary, &[], &environment, admin, log), grpc)
    }

    /// Everything of the workflow's stream.
    pub async fn heard(&self) -> Heard {
        let stream = &fleet_topology::streams::WORKFLOW_EVENTS;
        Heard::new(self.bus().await, "chaos-check", stream, CHECKED)
    }

    async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(&self.nats).await.unwrap())
    }

    /// Waits until the service has nothing more to read.
    pub async fn until_consumed(&self) {
        let jetstream = self.jetstream().await;
        for name in ["workflow-planning-events", "workflow-agent-work"] {
            let consumer = fleet_topology::consumer(name).unwrap();
            let stream = format!(
                "{}_{}",
                self.deployment.to_ascii_uppercase(),
                consumer.stream
            );
            let until = Instant::now() + PATIENCE;
            loop {
                let stream = jetstream.get_stream(&stream).await.unwrap();
                let info = stream.consumer_info(name).await.unwrap();
                if info.num_pending == 0 && info.num_ack_pending == 0 {
                    break;
                }
                assert!(Instant::now() < until, "{name} is never done: {info:?}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// Nothing was put aside.
    pub async fn check_parked(&self, bus: &dyn Bus) {
        let parked = bus.parked(0, 10, Deadline::after(PATIENCE)).await.unwrap();
        let told: Vec<_> = parked.iter().map(|p| (&p.consumer, &p.reason)).collect();
        assert!(told.is_empty(), "{told:?}");
    }

    /// Removes what the test left on the shared server.
    pub async fn close(self) {
        let jetstream = self.jetstream().await;
        let prefix = self.deployment.to_ascii_uppercase();
        for stream in fleet_topology::STREAMS {
            jetstream
                .delete_stream(format!("{prefix}_{}", stream.name))
                .await
                .unwrap();
        }
    }
}

/// A story of two tasks, the second waiting for the first.
pub struct Story {
    pub id: String,
    pub tasks: Vec<(String, Vec<String>)>,
}

impl Story {
    pub fn new(deployment: &str, number: u64) -> Self {
        let task = |n: u64| format!("T-{deployment}-{number}-{n}");
        Self {
            id: format!("s-{deployment}-{number}"),
            tasks: vec![(task(1), Vec::new()), (task(2), vec![task(1)])],
        }
    }

    /// Walks all tasks to their end.
    pub async fn walk(
        &self,
        doors: &Doors,
        dice: &Dice,
        reports: Option<&Arc<dyn Bus>>,
    ) -> Vec<Walked> {
        let walks = (0..)
            .zip(&self.tasks)
            .map(|(n, (task, _))| Walker::new(doors, dice.fork(n), task, reports.cloned()).walk());
        futures::future::join_all(walks).await
    }

    pub async fn release(&self, bus: &dyn Bus) {
        crew::release(bus, &self.id, &self.tasks).await;
    }
}

/// What was acknowledged, by story.
pub type Acknowledged = BTreeMap<String, Vec<Walked>>;

/// How many changes that is.
pub fn count(acknowledged: &Acknowledged) -> usize {
    acknowledged
        .values()
        .flatten()
        .map(|walked| walked.acknowledged)
        .sum()
}
