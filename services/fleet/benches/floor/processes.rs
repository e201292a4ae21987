//! What a process costs when nobody asks for anything, and how long it takes to be there.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::play::Clients;
use crate::product::{self, Product};
use crate::real::Servers;
use crate::report::{Report, quantile, short};
use crate::{embedded, machine};

const STARTS: usize = 15;
/// So long a process is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);
const MEMORY_KIB: u64 = 30 * 1024;
const START: Duration = Duration::from_millis(50);

/// Memory and start of every binary.
pub async fn run(report: &mut Report) {
    let data = machine::scratch("processes");
    let product = embedded::up(&data).await;
    idle("fleet up, embedded", &product, report).await;
    let clients = Clients::connect(&product.planning, &product.workflow).await;
    let epic = clients.epic().await;
    clients.story(&epic, 20).await;
    product.stop().await;

    let (mut starts, mut floors) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        let at = Instant::now();
        let product = embedded::up(&data).await;
        starts.push(at.elapsed());
        product.stop().await;
        let at = Instant::now();
        let mut version = Command::new(product::fleet());
        version
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .unwrap();
        floors.push(at.elapsed());
    }
    let _ = std::fs::remove_dir_all(data);
    let median = quantile(&starts, 0.5);
    report.number(
        "start to ready, fleet up on existing data",
        format!("{} (max {})", short(median), short(quantile(&starts, 1.0))),
        format!("{} (--version)", short(quantile(&floors, 0.5))),
        "≤ 50 ms".into(),
        median <= START,
    );
    services(report).await;
}

async fn services(report: &mut Report) {
    let servers = match Servers::from_environment() {
        Ok(servers) => servers,
        Err(why) => return report.skip("memory of the services on Neo4j and NATS", &why),
    };
    // It brings the streams up to date, which the services only check.
    let up = servers.up().await;
    idle("fleet up, Neo4j + NATS", &up, report).await;
    for name in ["fleet-planning", "fleet-workflow"] {
        let Some(binary) = product::sibling(name) else {
            report.skip(name, &format!("not built: cargo build --release -p {name}"));
            continue;
        };
        let service = Product::service(&binary, &servers.variables())
            .ready()
            .await;
        idle(&format!("{name}, Neo4j + NATS"), &service, report).await;
        service.stop().await;
    }
    up.stop().await;
    servers.clean().await;
}

async fn idle(what: &str, product: &Product, report: &mut Report) {
    tokio::time::sleep(IDLE).await;
    let before = product.ticks();
    tokio::time::sleep(IDLE).await;
    let used = before.and_then(|before| Some(product.ticks()?.saturating_sub(before)));
    let Some(resident) = product.resident() else {
        return report.skip(what, "no /proc/PID/status here");
    };
    #[expect(clippy::cast_precision_loss, reason = "memory in KiB")]
    let mib = resident as f64 / 1024.0;
    report.number(
        &format!("idle memory, {what}"),
        format!("{mib:.1} MiB"),
        String::new(),
        "≤ 30 MiB".into(),
        resident <= MEMORY_KIB,
    );
    if let Some(ticks) = used {
        let millis = ticks * 10 / IDLE.as_secs();
        report.note("  CPU while idle, ms a second", millis.to_string());
    }
}
