//! `fleet up`: all services in one process, until Ctrl-C.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use fleet_service::config::{COMMON_KEYS, Common, Key, Kind, Settings};
use fleet_service::{
    Process, SystemClock, SystemIds, Telemetry, backends::BACKEND_KEYS, server_settings,
};
use tokio::net::TcpListener;

use crate::stack::{Bound, Ground, Plan, Stack};

const OFFSET: Kind = Kind::Integer {
    min: 0,
    max: 10_000,
};

const OWN_KEYS: &[Key] = &[
    Key::new(
        "data",
        "FLEET_DATA",
        Kind::Path,
        "Data directory of the embedded database.",
    )
    .or(crate::DEFAULT_DATA),
    Key::new(
        "port_offset",
        "FLEET_PORT_OFFSET",
        OFFSET,
        "Added to every port.",
    )
    .or("0"),
    Key::new(
        "nats",
        "NATS_URL",
        Kind::Text,
        "A NATS server as the bus, e.g. nats://127.0.0.1:4222; unset: embedded.",
    ),
    Key::new(
        "neo4j",
        "NEO4J_URI",
        Kind::Text,
        "A Neo4j server as the graph (needs --nats), e.g. bolt://127.0.0.1:7687; unset: embedded.",
    ),
    Key::new(
        "valkey",
        "VALKEY_URL",
        Kind::Text,
        "A Valkey server as the cache, e.g. redis://127.0.0.1:6379; unset: in the process.",
    ),
];

/// The keys of `fleet up`: its own, the common ones, those of real servers and of every
/// service; each once.
pub fn keys() -> Vec<Key> {
    let mut keys: Vec<Key> = OWN_KEYS.to_vec();
    let all = COMMON_KEYS
        .iter()
        .chain(BACKEND_KEYS)
        .chain(fleet_planning::KEYS)
        .chain(fleet_workflow::KEYS)
        .chain(fleet_context::KEYS);
    for key in all {
        if !keys
            .iter()
            .any(|known| known.env == key.env || known.name == key.name)
        {
            // Which of the servers are used at all is said by `nats`, `neo4j` and `valkey`.
            keys.push(key.optional());
        }
    }
    keys
}

/// Serves until a signal; gives the exit code.
pub fn run(settings: &Settings) -> anyhow::Result<ExitCode> {
    let ground = Ground::from_settings(settings)?;
    let common = Common::from_settings(settings)?;
    let runtime = fleet_service::runtime(common.worker_threads).context("no runtime")?;
    let code = runtime.block_on(serve(settings, &ground, &common));
    runtime.shutdown_timeout(std::time::Duration::from_millis(200));
    code
}

async fn serve(settings: &Settings, ground: &Ground, common: &Common) -> anyhow::Result<ExitCode> {
    let telemetry = Telemetry::install(
        "fleet",
        &common.log,
        common.log_format,
        common.otlp_endpoint.as_deref(),
    )?;
    let process = Process::new(Arc::new(SystemClock), Arc::new(SystemIds));
    let bound = listeners(common, u16::try_from(settings.integer("port_offset"))?).await?;
    let opened = ground.open(settings, common, process.ids.random()).await?;
    let description = opened.description.clone();
    let plan = Plan {
        planning: fleet_planning::Config::from_settings(settings),
        workflow: fleet_workflow::Config::from_settings(settings),
        context: fleet_context::Config::from_settings(settings),
        server: server_settings(common, &process, telemetry.traces())?,
        deployment: common.deployment.clone(),
        shown: settings.json(),
    };
    let admin = bound
        .first()
        .and_then(|b| b.admin.as_ref()?.local_addr().ok());
    let stack = Stack::start(process, opened, bound, plan)?;
    if let Some(admin) = admin {
        stack.note(&format!("http://{admin}"));
    }
    for (service, address) in &stack.addresses {
        crate::out(&format!("{service:<10} grpc://{address}"));
    }
    crate::out(&format!("{description}; Ctrl-C stops"));
    let process = stack.process.clone();
    let code = process.run_to_the_end(common.drain).await;
    stack.stop(common.drain).await;
    telemetry.shut_down().await;
    Ok(code)
}

/// Binds every port before anything else is done, so that a port in use is the first thing
/// that an operator hears of.
async fn listeners(common: &Common, offset: u16) -> anyhow::Result<Vec<Bound>> {
    let mut bound = Vec::new();
    for service in [
        fleet_topology::services::PLANNING,
        fleet_topology::services::WORKFLOW,
        fleet_topology::services::CONTEXT,
    ] {
        let bind = async |port: u16| {
            let port = port
                .checked_add(offset)
                .context("--port-offset leaves the range of ports")?;
            TcpListener::bind((common.bind, port))
                .await
                .with_context(|| {
                    format!(
                        "cannot listen on {}:{port} for {}; choose other ports with --port-offset",
                        common.bind, service.name
                    )
                })
        };
        let grpc = bind(service.grpc_port).await?;
        let admin = Some(bind(service.admin_port).await?);
        bound.push(Bound {
            service: service.name,
            grpc,
            admin,
        });
    }
    Ok(bound)
}
