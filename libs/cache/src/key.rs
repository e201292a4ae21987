//! Keys: `namespace:part:part…`.

use std::fmt::{self, Write as _};

use sha2::{Digest as _, Sha256};

/// The longest key, in bytes.
pub const MAX_KEY_BYTES: usize = 256;
/// The longest part that stands in a key as it is; a longer one is replaced by its hash.
const MAX_PART_BYTES: usize = 96;

/// What kind of values stand under a key: one word per use of the cache, and the label of its
/// metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(&'static str);

impl Namespace {
    /// A word of 1 to 24 of `a-z 0-9 -`. Anything else does not compile in a constant, and
    /// panics elsewhere.
    pub const fn new(word: &'static str) -> Self {
        let bytes = word.as_bytes();
        assert!(
            !bytes.is_empty() && bytes.len() <= 24,
            "a namespace has 1 to 24 bytes"
        );
        let mut i = 0;
        while i < bytes.len() {
            assert!(
                matches!(bytes[i], b'a'..=b'z' | b'0'..=b'9' | b'-'),
                "a namespace is a word of a-z 0-9 -"
            );
            i += 1;
        }
        Self(word)
    }

    /// The word.
    pub const fn as_str(self) -> &'static str {
        self.0
    }
}

/// Where a value stands. Made of parts; different parts never give the same key, whatever is in
/// them, but a number is the same part as its digits: what is a number stays one.
///
/// ```
/// # use fleet_cache::{Key, Namespace};
/// const PACKS: Namespace = Namespace::new("pack");
/// let key = Key::new(PACKS).text("s-1").number(7).text("a:b");
/// assert_eq!(key.as_str(), "pack:s-1:7:a%3Ab");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    namespace: Namespace,
    text: String,
}

impl Key {
    /// The key without parts.
    pub fn new(namespace: Namespace) -> Self {
        let mut text = String::with_capacity(64);
        text.push_str(namespace.0);
        Self { namespace, text }
    }

    /// Adds a part. Bytes other than `A-Z a-z 0-9 . _ -` are escaped; a long part is replaced
    /// by its hash.
    #[must_use]
    pub fn text(mut self, part: &str) -> Self {
        self.text.push(':');
        let from = self.text.len();
        for byte in part.bytes() {
            if self.text.len() - from > MAX_PART_BYTES {
                break;
            }
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => {
                    self.text.push(char::from(byte));
                }
                _ => {
                    let _ = write!(self.text, "%{byte:02X}");
                }
            }
        }
        if self.text.len() - from > MAX_PART_BYTES {
            self.text.truncate(from);
            // No escaped part holds a `#`.
            self.text.push('#');
            push_hash(&mut self.text, part.as_bytes());
        }
        self.bounded()
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, part: impl Into<i128>) -> Self {
        let _ = write!(self.text, ":{}", part.into());
        self.bounded()
    }

    /// Adds the hash of something that is no text, or long.
    #[must_use]
    pub fn hash(mut self, part: &[u8]) -> Self {
        self.text.push_str(":#");
        push_hash(&mut self.text, part);
        self.bounded()
    }

    /// Its namespace.
    pub fn namespace(&self) -> Namespace {
        self.namespace
    }

    /// The key as adapters use it: ASCII without blanks, at most [`MAX_KEY_BYTES`].
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Replaces all parts by one hash when together they are too long.
    fn bounded(mut self) -> Self {
        if self.text.len() > MAX_KEY_BYTES {
            let from = self.namespace.0.len();
            let parts = self.text.split_off(from);
            // No single part begins with two.
            self.text.push_str(":##");
            push_hash(&mut self.text, parts.as_bytes());
        }
        self
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn push_hash(text: &mut String, bytes: &[u8]) {
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const N: Namespace = Namespace::new("n");

    #[test]
    fn different_parts_give_different_keys_of_a_closed_alphabet() {
        let long = "x".repeat(10_000);
        let longer = "x".repeat(10_001);
        let keys = [
            Key::new(N),
            Key::new(N).text(""),
            Key::new(N).text("").text(""),
            Key::new(N).text("s-1"),
            Key::new(N).text("s-10"),
            Key::new(N).text("s-1").number(0),
            Key::new(N).text("a:b").text("c"),
            Key::new(N).text("a").text("b:c"),
            Key::new(N).text("a").text("b").text("c"),
            Key::new(N).text("a%3Ab"),
            Key::new(N).text("A"),
            Key::new(N).text("é"),
            Key::new(N).text("e\u{301}"),
            Key::new(N).text("a b\r\nDEL x"),
            Key::new(N).text("*"),
            Key::new(N).text("#"),
            Key::new(N).text(&long),
            Key::new(N).text(&longer),
            Key::new(N).text(&long).text("y"),
            Key::new(N).hash(long.as_bytes()).text("z"),
            Key::new(N).number(-1),
            Key::new(N).number(u64::MAX),
            (0..40).fold(Key::new(N), |key, n| key.text("some-part").number(n)),
            (0..41).fold(Key::new(N), |key, n| key.text("some-part").number(n)),
        ];
        for key in &keys {
            assert!(key.as_str().len() <= MAX_KEY_BYTES, "{key}");
            let closed = |b: u8| b.is_ascii_alphanumeric() || b"._-%:#".contains(&b);
            assert!(key.as_str().bytes().all(closed), "{key}");
        }
        let distinct: BTreeSet<&str> = keys.iter().map(Key::as_str).collect();
        assert_eq!(distinct.len(), keys.len());
        assert_ne!(Key::new(N), Key::new(Namespace::new("m")));
    }

    #[test]
    #[should_panic(expected = "a-z 0-9 -")]
    fn a_namespace_is_a_word() {
        let _ = Namespace::new("a:b");
    }
}
