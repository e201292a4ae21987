//! The life of a process in a test; waiting for a state, never for a time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use fleet_graph::Deadline;
use fleet_service::{Mounted, Process, ServerSettings, SystemClock, SystemIds};
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long a test waits for what has to come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The deadline of what has to be done now.
pub fn soon() -> Deadline {
    Deadline::after(PATIENCE)
}

/// Waits until `probe` gives something.
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < until, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A process that serves nothing yet.
pub fn process() -> Process {
    Process::new(Arc::new(SystemClock), Arc::new(SystemIds))
}

/// Serves a service on a port of its own; gives its address.
pub async fn serve(process: &Process, mounted: Mounted, settings: ServerSettings) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    process.serve(mounted, listener, settings).unwrap()
}

/// Waits until a process takes calls.
pub async fn ready(process: &Process) {
    tokio::time::timeout(PATIENCE, process.readiness.ready())
        .await
        .expect("ready in time");
}

/// Stops a process, which has to end all its tasks.
pub async fn stop(process: Process) {
    let drained = process.stop(Duration::from_secs(10)).await;
    assert!(drained.is_complete(), "{drained:?}");
}
