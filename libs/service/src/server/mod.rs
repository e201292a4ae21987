//! A gRPC server: the routes of services with health, reflection and the limits of every call.

mod body;
mod incoming;
mod layer;
mod metrics;
mod unreadable;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tonic::transport::{Channel, Server as Transport, ServerTlsConfig};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use self::layer::{CallLayer, Kind, Method, Shared};
pub(crate) use self::metrics::RpcMetrics;
use crate::auth::Authenticator;
use crate::readiness::{Readiness, State};
use crate::{Mounted, Process};

const HEALTH: &str = "grpc.health.v1.Health";
const REFLECTION: [&str; 2] = [
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const CONNECTION_AGE: Duration = Duration::from_secs(30 * 60);
const STREAMS_PER_CONNECTION: u32 = 256;
const HEADER_LIST_BYTES: u32 = 16 * 1024;
const PENDING_ACCEPT_RESETS: usize = 20;
const LOCAL_ERROR_RESETS: usize = 1024;
/// After the last call ended, connections get so long to say goodbye.
const GOODBYE: Duration = Duration::from_millis(250);

/// Limits and identity of a server.
#[derive(Debug, Clone)]
pub struct ServerSettings {
    /// Calls in hand at once; more are refused with RESOURCE_EXHAUSTED.
    pub max_concurrent_calls: usize,
    /// Open server streams at once.
    pub max_concurrent_streams: usize,
    /// Time for calls whose caller does not say.
    pub deadline_default: Duration,
    /// Longest time for a call whose method has no limit of its own.
    pub deadline_max: Duration,
    /// Verifies bearer tokens; `None`: everybody is `anonymous`.
    pub authenticator: Option<Arc<Authenticator>>,
    /// TLS.
    pub tls: Option<ServerTlsConfig>,
    /// Whether traces are sent somewhere.
    pub traces: bool,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            max_concurrent_calls: 512,
            max_concurrent_streams: 1024,
            deadline_default: crate::DEFAULT_DEADLINE,
            deadline_max: Duration::from_secs(60),
            authenticator: None,
            tls: None,
            traces: false,
        }
    }
}

/// Why a server cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its listener is of no use.
    #[error("the listener of {name} is of no use")]
    Listener {
        /// The service.
        name: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Its descriptor set cannot be decoded.
    #[error("the descriptor set of {name} does not describe it")]
    Descriptors {
        /// The service.
        name: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Its TLS identity does not fit together.
    #[error("the TLS certificate and key of {name} are of no use")]
    Tls {
        /// The service.
        name: &'static str,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
}

/// A server that runs; see [`Process::serve`].
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) name: &'static str,
    stopping: CancellationToken,
    in_flight: TaskTracker,
    ended: TaskTracker,
}

impl Running {
    /// No more connections and calls; open streams end.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
        self.in_flight.close();
    }

    /// Waits for calls in hand, then a moment for connections; gives whether all calls ended.
    /// A connection without calls is not waited for: it may never end by itself.
    pub(crate) async fn drained(&self, until: Instant) -> bool {
        let calls = tokio::time::timeout_at(until, self.in_flight.wait()).await;
        let goodbye = until.min(Instant::now() + GOODBYE);
        let _ = tokio::time::timeout_at(goodbye, self.ended.wait()).await;
        calls.is_ok()
    }
}

/// Serves `mounted` on `listener` as part of `process`.
pub(crate) fn serve(
    process: &Process,
    mounted: Mounted,
    listener: TcpListener,
    settings: ServerSettings,
) -> Result<(SocketAddr, Running), ServeError> {
    let name = mounted.name;
    let address = listener
        .local_addr()
        .map_err(|source| ServeError::Listener { name, source })?;
    let running = serve_on(process, mounted, incoming::connections(listener), settings)?;
    Ok((address, running))
}

/// Serves `mounted` to `process` itself, without TLS: nothing leaves the process.
pub(crate) fn serve_within(
    process: &Process,
    mounted: Mounted,
    settings: ServerSettings,
) -> Result<(Channel, Running), ServeError> {
    let (channel, incoming) = incoming::within();
    let settings = ServerSettings {
        tls: None,
        ..settings
    };
    let running = serve_on(process, mounted, incoming, settings)?;
    Ok((channel, running))
}

