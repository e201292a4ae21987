//! Counting tokens as the models do (o200k), each content once.

use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use lru::LruCache;
use sha2::{Digest, Sha256};

/// Counts the tokens of a text. Texts of several lines are counted as one; see
/// the module `text` for why counts of our lines add up.
pub trait Tokens: Send + Sync {
    /// How many tokens.
    fn count(&self, text: &str) -> u32;
}

/// Name of the tokenizer in receipts and stored counts.
pub const TOKENIZER: &str = "o200k";

/// The o200k byte pair encoding. Its tables are read once in a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct O200k;

impl Tokens for O200k {
    fn count(&self, text: &str) -> u32 {
        u32::try_from(bpe_openai::o200k_base().count(text)).unwrap_or(u32::MAX)
    }
}

/// Half of the SHA-256 of a text: far more than enough to tell contents apart.
type ContentKey = [u8; 16];

/// Locks that requests spread over.
const SHARDS: usize = 16;
/// Texts this short are counted faster than looked up.
const SHORT: usize = 24;

/// A counter that remembers what it counted, by content: bounded, the least used goes first.
pub struct CachedTokens<T> {
    inner: T,
    shards: [Mutex<LruCache<ContentKey, u32>>; SHARDS],
}

impl<T: Tokens> CachedTokens<T> {
    /// Remembers about `capacity` contents (some 50 bytes each).
    pub fn new(inner: T, capacity: NonZeroUsize) -> Self {
        let each = capacity.get().div_ceil(SHARDS);
        let each = NonZeroUsize::new(each).unwrap_or(NonZeroUsize::MIN);
        let shards = std::array::from_fn(|_| Mutex::new(LruCache::new(each)));
        Self { inner, shards }
    }
}

impl<T: Tokens> Tokens for CachedTokens<T> {
    fn count(&self, text: &str) -> u32 {
        if text.len() <= SHORT {
            return self.inner.count(text);
        }
        let digest = Sha256::digest(text.as_bytes());
        let mut key = ContentKey::default();
        key.copy_from_slice(&digest[..16]);
        let shard = &self.shards[usize::from(key[0]) % SHARDS];
        // A panic elsewhere cannot leave a count half written.
        let lock = || shard.lock().unwrap_or_else(PoisonError::into_inner);
        let known = lock().get(&key).copied();
        known.unwrap_or_else(|| {
            let count = self.inner.count(text);
            lock().put(key, count);
            count
        })
    }
}
