//! Constraints and indexes, brought up to date by whoever starts.

use std::collections::HashSet;

use fleet_graph::{Deadline, ReadError, SearchIndex};

use crate::{Neo4j, fault::Fault, graph::Retries, queries, rows, search, value::Params};

/// Makes what is missing and waits until all of it is ready. When nothing is missing, one
/// read. Replicas may race: each statement is `IF NOT EXISTS`, and what another one has just
/// made counts.
pub(crate) async fn run(store: &Neo4j, deadline: Deadline) -> Result<(), ReadError> {
    let schema = queries::schema();
    let ready = ready(store, deadline).await?;
    let searches = || SearchIndex::ALL.iter().copied();
    let missing = |index: &SearchIndex| !ready.contains(&queries::search_index(*index));
    if schema.iter().all(|(name, _)| ready.contains(name)) && !searches().any(|i| missing(&i)) {
        return Ok(());
    }
    for (name, text) in schema.iter().filter(|(name, _)| !ready.contains(name)) {
        made(store, name, text, deadline).await?;
    }
    // Keys are ready here: an index that is still being filled would be no way to the nodes.
    await_indexes(store, deadline).await?;
    for index in searches().filter(missing) {
        // In this order: that the index is there says that all nodes have their words.
        search::backfill(store, index, deadline).await?;
        let (name, text) = (
            queries::search_index(index),
            queries::make_search_index(index),
        );
        made(store, &name, &text, deadline).await?;
    }
    await_indexes(store, deadline).await
}

async fn await_indexes(store: &Neo4j, deadline: Deadline) -> Result<(), ReadError> {
    let seconds = i64::try_from(deadline.left().as_secs().max(1)).unwrap_or(i64::MAX);
    let wait = || {
        Params::new()
            .with("seconds", seconds)
            .query(queries::AWAIT_INDEXES)
    };
    store.read(deadline, wait).await?;
    Ok(())
}

/// Runs one schema statement, again while that may help.
async fn made(store: &Neo4j, name: &str, text: &str, deadline: Deadline) -> Result<(), ReadError> {
    tracing::info!(name, "neo4j schema statement");
    let mut retries = Retries::new(deadline);
    while let Err(fault) = make(store, text, deadline).await {
        retries.after(fault).await?;
    }
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
