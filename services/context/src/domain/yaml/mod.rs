//! Strict reading of our YAML files: every unknown key and word, missing part and wrong shape
//! is reported with its line. What the words mean is the business of the readers.

mod node;
mod report;

use std::str::FromStr;

use serde_saphyr::Location;

pub(in crate::domain) use node::{Key, Node, Value};
pub(in crate::domain) use report::Findings;
pub use report::{Report, Violation};

/// Largest file that is read.
const MAX_FILE_BYTES: usize = 256 * 1024;
/// The only layout of the files there is.
const VERSION: i64 = 1;

/// The tree of a file; `None` (and a finding) if it is not even YAML.
pub(in crate::domain) fn parse(text: &str, findings: &mut Findings) -> Option<Node> {
    if text.len() > MAX_FILE_BYTES {
        let found = text.len();
        findings.add(
            1,
            format!("the file has {found} bytes; at most {MAX_FILE_BYTES}"),
        );
        return None;
    }
    let options = serde_saphyr::options! { with_snippet: false };
    match serde_saphyr::from_str_with_options(text, options) {
        Ok(root) => Some(root),
        Err(error) => {
            let error = error.without_snippet();
            let line = error.location().map_or(1, |at: Location| at.line().max(1));
            let said = error.to_string();
            let said = said.lines().next().unwrap_or_default();
            let said = said
                .split_once(", set DuplicateKeyPolicy")
                .map_or(said, |(what, _)| what);
            findings.add(line, format!("not readable as YAML: {said}"));
            None
        }
    }
}

/// The entries of a mapping, each key once; anything else is a finding.
pub(in crate::domain) fn entries<'a>(
    node: &'a Node,
    what: &str,
    findings: &mut Findings,
) -> Vec<(&'a Key, &'a Node)> {
    let Value::Map(entries) = &node.value else {
        let found = node.value.kind();
        findings.add(node.line, format!("{what}: a mapping, not {found}"));
        return Vec::new();
    };
    let mut seen: Vec<(&Key, &Node)> = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        match seen.iter().find(|(k, _)| k.text == key.text) {
            Some((first, _)) => findings.add(
                key.line,
                format!(
                    "{what}: {} is there already, in line {}",
                    key.text, first.line
                ),
            ),
            None => seen.push((key, value)),
        }
    }
    seen
}

/// The parts of a mapping that has exactly these keys, in this order; missing and unknown ones
/// are findings.
pub(in crate::domain) fn parts<'a, const N: usize>(
    node: &'a Node,
    what: &str,
    keys: [&str; N],
    findings: &mut Findings,
) -> [Option<&'a Node>; N] {
    let mut found = [None; N];
    if !matches!(node.value, Value::Map(_)) {
        entries(node, what, findings);
        return found;
    }
    for (key, value) in entries(node, what, findings) {
        match keys.iter().position(|known| *known == key.text) {
            Some(at) => found[at] = Some(value),
            None => findings.add(
                key.line,
                format!(
                    "{what}: unknown key {:?}; known: {}",
                    key.text,
                    keys.join(", ")
                ),
            ),
        }
    }
    for (key, found) in keys.iter().zip(&found) {
        if found.is_none() {
            findings.add(node.line, format!("{what}: `{key}` is missing"));
        }
    }
    found
}

/// Checks the `version` of a file.
pub(in crate::domain) fn version(node: Option<&Node>, findings: &mut Findings) {
    if let Some(node) = node
        && !matches!(node.value, Value::Int(VERSION))
    {
        findings.add(node.line, format!("version: expected {VERSION}"));
    }
}

/// A list of words, each once, with their lines.
pub(in crate::domain) fn words<'a>(
    node: &'a Node,
    what: &str,
    findings: &mut Findings,
) -> Vec<(u64, &'a str)> {
    let items = match &node.value {
        Value::List(items) if !items.is_empty() => items,
        Value::List(_) => {
            findings.add(node.line, format!("{what}: an empty list"));
            return Vec::new();
        }
        other => {
            let found = other.kind();
            findings.add(node.line, format!("{what}: a list, not {found}"));
            return Vec::new();
        }
    };
    let mut seen: Vec<(u64, &str)> = Vec::with_capacity(items.len());
    for item in items {
        match &item.value {
            Value::Text(word) if seen.iter().any(|(_, w)| w == word) => {
                findings.add(item.line, format!("{what}: {word} is there twice"));
            }
            Value::Text(word) => seen.push((item.line, word)),
            other => {
                let found = other.kind();
                findings.add(item.line, format!("{what}: a word, not {found}"));
            }
        }
    }
    seen
}

/// A word of a closed list; anything else is a finding.
pub(in crate::domain) fn word<T: FromStr<Err = fleet_types::UnknownWord>>(
    line: u64,
    text: &str,
    what: &str,
    findings: &mut Findings,
) -> Option<T> {
    text.parse()
        .map_err(|error| findings.add(line, format!("{what}: {error}")))
        .ok()
}
