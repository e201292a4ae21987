//! A TCP proxy behind which a server goes away.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Bytes pass.
    Pass,
    /// Connections stay, and are made, and nothing passes.
    BlackHole,
    /// Connections are cut, new ones at once.
    Reset,
}

/// A running proxy; ends when dropped.
pub struct Proxy {
    pub address: SocketAddr,
    mode: Arc<watch::Sender<Mode>>,
    _accepting: JoinSet<()>,
}

impl Proxy {
    /// In front of `scheme://host:port`.
    pub async fn before(uri: &str, mode: Mode) -> Self {
        let upstream = uri.rsplit('/').next().expect("an address").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = Arc::new(watch::Sender::new(mode));
        let mut accepting = JoinSet::new();
        let shared = mode.clone();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.unwrap();
                while connections.try_join_next().is_some() {}
                connections.spawn(carry(client, upstream.clone(), shared.subscribe()));
            }
        });
        Self {
            address,
            mode,
            _accepting: accepting,
        }
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

/// What came.
enum Got {
    FromClient(usize),
    FromServer(usize),
    Change,
}

async fn carry(mut client: TcpStream, upstream: String, mut mode: watch::Receiver<Mode>) {
    let Ok(mode_now) = mode
        .wait_for(|mode| *mode != Mode::BlackHole)
        .await
        .map(|mode| *mode)
    else {
        return;
    };
    if mode_now == Mode::Reset {
        return;
    }
    let Ok(mut server) = TcpStream::connect(&upstream).await else {
        return;
    };
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let now = *mode.borrow_and_update();
        if now == Mode::Reset {
            return;
        }
        let passes = now == Mode::Pass;
        let got = tokio::select! {
            changed = mode.changed() => changed.map(|()| Got::Change).map_err(|_| ()),
            read = client.read(&mut up), if passes => read.map(Got::FromClient).map_err(|_| ()),
            read = server.read(&mut down), if passes => read.map(Got::FromServer).map_err(|_| ()),
        };
        let written = match got {
            Ok(Got::Change) => Ok(()),
            Ok(Got::FromClient(length @ 1..)) => server.write_all(&up[..length]).await,
            Ok(Got::FromServer(length @ 1..)) => client.write_all(&down[..length]).await,
            Ok(Got::FromClient(_) | Got::FromServer(_)) | Err(()) => return,
        };
        if written.is_err() {
            return;
        }
    }
}
