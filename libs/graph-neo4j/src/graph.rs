use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use fleet_graph::{
    Commit, CommitError, Deadline, Digest, Digested, GraphStore, Hits, Index, Node, NodeKey, Page,
    PastRequest, ReadError, Receipt, RequestKey, Scan, Search, SearchIndex, Sketch, Sketched,
    Subgraph, Total, Unavailable, Walk,
};
use neo4rs::{ConfigBuilder, Query, Row, Txn};
use secrecy::ExposeSecret;
use serde_json::Value;
use tokio::time::{error::Elapsed, sleep, timeout};

use crate::{
    InvalidSettings, Settings, around, commit,
    fault::{Fault, Stage},
    migrate,
    pool::{Lease, Pool},
    queries, rows, search,
};

/// The commit port on one Neo4j server, for one deployment. Cheap to clone; clones share
/// their connections.
#[derive(Clone)]
pub struct Neo4j {
    pool: Arc<Pool>,
    deployment: Arc<str>,
}

/// A call that ended badly before anything was sent is repeated so often.
const UNREACHABLE_TRIES: usize = 3;
/// An attempt gets half of the time that is left, but not less than this (if there is as much):
/// so a reply that never comes leaves time to find out.
const SHORTEST_ATTEMPT: Duration = Duration::from_millis(250);

/// Silence that is shorter says nothing about the server.
const HURRY: Duration = Duration::from_millis(500);

impl Neo4j {
    /// A handle; connections are opened when they are needed.
    pub fn connect(settings: Settings) -> Result<Self, InvalidSettings> {
        let Settings {
            uri,
            user,
            password,
            database,
            deployment,
            max_connections,
        } = settings;
        let mut config = ConfigBuilder::new()
            .uri(uri)
            .user(user)
            .password(password.expose_secret())
            .max_connections(1)
            // Ours are shorter and decide; the driver's must only not be in the way.
            .connection_timeout(Duration::from_secs(600));
        if let Some(database) = database {
            config = config.db(database);
        }
        let invalid = |problem: String| InvalidSettings { problem };
        let config = config.build().map_err(|e| invalid(e.to_string()))?;
        neo4rs::Graph::connect(config.clone()).map_err(|e| invalid(e.to_string()))?;
        if max_connections == 0 || deployment.is_empty() {
            return Err(invalid(
                "a deployment and at least one connection are needed".into(),
            ));
        }
        Ok(Self {
            pool: Pool::new(config, max_connections),
            deployment: deployment.into(),
        })
    }

    /// The deployment whose outbox, inbox and requests this handle works on.
    pub fn deployment(&self) -> &str {
        &self.deployment
    }

    /// Gives nodes that were written by something older than the search their words, and says
    /// how many lacked them. A migration does it once, before it makes the index; it is of use
    /// again only where an older version wrote after that. Reads all nodes of the label; safe
    /// at any time.
    pub async fn fill_search(
        &self,
        index: SearchIndex,
        deadline: Deadline,
    ) -> Result<u64, ReadError> {
        search::backfill(self, index, deadline).await
    }

    /// A free connection.
    pub(crate) async fn lease(&self, deadline: Deadline) -> Result<Lease, Fault> {
        self.pool.lease(deadline.instant()).await
    }

    /// Ends an attempt that had so much time: the connection is kept if the exchange was
    /// complete, and closed otherwise. A lost server makes the idle connections suspect too;
    /// that somebody was in a hurry does not.
    pub(crate) fn settle<T>(
        &self,
        lease: Lease,
        share: Duration,
        result: Result<Result<T, Fault>, Elapsed>,
    ) -> Result<T, Fault> {
        let (fault, suspect) = match result {
            Ok(Ok(done)) => {
                lease.keep();
                return Ok(done);
            }
            Ok(Err(fault)) => {
                let suspect = fault.is_about_the_connection();
                (fault, suspect)
            }
            Err(_) => (Fault::Lost("no answer in time".into()), share >= HURRY),
        };
        if suspect {
            self.pool.forget_idle();
        }
        Err(fault)
    }

    /// One read, repeated while that may help. Queries give at most one row.
    pub(crate) async fn read(
        &self,
        deadline: Deadline,
        query: impl Fn() -> Query + Send + Sync,
    ) -> Result<Option<Row>, Unavailable> {
        let mut retries = Retries::new(deadline);
        loop {
            match self.read_once(query(), deadline).await {
                Ok(row) => return Ok(row),
                Err(fault) => retries.after(fault).await?,
            }
        }
    }

    async fn read_once(&self, query: Query, deadline: Deadline) -> Result<Option<Row>, Fault> {
        let lease = self.lease(deadline).await?;
        let share = share(deadline);
        let result = timeout(share, read_row(&lease, query)).await;
        self.settle(lease, share, result)
    }

    /// One idempotent write with a result, in an explicit transaction, repeated while that
    /// may help.
    pub(crate) async fn write(
        &self,
        deadline: Deadline,
        query: impl Fn() -> Query + Send + Sync,
    ) -> Result<Option<Row>, Unavailable> {
        let mut retries = Retries::new(deadline);
        loop {
            match self.write_once(query(), deadline).await {
                Ok(row) => return Ok(row),
                Err(fault) => retries.after(fault).await?,
            }
        }
    }

