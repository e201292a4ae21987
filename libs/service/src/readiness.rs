//! Readiness is a value: a set of latches, one for each thing the process needs.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use serde::Serialize;
use tokio::sync::watch;

use crate::{SharedRegistry, Tasks};

/// How much a dependency matters after it was there once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Need {
    /// The process is not ready whenever it is away (the store).
    Always,
    /// The process starts only with it, but goes on without it (the bus: events wait).
    AtStart,
    /// The process starts and goes on without it (the cache: what it would give is made again).
    Never,
}

/// The state of one dependency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dependency {
    /// What it is, e.g. `neo4j`.
    pub name: &'static str,
    /// Whether it is there.
    pub up: bool,
    /// Whether it was there before.
    pub was_up: bool,
    /// How much it matters.
    pub need: Need,
    /// What is waited for; empty if it is up.
    pub waiting_for: String,
}

impl Dependency {
    fn holds_up(&self) -> bool {
        match self.need {
            Need::Always => !self.up,
            Need::AtStart => !self.up && !self.was_up,
            Need::Never => false,
        }
    }
}

/// Everything that readiness depends on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct State {
    /// Whether the process is on its way down.
    pub stopping: bool,
    /// The dependencies, in order of their latches.
    pub dependencies: Vec<Dependency>,
}

impl State {
    /// Whether calls should be sent here.
    pub fn is_ready(&self) -> bool {
        !self.stopping && !self.dependencies.iter().any(Dependency::holds_up)
    }

    /// Whether something is away, needed or not.
    pub fn is_degraded(&self) -> bool {
        self.dependencies.iter().any(|dependency| !dependency.up)
    }
}

/// The readiness of a process.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: watch::Sender<State>,
    opened: AtomicBool,
    up: Family<DependencyLabel, Gauge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DependencyLabel {
    dependency: &'static str,
}

/// One dependency's hold on readiness. Starts as not up.
#[derive(Debug)]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

impl Readiness {
    /// Nothing is needed yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Shows in `registry` which dependencies are up.
    pub fn register(&self, registry: &SharedRegistry) {
        let up = self.0.up.clone();
        registry.with(|r| r.register("fleet_dependency_up", "1 while the dependency answers", up));
    }

    /// Adds something that is needed; until it is up, the process is not ready.
    pub fn latch(&self, name: &'static str, need: Need) -> Latch {
        let waiting_for = format!("first sign of {name}");
        self.0.state.send_modify(|state| {
            state.dependencies.push(Dependency {
                name,
                up: false,
                was_up: false,
                need,
                waiting_for,
            });
        });
        self.measure(name, false);
        Latch {
            readiness: self.clone(),
            name,
        }
    }

    /// The process goes down: never ready again.
    pub fn stop(&self) {
        self.0.state.send_modify(|state| state.stopping = true);
    }

    /// The state now.
    pub fn state(&self) -> State {
        self.0.state.borrow().clone()
    }

    /// Every change of the state.
    pub fn changes(&self) -> watch::Receiver<State> {
        self.0.state.subscribe()
    }

    /// What calls wait for before the process was ready for the first time; afterwards `None`,
    /// and calls find out for themselves.
    pub(crate) fn closed(&self) -> Option<&'static str> {
        if self.0.opened.load(Ordering::Acquire) {
            return None;
        }
        let state = self.0.state.borrow();
        let missing = state
            .dependencies
            .iter()
            .find(|d| d.holds_up())
            .map(|d| d.name);
        if missing.is_none() {
            self.0.opened.store(true, Ordering::Release);
        }
        missing
    }

    fn measure(&self, dependency: &'static str, up: bool) {
        let label = DependencyLabel { dependency };
        self.0.up.get_or_create(&label).set(i64::from(up));
    }

    /// Waits until the process is ready.
    pub async fn ready(&self) {
        let mut changes = self.changes();
        // The sender lives in `self`.
        let _ = changes.wait_for(State::is_ready).await;
    }
}

impl Latch {
    /// It is there.
    pub fn up(&self) {
        self.set(None);
    }

    /// It is away; says what is waited for.
    pub fn down(&self, waiting_for: impl Into<String>) {
        self.set(Some(waiting_for.into()));
    }

