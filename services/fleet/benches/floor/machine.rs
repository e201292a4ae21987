//! What the figures were taken on: without it they mean nothing.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::report::{quantile, short};

/// Where the bench keeps its data: on the disk of the build.
pub fn scratch(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("floor-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// The load averages, or a dash where they cannot be read.
pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "-".into());
    text.split_whitespace()
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Appends 4 KiB and syncs, again and again.
pub fn syncs(length: Duration) -> Vec<Duration> {
    let dir = scratch("sync");
    let mut file = std::fs::File::create(dir.join("file")).unwrap();
    let mut times = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < length {
        let at = Instant::now();
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        times.push(at.elapsed());
    }
    let _ = std::fs::remove_dir_all(dir);
    times
}

/// Prints cores, memory, load, stolen time, and what a sync and a round trip cost.
pub async fn print() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let gib = total
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or_else(|| "?".to_owned(), |kib| (kib / 1_048_576).to_string());
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let stolen = stat
        .lines()
        .next()
        .and_then(|cpu| cpu.split_whitespace().nth(8))
        .unwrap_or("?");
    println!(
        "{cores} cores, {gib} GiB, load average {}, stolen ticks since boot {stolen}",
        load()
    );
    let syncs = syncs(Duration::from_secs(1));
    println!(
        "append 4 KiB + fdatasync: p50 {}, p99 {}",
        short(quantile(&syncs, 0.5)),
        short(quantile(&syncs, 0.99))
    );
    let trips = round_trips().await;
    println!(
        "TCP round trip on loopback: p50 {}",
        short(quantile(&trips, 0.5))
    );
}

async fn round_trips() -> Vec<Duration> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut byte = [0; 1];
        while stream.read_exact(&mut byte).await.is_ok() {
            stream.write_all(&byte).await.unwrap();
        }
    };
    crate::echo::in_a_thread(answer);
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut times = Vec::new();
    let mut byte = [1; 1];
    for _ in 0..2_000 {
        let at = Instant::now();
        stream.write_all(&byte).await.unwrap();
        stream.read_exact(&mut byte).await.unwrap();
        times.push(at.elapsed());
    }
    times
}
