//! Every task of the process: named, supervised, and waited for at the end.

use std::any::Any;
use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::{Call, Fault};

/// First and longest pause before a task that panicked runs again.
const RESTART_PAUSE: Duration = Duration::from_millis(100);
const MAX_RESTART_PAUSE: Duration = Duration::from_secs(30);
/// A task that ran so long before it panicked starts again with the first pause.
const HEALTHY_AFTER: Duration = Duration::from_secs(60);

/// The tasks of one process, in two groups: those that work (calls, consumers, sweeps), and
/// those that flush what the others leave behind (the relay). At the end the first group is
/// asked to stop and waited for, then the second.
#[derive(Debug, Clone, Default)]
pub struct Tasks(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shutdown: CancellationToken,
    flush: CancellationToken,
    failed: CancellationToken,
    failure: Mutex<Option<String>>,
    work: TaskTracker,
    flushing: TaskTracker,
    live: Mutex<BTreeMap<&'static str, usize>>,
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Drained {
    /// The names of tasks that were still running at the deadline; empty means complete.
    pub left: Vec<&'static str>,
}

impl Drained {
    /// Whether everything ended by itself.
    pub fn is_complete(&self) -> bool {
        self.left.is_empty()
    }
}

/// Counts a task by name while it lives, however it ends.
struct Live(Arc<Inner>, &'static str);

impl Live {
    fn new(inner: &Arc<Inner>, name: &'static str) -> Self {
        *lock(&inner.live).entry(name).or_insert(0) += 1;
        Self(inner.clone(), name)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let mut live = lock(&self.0.live);
        if let Some(count) = live.get_mut(self.1) {
            *count -= 1;
            if *count == 0 {
                live.remove(self.1);
            }
        }
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when the process begins to stop. Consumers, sweeps and open streams end then.
    pub fn shutdown_token(&self) -> CancellationToken {
        self.0.shutdown.clone()
    }

    /// Runs `future` once. A panic is logged and ends it.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let live = Live::new(&self.0, name);
        self.0.work.spawn(
            async move {
                let _live = live;
                if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                    tracing::error!(task = name, panic = panic_text(&*panic), "task panicked");
                }
            }
            .in_current_span(),
        );
    }

    /// Runs what `make` makes until the process stops; if it panics or ends before, runs it
    /// again after a growing pause.
    pub fn keep<F>(
        &self,
        name: &'static str,
        make: impl Fn(CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let shutdown = self.shutdown_token();
        self.spawn(name, async move {
            let mut pause = RESTART_PAUSE;
            while !shutdown.is_cancelled() {
                let started = Instant::now();
                let ended = AssertUnwindSafe(make(shutdown.clone()))
                    .catch_unwind()
                    .await;
                if shutdown.is_cancelled() {
                    return;
                }
                if started.elapsed() >= HEALTHY_AFTER {
                    pause = RESTART_PAUSE;
                }
                let why = match &ended {
                    Ok(()) => "it ended by itself",
                    Err(panic) => panic_text(&**panic),
                };
                tracing::error!(
                    task = name,
                    why,
                    pause_ms = pause.as_millis(),
                    "task restarts"
                );
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(MAX_RESTART_PAUSE);
            }
        });
    }

    /// Runs a task without which the process is of no use and that cannot be started again:
    /// if it panics or ends before the process stops, the process stops as failed.
    pub fn essential(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) {
        let (tasks, shutdown) = (self.clone(), self.shutdown_token());
        self.spawn(name, async move {
            let ended = AssertUnwindSafe(future).catch_unwind().await;
            if !shutdown.is_cancelled() {
                tasks.fail(name, ended.err().as_deref());
            }
        });
    }

    /// Runs a task that saves what the others leave behind (the relay): `make` gets a token
    /// that is cancelled once all others have ended, and then flushes. Otherwise as
    /// [`Self::essential`].
    pub fn flusher<F>(&self, name: &'static str, make: impl FnOnce(CancellationToken) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let flush = self.0.flush.clone();
        let future = make(flush.clone());
        let (tasks, live) = (self.clone(), Live::new(&self.0, name));
        self.0.flushing.spawn(async move {
            let _live = live;
            let ended = AssertUnwindSafe(future).catch_unwind().await;
            if !flush.is_cancelled() {
                tasks.fail(name, ended.err().as_deref());
            } else if let Err(panic) = ended {
                tracing::error!(task = name, panic = panic_text(&*panic), "task panicked");
            }
        });
    }

    /// Runs the body of a call in a task of its own and waits for it. A caller that hangs up
    /// or a deadline that passes does not cut it in half; a panic becomes
    /// [`Fault::Internal`]. The body sees the same [`Call::current`] and span.
    ///
    /// # Errors
    /// Those of the body.
    pub async fn supervised<T: Send + 'static>(
        &self,
        name: &'static str,
        body: impl Future<Output = Result<T, Fault>> + Send + 'static,
    ) -> Result<T, Fault> {
        let (answer, answered) = oneshot::channel();
        let live = Live::new(&self.0, name);
        let work = async move {
            let _live = live;
            let outcome = match AssertUnwindSafe(body).catch_unwind().await {
                Ok(outcome) => outcome,
                Err(panic) => Err(Fault::internal(format!(
                    "{name} panicked: {}",
                    panic_text(&*panic)
                ))),
            };
            // Nobody converts (and thereby logs) a failure whose caller is gone.
            if let Err(Err(Fault::Internal(e))) = answer.send(outcome) {
                tracing::error!(
                    task = name,
                    error = crate::fault::chain(e.as_ref()),
                    "internal error after the caller left"
                );
            }
        }
        .in_current_span();
        match Call::current() {
            Some(call) => self.0.work.spawn(call.scope(work)),
            None => self.0.work.spawn(work),
        };
        answered.await.unwrap_or_else(|_| {
            Err(Fault::internal(format!(
                "{name} was dropped by the runtime"
            )))
        })
    }

    /// How many tasks of that name live.
    pub fn live(&self, name: &str) -> usize {
        lock(&self.0.live).get(name).copied().unwrap_or(0)
    }

    /// Waits until an essential task failed; gives which and why.
    pub async fn failed(&self) -> String {
        self.0.failed.cancelled().await;
        lock(&self.0.failure).clone().unwrap_or_default()
    }

    /// Asks everything to stop, and returns at once.
    pub fn begin_shutdown(&self) {
        self.0.shutdown.cancel();
    }

    /// Asks everything to stop and waits: for the working tasks, then for the flushing ones,
    /// each at most until its deadline.
    pub async fn drain(&self, work_until: Instant, flush_until: Instant) -> Drained {
        self.begin_shutdown();
        self.0.work.close();
        let worked = tokio::time::timeout_at(work_until, self.0.work.wait()).await;
        self.0.flush.cancel();
        self.0.flushing.close();
        let flushed = tokio::time::timeout_at(flush_until, self.0.flushing.wait()).await;
        match (worked, flushed) {
            (Ok(()), Ok(())) => Drained::default(),
            _ => Drained {
                left: lock(&self.0.live).keys().copied().collect(),
            },
        }
    }

    pub(crate) fn fail(&self, name: &'static str, panic: Option<&(dyn Any + Send)>) {
        let why = panic.map_or("it ended by itself", panic_text);
        tracing::error!(
            task = name,
            why,
            "essential task is gone, the process stops"
        );
        *lock(&self.0.failure) = Some(format!("{name}: {why}"));
        self.0.failed.cancel();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    match (
        panic.downcast_ref::<&'static str>(),
        panic.downcast_ref::<String>(),
    ) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_task_that_panics_runs_again_until_the_process_stops() {
        let tasks = Tasks::new();
        let runs = Arc::new(AtomicUsize::new(0));
        let (third, reached) = oneshot::channel();
        let third = Arc::new(Mutex::new(Some(third)));
        let counted = runs.clone();
        tasks.keep("sweep", move |shutdown| {
            let (runs, third) = (counted.clone(), third.clone());
            async move {
                if runs.fetch_add(1, Ordering::SeqCst) < 2 {
                    panic!("not yet");
                }
                if let Some(third) = lock(&third).take() {
                    third.send(()).unwrap();
                }
                shutdown.cancelled().await;
            }
        });
        reached.await.unwrap();
        assert_eq!(tasks.live("sweep"), 1);
        assert!(tasks.drain(soon(), soon()).await.is_complete());
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert_eq!(tasks.live("sweep"), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hang_up_does_not_cut_a_supervised_body_and_a_panic_is_internal() {
        let tasks = Tasks::new();
        let (go, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel::<()>();
        let body = async move {
            gate.await.map_err(Fault::internal)?;
            let _ = done.send(());
            Ok(())
        };
        let hung_up =
            tokio::time::timeout(Duration::from_millis(1), tasks.supervised("slow", body));
        assert!(hung_up.await.is_err());
        go.send(()).unwrap();
        finished.await.unwrap();

        let panicked: Result<(), Fault> = tasks.supervised("bad", async { panic!("boom") }).await;
        let Err(Fault::Internal(source)) = panicked else {
            panic!("{panicked:?}")
        };
        assert_eq!(source.to_string(), "bad panicked: boom");
    }

    #[tokio::test(start_paused = true)]
    async fn the_flusher_outlives_the_work_and_a_stuck_task_is_named() {
        let tasks = Tasks::new();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (works, flushes) = (order.clone(), order.clone());
        let shutdown = tasks.shutdown_token();
        tasks.spawn("consumer", async move {
            shutdown.cancelled().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            lock(&works).push("consumer");
        });
        tasks.flusher("relay", |token| async move {
            token.cancelled().await;
            lock(&flushes).push("relay");
        });
        tasks.spawn("stuck", std::future::pending());
        let drained = tasks.drain(soon(), soon() + Duration::from_secs(1)).await;
        assert_eq!(drained.left, ["stuck"]);
        assert_eq!(*lock(&order), ["consumer", "relay"]);
    }

    #[tokio::test]
    async fn an_essential_task_that_dies_stops_the_process() {
        let tasks = Tasks::new();
        tasks.essential("relay", async { panic!("gone") });
        assert_eq!(tasks.failed().await, "relay: gone");
    }
}
