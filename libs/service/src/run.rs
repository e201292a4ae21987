//! A service as a process of its own: from the command line to the exit code.

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use fleet_cache::{Cache, Measured};
use fleet_events::{Bus, Drift, Relay, RelaySettings};
use fleet_graph::{Deadline, Store};
use tokio::net::TcpListener;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};

use crate::cli::{self, Invocation, Refusal};
use crate::config::{
    Common, EXIT_CONFIG, JwtSettings, Key, Ports, Problem, Problems, Settings, TlsFiles,
    service_keys,
};
use crate::fill::watch_fill;
use crate::{
    Authenticator, Deps, Mounted, Need, Process, Pulse, ServerSettings, SystemClock, SystemIds,
    Telemetry, watch_over,
};

/// Exit code of a process that could not go on (`EX_SOFTWARE`).
const EXIT_FAILED: u8 = 70;
/// Exit code of a process that could not listen (`EX_UNAVAILABLE`).
const EXIT_UNAVAILABLE: u8 = 69;
/// Exit code after a second signal.
const EXIT_AT_ONCE: u8 = 130;

/// How long migrations may take before they are tried again.
const MIGRATE_WITHIN: Duration = Duration::from_secs(30);
/// How long a dependency may take to answer a ping.
const PING_WITHIN: Duration = Duration::from_secs(2);

/// The store, the bus and the cache of a process.
#[derive(Clone)]
pub struct Backends {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Its name in readiness, e.g. `neo4j`.
    pub store_name: &'static str,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// Its name in readiness, e.g. `nats`.
    pub bus_name: &'static str,
    /// The cache. One that is a server shows in readiness, and never holds the process up.
    pub cache: Arc<dyn Cache>,
}

/// Who brings the streams of the bus up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Streams {
    /// This process does.
    Apply,
    /// An operator does, by `fleet streams apply`; this process waits for it.
    Check,
}

impl Process {
    /// Watches over the backends (migrations and streams first) and starts the relay; gives
    /// what services need.
    pub fn attach(&self, backends: Backends, streams: Streams, deployment: &str) -> Deps {
        let Backends {
            store,
            store_name,
            bus,
            bus_name,
            cache,
        } = backends;
        let (migrating, pinged) = (store.clone(), store.clone());
        watch_over(
            &self.tasks,
            self.readiness.latch(store_name, Need::Always),
            Pulse::default(),
            move || migrate(migrating.clone()),
            move || ping_store(pinged.clone()),
        );
        let (reconciled, pinged) = (bus.clone(), bus.clone());
        watch_over(
            &self.tasks,
            self.readiness.latch(bus_name, Need::AtStart),
            Pulse::default(),
            move || reconcile(reconciled.clone(), streams),
            move || ping_bus(pinged.clone()),
        );
        // A cache in the process cannot be away.
        if cache.usage().is_none() {
            let (first, pinged) = (cache.clone(), cache.clone());
            watch_over(
                &self.tasks,
                self.readiness.latch(cache.name(), Need::Never),
                Pulse::default(),
                move || ping_cache(first.clone()),
                move || ping_cache(pinged.clone()),
            );
        }
        watch_fill(&self.tasks, &self.metrics, &bus);
        let backends = Backends {
            store,
            store_name,
            bus,
            bus_name,
            cache,
        };
        let (relay, deps) = self.deps(backends, deployment);
        self.tasks.flusher("relay", |shutdown| relay.run(shutdown));
        deps
    }

    /// What services need to read, and nothing that works on the backends by itself: no
    /// migration, no reconciliation of streams, no relay. What is committed nevertheless waits
    /// in the outbox for whoever has the backends next.
    pub fn attach_for_reading(&self, backends: Backends, deployment: &str) -> Deps {
        self.deps(backends, deployment).1
    }

    fn deps(&self, backends: Backends, deployment: &str) -> (Relay, Deps) {
        let Backends {
            store, bus, cache, ..
        } = backends;
        let cache_metrics = fleet_cache::Metrics::default();
        self.metrics
            .with(|registry| cache_metrics.register(registry));
        let settings = RelaySettings {
            seed: self.ids.random(),
            ..RelaySettings::default()
        };
        let event_metrics = settings.metrics.clone();
        self.metrics
            .with(|registry| event_metrics.register(registry));
        let (relay, committer) =
            Relay::new(store.clone(), bus.clone(), self.clock.clone(), settings);
        let deps = Deps {
            committer,
            store,
            bus,
            cache: Arc::new(Measured::new(cache, cache_metrics)),
            clock: self.clock.clone(),
            ids: self.ids.clone(),
            tasks: self.tasks.clone(),
            deployment: deployment.to_owned(),
            metrics: self.metrics.clone(),
            event_metrics,
        };
        (relay, deps)
    }
}

async fn ping_store(store: Arc<dyn Store>) -> Result<(), String> {
    let deadline = Deadline::after(PING_WITHIN);
    store.ping(deadline).await.map_err(|e| e.to_string())
}

