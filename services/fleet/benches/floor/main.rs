//! Floor and product in one run: what the fleet costs beside the least that the same disk,
//! servers and libraries could do it for. Prints a table with ratios and goals; decides
//! nothing (it is run by people, and by nobody's clock).
//!
//! ```text
//! scripts/bench                   everything, on servers of its own
//! cargo bench -p fleet            what needs only Rust; with the variables FLEET_TEST_NATS_URL
//!                                 and FLEET_TEST_NEO4J_{URI,USER,PASSWORD} also on those servers
//! … -- embedded processes         only these parts: transition, reads, context, embedded,
//!                                 listing, processes
//! ```
//!
//! What is compared takes turns (product, floor, product, floor, …); medians of the turns are
//! what counts, their ratio more than themselves.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a measurement, run by hand: it prints, panics, and takes the time"
)]

mod context;
mod echo;
mod embedded;
mod machine;
mod neo4j;
mod play;
mod processes;
mod product;
mod real;
mod report;

use report::Report;

/// What can be measured.
const PARTS: [&str; 6] = [
    "transition",
    "reads",
    "context",
    "embedded",
    "listing",
    "processes",
];

fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with('-'))
        .collect();
    if let Some(unknown) = asked.iter().find(|part| !PARTS.contains(&part.as_str())) {
        println!(
            "there is no part {unknown:?}; there are {}",
            PARTS.join(", ")
        );
        std::process::exit(2);
    }
    let wanted = |part: &str| asked.is_empty() || asked.iter().any(|one| one == part);
    // One thread: on a small machine the client must leave the cores to the product.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut report = Report::default();
    runtime.block_on(async {
        machine::print().await;
        match real::Servers::from_environment() {
            Ok(servers) => real::run(&servers, &wanted, &mut report).await,
            Err(why) => report.skip(
                "transition, reads, context and listing on Neo4j and NATS",
                &why,
            ),
        }
        if wanted("context") {
            context::embedded(&mut report).await;
        }
        if wanted("embedded") {
            embedded::throughput(&mut report).await;
        }
        if wanted("listing") {
            embedded::listing(&mut report).await;
        }
        if wanted("processes") {
            processes::run(&mut report).await;
        }
    });
    report.print();
    println!("load average at the end: {}", machine::load());
}
