//! A TCP proxy that does to a Bolt connection what networks and servers do.

#![expect(clippy::unwrap_used, reason = "a test: its panic is its verdict")]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
    task::JoinSet,
};

/// What happens to the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They pass.
    Pass,
    /// They pass, each piece of an answer this much later.
    Delay(Duration),
    /// Connections stay open and nothing passes any more.
    BlackHole,
    /// Every connection is closed, new ones at once.
    Reset,
    /// The next COMMIT passes; its answer, once it has come, is thrown away and the
    /// connection closed. Then `Pass`.
    CutAfterCommit,
    /// The next COMMIT passes; on its connection no answer does. Others pass.
    SilenceAfterCommit,
    /// The next COMMIT does not reach the server; its connection is closed. Then `Pass`.
    CutBeforeCommit,
    /// The next RUN passes; on its connection no answer does. Others pass.
    SilenceAfterRun,
}

/// A message of one chunk that holds only COMMIT.
const COMMIT: &[u8] = &[0x00, 0x02, 0xB0, 0x12, 0x00, 0x00];
/// How RUN starts, behind the length of its chunk.
const RUN: &[u8] = &[0xB3, 0x10];

/// A running proxy; ends when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    mode: watch::Sender<Mode>,
    fired: AtomicUsize,
    opened: AtomicUsize,
    connections: Mutex<JoinSet<()>>,
}

impl Proxy {
    /// A proxy in front of `bolt://host:port`.
    pub async fn start(uri: &str) -> Self {
        let upstream = uri.rsplit('/').next().expect("an address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            mode: watch::Sender::new(Mode::Pass),
            fired: AtomicUsize::new(0),
            opened: AtomicUsize::new(0),
            connections: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        let state = shared.clone();
        tasks.spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                if *state.mode.borrow() == Mode::Reset {
                    continue;
                }
                state.opened.fetch_add(1, Ordering::SeqCst);
                let server = TcpStream::connect(&upstream).await.unwrap();
                let connection = connection(state.clone(), client, server);
                state.connections.lock().unwrap().spawn(connection);
            }
        });
        Self {
            address,
            shared,
            _tasks: tasks,
        }
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
    }

    /// Closes every connection, as a server does that is restarted.
    pub fn kill(&self) {
        self.shared.connections.lock().unwrap().abort_all();
    }

    /// How often a one-time fault happened.
    pub fn fired(&self) -> usize {
        self.shared.fired.load(Ordering::SeqCst)
    }

    /// How many connections were opened so far.
    pub fn opened(&self) -> usize {
        self.shared.opened.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Uses up a one-time fault; `false` if another connection was faster.
    fn fire(&self, mode: Mode) -> bool {
        let mine = self.mode.send_if_modified(|now| {
            let mine = *now == mode;
            if mine {
                *now = Mode::Pass;
            }
            mine
        });
        self.fired.fetch_add(usize::from(mine), Ordering::SeqCst);
        mine
    }
}

/// What the answers on one connection meet, besides the mode of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answers {
    Pass,
    /// Nothing passes.
    Silent,
    /// The next one closes the connection.
    Cut,
}

/// One connection, both ways; ends, both ways, when either side does.
async fn connection(shared: Arc<Shared>, client: TcpStream, server: TcpStream) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let answers = watch::Sender::new(Answers::Pass);
    let mut mode = shared.mode.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = requests(&shared, from_client, to_server, &answers) => {}
        () = replies(&shared, from_server, to_client, &answers) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Reset) => {}
    }
}

async fn requests(
    shared: &Shared,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    answers: &watch::Sender<Answers>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let bytes = &buffer[..length];
        let has = |needle: &[u8]| bytes.windows(needle.len()).any(|window| window == needle);
        let mode = *shared.mode.borrow();
        match mode {
            Mode::BlackHole => continue,
            Mode::CutBeforeCommit if has(COMMIT) && shared.fire(mode) => return,
            Mode::CutAfterCommit if has(COMMIT) && shared.fire(mode) => {
                answers.send_replace(Answers::Cut);
            }
            Mode::SilenceAfterCommit if has(COMMIT) && shared.fire(mode) => {
                answers.send_replace(Answers::Silent);
            }
            Mode::SilenceAfterRun if has(RUN) && shared.fire(mode) => {
                answers.send_replace(Answers::Silent);
            }
            _ => {}
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

async fn replies(
    shared: &Shared,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    answers: &watch::Sender<Answers>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mode = *shared.mode.borrow();
        match (*answers.borrow(), mode) {
            (Answers::Silent, _) | (_, Mode::BlackHole) => continue,
            (Answers::Cut, _) => return,
            _ => {}
        }
        if let Mode::Delay(delay) = mode {
            tokio::time::sleep(delay).await;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
