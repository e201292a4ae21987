//! A process of the fleet: its tasks, readiness and metrics, the servers it runs, and its end.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fleet_types::{Clock, Ids};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::readiness::Readiness;
use crate::server::{self, RpcMetrics, Running};
use crate::{Drained, Mounted, ServeError, ServerSettings, SharedRegistry, Tasks};

/// Of the time for draining, so much is kept for the flush; at most half.
const FLUSH: Duration = Duration::from_secs(5);

/// One process, with one or several services. Cheap to clone.
#[derive(Clone)]
pub struct Process {
    /// Where every task runs.
    pub tasks: Tasks,
    /// Whether calls should be sent here.
    pub readiness: Readiness,
    /// The metrics.
    pub metrics: SharedRegistry,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ids and randomness.
    pub ids: Arc<dyn Ids>,
    rpc_metrics: RpcMetrics,
    running: Arc<Mutex<Vec<Running>>>,
    admin_stop: CancellationToken,
}

impl Process {
    /// A process that serves nothing yet.
    pub fn new(clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        let metrics = SharedRegistry::default();
        let readiness = Readiness::new();
        readiness.register(&metrics);
        Self {
            tasks: Tasks::new(),
            readiness,
            rpc_metrics: RpcMetrics::register(&metrics),
            metrics,
            clock,
            ids,
            running: Arc::default(),
            admin_stop: CancellationToken::new(),
        }
    }

    /// Serves a service on a listener that is bound already; gives its address.
    ///
    /// # Errors
    /// Descriptors, TLS files or a listener that are of no use.
    pub fn serve(
        &self,
        mounted: Mounted,
        listener: TcpListener,
        settings: ServerSettings,
    ) -> Result<SocketAddr, ServeError> {
        let (address, running) = server::serve(self, mounted, listener, settings)?;
        tracing::info!(service = running.name, %address, "serving grpc");
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(running);
        Ok(address)
    }

    /// Serves a service to this process itself, too, whatever its listener asks of others
    /// (TLS, their certificates): limits and identity are those of `settings`. Gives the way.
    ///
    /// # Errors
    /// Descriptors that are of no use.
    pub fn serve_within(
        &self,
        mounted: Mounted,
        settings: ServerSettings,
    ) -> Result<Channel, ServeError> {
        let (channel, running) = server::serve_within(self, mounted, settings)?;
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(running);
        Ok(channel)
    }

    /// Serves the admin pages and `more` beside them; `config` is shown under `/config` and
    /// must be masked already.
    ///
    /// # Errors
    /// A listener that is of no use.
    pub fn serve_admin(
        &self,
        listener: TcpListener,
        config: &serde_json::Value,
        more: axum::Router,
    ) -> std::io::Result<SocketAddr> {
        let address = listener.local_addr()?;
        let router =
            crate::admin::router(self.readiness.clone(), self.metrics.clone(), config).merge(more);
        let stop = self.admin_stop.clone();
        tracing::info!(%address, "serving admin pages");
        self.server_task("admin", async move {
            let serve = axum::serve(listener, router);
            // Its connections need no farewell, and an idle one would never end.
            tokio::select! {
                served = serve => {
                    if let Err(e) = served {
                        tracing::error!(error = %e, "admin server failed");
                    }
                    false
                }
                () = stop.cancelled() => true,
            }
        });
        Ok(address)
    }

    /// Waits until the process is to stop: SIGTERM, SIGINT, or an essential task that died.
    /// Gives whether it is to stop as failed.
    ///
    /// # Errors
    /// Signals cannot be received.
    pub async fn until_stopped(&self) -> std::io::Result<bool> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        Ok(tokio::select! {
            _ = terminate.recv() => {
                tracing::info!("SIGTERM: stopping");
                false
            }
            _ = interrupt.recv() => {
                tracing::info!("SIGINT: stopping");
                false
            }
            why = self.tasks.failed() => {
                tracing::error!(why, "stopping");
                true
            }
        })
    }

    /// Stops: not ready first, then no more connections and calls, calls in hand end, tasks
    /// end, what is left is flushed. Takes at most `within`; says what did not end.
    pub async fn stop(&self, within: Duration) -> Drained {
        let until = Instant::now() + within;
        let work_until = until - FLUSH.min(within / 2);
        self.readiness.stop();
        let running =
            std::mem::take(&mut *self.running.lock().unwrap_or_else(PoisonError::into_inner));
        for server in &running {
            server.stop();
        }
        self.tasks.begin_shutdown();
        let drains = running
            .iter()
            .map(|server| async move { (server.name, server.drained(work_until).await) });
        let servers = futures::future::join_all(drains).await;
        // Only now has the last call started the last task.
        let mut drained = self.tasks.drain(work_until, until).await;
        self.admin_stop.cancel();
        drained.left.extend(
            servers
                .iter()
                .filter(|(_, all_ended)| !all_ended)
                .map(|(name, _)| *name),
        );
        if drained.is_complete() {
            tracing::info!("drained completely");
        } else {
            tracing::warn!(left = ?drained.left, "not everything ended in time");
        }
        drained
    }

    pub(crate) fn rpc_metrics(&self) -> &RpcMetrics {
        &self.rpc_metrics
    }

    /// Runs an accept loop outside the tasks that a drain waits for: connections that never
    /// end must not hold it up. `future` gives whether it was meant to end.
    pub(crate) fn server_task(
        &self,
        name: &'static str,
        future: impl Future<Output = bool> + Send + 'static,
    ) {
        let tasks = self.tasks.clone();
        #[expect(
            clippy::disallowed_methods,
            reason = "a drain waits for its calls, not for its connections"
        )]
        tokio::spawn(async move {
            if !future.await {
                tasks.fail(name, None);
            }
        });
    }
}
