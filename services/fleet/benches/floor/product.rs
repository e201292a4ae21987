//! Processes of the product: started, watched until ready, stopped.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long a process may take to get ready, or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running process.
pub struct Product {
    child: Child,
    log: PathBuf,
    /// Port of its (first) admin page.
    admin: u16,
    /// gRPC of planning, if it serves it.
    pub planning: String,
    /// gRPC of workflow, if it serves it.
    pub workflow: String,
    /// gRPC of context, if it serves it.
    pub context: String,
}

/// `fleet`, as built with this bench.
pub fn fleet() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_fleet"))
}

/// A binary of another package, if it was built into the same directory.
pub fn sibling(name: &str) -> Option<PathBuf> {
    let path = fleet().parent()?.join(name);
    path.exists().then_some(path)
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What to add to the ports of the topology so that all of them are free.
fn free_offset() -> u16 {
    use fleet_topology::services::{CONTEXT, PLANNING, WORKFLOW};
    let ports = [
        CONTEXT.grpc_port,
        CONTEXT.admin_port,
        PLANNING.grpc_port,
        PLANNING.admin_port,
        WORKFLOW.grpc_port,
        WORKFLOW.admin_port,
    ];
    let mut offset = 1 + u16::try_from(std::process::id() % 7_000).unwrap();
    loop {
        let free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", port + offset)).is_ok();
        if ports.iter().all(free) {
            return offset;
        }
        offset += 7;
    }
}

impl Product {
    /// `fleet up` with some arguments and variables.
    pub fn up(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        use fleet_topology::services::{CONTEXT, PLANNING, WORKFLOW};
        let offset = free_offset();
        let mut command = Command::new(fleet());
        command
            .args(["up", "--port-offset", &offset.to_string()])
            .args(arguments);
        let uri = |port: u16| format!("http://127.0.0.1:{}", port + offset);
        let services = [PLANNING, WORKFLOW, CONTEXT].map(|service| uri(service.grpc_port));
        Self::start(command, variables, PLANNING.admin_port + offset, services)
    }

    /// A service's own binary.
    pub fn service(binary: &Path, variables: &[(&str, &str)]) -> Self {
        let (grpc, admin) = (free_port(), free_port());
        let mut command = Command::new(binary);
        command.args([
            "--grpc-port",
            &grpc.to_string(),
            "--admin-port",
            &admin.to_string(),
        ]);
        let uri = format!("http://127.0.0.1:{grpc}");
        Self::start(command, variables, admin, [uri.clone(), uri.clone(), uri])
    }

    fn start(
        mut command: Command,
        variables: &[(&str, &str)],
        admin: u16,
        [planning, workflow, context]: [String; 3],
    ) -> Self {
        let log = crate::machine::scratch(&format!("log-{admin}")).join("log");
        let file = std::fs::File::create(&log).unwrap();
        // Nothing of this process's settings is meant for the product.
        command.env_clear().envs(variables.iter().copied());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(file));
        let child = command.spawn().unwrap();
        Self {
            child,
            log,
            admin,
            planning,
            workflow,
            context,
        }
    }

    /// Waits until `/readyz` says so.
    pub async fn ready(mut self) -> Self {
        let until = Instant::now() + PATIENCE;
        while !self.is_ready().await {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() > until {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("the product did not get ready ({ended:?}); it said:\n{log}");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        self
    }

    async fn is_ready(&self) -> bool {
        self.page("/readyz")
            .await
            .is_some_and(|page| page.starts_with("HTTP/1.1 200"))
    }

    /// An admin page with its head.
    pub async fn page(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await.ok()?;
        let ask = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
        stream.write_all(ask.as_bytes()).await.ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await.ok()?;
        Some(page)
    }

    /// Resident memory in KiB.
    pub fn resident(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// CPU time used so far, in clock ticks (usually of 10 ms).
    pub fn ticks(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    }

    /// Asks it to end, and waits for that.
    pub async fn stop(mut self) {
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < until, "the product does not end");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Product {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(dir) = self.log.parent() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
