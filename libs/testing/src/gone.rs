//! A cache that nobody reaches.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fleet_cache::{Cache, CacheError, Key, Stored};

/// A cache that is away: every call takes as long as it may, and says so at once.
#[derive(Debug, Clone, Copy, Default)]
pub struct Gone;

#[async_trait]
impl Cache for Gone {
    fn name(&self) -> &'static str {
        "gone"
    }

    async fn get(&self, _: &Key, within: Duration) -> Result<Option<Bytes>, CacheError> {
        Err(CacheError::Timeout(within))
    }

    async fn set(
        &self,
        _: &Key,
        _: Bytes,
        _: Duration,
        within: Duration,
    ) -> Result<Stored, CacheError> {
        Err(CacheError::Timeout(within))
    }

    async fn delete(&self, _: &Key, within: Duration) -> Result<(), CacheError> {
        Err(CacheError::Timeout(within))
    }

    async fn ping(&self, within: Duration) -> Result<(), CacheError> {
        Err(CacheError::Timeout(within))
    }
}
