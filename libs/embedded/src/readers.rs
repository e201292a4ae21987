//! Reads, each in one snapshot, on a few connections of their own.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use fleet_graph::{Deadline, Unavailable};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::{sync::Semaphore, time::timeout_at};

use crate::error::{ReadFailure, away};
use crate::statements::{Cached, keep_plans};

/// Prepared statements kept for each connection: more than there are texts.
const STATEMENTS: usize = 128;

/// Page cache of each connection, in KiB: a story with a thousand decisions fits.
const CACHE_KIB: i64 = 8 * 1024;

#[derive(Clone)]
pub(crate) struct Readers {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
    closed: AtomicBool,
}

impl Readers {
    pub(crate) fn new(path: &Path, most: usize) -> Self {
        Self {
            inner: Arc::new(Inner {
                path: path.to_owned(),
                idle: Mutex::new(Vec::new()),
                permits: Arc::new(Semaphore::new(most.max(1))),
                closed: AtomicBool::new(false),
            }),
        }
    }

    /// Runs `read` in one snapshot.
    pub(crate) async fn read<T, F, E>(&self, deadline: Deadline, read: F) -> Result<T, E>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, ReadFailure> + Send + 'static,
        E: From<ReadFailure> + From<Unavailable>,
    {
        let late = || away("no answer before the deadline", true);
        let permits = Arc::clone(&self.inner.permits);
        let permit = timeout_at(deadline.instant(), permits.acquire_owned())
            .await
            .map_err(|_| late())?
            .map_err(|_| away("closed", false))?;
        let inner = Arc::clone(&self.inner);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let conn = inner.checkout()?;
            let result = in_snapshot(&conn, read);
            inner.give_back(conn);
            result
        });
        match timeout_at(deadline.instant(), task).await {
            Ok(Ok(result)) => Ok(result?),
            Ok(Err(join)) => Err(away(format!("read ended early: {join}"), true).into()),
            Err(_) => Err(late().into()),
        }
    }

    /// Lets no read begin any more and closes what is idle.
    pub(crate) fn close(&self) {
        self.inner.closed.store(true, Ordering::Release);
        self.inner.permits.close();
        self.inner.lock().clear();
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn checkout(&self) -> Result<Connection, ReadFailure> {
        let idle = self.lock().pop();
        match idle {
            Some(conn) => Ok(conn),
            None => Ok(open(&self.path)?),
        }
    }

    fn give_back(&self, conn: Connection) {
        if conn.is_autocommit() && !self.closed.load(Ordering::Acquire) {
            self.lock().push(conn);
        }
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    keep_plans(&conn)?;
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    Ok(conn)
}

fn in_snapshot<T>(
    conn: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, ReadFailure>,
) -> Result<T, ReadFailure> {
    conn.cached("BEGIN")?.execute(())?;
    let result = read(conn);
    // Nothing was written, so there is nothing to lose here; a connection that could not end
    // its snapshot is not used again.
    let _ = conn.cached("COMMIT").and_then(|mut end| end.execute(()));
    result
}
