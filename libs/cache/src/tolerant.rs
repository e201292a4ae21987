//! A cache whose failures are misses.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{Cache, CacheError, Key, Stored};

/// How long a call may take before its value is better made again.
const WITHIN: Duration = Duration::from_millis(250);
/// How long a cache that is away is left alone.
const REST: Duration = Duration::from_secs(1);
/// How often a cache that fails is spoken of.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A cache whose failures are misses, for callers that can make every value again. While it is
/// away, one call a second finds out whether it is back, and the others do not wait for it.
/// Failures are spoken of once a minute at most; [`Self::failures`] says how many there were.
/// Clones are the same.
#[derive(Clone)]
pub struct Tolerant(Arc<Inner>);

struct Inner {
    cache: Arc<dyn Cache>,
    within: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rest_until: Option<Instant>,
    said: Option<Instant>,
    unsaid: u64,
    failures: Failures,
}

/// How often a cache was of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failures {
    /// Calls that failed.
    pub failed: u64,
    /// Calls that were not made, since the cache was away a moment before.
    pub skipped: u64,
}

impl Tolerant {
    /// Calls of a quarter of a second at most.
    pub fn new(cache: Arc<dyn Cache>) -> Self {
        Self::within(cache, WITHIN)
    }

    /// Calls of `within` at most.
    pub fn within(cache: Arc<dyn Cache>, within: Duration) -> Self {
        Self(Arc::new(Inner {
            cache,
            within,
            state: Mutex::default(),
        }))
    }

    /// The value under `key`, if it is there and the cache is.
    pub async fn get(&self, key: &Key) -> Option<Bytes> {
        let within = self.0.within;
        self.call(self.0.cache.get(key, within)).await.flatten()
    }

    /// Keeps `value` for `ttl` if it can; says whether it could.
    pub async fn set(&self, key: &Key, value: Bytes, ttl: Duration) -> bool {
        let call = self.0.cache.set(key, value, ttl, self.0.within);
        self.call(call).await == Some(Stored::Kept)
    }

    /// Removes what is under `key`; says whether that is certain. Where correctness would hang
    /// on it, put what changes into the key instead.
    pub async fn delete(&self, key: &Key) -> bool {
        let call = self.0.cache.delete(key, self.0.within);
        self.call(call).await.is_some()
    }

    /// How often it was of no use.
    pub fn failures(&self) -> Failures {
        self.state().failures
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, CacheError>>) -> Option<T> {
        if !self.enter() {
            return None;
        }
        match call.await {
            Ok(value) => {
                self.state().rest_until = None;
                Some(value)
            }
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    /// Whether to call at all.
    fn enter(&self) -> bool {
        let mut state = self.state();
        let Some(until) = state.rest_until else {
            return true;
        };
        let now = Instant::now();
        if now < until {
            state.failures.skipped += 1;
            return false;
        }
        // This call finds out; the others go on without, also if it is never heard of again.
        state.rest_until = Some(now + REST);
        true
    }

    fn failed(&self, error: &CacheError) {
        let now = Instant::now();
        let mut state = self.state();
        // Whoever refuses is there, and costs no time.
        state.rest_until = match error {
            CacheError::Refused { .. } => None,
            CacheError::Timeout(_) | CacheError::Unavailable { .. } => Some(now + REST),
        };
        state.failures.failed += 1;
        state.unsaid += 1;
        if state.said.is_some_and(|said| now < said + SAY_EVERY) {
            return;
        }
        state.said = Some(now);
        let failures = std::mem::take(&mut state.unsaid);
        drop(state);
        let cache = self.0.cache.name();
        tracing::warn!(cache, %error, failures, "going on without the cache");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Tolerant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tolerant")
            .field("cache", &self.0.cache.name())
            .field("failures", &self.failures())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::{Memory, Namespace};

    /// A cache that never answers while it is away.
    struct Moody {
        inner: Memory,
        away: AtomicBool,
        asked: AtomicUsize,
    }

    impl Moody {
        async fn mood(&self, within: Duration) -> Result<(), CacheError> {
            self.asked.fetch_add(1, Ordering::SeqCst);
            if self.away.load(Ordering::SeqCst) {
                tokio::time::sleep(within).await;
                return Err(CacheError::Timeout(within));
            }
            Ok(())
        }
    }

    #[async_trait]
    impl Cache for Moody {
        fn name(&self) -> &'static str {
            "moody"
        }

        async fn get(&self, key: &Key, within: Duration) -> Result<Option<Bytes>, CacheError> {
            self.mood(within).await?;
            self.inner.get(key, within).await
        }

        async fn set(
            &self,
            key: &Key,
            value: Bytes,
            ttl: Duration,
            within: Duration,
        ) -> Result<Stored, CacheError> {
            self.mood(within).await?;
            self.inner.set(key, value, ttl, within).await
        }

        async fn delete(&self, key: &Key, within: Duration) -> Result<(), CacheError> {
            self.mood(within).await?;
            self.inner.delete(key, within).await
        }

        async fn ping(&self, within: Duration) -> Result<(), CacheError> {
            self.mood(within).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lost_cache_costs_a_moment_and_comes_back_by_itself() {
        let moody = Arc::new(Moody {
            inner: Memory::new(1 << 20),
            away: AtomicBool::new(false),
            asked: AtomicUsize::new(0),
        });
        let cache = Tolerant::new(moody.clone());
        let key = Key::new(Namespace::new("t")).number(1);
        let (value, minute) = (Bytes::from_static(b"v"), Duration::from_secs(60));
        assert!(cache.set(&key, value.clone(), minute).await);
        assert_eq!(cache.get(&key).await, Some(value.clone()));

        moody.away.store(true, Ordering::SeqCst);
        let (began, asked) = (Instant::now(), moody.asked.load(Ordering::SeqCst));
        for _ in 0..1000 {
            assert_eq!(cache.get(&key).await, None);
            assert!(!cache.set(&key, value.clone(), minute).await);
            assert!(!cache.delete(&key).await);
        }
        assert!(began.elapsed() <= WITHIN * 2, "{:?}", began.elapsed());
        assert!(moody.asked.load(Ordering::SeqCst) - asked <= 2);
        let Failures { failed, skipped } = cache.failures();
        assert_eq!(failed + skipped, 3000);

        moody.away.store(false, Ordering::SeqCst);
        tokio::time::advance(REST).await;
        assert_eq!(cache.get(&key).await, Some(value.clone()));
        assert_eq!(cache.get(&key).await, Some(value));
        assert!(cache.delete(&key).await);
        assert_eq!(cache.get(&key).await, None);
        assert_eq!(cache.failures(), Failures { failed, skipped });
    }
}
