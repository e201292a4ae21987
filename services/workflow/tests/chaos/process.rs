//! Processes that are killed and come back.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::crew::PATIENCE;

/// A program with its environment, its log, and the process that runs it now, if any.
pub struct Program {
    binary: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    log: PathBuf,
    admin: u16,
    fault: Option<String>,
    child: Option<Child>,
}

impl Program {
    /// Not started yet. It gets nothing of our environment.
    pub fn new(
        binary: &str,
        arguments: &[&str],
        environment: &[(&str, &str)],
        admin: u16,
        log: PathBuf,
    ) -> Self {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self {
            binary: binary.into(),
            arguments: arguments.iter().map(|a| (*a).to_owned()).collect(),
            environment: environment.iter().map(owned).collect(),
            log,
            admin,
            fault: None,
            child: None,
        }
    }

    /// Starts it; with `fault` it will kill itself there (`name:N`).
    pub fn start(&mut self, fault: Option<&str>) {
        assert!(self.child.is_none(), "it runs");
        self.fault = fault.map(ToOwned::to_owned);
        let log = || -> File {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(&self.log)
                .unwrap()
        };
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(log())
            .stderr(log());
        if let Some(fault) = fault {
            command.env("FLEET_TEST_FAULT", fault);
        }
        self.child = Some(command.spawn().unwrap());
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, and waits for a good end.
    pub async fn stop(&mut self) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(Instant::now() < until, "it does not stop");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(status.success(), "{status}");
    }

    /// Waits until it kills itself; `false` if it did not come to that within `patience`.
    pub async fn died(&mut self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        loop {
            match self.ended() {
                Some(status) if status.signal() == Some(9) => return true,
                Some(status) => self.begin_again(status),
                None => {}
            }
            if Instant::now() > until {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Between two lives of a process somebody else may use its port for a moment; any other
    /// end is not expected.
    fn begin_again(&mut self, status: ExitStatus) {
        let log = std::fs::read_to_string(&self.log).unwrap();
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains("cannot listen on"), "{status}: {last}");
        let fault = self.fault.take();
        self.start(fault.as_deref());
    }

    /// What `/readyz` says; `None` if nobody answers.
    pub async fn readyz(&self) -> Option<(u16, String)> {
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.admin)).await?;
            stream
                .write_all(b"GET /readyz HTTP/1.1\r\nhost: fleet\r\nconnection: close\r\n\r\n")
                .await?;
            let mut text = String::new();
            stream.read_to_string(&mut text).await?;
            std::io::Result::Ok(text)
        };
        let text = tokio::time::timeout(Duration::from_secs(5), asked)
            .await
            .ok()?
            .ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        let (_, body) = text.split_once("\r\n\r\n")?;
        Some((status, body.to_owned()))
    }

    /// Waits until `/readyz` is as `enough` wants it.
    pub async fn until_ready_page(&self, what: &str, enough: impl Fn(u16, &str) -> bool) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let page = self.readyz().await;
            match page {
                Some((status, body)) if enough(status, &body) => return body,
                other => assert!(Instant::now() < until, "{what} is never shown: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts it (again) and waits until it is ready.
    pub async fn up(&mut self) {
        let until = Instant::now() + PATIENCE;
        if self.child.is_none() {
            self.start(None);
        }
        loop {
            let page = self.readyz().await;
            if page.as_ref().is_some_and(|(status, _)| *status == 200) {
                return;
            }
            if let Some(status) = self.ended() {
                self.begin_again(status);
            }
            assert!(Instant::now() < until, "it is never ready: {page:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Neither a panic nor anything that a person would have to look after. (The NATS client
    /// calls it an error when its server dies while it connects.)
    pub fn check_log(&self) {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let is_bad = |line: &&str| {
            let error = line.contains("ERROR") && !line.contains("ERROR async_nats");
            error || line.contains("panicked")
        };
        let bad: Vec<&str> = log.lines().filter(is_bad).collect();
        assert!(bad.is_empty(), "{bad:#?}");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(30)..];
            println!(
                "--- the end of {}:\n{}",
                self.log.display(),
                last.join("\n")
            );
        }
    }
}

/// A port that is free now, nobody else's in this process, and not one of those that are
/// handed out to clients: it stays ours while nobody listens.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    let begin = std::process::id() * 37;
    (0..20_000)
        .map(|n| 10_000 + u16::try_from((begin + n * 7) % 20_000).unwrap())
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port))
        .expect("a free port")
}

/// A log of this name.
pub fn log_in(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}
