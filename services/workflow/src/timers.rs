//! Stored due times, swept by every replica: leases that ran out, waits beyond their limit,
//! reminders.
//!
//! Timers are rows, so they survive restarts and any replica may act on them; what a timer
//! means is decided on the task itself, and its version lets exactly one replica win.

use std::sync::Arc;
use std::time::Duration;

use fleet_events::Origin;
use fleet_graph::{Commit, CommitError, Deadline, Index, Node, Owner, ReadError, Scan};
use tokio_util::sync::CancellationToken;

use crate::domain::Command;
use crate::engine::{Ask, Cause, ChangeError, Engine, SOURCE};
use crate::fsm::Kind;
use crate::rows::TimerRow;

/// Timers that one look takes.
const BATCH: usize = 100;
/// How long one look may take.
const WITHIN: Duration = Duration::from_secs(10);
/// Longest pause while the store is away.
const MAX_PAUSE: Duration = Duration::from_secs(15);
/// Shortest pause between two looks: a timer that cannot be acted on must not spin.
const MIN_PAUSE: Duration = Duration::from_millis(20);

/// Looks at the timers until shutdown: every `every` (give or take a quarter), and at once
/// when something that this process itself set is due.
pub(crate) async fn sweep(engine: Arc<Engine>, every: Duration, shutdown: CancellationToken) {
    let mut failures: u32 = 0;
    loop {
        let mut pause = spread(every, engine.ids.random());
        match look(&engine).await {
            Ok(more) => {
                failures = 0;
                if more {
                    pause = MIN_PAUSE;
                }
            }
            Err(error) => {
                failures = failures.saturating_add(1);
                if failures == 1 {
                    tracing::warn!(%error, "timers wait for the store");
                }
                pause = (every * failures.min(15)).min(MAX_PAUSE);
            }
        }
        let until = tokio::time::Instant::now() + pause;
        loop {
            let now = engine.clock.now();
            let due = engine
                .alarm
                .peek()
                .map(|due| tokio::time::Instant::now() + due.since(now));
            let wake = due
                .filter(|_| failures == 0)
                .map_or(until, |due| due.min(until));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = engine.alarm.earlier() => {}
                () = tokio::time::sleep_until(wake) => break,
            }
        }
    }
}

fn spread(every: Duration, random: u64) -> Duration {
    let quarter = u64::try_from(every.as_millis()).unwrap_or(u64::MAX) / 4;
    every.saturating_sub(Duration::from_millis(quarter))
        + Duration::from_millis(random % (2 * quarter + 1))
}

/// Acts on what is due; whether there may be more. One read, and one read and one commit for
/// each timer.
async fn look(engine: &Engine) -> Result<bool, ReadError> {
    let deadline = Deadline::after(WITHIN);
    let now = engine.clock.now();
    // What was known is looked at now; what is set meanwhile sets the alarm anew.
    engine.alarm.take();
    let mut scan = Scan::new(
        Index::TimersByDeployment,
        vec![engine.deployment.as_str().into()],
        BATCH,
    );
    scan.before = Some(TimerRow::due_before(now));
    let page = engine.committer.store().scan(&scan, deadline).await?;
    let mut acted = false;
    for node in &page.nodes {
        match fire(engine, node, deadline).await {
            Ok(changed) => acted |= changed,
            Err(away @ ReadError::Unavailable(_)) => return Err(away),
            // One damaged row must not keep the others from their time.
            Err(error) => tracing::error!(timer = %node.key, %error, "timer cannot be read"),
        }
    }
    next_alarm(engine, now, deadline).await?;
    Ok(page.more && acted)
}

/// Sets the alarm for the next timer of the deployment, whoever set it.
async fn next_alarm(
    engine: &Engine,
    now: fleet_types::Timestamp,
    deadline: Deadline,
) -> Result<(), ReadError> {
    let mut scan = Scan::new(
        Index::TimersByDeployment,
        vec![engine.deployment.as_str().into()],
        1,
    );
    scan.after = Some(TimerRow::due_before(now));
    let page = engine.committer.store().scan(&scan, deadline).await?;
    if let Some(Ok(timer)) = page.nodes.first().map(TimerRow::read) {
        engine.alarm.at(timer.due_at);
    }
    Ok(())
}

/// Acts on one timer; whether something changed.
async fn fire(engine: &Engine, node: &Node, deadline: Deadline) -> Result<bool, ReadError> {
    let timer = TimerRow::read(node)?;
    let origin = Origin {
        source: SOURCE,
        correlation: engine.ids.uuid().to_string(),
        causation: String::new(),
        traceparent: String::new(),
    };
    let cause = Cause {
        origin,
        deadline,
        answers: None,
    };
    let ask = Ask {
        task: &timer.task_id,
        command: &Command::TimeIsUp,
        expected_version: None,
        refusal: None,
        cause: &cause,
    };
    match engine.change(&ask, &|_| None).await {
        Ok(done) => {
            let wants_none =
                done.run.due_at.is_none() || done.run.at(&engine.machine).kind == Kind::Terminal;
            if wants_none {
                remove(engine, node, deadline).await;
            }
            Ok(true)
        }
        Err(ChangeError::Unknown) => {
            remove(engine, node, deadline).await;
            Ok(true)
        }
        Err(ChangeError::Read(error @ ReadError::Unavailable(_))) => Err(error),
        Err(ChangeError::Commit(CommitError::Unavailable(away))) => Err(away.into()),
        Err(error) => {
            tracing::error!(task = %timer.task_id, %error, "timer cannot be acted on");
            Ok(false)
        }
    }
}

/// Removes a timer that nobody waits for; another replica may have done so already.
async fn remove(engine: &Engine, node: &Node, deadline: Deadline) {
    let mut commit = Commit::new(engine.ids.uuid(), Owner::Workflow, engine.clock.now());
    commit.delete(node.key.clone(), node.version);
    if let Err(error) = engine.committer.commit(commit, deadline).await {
        tracing::debug!(timer = %node.key, %error, "timer was not removed");
    }
}