async fn ping_bus(bus: Arc<dyn Bus>) -> Result<(), String> {
    let deadline = Deadline::after(PING_WITHIN);
    bus.ping(deadline).await.map_err(|e| e.to_string())
}

async fn ping_cache(cache: Arc<dyn Cache>) -> Result<(), String> {
    cache.ping(PING_WITHIN).await.map_err(|e| e.to_string())
}

// Both ping first: whether the server is there at all is known soon.

async fn migrate(store: Arc<dyn Store>) -> Result<(), String> {
    ping_store(store.clone()).await?;
    let deadline = Deadline::after(MIGRATE_WITHIN);
    store.migrate(deadline).await.map_err(|e| e.to_string())
}

async fn reconcile(bus: Arc<dyn Bus>, streams: Streams) -> Result<(), String> {
    ping_bus(bus.clone()).await?;
    let deadline = Deadline::after(MIGRATE_WITHIN);
    let left = match streams {
        Streams::Apply => bus.apply(deadline).await,
        Streams::Check => bus.drift(deadline).await,
    };
    let left = left.map_err(|e| e.to_string())?;
    let Some(first) = left.first() else {
        return Ok(());
    };
    let (Drift::Missing { kind, name }
    | Drift::Different { kind, name, .. }
    | Drift::Immutable { kind, name, .. }) = first;
    let how = match first {
        Drift::Missing { .. } => "is missing",
        Drift::Different { .. } => "differs from the topology",
        Drift::Immutable { .. } => "differs from the topology where it cannot be changed in place",
    };
    let more = match left.len() {
        1 => String::new(),
        count => format!(" (and {} more)", count - 1),
    };
    Err(format!(
        "{kind} {name} {how}{more}: run `fleet streams plan`, then `fleet streams apply`"
    ))
}

/// The whole life of a service binary. `own` are the service's keys besides the common ones
/// (those of its backends included), `open` opens store and bus (without waiting for them), and
/// `start` starts the service.
pub fn run<E: Into<Box<dyn Error + Send + Sync>>>(
    service: &'static str,
    own: &[Key],
    open: impl AsyncFnOnce(&Settings, &Common, u64) -> Result<Backends, Problems>,
    start: impl FnOnce(Deps, &Settings) -> Result<Mounted, E>,
) -> ExitCode {
    let service = fleet_topology::service(service).expect("the topology knows every service");
    let keys = service_keys(service, own);
    let settings = match cli::read(
        service.package,
        service.grpc_service,
        &keys,
        std::env::args_os(),
        cli::environment(),
    ) {
        Ok(Invocation::Serve(settings)) => settings,
        Ok(Invocation::Print(text)) => {
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Refusal::Usage(e)) => {
            let _ = e.print();
            return if e.use_stderr() {
                ExitCode::from(EXIT_CONFIG)
            } else {
                ExitCode::SUCCESS
            };
        }
        Err(Refusal::Config(problems)) => return refuse(service.package, &problems),
    };
    let common = match Common::from_settings(&settings) {
        Ok(common) => common,
        Err(problems) => return refuse(service.package, &problems),
    };
    // Ours is the only provider; if somebody installed one before, it is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match runtime(common.worker_threads) {
        Ok(runtime) => runtime,
        Err(e) => return fail(service.package, &format!("no runtime: {e}"), EXIT_FAILED),
    };
    let code = runtime.block_on(serve(service, &settings, &common, open, start));
    runtime.shutdown_timeout(Duration::from_millis(200));
    code
}

/// A runtime of so many worker threads; 0 follows the CPU limit. One thread needs no workers.
///
/// # Errors
/// The system gives no threads or no epoll.
pub fn runtime(worker_threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    let threads = match worker_threads {
        // Knows the limits of a container.
        0 => std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(8),
        given => given,
    };
    match threads {
        1 => tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build(),
        _ => tokio::runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .enable_all()
            .build(),
    }
}

async fn serve<E: Into<Box<dyn Error + Send + Sync>>>(
    service: &'static fleet_topology::Service,
    settings: &Settings,
    common: &Common,
    open: impl AsyncFnOnce(&Settings, &Common, u64) -> Result<Backends, Problems>,
    start: impl FnOnce(Deps, &Settings) -> Result<Mounted, E>,
) -> ExitCode {
    let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
    let telemetry = match Telemetry::install(
        service.package,
        &common.log,
        common.log_format,
        common.otlp_endpoint.as_deref(),
    ) {
        Ok(telemetry) => telemetry,
        Err(problems) => return refuse(service.package, &problems),
    };
    let server_settings = match server_settings(common, &process, telemetry.traces()) {
        Ok(server_settings) => server_settings,
        Err(problems) => return refuse(service.package, &problems),
    };
    let (listener, admin) = match listeners(common, Ports::from_settings(settings)).await {
        Ok(bound) => bound,
        Err(message) => return fail(service.package, &message, EXIT_UNAVAILABLE),
    };
    let backends = match open(settings, common, process.ids.random()).await {
        Ok(backends) => backends,
        Err(problems) => return refuse(service.package, &problems),
    };
    let deps = process.attach(backends, Streams::Check, &common.deployment);
    let mounted = match start(deps, settings) {
        Ok(mounted) => mounted,
        Err(e) => {
            return fail(
                service.package,
                &crate::fault::chain(&*e.into()),
                EXIT_CONFIG,
            );
        }
    };
    if let Err(e) = process.serve(mounted, listener, server_settings) {
        return fail(service.package, &crate::fault::chain(&e), EXIT_CONFIG);
    }
    if let Err(e) = process.serve_admin(admin, &settings.json(), axum::Router::new()) {
        return fail(
            service.package,
            &format!("the admin pages cannot be served: {e}"),
            EXIT_UNAVAILABLE,
        );
    }
    let code = process.run_to_the_end(common.drain).await;
    telemetry.shut_down().await;
    code
}

