//! The adapter inside the process.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lru::LruCache;
use tokio::time::Instant;

use crate::{Cache, CacheError, Key, MAX_TTL, Stored, Usage};

/// What an entry costs besides the bytes of its key (twice: the map has one, too) and value.
const OVERHEAD: usize = 160;

/// Values in the process, bounded in bytes. Whatever was not used for longest makes room; what
/// is over its time is found out when it is asked for, or makes room like the rest.
#[derive(Debug)]
pub struct Memory {
    max_bytes: usize,
    held: Mutex<Held>,
}

#[derive(Debug)]
struct Held {
    entries: LruCache<Key, Entry>,
    bytes: usize,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    value: Bytes,
    until: Instant,
}

fn cost(key: &Key, bytes: usize) -> usize {
    key.as_str().len() + bytes + OVERHEAD
}

impl Held {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes -= cost(key, entry.value.len());
        }
    }
}

impl Memory {
    /// A cache that holds at most so many bytes, keys and bookkeeping included.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            held: Mutex::new(Held {
                entries: LruCache::unbounded(),
                bytes: 0,
                evicted: 0,
            }),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Cache for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    async fn get(&self, key: &Key, _within: Duration) -> Result<Option<Bytes>, CacheError> {
        let now = Instant::now();
        let mut held = self.held();
        match held.entries.get(key) {
            Some(entry) if entry.until > now => Ok(Some(entry.value.clone())),
            Some(_) => {
                held.remove(key);
                Ok(None)
            }
            None => Ok(None),
        }
    }

    async fn set(
        &self,
        key: &Key,
        value: Bytes,
        ttl: Duration,
        _within: Duration,
    ) -> Result<Stored, CacheError> {
        let needed = cost(key, value.len());
        let kept = match Stored::allowed(value.len(), ttl) {
            Stored::Kept if needed > self.max_bytes => Stored::NotKept,
            allowed => allowed,
        };
        // A part of something larger would keep all of that alive; copied outside of the lock.
        let entry = (kept == Stored::Kept).then(|| Entry {
            value: Bytes::copy_from_slice(&value),
            until: Instant::now() + ttl.min(MAX_TTL),
        });
        let mut held = self.held();
        held.remove(key);
        if let Some(entry) = entry {
            while held.bytes + needed > self.max_bytes {
                let (oldest, entry) = held
                    .entries
                    .pop_lru()
                    .expect("without entries there is room");
                held.bytes -= cost(&oldest, entry.value.len());
                held.evicted += 1;
            }
            held.bytes += needed;
            held.entries.put(key.clone(), entry);
        }
        Ok(kept)
    }

    async fn delete(&self, key: &Key, _within: Duration) -> Result<(), CacheError> {
        self.held().remove(key);
        Ok(())
    }

    async fn ping(&self, _within: Duration) -> Result<(), CacheError> {
        Ok(())
    }

    fn usage(&self) -> Option<Usage> {
        let held = self.held();
        Some(Usage {
            entries: held.entries.len(),
            bytes: held.bytes,
            evicted: held.evicted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Namespace;

    const AT_ONCE: Duration = Duration::ZERO;
    const MINUTE: Duration = Duration::from_secs(60);

    fn key(n: usize) -> Key {
        Key::new(Namespace::new("m")).text(&format!("k{n:04}"))
    }

    #[tokio::test]
    async fn what_is_used_stays_and_the_bytes_are_bounded() {
        let max = 100 * 1024;
        let memory = Memory::new(max);
        let value = Bytes::from(vec![7; 1000]);
        for n in 0..1000 {
            let stored = memory.set(&key(n), value.clone(), MINUTE, AT_ONCE).await;
            assert_eq!(stored, Ok(Stored::Kept));
            assert!(memory.get(&key(0), AT_ONCE).await.unwrap().is_some());
            assert!(memory.usage().unwrap().bytes <= max);
        }
        let usage = memory.usage().unwrap();
        assert!(usage.entries > 80 && usage.entries < 100, "{usage:?}");
        assert_eq!(usage.evicted, 1000 - usage.entries as u64);
        assert!(memory.get(&key(1), AT_ONCE).await.unwrap().is_none());
        // More than all of it: not kept, and what was under the key is gone.
        let all = Bytes::from(vec![7; max]);
        let stored = memory.set(&key(0), all, MINUTE, AT_ONCE).await;
        assert_eq!(stored, Ok(Stored::NotKept));
        assert!(memory.get(&key(0), AT_ONCE).await.unwrap().is_none());
        for n in 0..1000 {
            memory.delete(&key(n), AT_ONCE).await.unwrap();
        }
        let usage = memory.usage().unwrap();
        assert_eq!((usage.entries, usage.bytes), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_ends_to_the_moment() {
        let memory = Memory::new(1 << 20);
        let value = Bytes::from_static(b"v");
        memory
            .set(&key(1), value.clone(), MINUTE, AT_ONCE)
            .await
            .unwrap();
        tokio::time::advance(MINUTE - Duration::from_millis(1)).await;
        assert_eq!(memory.get(&key(1), AT_ONCE).await.unwrap(), Some(value));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(memory.get(&key(1), AT_ONCE).await.unwrap(), None);
        assert_eq!(memory.usage().unwrap().bytes, 0);
        let stored = memory
            .set(&key(1), Bytes::new(), Duration::MAX, AT_ONCE)
            .await;
        assert_eq!(stored, Ok(Stored::Kept), "the longest time is cut");
    }
}
