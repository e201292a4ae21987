//! Following a stream from now on.

use std::{collections::VecDeque, sync::Arc};

use async_trait::async_trait;
use fleet_events::{RawMessage, Tail};
use fleet_graph::{Deadline, Unavailable};
use fleet_topology::Stream;
use tokio::sync::watch;

use super::log;
use crate::{
    error::away,
    open::{Core, OWN_WRITES},
};

/// Messages read at once.
const READ: usize = 256;

/// A place in the log that moves with it.
pub(crate) struct LogTail {
    core: Arc<Core>,
    stream: &'static Stream,
    /// Its place among all streams.
    place: usize,
    /// Patterns; all subjects if there are none.
    subjects: Vec<String>,
    head: watch::Receiver<u64>,
    after: u64,
    ready: VecDeque<Arc<RawMessage>>,
}

impl LogTail {
    pub(crate) fn open(
        core: Arc<Core>,
        stream: &'static Stream,
        subjects: &[&str],
    ) -> Result<Self, Unavailable> {
        let place = log::place(stream.name)
            .ok_or_else(|| away(format!("there is no stream {}", stream.name), false))?;
        let mut head = core.heads[place].clone();
        let after = *head.borrow_and_update();
        let subjects = subjects.iter().map(|&subject| subject.to_owned()).collect();
        Ok(Self {
            core,
            stream,
            place,
            subjects,
            head,
            after,
            ready: VecDeque::new(),
        })
    }

    fn wants(&self, subject: &str) -> bool {
        self.subjects.is_empty()
            || self
                .subjects
                .iter()
                .any(|pattern| matches(pattern, subject))
    }
}

#[async_trait]
impl Tail for LogTail {
    async fn next(&mut self) -> Result<RawMessage, Unavailable> {
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Ok(Arc::unwrap_or_clone(message));
            }
            let last = *self.head.borrow_and_update();
            if self.after >= last {
                self.head
                    .changed()
                    .await
                    .map_err(|_| away("closed", false))?;
                continue;
            }
            let (stream, after) = (self.stream, self.after);
            let wanted = |subject: &str| self.wants(subject);
            let recent = &self.core.recent;
            if let Some((messages, read)) = recent.after(self.place, after, last, READ, wanted) {
                self.after = read;
                self.ready.extend(messages);
                continue;
            }
            let (messages, read) = self
                .core
                .readers
                .read::<_, _, Unavailable>(Deadline::after(OWN_WRITES), move |conn| {
                    log::read_after(conn, stream, &[], after, last, READ)
                })
                .await?;
            self.after = read;
            let wanted = messages
                .into_iter()
                .filter(|message| self.wants(&message.subject));
            let wanted: Vec<_> = wanted.map(Arc::new).collect();
            self.ready.extend(wanted);
        }
    }
}

/// `*` is one word, `>` at the end is one or more.
fn matches(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (None, None) | (Some(">"), Some(_)) => return true,
            (Some(wanted), Some(word)) if wanted == "*" || wanted == word => {}
            _ => return false,
        }
    }
}
