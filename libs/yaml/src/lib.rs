//! Strict reading of the YAML files of a deployment: state machines, scopes, policies.
//!
//! A file becomes a tree in which every key and value knows its line ([`Node`]); whoever reads
//! it collects everything that is wrong ([`Findings`]) and says it at once ([`Report`]). What
//! the words mean is the business of the readers. Pure.

mod node;
mod report;

use serde_saphyr::{DuplicateKeyPolicy, Location};

pub use node::{Key, Node, Value};
pub use report::{Findings, Report, Violation};

/// Largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 256 * 1024;
/// The only layout of our files there is so far.
const VERSION: i64 = 1;

/// The tree of a file; `None` (and a finding) if it is too large or not even YAML.
pub fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    if text.len() > MAX_FILE_BYTES {
        let found = text.len();
        findings.add(
            1,
            format!("the file has {found} bytes; at most {MAX_FILE_BYTES}"),
        );
        return None;
    }
    let options = serde_saphyr::options! {
        with_snippet: false,
        // Readers say of which key there are two, and where the first one is.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
    };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(root) => Some(root),
        Err(error) => {
            let error = error.without_snippet();
            let line = error.location().map_or(1, |at: Location| at.line().max(1));
            let said = in_our_words(&error.to_string());
            findings.add(line, format!("not readable as YAML: {said}"));
            None
        }
    }
}

/// Checks the `version` of a file.
pub fn version(node: &Node, findings: &mut Findings) {
    if !matches!(node.value, Value::Int(VERSION)) {
        findings.add(node.line, format!("version: expected {VERSION}"));
    }
}

/// The parser's sentence, without its advice to programmers.
fn in_our_words(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    for (theirs, ours) in [
        ("multiple YAML documents", "more than one document"),
        ("recursive references", "an alias that contains itself"),
        ("budget breached", "too large once its aliases are followed"),
    ] {
        if line.contains(theirs) {
            return ours.to_owned();
        }
    }
    match line.split_once(", set DuplicateKeyPolicy") {
        Some((what, _)) => what.to_owned(),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_may_stand_twice_and_readers_see_both() {
        let mut findings = Findings::default();
        let root = parse("a: 1\nb:\n  c: x\n  c: y\na: 2\n", &mut findings).unwrap();
        assert!(findings.is_empty());
        let Value::Map(entries) = &root.value else {
            panic!("{root:?}")
        };
        let lines: Vec<_> = entries.iter().map(|(k, _)| (&*k.text, k.line)).collect();
        assert_eq!(lines, [("a", 1), ("b", 2), ("a", 5)]);
    }
}