impl Process {
    /// Waits for the end and drains within `within`; a second signal ends the process at once.
    pub async fn run_to_the_end(&self, within: Duration) -> ExitCode {
        let failed = match self.until_stopped().await {
            Ok(failed) => failed,
            Err(e) => {
                tracing::error!(error = %e, "signals cannot be received");
                true
            }
        };
        let again = async {
            // After a failure only signals count, and `until_stopped` would return at once.
            if failed || self.until_stopped().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            _ = self.stop(within) => {
                if failed { ExitCode::from(EXIT_FAILED) } else { ExitCode::SUCCESS }
            }
            () = again => {
                tracing::warn!("second signal: leaving at once");
                ExitCode::from(EXIT_AT_ONCE)
            }
        }
    }
}

async fn listeners(common: &Common, ports: Ports) -> Result<(TcpListener, TcpListener), String> {
    let bind = async |port: u16, key: &str| {
        TcpListener::bind((common.bind, port)).await.map_err(|e| {
            format!(
                "cannot listen on {}:{port}: {e}; set {key} to a free port",
                common.bind
            )
        })
    };
    Ok((
        bind(ports.grpc, "FLEET_GRPC_PORT").await?,
        bind(ports.admin, "FLEET_ADMIN_PORT").await?,
    ))
}

/// The settings of a server from the common ones; reads the files of keys and certificates, and
/// warns of an open address without identity.
///
/// # Errors
/// Files that cannot be read or hold something else.
pub fn server_settings(
    common: &Common,
    process: &Process,
    traces: bool,
) -> Result<ServerSettings, Problems> {
    if !common.bind.is_loopback() && common.jwt.is_none() {
        tracing::warn!(bind = %common.bind, "FLEET_INSECURE: everybody who can reach this address may do everything");
    }
    let authenticator = common
        .jwt
        .as_ref()
        .map(|jwt| authenticator(jwt, process))
        .transpose()?;
    let tls = common.tls.as_ref().map(tls).transpose()?;
    Ok(ServerSettings {
        max_concurrent_calls: common.max_concurrent_calls,
        max_concurrent_streams: common.max_concurrent_streams,
        deadline_default: common.deadline_default,
        deadline_max: common.deadline_max,
        authenticator: authenticator.map(Arc::new),
        tls,
        traces,
    })
}

fn authenticator(jwt: &JwtSettings, process: &Process) -> Result<Authenticator, Problems> {
    let env = if jwt.shared_secret {
        "FLEET_JWT_SECRET_FILE"
    } else {
        "FLEET_JWT_PUBLIC_KEY_FILE"
    };
    let key = read(env, &jwt.key_file)?;
    Authenticator::new(
        &jwt.algorithm,
        &key,
        &jwt.issuer,
        &jwt.audience,
        process.clock.clone(),
    )
    .map_err(|e| Problem(format!("{env}: {e}")).into())
}

fn tls(files: &TlsFiles) -> Result<ServerTlsConfig, Problems> {
    let cert = read("FLEET_TLS_CERT_FILE", &files.cert)?;
    let key = read("FLEET_TLS_KEY_FILE", &files.key)?;
    let config = ServerTlsConfig::new().identity(Identity::from_pem(cert, key));
    Ok(match &files.client_ca {
        None => config,
        Some(file) => config.client_ca_root(Certificate::from_pem(read(
            "FLEET_TLS_CLIENT_CA_FILE",
            file,
        )?)),
    })
}

fn read(env: &str, path: &std::path::Path) -> Result<Vec<u8>, Problems> {
    std::fs::read(path)
        .map_err(|e| Problem(format!("{env}: {} cannot be read: {e}", path.display())).into())
}

fn refuse(package: &str, problems: &Problems) -> ExitCode {
    for problem in &problems.0 {
        // Logging may not exist yet.
        let _ = writeln!(std::io::stderr(), "{package}: {problem}");
    }
    ExitCode::from(EXIT_CONFIG)
}

fn fail(package: &str, message: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{package}: {message}");
    ExitCode::from(code)
}
