//! What must stay true of the workspace as a whole, read from its manifests and sources: who
//! may know whom, that domains are pure, that topology, services and payloads agree.
//!
//! A failure here is a decision to be made, not a list to be extended in passing.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use fleet_service::backends::BACKEND_KEYS;
use fleet_service::config::{Key, service_keys};
use serde_json::Value;

/// Which crates of ours each crate is built from. Services never appear on the right, except
/// in the one binary that holds them all.
const KNOWS: &[(&str, &[&str])] = &[
    ("fleet-types", &[]),
    ("fleet-topology", &[]),
    ("fleet-proto", &[]),
    ("fleet-cache", &[]),
    ("fleet-redact", &[]),
    ("fleet-yaml", &[]),
    ("fleet-cache-valkey", &["cache"]),
    ("fleet-graph", &["types"]),
    ("fleet-events", &["graph", "topology", "types"]),
    ("fleet-graph-neo4j", &["graph", "types"]),
    (
        "fleet-events-nats",
        &["events", "graph", "topology", "types"],
    ),
    ("fleet-embedded", &["events", "graph", "topology", "types"]),
    (
        "fleet-service",
        &[
            "cache",
            "cache-valkey",
            "events",
            "events-nats",
            "graph",
            "graph-neo4j",
            "topology",
            "types",
        ],
    ),
    (
        "fleet-testing",
        &[
            "cache",
            "embedded",
            "events-nats",
            "graph",
            "graph-neo4j",
            "service",
            "topology",
        ],
    ),
    (
        "fleet-planning",
        &["events", "graph", "proto", "service", "topology", "types"],
    ),
    (
        "fleet-workflow",
        &[
            "events", "graph", "proto", "service", "topology", "types", "yaml",
        ],
    ),
    (
        "fleet-context",
        &[
            "cache", "events", "graph", "proto", "redact", "service", "topology", "types", "yaml",
        ],
    ),
    (
        "fleet",
        &[
            "context", "embedded", "events", "graph", "planning", "proto", "service", "topology",
            "types", "workflow",
        ],
    ),
];

/// Whose tests start which other services: one reads there what the others wrote.
const TESTS_START: &[(&str, &[&str])] = &[("fleet-context", &["fleet-planning", "fleet-workflow"])];

/// What only tests are built on. It may reach a server by itself, to tidy up there.
const FOR_TESTS: &[&str] = &["fleet-testing"];

/// Who may be built on what reaches the world outside: each driver has one adapter.
const DRIVERS: &[(&str, &[&str])] = &[
    ("rusqlite", &["fleet-embedded"]),
    ("neo4rs", &["fleet-graph-neo4j"]),
    ("async-nats", &["fleet-events-nats"]),
    ("redis", &["fleet-cache-valkey"]),
    ("axum", &["fleet", "fleet-service"]),
    (
        "tonic",
        &[
            "fleet",
            "fleet-context",
            "fleet-planning",
            "fleet-proto",
            "fleet-service",
            "fleet-workflow",
        ],
    ),
];

/// What nothing pure says: I/O, clocks, randomness, tasks, logs, and the layers around it.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::process",
    "std::thread",
    "SystemTime",
    "Instant",
    "tokio",
    "tracing::",
    "tonic",
    "prost",
    "fleet_events",
    "fleet_graph",
    "fleet_proto",
    "fleet_service",
    "now_v7",
    "new_v4",
    "crate::app",
    "crate::consumers",
    "crate::engine",
    "crate::grpc",
    "crate::read",
    "crate::rows",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

struct Package {
    name: String,
    directory: PathBuf,
    /// What it is built from.
    normal: BTreeSet<String>,
    /// What its tests and its build script need besides.
    other: BTreeSet<String>,
}

fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let package = |package: &Value| {
        let (mut normal, mut other) = (BTreeSet::new(), BTreeSet::new());
        for dependency in package["dependencies"].as_array().unwrap() {
            let into = if dependency["kind"].is_null() {
                &mut normal
            } else {
                &mut other
            };
            into.insert(text(&dependency["name"]));
        }
        let manifest = PathBuf::from(text(&package["manifest_path"]));
        Package {
            name: text(&package["name"]),
            directory: manifest.parent().unwrap().to_owned(),
            normal,
            other,
        }
    };
    metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(package)
        .collect()
}

fn is_service(package: &Package) -> bool {
    package.directory.parent().unwrap().ends_with("services") && package.name != "fleet"
}

