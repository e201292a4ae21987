//! What the documents promise: files that exist, commands and flags that the binary has.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .canonicalize()
        .unwrap()
}

/// Every document for people, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let root = root();
    let mut found = Vec::new();
    for directory in [root.clone(), root.join("docs"), root.join("docs/adr")] {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "md") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }
    assert!(found.len() > 8, "{} documents", found.len());
    found
}

#[test]
fn links_lead_to_files_that_exist() {
    let mut broken = Vec::new();
    for (path, text) in documents() {
        for part in text.split("](").skip(1) {
            let target = part.split(')').next().unwrap();
            if target.contains("://") || target.starts_with('#') {
                continue;
            }
            let file = target.split('#').next().unwrap();
            if !path.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {target}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

/// Every `fleet …` of a document: in code spans and at the start of lines in code blocks.
fn commands(text: &str) -> Vec<String> {
    let (mut found, mut in_block) = (Vec::new(), false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            found.push(line.trim().to_owned());
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
        .iter()
        .map(|command| command.replace("cargo run --release -- ", "fleet "))
        .filter(|command| command.starts_with("fleet "))
        .map(|command| command.split(" #").next().unwrap().to_owned())
        .collect()
}

#[test]
fn commands_and_flags_are_those_of_the_binary() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (path, text) in documents() {
        for command in commands(&text) {
            let plain = command.replace(['[', ']'], " ");
            let words: Vec<&str> = plain.split_whitespace().skip(1).collect();
            let first = (*words.first().unwrap()).to_owned();
            let nested = ["context", "fsm", "parked", "streams"].contains(&first.as_str());
            let subcommands: Vec<Vec<String>> = match words.get(1) {
                Some(seconds) if nested => seconds
                    .split(['|', '\\'])
                    .filter(|second| !second.is_empty())
                    .map(|second| vec![first.clone(), second.to_owned()])
                    .collect(),
                _ => vec![vec![first]],
            };
            for subcommand in subcommands {
                let help = helps.entry(subcommand.clone()).or_insert_with(|| {
                    let output = Command::new(env!("CARGO_BIN_EXE_fleet"))
                        .args(&subcommand)
                        .arg("--help")
                        .output()
                        .unwrap();
                    assert!(
                        output.status.success(),
                        "{}: `{command}`: there is no such command",
                        path.display()
                    );
                    String::from_utf8(output.stdout).unwrap()
                });
                for flag in words.iter().filter(|word| word.starts_with("--")) {
                    assert!(
                        help.contains(flag),
                        "{}: `{command}`: there is no {flag}",
                        path.display()
                    );
                }
                seen.insert(subcommand);
            }
        }
    }
    for command in ["up", "demo"] {
        assert!(
            seen.contains(&vec![command.to_owned()]),
            "{command}: {seen:?}"
        );
    }
    assert!(seen.len() >= 10, "{seen:?}");
}