    fn set(&self, waiting_for: Option<String>) {
        let mut told = None;
        self.readiness.measure(self.name, waiting_for.is_none());
        self.readiness.0.state.send_if_modified(|state| {
            let Some(dependency) = state.dependencies.iter_mut().find(|d| d.name == self.name)
            else {
                return false;
            };
            let before = dependency.clone();
            dependency.up = waiting_for.is_none();
            dependency.was_up |= dependency.up;
            dependency.waiting_for = waiting_for.unwrap_or_default();
            let changed = *dependency != before;
            if changed {
                told = Some(dependency.clone());
            }
            changed
        });
        match told {
            Some(d) if d.up => tracing::info!(dependency = d.name, "dependency is up"),
            Some(d) => {
                tracing::warn!(
                    dependency = d.name,
                    waiting_for = d.waiting_for,
                    "dependency is away"
                );
            }
            None => {}
        }
    }
}

/// How often a dependency is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    /// While it is up.
    pub every: Duration,
    /// First pause while it is away; doubles up to `every`.
    pub retry: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            every: Duration::from_secs(5),
            retry: Duration::from_millis(100),
        }
    }
}

/// Watches a dependency as long as the process lives. `prepare` runs until it succeeds once
/// (migrations, streams), `ping` from then on; each has its own deadline and says in its error
/// what is waited for.
pub fn watch_over<P, PF, C, CF>(tasks: &Tasks, latch: Latch, pulse: Pulse, prepare: P, ping: C)
where
    P: Fn() -> PF + Send + Sync + 'static,
    PF: Future<Output = Result<(), String>> + Send + 'static,
    C: Fn() -> CF + Send + Sync + 'static,
    CF: Future<Output = Result<(), String>> + Send + 'static,
{
    let name = latch.name;
    let shared = Arc::new((latch, prepare, ping, AtomicBool::new(false)));
    tasks.keep(name, move |shutdown| {
        let shared = shared.clone();
        async move {
            let (latch, prepare, ping, prepared) = &*shared;
            let mut pause = pulse.retry;
            loop {
                let attempt = async {
                    match prepared.load(Ordering::Relaxed) {
                        true => ping().await,
                        false => prepare().await,
                    }
                };
                let outcome = tokio::select! {
                    () = shutdown.cancelled() => return,
                    outcome = attempt => outcome,
                };
                let wait = match outcome {
                    Ok(()) => {
                        prepared.store(true, Ordering::Relaxed);
                        latch.up();
                        pause = pulse.retry;
                        pulse.every
                    }
                    Err(waiting_for) => {
                        latch.down(waiting_for);
                        let wait = pause;
                        pause = (pause * 2).min(pulse.every);
                        wait
                    }
                };
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_process_is_ready_when_all_that_it_needs_is_there() {
        let (readiness, tasks) = (Readiness::new(), Tasks::new());
        let store = readiness.latch("store", Need::Always);
        let bus = readiness.latch("bus", Need::AtStart);
        let cache = readiness.latch("cache", Need::Never);
        assert!(!readiness.state().is_ready());
        bus.up();
        assert_eq!(readiness.closed(), Some("store"));

        let attempts = Arc::new(AtomicUsize::new(0));
        let away = Arc::new(AtomicBool::new(false));
        let (counted, seen) = (attempts.clone(), away.clone());
        let prepare = move || {
            let attempt = counted.fetch_add(1, Ordering::SeqCst);
            async move {
                if attempt < 3 {
                    Err("bolt://h:7687".to_owned())
                } else {
                    Ok(())
                }
            }
        };
        let ping = move || {
            let away = seen.load(Ordering::SeqCst);
            async move {
                if away {
                    Err("bolt://h:7687".to_owned())
                } else {
                    Ok(())
                }
            }
        };
        watch_over(&tasks, store, Pulse::default(), prepare, ping);
        readiness.ready().await;
        assert_eq!(attempts.load(Ordering::SeqCst), 4);
        assert_eq!(readiness.closed(), None);
        assert!(readiness.state().is_degraded(), "the cache was never there");
        cache.up();
        assert!(!readiness.state().is_degraded());
        cache.down("redis://h:6379");
        assert!(readiness.state().is_ready() && readiness.state().is_degraded());

        bus.down("nats://h:4222");
        assert!(
            readiness.state().is_ready(),
            "events wait in the outbox meanwhile"
        );
        away.store(true, Ordering::SeqCst);
        let mut changes = readiness.changes();
        let state = changes
            .wait_for(|state| !state.is_ready())
            .await
            .unwrap()
            .clone();
        assert_eq!(state.dependencies[0].waiting_for, "bolt://h:7687");
        assert_eq!(readiness.closed(), None, "calls find out for themselves");
        away.store(false, Ordering::SeqCst);
        readiness.ready().await;
        assert_eq!(attempts.load(Ordering::SeqCst), 4, "prepared once");
        readiness.stop();
        assert!(!readiness.state().is_ready());
    }
}
