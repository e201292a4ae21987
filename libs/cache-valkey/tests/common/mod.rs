//! The server that the tests share, and servers of their own, if they can be had.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use fleet_cache::Cache;
use fleet_cache::conformance::{Place, not_exercised, test_server};
use fleet_cache_valkey::{Settings, Valkey};
use tempfile::TempDir;
use tokio::time::Instant;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that other tests use, too.
pub struct Shared {
    url: String,
    /// Accepts connections and never says a word.
    silent: TcpListener,
    /// Speaks another protocol.
    other: SocketAddr,
}

impl Shared {
    /// The server that the environment names; `None` says why nothing is exercised, or fails
    /// if the environment demands it.
    pub async fn from_env() -> Option<Self> {
        let url = test_server("valkey", "FLEET_TEST_VALKEY_URL")?;
        let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let web = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let other = web.local_addr().unwrap();
        // Ends with the process of the test.
        std::thread::spawn(move || {
            use std::io::Write as _;
            for connection in web.incoming() {
                let _ =
                    connection.and_then(|mut c| c.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
            }
        });
        Some(Self { url, silent, other })
    }
}

pub fn open(url: &str, deployment: &str) -> Arc<Valkey> {
    let settings = Settings {
        deployment: deployment.into(),
        ..Settings::new(url)
    };
    Arc::new(Valkey::connect(&settings).expect("settings that can work"))
}

#[async_trait]
impl Place for Shared {
    async fn open(&self, deployment: &str) -> Arc<dyn Cache> {
        open(&self.url, deployment)
    }

    async fn lost(&self) -> Vec<Arc<dyn Cache>> {
        let closed = free_port();
        let silent = self.silent.local_addr().unwrap();
        let urls = [
            format!("redis://127.0.0.1:{closed}"),
            format!("redis://{silent}"),
            format!("redis://{}", self.other),
            "redis://no-such-host.invalid:6379".to_owned(),
        ];
        let mut lost: Vec<Arc<dyn Cache>> = Vec::new();
        for url in urls {
            lost.push(open(&url, "lost"));
        }
        lost
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// A server of one test; killed when dropped.
pub struct Own {
    program: String,
    pub port: u16,
    child: Child,
    directory: TempDir,
}

impl Own {
    /// Starts one, with further options; `None` says that there is no program for it.
    pub async fn start(options: &[&str]) -> Option<Self> {
        let program = program()?;
        // Between choosing a port and binding it, somebody else may take it.
        for _ in 0..5 {
            let (port, directory) = (free_port(), TempDir::new().unwrap());
            let child = spawn(&program, port, &directory, options);
            let mut own = Self {
                program: program.clone(),
                port,
                child,
                directory,
            };
            if own.answers().await {
                return Some(own);
            }
        }
        panic!("{program} does not start");
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Waits until it accepts connections; `false`: it has ended.
    async fn answers(&mut self) -> bool {
        let until = Instant::now() + PATIENCE;
        while std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < until, "no answer on port {}", self.port);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        true
    }

    /// Ends it without a goodbye.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again on the same port.
    pub async fn again(&mut self, options: &[&str]) {
        self.child = spawn(&self.program, self.port, &self.directory, options);
        assert!(self.answers().await, "the port is taken");
    }

    /// `STOP`: it keeps its connections and says nothing; `CONT`: it goes on.
    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(done.success());
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(program: &str, port: u16, directory: &TempDir, options: &[&str]) -> Child {
    Command::new(program)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .args(["--daemonize", "no", "--port", &port.to_string(), "--dir"])
        .arg(directory.path())
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn program() -> Option<String> {
    let named = std::env::var("FLEET_TEST_VALKEY_SERVER").ok();
    let program = named
        .filter(|program| !program.is_empty())
        .unwrap_or_else(|| "valkey-server".into());
    let runs = Command::new(&program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if runs.is_ok_and(|status| status.success()) {
        return Some(program);
    }
    not_exercised(
        "valkey servers of their own (FLEET_TEST_VALKEY_SERVER not set, no valkey-server on PATH)",
    );
    None
}
