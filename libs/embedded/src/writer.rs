//! The one thread that writes. Whatever waits when it comes round becomes one transaction;
//! each member has a savepoint of its own, and nobody is answered before the commit is on
//! disk, rejected members included (what they saw may have been another member's work).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use fleet_events::RawMessage;
use fleet_graph::{Deadline, Unavailable};
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    FaultHook, Point,
    bus::recent::Recent,
    error::{away, unavailable},
    ledger::Ledger,
    lock::Lock,
    schema,
    statements::{Cached, keep_plans},
    witness::{State, Witness},
};

/// Prepared statements kept: more than there are texts.
const STATEMENTS: usize = 128;
/// Page cache, in KiB.
const CACHE_KIB: i64 = 8 * 1024;

/// What a job works with, inside its savepoint.
pub(crate) struct Tx<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) ledger: &'a mut Ledger,
    pub(crate) settings: &'a Settings,
    /// Messages stored so far, with the places of their streams.
    pub(crate) appended: &'a mut Vec<(usize, Arc<RawMessage>)>,
}

/// What the writing thread knows from the start.
pub(crate) struct Settings {
    pub(crate) path: PathBuf,
    pub(crate) group: usize,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) backfill_pages: u32,
    pub(crate) fault: Option<FaultHook>,
    pub(crate) max_stream_messages: Option<u64>,
    /// Told the last sequence of each stream once it is on disk.
    pub(crate) heads: Vec<watch::Sender<u64>>,
    /// Given the new messages once they are on disk.
    pub(crate) recent: Arc<Recent>,
}

/// What became of a job inside the group.
enum Verdict {
    Keep,
    Undo,
    Broken(Unavailable),
}

trait Job: Send {
    fn deadline(&self) -> Deadline;
    fn run(&mut self, tx: &mut Tx<'_>) -> Verdict;
    /// Answers. Called once, after the commit or instead of it.
    fn answer(self: Box<Self>, outcome: Result<(), Unavailable>);
}

type Reply<T, E> = Result<Result<T, E>, Unavailable>;

struct Work<T, E, F> {
    deadline: Deadline,
    work: Option<F>,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Reply<T, E>>,
}

impl<T, E, F> Job for Work<T, E, F>
where
    T: Send,
    E: Send,
    F: FnOnce(&mut Tx<'_>) -> rusqlite::Result<Result<T, E>> + Send,
{
    fn deadline(&self) -> Deadline {
        self.deadline
    }

    fn run(&mut self, tx: &mut Tx<'_>) -> Verdict {
        let Some(work) = self.work.take() else {
            return Verdict::Broken(away("run twice", false));
        };
        match catch_unwind(AssertUnwindSafe(|| work(tx))) {
            Ok(Ok(result)) => {
                let verdict = if result.is_ok() {
                    Verdict::Keep
                } else {
                    Verdict::Undo
                };
                self.result = Some(result);
                verdict
            }
            Ok(Err(error)) => Verdict::Broken(unavailable(&error)),
            Err(_) => Verdict::Broken(away("a write panicked", false)),
        }
    }

    fn answer(self: Box<Self>, outcome: Result<(), Unavailable>) {
        let Self { result, reply, .. } = *self;
        let answer = outcome.and_then(|()| result.ok_or_else(|| away("not run", true)));
        // An error: nobody listens any more, the caller passed its deadline.
        let _ = reply.send(answer);
    }
}

enum Message {
    Job(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// The way to the writing thread. Not cloned: it ends when this is dropped.
pub(crate) struct Writer {
    /// `None` once it was hung up.
    queue: Option<mpsc::Sender<Message>>,
}

impl Writer {
    /// Does `work` in a transaction. `Ok(Err(_))` undoes it; both are answered only when what
    /// they were based on is on disk.
    pub(crate) async fn submit<T, E, F>(&self, deadline: Deadline, work: F) -> Reply<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Work {
            deadline,
            work: Some(work),
            result: None,
            reply,
        };
        let queue = self.queue()?;
        let send = queue.send(Message::Job(Box::new(job)));
        match tokio::time::timeout_at(deadline.instant(), send).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(away("closed", false)),
            Err(_) => return Err(away("too many writes wait", true)),
        }
        match tokio::time::timeout_at(deadline.instant(), answer).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(_)) => Err(away("closed", false)),
            Err(_) => Err(away(
                "no answer before the deadline; the outcome is unknown",
                true,
            )),
        }
    }