    pub(crate) async fn write_once(
        &self,
        query: Query,
        deadline: Deadline,
    ) -> Result<Option<Row>, Fault> {
        let lease = self.lease(deadline).await?;
        let share = share(deadline);
        let result = timeout(share, write_row(&lease, query)).await;
        self.settle(lease, share, result)
    }
}

/// What an attempt may take of the time that is left.
pub(crate) fn share(deadline: Deadline) -> Duration {
    let left = deadline.left();
    (left / 2).max(SHORTEST_ATTEMPT.min(left))
}

/// Decides whether and when a call is repeated.
pub(crate) struct Retries {
    deadline: Deadline,
    pauses: ExponentialBackoff,
    unreachable: usize,
    /// Once something was sent, what became of it is worth the whole deadline.
    unknown: bool,
}

impl Retries {
    pub(crate) fn new(deadline: Deadline) -> Self {
        let pauses = ExponentialBuilder::default()
            .with_jitter()
            .with_min_delay(Duration::from_millis(4))
            .with_max_delay(Duration::from_millis(500))
            .without_max_times()
            .build();
        Self {
            deadline,
            pauses,
            unreachable: 0,
            unknown: false,
        }
    }

    /// Waits for the next attempt, or says that there is none.
    pub(crate) async fn after(&mut self, fault: Fault) -> Result<(), Unavailable> {
        self.unknown |= matches!(fault, Fault::Lost(_));
        self.unreachable += usize::from(matches!(fault, Fault::Unreachable(_)));
        let pause = self.pauses.next().unwrap_or_default();
        let hopeless =
            !fault.may_pass() || (self.unreachable >= UNREACHABLE_TRIES && !self.unknown);
        if hopeless || pause >= self.deadline.left() {
            return Err(fault.into());
        }
        tracing::debug!(?fault, "neo4j call repeated");
        sleep(pause).await;
        Ok(())
    }
}

/// Reads in a transaction of the server's own: reads change nothing, and may be repeated by
/// the driver as well.
async fn read_row(lease: &Lease, query: Query) -> Result<Option<Row>, Fault> {
    let begun = lease.graph().execute_read(query).await;
    let mut rows = begun.map_err(|e| Fault::of(&e, Stage::Begin))?;
    let sent = |e| Fault::of(&e, Stage::Sent);
    let row = rows.next().await.map_err(sent)?;
    rows.finish().await.map_err(sent)?;
    Ok(row)
}

async fn write_row(lease: &Lease, query: Query) -> Result<Option<Row>, Fault> {
    let mut txn = begin(lease).await?;
    let row = only_row(&mut txn, query).await?;
    txn.commit().await.map_err(|e| Fault::of(&e, Stage::Sent))?;
    Ok(row)
}

/// Begins a transaction.
pub(crate) async fn begin(lease: &Lease) -> Result<Txn, Fault> {
    lease
        .graph()
        .start_txn()
        .await
        .map_err(|e| Fault::of(&e, Stage::Begin))
}

/// Runs a statement that gives at most one row.
pub(crate) async fn only_row(txn: &mut Txn, query: Query) -> Result<Option<Row>, Fault> {
    let sent = |e| Fault::of(&e, Stage::Sent);
    let mut rows = txn.execute(query).await.map_err(sent)?;
    let row = rows.next(&mut *txn).await.map_err(sent)?;
    rows.finish(txn).await.map_err(sent)?;
    Ok(row)
}

#[async_trait]
impl GraphStore for Neo4j {
    async fn migrate(&self, deadline: Deadline) -> Result<(), ReadError> {
        migrate::run(self, deadline).await
    }

    async fn commit(&self, commit: &Commit, deadline: Deadline) -> Result<Receipt, CommitError> {
        commit::run(self, commit, deadline).await
    }

    async fn get(
        &self,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<Vec<Option<Node>>, ReadError> {
        rows::get(self, keys, deadline).await
    }

    async fn past_request(
        &self,
        key: &RequestKey,
        deadline: Deadline,
    ) -> Result<Option<PastRequest>, ReadError> {
        rows::past_request(self, key, deadline).await
    }

    async fn scan(&self, scan: &Scan, deadline: Deadline) -> Result<Page, ReadError> {
        rows::scan(self, scan, deadline).await
    }

    async fn counts(
        &self,
        listings: &[(Index, Vec<Value>)],
        deadline: Deadline,
    ) -> Result<Vec<Total>, ReadError> {
        rows::counts(self, listings, deadline).await
    }

    async fn walk(&self, walk: &Walk, deadline: Deadline) -> Result<Subgraph, ReadError> {
        rows::walk(self, walk, deadline).await
    }

    async fn sketch(&self, sketch: &Sketch, deadline: Deadline) -> Result<Sketched, ReadError> {
        around::sketch(self, sketch, deadline).await
    }

    async fn digest(
        &self,
        digest: &Digest,
        keys: &[NodeKey],
        deadline: Deadline,
    ) -> Result<(Digested, Vec<Option<Node>>), ReadError> {
        around::digest(self, digest, keys, deadline).await
    }

    async fn search(&self, search: &Search, deadline: Deadline) -> Result<Hits, ReadError> {
        search::search(self, search, deadline).await
    }

    async fn ping(&self, deadline: Deadline) -> Result<(), Unavailable> {
        self.read(deadline, || queries::PING.into())
            .await
            .map(|_| ())
    }
}
