//! Opening and closing a data directory.

use std::{
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicU32},
    thread,
    time::Duration,
};

use fleet_events::Bus;
use fleet_graph::Store;
use fleet_types::Clock;
use rusqlite::Connection;
use tokio::sync::watch;

use crate::{
    OpenError, Options,
    bus::{EmbeddedBus, Pruned, Registry, recent::Recent},
    graph::EmbeddedStore,
    ledger::Ledger,
    lock::Lock,
    readers::Readers,
    schema,
    verify::{log_holds_a_commit, verify},
    witness::{Record, State, Witness},
    writer::{self, Settings, Thread, Writer},
};

const DB_FILE: &str = "fleet.db";
const WAL_FILE: &str = "fleet.db-wal";

/// An open data directory. Clones share it; the last one to go closes it, without waiting for
/// calls that are under way ([`Embedded::close`] does).
#[derive(Clone)]
pub struct Embedded {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded")
            .field("deployment", &self.inner.deployment)
            .finish_non_exhaustive()
    }
}

/// What the handles of both ports share.
pub(crate) struct Inner {
    deployment: String,
    pub(crate) registry: Arc<Registry>,
    pub(crate) core: Arc<Core>,
    pub(crate) pruned: Pruned,
    lock: Arc<Lock>,
    flusher: std::sync::Mutex<Option<thread::JoinHandle<()>>>,
}

/// The database itself.
pub(crate) struct Core {
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    pub(crate) clock: Arc<dyn Clock>,
    /// The last sequence of each stream that is on disk.
    pub(crate) heads: Vec<watch::Receiver<u64>>,
    /// The newest messages of each stream.
    pub(crate) recent: Arc<Recent>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Core {
    fn drop(&mut self) {
        // Nobody can ask any more: the thread closes the database and gives the directory free.
        self.writer.hang_up();
        if let Some(thread) = self.thread.take() {
            // A panic there was printed as such.
            let _ = thread.join();
        }
    }
}

impl Embedded {
    /// Opens `dir`, creating it and an empty database if there is none. Blocks: a small
    /// database takes milliseconds, a large one that was not closed is read completely.
    pub fn open(dir: &Path, options: Options) -> Result<Self, OpenError> {
        fs::create_dir_all(dir).map_err(|e| OpenError::io(dir, e))?;
        let lock = Arc::new(Lock::take(dir)?);
        let opened = Opened::open(dir, &options)?;
        let Opened {
            mut conn,
            ledger,
            witness,
            path,
        } = opened;
        let (senders, heads): (Vec<_>, Vec<_>) = ledger
            .streams
            .iter()
            .map(|state| watch::channel(state.last))
            .unzip();
        let settings = Settings {
            path: path.clone(),
            group: options.group.max(1),
            max_bytes: options.max_bytes,
            backfill_pages: options.backfill_pages.max(1),
            fault: options.fault.clone(),
            max_stream_messages: options.max_stream_messages,
            heads: senders,
            recent: Arc::default(),
        };
        let recent = Arc::clone(&settings.recent);
        let wal_pages = Arc::new(AtomicU32::new(0));
        writer::configure(&mut conn, &settings, &wal_pages)
            .map_err(|e| OpenError::engine(&path, e))?;
        let (thread, writer) = Thread::new(
            options.queue,
            settings,
            witness,
            conn,
            ledger,
            wal_pages,
            Arc::clone(&lock),
        );
        let thread = spawn("fleet-writer", dir, move || thread.run())?;
        let core = Arc::new(Core {
            readers: Readers::new(&path, options.readers),
            writer,
            clock: options.clock,
            heads,
            recent,
            thread: Some(thread),
        });
        let registry = Arc::new(Registry::new());
        let flusher = {
            let (registry, core) = (Arc::clone(&registry), Arc::clone(&core));
            spawn("fleet-acks", dir, move || {
                registry.flush_until_stopped(&core);
            })?
        };
        Ok(Self {
            inner: Arc::new(Inner {
                deployment: options.deployment,
                registry,
                core,
                pruned: Pruned::never(),
                lock,
                flusher: std::sync::Mutex::new(Some(flusher)),
            }),
        })
    }

    /// The graph side.
    pub fn store(&self) -> Arc<dyn Store> {
        self.store_of(&self.inner.deployment)
    }

    /// The graph side as another deployment sees it: the same graph, its own outbox.
    pub fn store_of(&self, deployment: &str) -> Arc<dyn Store> {
        Arc::new(EmbeddedStore {
            inner: Arc::clone(&self.inner),
            deployment: deployment.to_owned(),
            own_bus: false,
        })
    }

    /// Both sides as one: a commit puts its events on the bus in the same transaction, and only
    /// what a stream does not take waits in the outbox. For those who use this bus and no other.
    pub fn store_and_bus(&self) -> (Arc<dyn Store>, Arc<dyn Bus>) {
        let store = EmbeddedStore {
            inner: Arc::clone(&self.inner),
            deployment: self.inner.deployment.clone(),
            own_bus: true,
        };
        (Arc::new(store), self.bus())
    }

    /// The bus side. It knows no deployments: its streams are this directory's alone.
    pub fn bus(&self) -> Arc<dyn Bus> {
        Arc::new(EmbeddedBus {
            inner: Arc::clone(&self.inner),
        })
    }

    /// Says something about this process to whoever finds the directory in use, e.g. where its
    /// admin listener is. One line.
    pub fn set_owner_note(&self, note: &str) -> io::Result<()> {
        self.inner.lock.set_note(note)
    }