    /// As [`Self::submit`], from a thread outside the runtime.
    pub(crate) fn submit_blocking<T, E, F>(&self, deadline: Deadline, work: F) -> Reply<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Work {
            deadline,
            work: Some(work),
            result: None,
            reply,
        };
        self.queue()?
            .blocking_send(Message::Job(Box::new(job)))
            .map_err(|_| away("closed", false))?;
        answer.blocking_recv().map_err(|_| away("closed", false))?
    }

    /// Everything before it is answered, then the database is closed.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if let Some(queue) = &self.queue
            && queue.send(Message::Close(done)).await.is_ok()
        {
            // An error means that it was closed already.
            let _ = closed.await;
        }
    }

    /// Lets the thread end once it has done what waits.
    pub(crate) fn hang_up(&mut self) {
        self.queue = None;
    }

    fn queue(&self) -> Result<&mpsc::Sender<Message>, Unavailable> {
        self.queue.as_ref().ok_or_else(|| away("closed", false))
    }
}

/// The thread's own state.
pub(crate) struct Thread {
    queue: mpsc::Receiver<Message>,
    settings: Settings,
    witness: Witness,
    /// `None` after a commit failed: opened again for the next group.
    conn: Option<Connection>,
    ledger: Ledger,
    /// Messages of the transaction under way.
    appended: Vec<(usize, Arc<RawMessage>)>,
    /// Backfilling from before pages are moved until all of them surely are.
    state: State,
    wal_pages: Arc<AtomicU32>,
    /// Held until the database is closed.
    lock: Arc<Lock>,
}

impl Thread {
    pub(crate) fn new(
        queue_length: usize,
        settings: Settings,
        witness: Witness,
        conn: Connection,
        ledger: Ledger,
        wal_pages: Arc<AtomicU32>,
        lock: Arc<Lock>,
    ) -> (Self, Writer) {
        let (sender, queue) = mpsc::channel(queue_length.max(1));
        let thread = Self {
            queue,
            settings,
            witness,
            conn: Some(conn),
            ledger,
            appended: Vec::new(),
            state: State::Running,
            wal_pages,
            lock,
        };
        (
            thread,
            Writer {
                queue: Some(sender),
            },
        )
    }

    /// Serves until it is told to close, or nobody is left to tell it.
    pub(crate) fn run(mut self) {
        let mut closed = None;
        while closed.is_none() {
            let mut group = Vec::new();
            match self.queue.blocking_recv() {
                Some(Message::Job(job)) => group.push(job),
                Some(Message::Close(done)) => closed = Some(done),
                None => break,
            }
            while closed.is_none() && group.len() < self.settings.group {
                match self.queue.try_recv() {
                    Ok(Message::Job(job)) => group.push(job),
                    Ok(Message::Close(done)) => closed = Some(done),
                    Err(_) => break,
                }
            }
            while !group.is_empty() {
                group = self.serve(group);
            }
            self.backfill_if_due();
        }
        self.queue.close();
        self.stop();
        let lock = Arc::clone(&self.lock);
        drop(self);
        lock.release();
        if let Some(done) = closed {
            let _ = done.send(());
        }
    }

    /// One transaction. Gives back the jobs that had no turn because the engine gave up the
    /// transaction before them.
    fn serve(&mut self, group: Vec<Box<dyn Job>>) -> Vec<Box<dyn Job>> {
        if let Err(refusal) = self.begin() {
            for job in group {
                job.answer(Err(refusal.clone()));
            }
            return Vec::new();
        }
        let before = self.ledger;
        self.appended.clear();
        let conn = self.conn.take().expect("begin leaves a connection");
        let changes_before = conn.total_changes();
        let alone = group.len() == 1;
        let mut done = Vec::with_capacity(group.len());
        let mut kept = false;
        let mut waiting = group.into_iter();
        for mut job in waiting.by_ref() {
            if job.deadline().left().is_zero() {
                job.answer(Err(away("no turn before the deadline", true)));
                continue;
            }
            match self.member(&conn, job.as_mut(), alone) {
                Ok(keep) => {
                    kept |= keep;
                    done.push(job);
                }
                Err(Trouble::Member(refusal)) => job.answer(Err(refusal)),
                Err(Trouble::Group(refusal)) => {
                    self.ledger = before;
                    job.answer(Err(refusal.clone()));
                    self.give_up(conn, done, &refusal);
                    return waiting.collect();
                }
            }
        }
        let changed = kept && conn.total_changes() != changes_before;
        match self.finish(&conn, changed) {
            Ok(()) => {
                self.conn = Some(conn);
                for job in done {
                    job.answer(Ok(()));
                }
            }
            Err(refusal) => {
                self.ledger = before;
                self.give_up(conn, done, &refusal);
            }
        }
        Vec::new()
    }