fn serve_on<C>(
    process: &Process,
    mounted: Mounted,
    incoming: impl Stream<Item = std::io::Result<C>> + Send + 'static,
    settings: ServerSettings,
) -> Result<Running, ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let name = mounted.name;
    let stopping = CancellationToken::new();
    let in_flight = TaskTracker::new();
    let shared = Shared {
        methods: methods(process, &mounted, settings.deadline_max)?,
        unknown: Arc::new(Method {
            name: "unknown".to_owned(),
            kind: Kind::Service,
            streaming: false,
            longest: settings.deadline_max,
            metrics: process.rpc_metrics().method("unknown"),
        }),
        deadline_default: settings.deadline_default,
        calls: Arc::new(Semaphore::new(settings.max_concurrent_calls)),
        streams: Arc::new(Semaphore::new(settings.max_concurrent_streams)),
        authenticator: settings.authenticator,
        readiness: process.readiness.clone(),
        ids: process.ids.clone(),
        in_flight: in_flight.clone(),
        stopping: stopping.clone(),
        metrics: process.rpc_metrics().clone(),
        traces: settings.traces,
    };
    // Replicas that started together do not send all their clients away at once.
    let spread = process.ids.random() % (CONNECTION_AGE.as_secs() / 5);
    let mut transport = Transport::builder()
        .max_concurrent_streams(STREAMS_PER_CONNECTION)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .http2_max_header_list_size(HEADER_LIST_BYTES)
        .http2_max_pending_accept_reset_streams(Some(PENDING_ACCEPT_RESETS))
        .http2_max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS))
        .max_connection_age(CONNECTION_AGE + Duration::from_secs(spread));
    if let Some(tls) = settings.tls {
        transport = transport
            .tls_config(tls)
            .map_err(|source| ServeError::Tls { name, source })?;
    }
    let reporter = HealthReporter::new();
    let routes = routes(mounted.routes.clone(), &mounted, &reporter)?;
    let router = transport
        .layer(CallLayer(Arc::new(shared)))
        .add_routes(routes);

    let services: Vec<_> = std::iter::once("").chain(mounted.grpc_services).collect();
    for service in &services {
        // Nobody hears "serving" before readiness was looked at.
        let status = ServingStatus::NotServing;
        reporter
            .set_service_status(service, status)
            .now_or_never()
            .expect("nobody else has the reporter yet");
    }
    let readiness = process.readiness.clone();
    process.tasks.keep("health", move |shutdown| {
        report_health(
            readiness.clone(),
            reporter.clone(),
            services.clone(),
            shutdown,
        )
    });

    let ended = TaskTracker::new();
    let until_stopped = stopping.clone();
    let running = Running {
        name,
        stopping,
        in_flight,
        ended: ended.clone(),
    };
    let token = ended.token();
    ended.close();
    let meant_to_end = until_stopped.clone();
    process.server_task(name, async move {
        let _token = token;
        let served = router
            .serve_with_incoming_shutdown(incoming, until_stopped.cancelled_owned())
            .await;
        if let Err(e) = served {
            tracing::error!(
                service = name,
                error = crate::fault::chain(&e),
                "server failed"
            );
        }
        meant_to_end.is_cancelled()
    });
    Ok(running)
}

fn routes(
    routes: Routes,
    mounted: &Mounted,
    reporter: &HealthReporter,
) -> Result<Routes, ServeError> {
    let name = mounted.name;
    let describe = |source: tonic_reflection::server::Error| ServeError::Descriptors {
        name,
        source: source.into(),
    };
    let builder = || {
        let mut builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(
                tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
            )
            .include_reflection_service(false);
        for set in &mounted.descriptor_sets {
            builder = builder.register_encoded_file_descriptor_set(set);
        }
        let listed = mounted
            .grpc_services
            .iter()
            .chain([&HEALTH])
            .chain(&REFLECTION);
        listed.fold(builder, |builder, service| {
            builder.with_service_name(*service)
        })
    };
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    Ok(routes
        .add_service(health)
        .add_service(builder().build_v1().map_err(describe)?)
        .add_service(builder().build_v1alpha().map_err(describe)?)
        .prepare())
}

/// What is known about every method that is served, from the descriptor sets.
fn methods(
    process: &Process,
    mounted: &Mounted,
    longest: Duration,
) -> Result<HashMap<String, Arc<Method>>, ServeError> {
    let name = mounted.name;
    let own = [
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = HashMap::new();
    for set in mounted.descriptor_sets.iter().chain(&own) {
        let set = FileDescriptorSet::decode(*set).map_err(|e| ServeError::Descriptors {
            name,
            source: e.into(),
        })?;
        for file in &set.file {
            for service in &file.service {
                let service_name = format!("{}.{}", file.package(), service.name());
                let kind = match service_name.as_str() {
                    HEALTH => Kind::Health,
                    other if REFLECTION.contains(&other) => Kind::Reflection,
                    other if mounted.grpc_services.contains(&other) => Kind::Service,
                    _ => continue,
                };
                for method in &service.method {
                    let name = format!("{service_name}/{}", method.name());
                    let own_limit = mounted.deadlines.iter().find(|(method, _)| *method == name);
                    let known = Method {
                        kind,
                        streaming: method.server_streaming(),
                        longest: own_limit.map_or(longest, |(_, limit)| *limit),
                        metrics: process.rpc_metrics().method(&name),
                        name: name.clone(),
                    };
                    methods.insert(name, Arc::new(known));
                }
            }
        }
    }
    let described = |service: &&str| {
        methods.keys().any(|m| {
            m.strip_prefix(*service)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    };
    match mounted
        .grpc_services
        .iter()
        .find(|service| !described(service))
    {
        None => Ok(methods),
        Some(missing) => Err(ServeError::Descriptors {
            name,
            source: format!("it lacks {missing}").into(),
        }),
    }
}

/// Health follows readiness.
async fn report_health(
    readiness: Readiness,
    reporter: HealthReporter,
    services: Vec<&'static str>,
    shutdown: CancellationToken,
) {
    let mut changes = readiness.changes();
    let mut told = None;
    loop {
        let ready = State::is_ready(&changes.borrow_and_update());
        if told != Some(ready) {
            let status = if ready {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            for service in &services {
                reporter.set_service_status(service, status).await;
            }
            told = Some(ready);
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = shutdown.cancelled() => {
                // The last word is that we stop; watchers hear it before their streams end.
                for service in &services {
                    reporter.set_service_status(service, ServingStatus::NotServing).await;
                }
                return;
            }
        }
    }
}