    /// Answers what was asked before, refuses what comes after, closes the database so that
    /// the next start finds it clean, and gives the directory free.
    pub async fn close(&self) {
        self.inner.registry.stop();
        let flusher = self.inner.take_flusher();
        if let Some(flusher) = flusher {
            // It ends after one last write; a panic in it was logged as such.
            let _ = tokio::task::spawn_blocking(move || flusher.join()).await;
        }
        self.inner.core.readers.close();
        self.inner.core.writer.close().await;
    }
}

impl Inner {
    fn take_flusher(&self) -> Option<thread::JoinHandle<()>> {
        self.flusher
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.registry.stop();
        // Its last write is short; without it, acknowledged messages come again.
        if let Some(flusher) = self.take_flusher() {
            let _ = flusher.join();
        }
    }
}

fn spawn(
    name: &str,
    dir: &Path,
    run: impl FnOnce() + Send + 'static,
) -> Result<thread::JoinHandle<()>, OpenError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|e| OpenError::io(dir, e))
}

/// A database that was found whole.
struct Opened {
    conn: Connection,
    ledger: Ledger,
    witness: Witness,
    path: PathBuf,
}

impl Opened {
    fn open(dir: &Path, options: &Options) -> Result<Self, OpenError> {
        let path = dir.join(DB_FILE);
        let wal = dir.join(WAL_FILE);
        let (mut witness, past) = Witness::open(dir).map_err(|e| OpenError::io(dir, e))?;
        let size = size_of(&path)? + size_of(&wal)?;
        check_files(&path, &wal, &witness, past)?;
        let engine = |e| OpenError::engine(&path, e);
        let conn = writer::open_plain(&path).map_err(engine)?;
        if size_of(&path)? == 0 || schema::is_empty(&conn).map_err(engine)? {
            if past.is_some_and(|past| past.seq > 0) {
                return Err(behind(&path, &witness, 0, past));
            }
            schema::create(&conn).map_err(engine)?;
        }
        schema::check(&conn, &path)?;
        let ledger = schema::load_ledger(&conn)
            .map_err(engine)?
            .ok_or_else(|| OpenError::damaged(&path, "its ledger does not carry its checksum"))?;
        if past.is_some_and(|past| ledger.seq < past.seq) {
            return Err(behind(&wal, &witness, ledger.seq, past));
        }
        let clean = past.is_some_and(|past| past.state == State::Clean && past.seq == ledger.seq);
        if size <= options.verify_up_to || !clean {
            let problem = verify(&conn, &ledger).map_err(engine)?;
            if let Some(problem) = problem {
                return Err(OpenError::damaged(&path, problem));
            }
        }
        schema::update(&conn).map_err(engine)?;
        if past.is_some_and(|past| past.state == State::Backfilling) {
            // Finish what was interrupted: then the main file is a whole database again.
            writer::checkpoint(&conn, "PASSIVE").map_err(engine)?;
        }
        let noted = witness
            .record(ledger.seq, State::Running)
            .and_then(|()| match past {
                Some(_) => Ok(()),
                None => witness.sync(),
            });
        noted.map_err(|e| OpenError::io(witness.path(), e))?;
        Ok(Self {
            conn,
            ledger,
            witness,
            path,
        })
    }
}

/// What can be told before the database is opened.
fn check_files(
    path: &Path,
    wal: &Path,
    witness: &Witness,
    past: Option<Record>,
) -> Result<(), OpenError> {
    let Some(past) = past else {
        if size_of(path)? > 0 {
            let file = witness.path().display();
            tracing::warn!(%file, "missing or unreadable: cannot tell what was acknowledged");
        }
        return Ok(());
    };
    if past.seq > 0 && size_of(path)? == 0 {
        return Err(behind(path, witness, 0, Some(past)));
    }
    if past.seq > 0 && !has_our_header(path).map_err(|e| OpenError::io(path, e))? {
        return Err(OpenError::damaged(
            path,
            "it does not begin as a database with a log does",
        ));
    }
    if past.state == State::Backfilling
        && !log_holds_a_commit(wal).map_err(|e| OpenError::io(wal, e))?
    {
        return Err(OpenError::damaged(
            wal,
            "pages were being moved from it to fleet.db when the owner ended, and it does not \
             begin with a whole commit",
        ));
    }
    Ok(())
}

/// SQLite's mark, and that it uses a log: without the latter the log would be ignored.
fn has_our_header(path: &Path) -> io::Result<bool> {
    let mut header = [0; 20];
    match fs::File::open(path)?.read_exact(&mut header) {
        Ok(()) => Ok(header.starts_with(b"SQLite format 3\0") && header[18..] == [2, 2]),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(e),
    }
}

/// The database ends before what was acknowledged.
fn behind(file: &Path, witness: &Witness, found: u64, past: Option<Record>) -> OpenError {
    let acknowledged = past.map_or(0, |past| past.seq);
    OpenError::Damaged {
        file: file.to_owned(),
        problem: format!(
            "acknowledged data is missing: it ends at commit {found}, but commit {acknowledged} \
             was acknowledged"
        ),
        cure: format!(
            "Restore the directory from a backup, or accept the loss of the commits behind \
             {found} by removing {}; nothing was changed",
            witness.path().display()
        ),
    }
}

fn size_of(path: &Path) -> Result<u64, OpenError> {
    match fs::metadata(path) {
        Ok(meta) => Ok(meta.len()),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(OpenError::io(path, e)),
    }
}

/// How long a write of the store's own may take.
pub(crate) const OWN_WRITES: Duration = Duration::from_secs(10);