    fn begin(&mut self) -> Result<(), Unavailable> {
        let conn = match self.conn.take() {
            Some(conn) => conn,
            None => self.reopen()?,
        };
        let begun = limit_size(&conn, &self.settings, 0)
            .and_then(|()| conn.cached("BEGIN IMMEDIATE"))
            .and_then(|mut s| s.execute(()));
        match begun {
            Ok(_) => {
                self.conn = Some(conn);
                Ok(())
            }
            Err(error) => {
                tracing::warn!(%error, "embedded store cannot begin a transaction");
                Err(unavailable(&error))
            }
        }
    }

    fn reopen(&mut self) -> Result<Connection, Unavailable> {
        let conn = open(&self.settings, &self.wal_pages).map_err(|e| unavailable(&e))?;
        // A commit that failed may or may not be there: the database says.
        self.ledger = schema::load_ledger(&conn)
            .map_err(|e| unavailable(&e))?
            .ok_or_else(|| away("the ledger does not carry its checksum", false))?;
        self.tell();
        Ok(conn)
    }

    /// Runs one member. `Ok` says whether it changed something.
    fn member(
        &mut self,
        conn: &Connection,
        job: &mut dyn Job,
        alone: bool,
    ) -> Result<bool, Trouble> {
        let before = self.ledger;
        let appended_before = self.appended.len();
        let step = |sql: &str| -> Result<(), Trouble> {
            conn.cached(sql)
                .and_then(|mut s| s.execute(()))
                .map(drop)
                .map_err(|e| Trouble::Group(unavailable(&e)))
        };
        if !alone {
            step("SAVEPOINT member")?;
        }
        let mut tx = Tx {
            conn,
            ledger: &mut self.ledger,
            settings: &self.settings,
            appended: &mut self.appended,
        };
        let verdict = job.run(&mut tx);
        if !matches!(verdict, Verdict::Keep) {
            self.appended.truncate(appended_before);
        }
        match verdict {
            Verdict::Keep => {
                if !alone {
                    step("RELEASE member")?;
                }
                Ok(true)
            }
            Verdict::Undo => {
                self.ledger = before;
                if !alone {
                    step("ROLLBACK TO member")?;
                    step("RELEASE member")?;
                }
                // Alone, the transaction holds nothing else and is rolled back at its end.
                Ok(false)
            }
            Verdict::Broken(refusal) => {
                self.ledger = before;
                tracing::warn!(reason = refusal.reason, "embedded store cannot write");
                // A full disk ends the whole transaction, not just the savepoint.
                if alone || conn.is_autocommit() {
                    return Err(Trouble::Group(refusal));
                }
                step("ROLLBACK TO member")?;
                step("RELEASE member")?;
                Err(Trouble::Member(refusal))
            }
        }
    }

    /// Commits, or rolls back what changed nothing.
    fn finish(&mut self, conn: &Connection, changed: bool) -> Result<(), Unavailable> {
        let failed = |error: rusqlite::Error| {
            tracing::warn!(%error, "embedded store cannot commit");
            unavailable(&error)
        };
        if !changed {
            return conn
                .cached("ROLLBACK")
                .and_then(|mut s| s.execute(()))
                .map(drop)
                .map_err(failed);
        }
        self.ledger.seq += 1;
        schema::store_ledger(conn, &self.ledger).map_err(failed)?;
        self.fault(Point::BeforeCommit);
        conn.cached("COMMIT")
            .and_then(|mut s| s.execute(()))
            .map_err(failed)?;
        self.witness
            .record(self.ledger.seq, self.state)
            .map_err(|error| {
                tracing::warn!(%error, "cannot note what is acknowledged");
                away(format!("{}: {error}", self.witness.path().display()), true)
            })?;
        self.fault(Point::AfterCommit);
        for (stream, message) in self.appended.drain(..) {
            self.settings.recent.add(stream, message);
        }
        self.tell();
        Ok(())
    }

    /// Says how far each stream goes on disk.
    fn tell(&self) {
        for (head, state) in self.settings.heads.iter().zip(self.ledger.streams) {
            head.send_if_modified(|last| std::mem::replace(last, state.last) != state.last);
        }
    }

    /// The transaction is lost: its members are told, and the connection is not trusted again.
    fn give_up(&mut self, conn: Connection, done: Vec<Box<dyn Job>>, refusal: &Unavailable) {
        if !conn.is_autocommit() {
            // If even that fails, closing the connection does it.
            let _ = conn.execute_batch("ROLLBACK");
        }
        drop(conn);
        for job in done {
            job.answer(Err(refusal.clone()));
        }
    }

