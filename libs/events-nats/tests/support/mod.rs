//! Real servers for the tests: the shared one, and ones of our own to be killed.
#![allow(dead_code, unused_imports, reason = "each test binary uses its part")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "part of tests only"
)]

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use fleet_events::{Bus, conformance::Place};
use fleet_events_nats::{NatsBus, Settings};
use fleet_graph::Deadline;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    time::Instant,
};

pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// The value of an environment key; its absence is said, or a failure where it is required.
pub fn given(key: &str) -> Option<String> {
    fleet_graph::conformance::test_server("nats", key)
}

/// A deployment on the shared server.
pub struct Deployed {
    pub bus: NatsBus,
    url: String,
    deployment: String,
}

/// A name that nobody uses at the same time.
pub fn deployment() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(
        "t{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

pub fn settings(url: &str, deployment: &str) -> Settings {
    Settings {
        deployment: deployment.to_owned(),
        // The topology's sizes are reserved by the server, for every test again.
        max_stream_bytes: Some(32 << 20),
        ..Settings::new(url)
    }
}

impl Deployed {
    pub async fn on_shared_server() -> Option<Self> {
        let url = given("FLEET_TEST_NATS_URL")?;
        let deployment = deployment();
        let bus = NatsBus::connect(settings(&url, &deployment)).await.unwrap();
        let deployed = Self {
            bus,
            url,
            deployment,
        };
        // A process of the same number may have left something behind.
        deployed.close().await;
        assert_eq!(deployed.bus.apply(soon()).await.unwrap(), []);
        Some(deployed)
    }

    /// The server behind our back.
    pub async fn jetstream(&self) -> async_nats::jetstream::Context {
        async_nats::jetstream::new(async_nats::connect(&self.url).await.unwrap())
    }

    pub fn stream(&self, plain: &str) -> String {
        format!("{}_{plain}", self.deployment.to_ascii_uppercase())
    }

    pub fn subject(&self, plain: &str) -> String {
        format!("{}.{plain}", self.deployment)
    }
}

#[async_trait]
impl Place for Deployed {
    fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(self.bus.clone())
    }

    async fn close(&self) {
        let jetstream = self.jetstream().await;
        for stream in fleet_topology::STREAMS {
            // Missing ones are the point.
            let _ = jetstream.delete_stream(self.stream(stream.name)).await;
        }
    }
}

/// A server of our own, on its own disk.
pub struct Server {
    binary: PathBuf,
    port: u16,
    directory: TempDir,
    child: Option<Child>,
    /// Further arguments.
    pub arguments: Vec<&'static str>,
}

impl Server {
    /// Not started yet.
    pub fn stopped() -> Option<Self> {
        let binary = PathBuf::from(given("FLEET_TEST_NATS_SERVER")?);
        // Free now, and nobody else's while the test runs, as far as one can know.
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        Some(Self {
            binary,
            port,
            directory: TempDir::new().unwrap(),
            child: None,
            arguments: Vec::new(),
        })
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Starts and waits for the port.
    pub async fn start(&mut self) {
        let child = command(&self.binary, self.directory.path(), self.port)
            .args(&self.arguments)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let end = Instant::now() + PATIENCE;
        while tokio::net::TcpStream::connect(("127.0.0.1", self.port))
            .await
            .is_err()
        {
            assert!(Instant::now() < end, "nats-server did not start");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().expect("it was started");
        child.kill().await.unwrap();
    }

    /// SIGSTOP or SIGCONT: a peer that is there and says nothing.
    pub async fn signal(&self, signal: &str) {
        let pid = self
            .child
            .as_ref()
            .and_then(Child::id)
            .expect("it was started");
        let status = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(pid.to_string())
            .status()
            .await;
        assert!(status.unwrap().success());
    }
}

fn command(binary: &Path, directory: &Path, port: u16) -> Command {
    let mut command = Command::new(binary);
    command
        .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
        .arg(directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Waits until `done` says so.
pub async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done().await {
        assert!(Instant::now() < end, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
