//! One CRC-32 for every row, over all its columns: a changed byte is seen when it is read.

use crc32fast::Hasher;

/// A checksum in the making. Fields are framed by their length, so that moving a byte from
/// one to the next changes the sum.
#[derive(Clone)]
pub(crate) struct Sum(Hasher);

impl Sum {
    pub(crate) fn new() -> Self {
        Self(Hasher::new())
    }

    pub(crate) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    pub(crate) fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    pub(crate) fn int(mut self, int: i64) -> Self {
        self.0.update(&int.to_le_bytes());
        self
    }

    /// As it is stored.
    pub(crate) fn done(self) -> i64 {
        i64::from(self.0.finalize())
    }
}
