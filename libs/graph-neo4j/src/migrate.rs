//! Constraints and indexes, brought up to date by whoever starts.

use std::collections::HashSet;

use fleet_graph::{Deadline, ReadError};

use crate::{Neo4j, fault::Fault, graph::Retries, queries, rows, value::Params};

/// Makes what is missing and waits until all of it is ready. When nothing is missing, one
/// read. Replicas may race: each statement is `IF NOT EXISTS`, and what another one has just
/// made counts.
pub(crate) async fn run(store: &Neo4j, deadline: Deadline) -> Result<(), ReadError> {
    let schema = queries::schema();
    let ready = ready(store, deadline).await?;
    if schema.iter().all(|(name, _)| ready.contains(name)) {
        return Ok(());
    }
    for (name, text) in schema.iter().filter(|(name, _)| !ready.contains(name)) {
        tracing::info!(name, "neo4j schema statement");
        let mut retries = Retries::new(deadline);
        while let Err(fault) = make(store, text, deadline).await {
            retries.after(fault).await?;
        }
    }
    let seconds = i64::try_from(deadline.left().as_secs().max(1)).unwrap_or(i64::MAX);
    let wait = || {
        Params::new()
            .with("seconds", seconds)
            .query(queries::AWAIT_INDEXES)
    };
    store.read(deadline, wait).await?;
    Ok(())
}

async fn ready(store: &Neo4j, deadline: Deadline) -> Result<HashSet<String>, ReadError> {
    let row = store.read(deadline, || queries::INDEXES.into()).await?;
    rows::column(&row, "names")
}

/// Runs one schema statement, in a transaction of its own.
async fn make(store: &Neo4j, text: &str, deadline: Deadline) -> Result<(), Fault> {
    match store.write_once(text.into(), deadline).await {
        Ok(_) => Ok(()),
        // Somebody else was faster than `IF NOT EXISTS` could see.
        Err(Fault::Broken(reason)) if reason.contains("AlreadyExists") => Ok(()),
        Err(fault) => Err(fault),
    }
}
