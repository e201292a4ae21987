//! The newest messages of each stream, as they were stored: who keeps up with a stream reads
//! them from here, without a query and without a thread to run it on.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fleet_events::RawMessage;
use fleet_topology::STREAMS;

/// Most messages kept of one stream.
const MESSAGES: usize = 1_024;
/// Most bytes of subjects, headers and bodies kept of one stream.
const BYTES: usize = 512 * 1024;

/// All streams. Holds nothing that is not on disk.
#[derive(Default)]
pub(crate) struct Recent([Mutex<Ring>; STREAMS.len()]);

/// Messages without a gap, the newest last.
#[derive(Default)]
struct Ring {
    messages: VecDeque<Arc<RawMessage>>,
    bytes: usize,
}

impl Recent {
    fn lock(&self, stream: usize) -> MutexGuard<'_, Ring> {
        self.0[stream]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds what was committed to a stream.
    pub(crate) fn add(&self, stream: usize, message: Arc<RawMessage>) {
        let mut ring = self.lock(stream);
        let follows = |last: &Arc<RawMessage>| last.sequence + 1 == message.sequence;
        if !ring.messages.back().is_none_or(follows) {
            *ring = Ring::default();
        }
        ring.bytes += size(&message);
        ring.messages.push_back(message);
        while ring.messages.len() > MESSAGES || ring.bytes > BYTES {
            let Some(oldest) = ring.messages.pop_front() else {
                break;
            };
            ring.bytes -= size(&oldest);
        }
    }

    /// Messages behind `after` and up to `last` that are `wanted`, at most `limit`, and up to
    /// where was looked; `None` if they are not all here.
    pub(crate) fn after(
        &self,
        stream: usize,
        after: u64,
        last: u64,
        limit: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> Option<(Vec<Arc<RawMessage>>, u64)> {
        let ring = self.lock(stream);
        let first = ring.messages.front()?.sequence;
        let newest = ring.messages.back()?.sequence;
        let skip = usize::try_from((after + 1).checked_sub(first)?).ok()?;
        if newest < last {
            return None;
        }
        let mut found = Vec::new();
        for message in ring.messages.iter().skip(skip) {
            if message.sequence > last {
                break;
            }
            if wanted(&message.subject) {
                found.push(Arc::clone(message));
                if found.len() == limit {
                    return Some((found, message.sequence));
                }
            }
        }
        Some((found, last))
    }
}

fn size(message: &RawMessage) -> usize {
    let headers = message.headers.iter();
    let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
    message.subject.len() + headers + message.body.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(sequence: u64, subject: &str, bytes: usize) -> Arc<RawMessage> {
        Arc::new(RawMessage {
            stream: String::new(),
            sequence,
            subject: subject.to_owned(),
            headers: Vec::new(),
            body: vec![0; bytes],
        })
    }

    fn sequences(found: Option<(Vec<Arc<RawMessage>>, u64)>) -> Option<(Vec<u64>, u64)> {
        found.map(|(found, read)| (found.iter().map(|m| m.sequence).collect(), read))
    }

    #[test]
    fn gives_what_it_has_without_a_gap_and_says_when_it_has_not() {
        let recent = Recent::default();
        let all = |after, last| sequences(recent.after(0, after, last, 10, |_| true));
        assert_eq!(all(0, 1), None, "nothing is here");
        for sequence in 5..=8 {
            let subject = if sequence % 2 == 0 { "even" } else { "odd" };
            recent.add(0, message(sequence, subject, 1));
        }
        assert_eq!(all(3, 8), None, "4 is older");
        assert_eq!(all(4, 7), Some((vec![5, 6, 7], 7)));
        assert_eq!(all(8, 8), Some((vec![], 8)));
        assert_eq!(all(4, 9), None, "9 is not here yet");
        let even = sequences(recent.after(0, 4, 8, 10, |subject| subject == "even"));
        assert_eq!(even, Some((vec![6, 8], 8)));
        let some = sequences(recent.after(0, 4, 8, 1, |subject| subject == "even"));
        assert_eq!(some, Some((vec![6], 6)), "the rest another time");
        assert_eq!(sequences(recent.after(1, 4, 8, 1, |_| true)), None);

        recent.add(0, message(10, "even", 1));
        assert_eq!(all(8, 10), None, "9 is missing");
        assert_eq!(all(9, 10), Some((vec![10], 10)));
    }

    #[test]
    fn keeps_so_many_and_so_much() {
        let recent = Recent::default();
        for sequence in 1..=2_000 {
            recent.add(0, message(sequence, "a", 1));
        }
        assert!(recent.after(0, 2_000 - 1_024, 2_000, 1, |_| true).is_some());
        assert!(recent.after(0, 975, 2_000, 1, |_| true).is_none());
        recent.add(0, message(2_001, "a", BYTES - 1));
        assert!(recent.after(0, 2_000, 2_001, 1, |_| true).is_some());
        assert!(recent.after(0, 1_999, 2_001, 1, |_| true).is_none());
        recent.add(0, message(2_002, "a", BYTES));
        assert!(recent.after(0, 2_001, 2_002, 1, |_| true).is_none());
    }
}
