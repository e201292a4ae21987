//! When the services of a stack have nothing left to say and nothing left to hear.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet_graph::Deadline;
use fleet_topology::{CONSUMERS, STREAMS, Stream};

use super::client::until;
use crate::stack::Stack;

/// How long the store or the bus may take to answer.
const WITHIN: Duration = Duration::from_secs(10);

/// Counts what was said on the bus, and how many consumers have to hear it.
#[derive(Debug, Clone, Default)]
pub struct Ear {
    said: Arc<AtomicU64>,
    to_be_heard: Arc<AtomicU64>,
}

impl Ear {
    /// Listens to everything that is said on the bus of a stack from now on.
    ///
    /// # Errors
    /// The bus is away.
    pub async fn listen(stack: &Stack) -> anyhow::Result<Self> {
        let ear = Self::default();
        for stream in STREAMS {
            ear.follow(stack, stream).await?;
        }
        Ok(ear)
    }

    async fn follow(&self, stack: &Stack, stream: &'static Stream) -> anyhow::Result<()> {
        let deadline = Deadline::after(WITHIN);
        let mut tail = stack.deps.bus.tail(stream, &[], deadline).await?;
        let (ear, stop) = (self.clone(), stack.deps.tasks.shutdown_token());
        let services: Vec<&str> = stack.addresses.iter().map(|(name, _)| *name).collect();
        stack.deps.tasks.spawn("ear", async move {
            loop {
                let message = tokio::select! {
                    () = stop.cancelled() => return,
                    message = tail.next() => message,
                };
                let Ok(message) = message else { return };
                let consumers = CONSUMERS.iter().filter(|consumer| {
                    services.contains(&consumer.service)
                        && consumer.filter_subjects.contains(&message.subject.as_str())
                });
                let hear = u64::try_from(consumers.count()).unwrap_or(0);
                ear.to_be_heard.fetch_add(hear, Ordering::SeqCst);
                ear.said.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(())
    }

    /// Waits until all that was committed was said, and all that was said was heard; gives how
    /// many events were published and how many were parked.
    ///
    /// # Errors
    /// It takes too long.
    pub async fn settled(&self, stack: &Stack) -> anyhow::Result<(u64, u64)> {
        until("everything that was said has been heard", async || {
            let (pending, _) = stack.deps.store.backlog(Deadline::after(WITHIN)).await?;
            // In this order: what is heard meanwhile may say more.
            let said = self.said.load(Ordering::SeqCst);
            let to_be_heard = self.to_be_heard.load(Ordering::SeqCst);
            let counts = stack.deps.event_metrics.counts();
            let heard = counts.handled + counts.parked >= to_be_heard;
            let settled = pending == 0 && said >= counts.published && heard;
            Ok(settled.then_some((counts.published, counts.parked)))
        })
        .await
    }
}
