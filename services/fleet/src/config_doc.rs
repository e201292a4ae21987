//! `docs/config.md` shows the tables of keys as they are in the code.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use fleet_service::backends::BACKEND_KEYS;
use fleet_service::config::{COMMON_KEYS, Key, Kind, Preset, service_keys};
use fleet_topology::services::{CONTEXT, PLANNING, WORKFLOW};

/// Set: the tables are written into the document instead of compared with it.
const UPDATE: &str = "FLEET_TEST_UPDATE_DOCS";

fn file() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config.md"))
}

fn values(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Integer { min, max } => format!("{min} to {max}"),
        Kind::Flag => "`true`, `false`".to_owned(),
        Kind::Duration => "time".to_owned(),
        Kind::Address => "IP address".to_owned(),
        Kind::Path => "path".to_owned(),
        Kind::Choice(words) => {
            let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
            words.join(", ")
        }
    }
}

fn table(keys: &[Key]) -> String {
    let mut text = String::from(
        "| Environment | Flag | Default | Values | Meaning |\n|---|---|---|---|---|\n",
    );
    for key in keys {
        let flag = if key.secret {
            format!("none: secret (`{}` in a file)", key.name)
        } else {
            format!("`--{}`", key.name.replace('_', "-"))
        };
        let default = match (key.preset, key.default_text()) {
            (Preset::Required, _) => "required".to_owned(),
            (_, Some(default)) => format!("`{default}`"),
            (_, None) => "none".to_owned(),
        };
        let _ = writeln!(
            text,
            "| `{}` | {flag} | {default} | {} | {} |",
            key.env,
            values(key.kind),
            key.doc.replace('|', "\\|")
        );
    }
    text
}

fn tables() -> Vec<(&'static str, Vec<Key>)> {
    let up = crate::up::keys();
    let of_services: Vec<&str> = [
        COMMON_KEYS,
        BACKEND_KEYS,
        fleet_planning::KEYS,
        fleet_workflow::KEYS,
        fleet_context::KEYS,
    ]
    .concat()
    .iter()
    .map(|key| key.name)
    .collect();
    let own = up.iter().filter(|key| !of_services.contains(&key.name));
    let ports = |service, name| {
        let keys = service_keys(service, &[]).into_iter();
        (name, keys.take(2).collect::<Vec<_>>())
    };
    vec![
        ("fleet up", own.copied().collect()),
        ports(&PLANNING, "ports of fleet-planning"),
        ports(&WORKFLOW, "ports of fleet-workflow"),
        ports(&CONTEXT, "ports of fleet-context"),
        ("every process", COMMON_KEYS.to_vec()),
        ("graph and bus", BACKEND_KEYS.to_vec()),
        ("planning", fleet_planning::KEYS.to_vec()),
        ("workflow", fleet_workflow::KEYS.to_vec()),
        ("context", fleet_context::KEYS.to_vec()),
    ]
}

#[test]
fn the_tables_of_the_document_are_those_of_the_code() {
    let committed = std::fs::read_to_string(file()).unwrap();
    let mut text = committed.clone();
    for (name, keys) in tables() {
        let begin = format!("<!-- keys: {name} -->\n");
        let from = text
            .find(&begin)
            .unwrap_or_else(|| panic!("{begin} is missing"))
            + begin.len();
        let length = text[from..]
            .find("<!-- end -->")
            .unwrap_or_else(|| panic!("{begin} has no end"));
        text.replace_range(from..from + length, &table(&keys));
    }
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(file(), text).unwrap();
    } else {
        assert!(
            committed == text,
            "docs/config.md does not show the keys of the code; run this test with {UPDATE}=1"
        );
    }
    let covered: BTreeSet<&str> = tables()
        .iter()
        .flat_map(|(_, keys)| keys.iter().map(|key| key.env))
        .collect();
    let all = crate::up::keys();
    let missing: Vec<&Key> = all.iter().filter(|k| !covered.contains(k.env)).collect();
    assert!(missing.is_empty(), "in no table: {missing:?}");
}
