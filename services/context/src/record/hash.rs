//! Hashes of content: the same content gives the same hash, whenever and in whatever order it
//! came.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// SHA-256, first 16 hexadecimal digits, of what was changed: names with their content, in the
/// order of the names. Each part is preceded by its length, so that no two lists look the same.
pub fn content_hash<'a>(parts: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let parts: BTreeMap<&str, &str> = parts.into_iter().collect();
    let mut hash = Sha256::new();
    for part in parts
        .into_iter()
        .flat_map(|(name, content)| [name, content])
    {
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        hash.update(length.to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    digest[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::content_hash;

    #[test]
    fn order_does_not_matter_and_boundaries_do() {
        let hash = content_hash([("a", "1"), ("b", "2")]);
        assert_eq!(hash.len(), 16);
        assert_eq!(hash, content_hash([("b", "2"), ("a", "1")]));
        assert_ne!(hash, content_hash([("a", "1b"), ("", "2")]));
        assert_ne!(hash, content_hash([("a", "1")]));
    }
}