#[test]
fn dependencies_point_one_way() {
    let packages = packages();
    let ours: BTreeSet<&str> = packages.iter().map(|p| p.name.as_str()).collect();
    let known: BTreeMap<&str, BTreeSet<String>> = KNOWS
        .iter()
        .map(|(name, knows)| (*name, knows.iter().map(|k| format!("fleet-{k}")).collect()))
        .collect();
    assert_eq!(
        ours,
        known.keys().copied().collect(),
        "every crate has its place in KNOWS"
    );
    let services: BTreeSet<&str> = packages
        .iter()
        .filter(|p| is_service(p))
        .map(|p| p.name.as_str())
        .collect();
    for package in &packages {
        let knows: BTreeSet<String> = package
            .normal
            .iter()
            .filter(|name| ours.contains(name.as_str()))
            .cloned()
            .collect();
        assert_eq!(
            knows,
            known[package.name.as_str()],
            "{} (left: its manifest, right: KNOWS)",
            package.name
        );
        for test in FOR_TESTS {
            let name = &package.name;
            assert!(!package.normal.contains(*test), "{name} is not a test");
        }
        if package.name == "fleet" {
            continue;
        }
        let started = TESTS_START.iter().filter(|(name, _)| *name == package.name);
        let started: Vec<&str> = started.flat_map(|(_, others)| *others).copied().collect();
        let others = package.other.iter();
        let others = others.filter(|name| !started.contains(&name.as_str()));
        for name in package.normal.iter().chain(others) {
            assert!(
                !services.contains(name.as_str()) && name != "fleet",
                "{} depends on {name}: services meet in proto and events only",
                package.name
            );
        }
    }
    for (driver, adapters) in DRIVERS {
        let users: BTreeSet<&str> = packages
            .iter()
            .filter(|p| p.normal.contains(*driver) && !FOR_TESTS.contains(&p.name.as_str()))
            .map(|p| p.name.as_str())
            .collect();
        assert_eq!(users, adapters.iter().copied().collect(), "{driver}");
    }
}

#[test]
fn manifests_inherit_what_the_root_decides() {
    for package in packages() {
        let path = package.directory.join("Cargo.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        for line in [
            "version.workspace = true",
            "edition.workspace = true",
            "rust-version.workspace = true",
            "license.workspace = true",
            "publish.workspace = true",
            "[lints]\nworkspace = true",
        ] {
            assert!(text.contains(line), "{}: {line:?}", path.display());
        }
        for own in ["version = \"", "path = \"", "git = \""] {
            let own = text.lines().find(|line| line.contains(own));
            assert_eq!(own, None, "{}: the root says this", path.display());
        }
    }
}

/// The sources below `directory`, tests excepted.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap();
        if name == "tests" {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn domains_do_no_io_and_know_neither_time_nor_chance() {
    let root = root();
    let mut pure = vec![
        root.join("libs/types/src"),
        root.join("libs/yaml/src"),
        root.join("services/workflow/src/fsm"),
    ];
    pure.extend(
        packages()
            .iter()
            .filter(|p| is_service(p))
            .map(|p| p.directory.join("src/domain")),
    );
    for directory in pure {
        let mut files = Vec::new();
        sources(&directory, &mut files);
        assert!(!files.is_empty(), "{}", directory.display());
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            let code = text
                .lines()
                .take_while(|line| line.trim() != "#[cfg(test)]")
                .map(|line| line.split("//").next().unwrap());
            for (n, line) in code.enumerate() {
                for impure in IMPURE {
                    assert!(
                        !line.contains(impure),
                        "{}:{}: {impure} in what must be pure",
                        file.display(),
                        n + 1
                    );
                }
            }
        }
    }
}

#[test]
fn services_are_what_the_topology_says() {
    let own: &[(&str, &[Key])] = &[
        ("context", fleet_context::KEYS),
        ("planning", fleet_planning::KEYS),
        ("workflow", fleet_workflow::KEYS),
    ];
    let built: BTreeSet<String> = packages()
        .iter()
        .filter(|p| is_service(p))
        .map(|p| {
            let name = p.directory.file_name().unwrap().to_str().unwrap();
            let service = fleet_topology::service(name)
                .unwrap_or_else(|| panic!("topology.toml knows no service {name}"));
            assert_eq!(service.package, p.name);
            name.to_owned()
        })
        .collect();
    assert_eq!(built, own.iter().map(|(name, _)| (*name).into()).collect());
    for (name, own) in own {
        let service = fleet_topology::service(name).unwrap();
        let keys = service_keys(service, &[BACKEND_KEYS, own].concat());
        let mut envs = BTreeSet::new();
        for key in &keys {
            assert!(envs.insert(key.env), "{name}: {} twice", key.env);
        }
        for env in service.env_keys {
            assert!(envs.contains(env), "{name} does not read {env}");
        }
    }
}

#[test]
fn whatever_is_said_or_heard_has_a_published_shape() {
    let schemas = root().join("libs/events/schemas");
    let shapes: BTreeSet<String> = std::fs::read_dir(schemas)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.strip_suffix(".json").unwrap().to_owned())
        .collect();
    let built: BTreeSet<String> = packages()
        .iter()
        .filter(|p| is_service(p))
        .map(|p| p.name.clone())
        .collect();
    let needed: BTreeSet<String> = fleet_topology::SUBJECTS
        .iter()
        .filter(|subject| {
            let publisher = fleet_topology::service(subject.publisher).unwrap();
            built.contains(publisher.package) || !subject.consumers.is_empty()
        })
        .map(|subject| subject.name.to_owned())
        .collect();
    assert_eq!(shapes, needed, "left: schemas, right: topology.toml");
}
