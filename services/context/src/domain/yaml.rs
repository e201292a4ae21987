//! The shapes of our YAML files: mappings with known keys, lists of words. Every unknown key and
//! word, missing part and wrong shape is reported with its line.

use std::str::FromStr;

use fleet_yaml::{Findings, Key, Node, Value};

/// The entries of a mapping, each key once; anything else is a finding.
pub(super) fn entries<'a>(
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
pub(super) fn parts<'a, const N: usize>(
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

/// A list of words, each once, with their lines.
pub(super) fn words<'a>(
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
pub(super) fn word<T: FromStr<Err = fleet_types::UnknownWord>>(
    line: u64,
    text: &str,
    what: &str,
    findings: &mut Findings,
) -> Option<T> {
    text.parse()
        .map_err(|error| findings.add(line, format!("{what}: {error}")))
        .ok()
}