    fn fault(&self, point: Point) {
        if let Some(hook) = &self.settings.fault {
            hook(point);
        }
    }

    fn backfill_if_due(&mut self) {
        let pages = self.wal_pages.load(Ordering::Relaxed);
        let due = match self.queue.is_empty() {
            true => self.settings.backfill_pages,
            false => self.settings.backfill_pages.saturating_mul(4),
        };
        if pages < due {
            return;
        }
        // Counted again from the next commit on.
        self.wal_pages.store(0, Ordering::Relaxed);
        let Some(conn) = &self.conn else { return };
        if let Err(error) = self.witness.record(self.ledger.seq, State::Backfilling) {
            tracing::warn!(%error, "cannot note that pages are moved");
            return;
        }
        self.state = State::Backfilling;
        match checkpoint(conn, "PASSIVE") {
            // Held back by a reader or not: the main file is a whole, older or newer, database.
            Ok(_) => {
                self.state = State::Running;
                if let Err(error) = self.witness.record(self.ledger.seq, State::Running) {
                    tracing::warn!(%error, "cannot note that pages were moved");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot move pages from the log"),
        }
    }

    fn stop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        let clean = self
            .witness
            .record(self.ledger.seq, State::Backfilling)
            .map_err(|e| e.to_string())
            .and_then(|()| checkpoint(&conn, "TRUNCATE").map_err(|e| e.to_string()));
        match clean {
            Ok(true) => {
                let noted = self
                    .witness
                    .record(self.ledger.seq, State::Clean)
                    .and_then(|()| self.witness.sync());
                if let Err(error) = noted {
                    tracing::warn!(%error, "cannot note the clean stop");
                }
            }
            Ok(false) => tracing::debug!("a reader holds pages back in the log"),
            Err(error) => tracing::warn!(error, "cannot move pages from the log"),
        }
    }
}

/// Why a member of a group was not done.
enum Trouble {
    /// It alone.
    Member(Unavailable),
    /// With it, the whole transaction.
    Group(Unavailable),
}

/// Whether all pages were moved.
pub(crate) fn checkpoint(conn: &Connection, mode: &str) -> rusqlite::Result<bool> {
    conn.query_row(&format!("PRAGMA wal_checkpoint({mode})"), (), |row| {
        let (busy, log, moved): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok(busy == 0 && log == moved)
    })
}

fn open(settings: &Settings, wal_pages: &Arc<AtomicU32>) -> rusqlite::Result<Connection> {
    let mut conn = open_plain(&settings.path)?;
    configure(&mut conn, settings, wal_pages)?;
    Ok(conn)
}

/// Pages beyond the limit of the size that a transaction with deletions may take: to forget by
/// which words something was found is written down, too, before it makes room.
const DELETION_PAGES: i64 = 32;

/// Limits the size of the database, if it has a limit.
fn limit_size(conn: &Connection, settings: &Settings, beyond: i64) -> rusqlite::Result<()> {
    let Some(bytes) = settings.max_bytes else {
        return Ok(());
    };
    let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages = i64::try_from(bytes).unwrap_or(i64::MAX) / page.max(1) + beyond;
    conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

impl Tx<'_> {
    /// Gives this transaction a little more room than others have: it deletes.
    pub(crate) fn allow_deletion(&self) -> rusqlite::Result<()> {
        limit_size(self.conn, self.settings, DELETION_PAGES)
    }
}

/// Makes a connection the writing one: limits its size and counts the pages in the log.
pub(crate) fn configure(
    conn: &mut Connection,
    settings: &Settings,
    wal_pages: &Arc<AtomicU32>,
) -> rusqlite::Result<()> {
    limit_size(conn, settings, 0)?;
    let counter = Arc::clone(wal_pages);
    conn.wal_hook(Some(
        move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            counter.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        },
    ))
}

/// Opens a connection that may write, without limits and hooks.
pub(crate) fn open_plain(path: &std::path::Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    // Closing must not move pages: not after damage was found, and not unnoticed.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    keep_plans(&conn)?;
    conn.busy_timeout(std::time::Duration::from_secs(2))?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    conn.pragma_update(None, "foreign_keys", false)?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "cache_size", -CACHE_KIB)?;
    conn.pragma_update_and_check(None, "wal_autocheckpoint", 0, |_| Ok(()))?;
    Ok(conn)
}
