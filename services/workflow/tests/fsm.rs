//! Machines: the one that ships is sound, and every broken one is refused with its reasons.
#![allow(clippy::unwrap_used, reason = "part of tests only")]

use std::path::{Path, PathBuf};

use fleet_workflow::fsm::{self, Format};

fn machines(kind: &str) -> Vec<(String, String)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fsm")
        .join(kind);
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect()
}

#[test]
fn every_broken_machine_is_refused_with_all_its_violations() {
    let broken = machines("broken");
    assert!(broken.len() >= 14, "{} fixtures", broken.len());
    for (name, text) in broken {
        let file = format!("{name}.yaml");
        match fsm::check(&text, &file) {
            Ok(_) => panic!("{file} was accepted"),
            Err(report) => insta::assert_snapshot!(name, report.to_string()),
        }
    }
}

#[test]
fn sound_machines_pass() {
    for (name, text) in machines("sound") {
        if let Err(report) = fsm::check(&text, &name) {
            panic!("{report}");
        }
    }
}

#[test]
fn the_machine_that_ships_is_sound_and_reads_well_as_a_picture() {
    let machine = fsm::check(fsm::DEFAULT, fsm::DEFAULT_FILE).unwrap_or_else(|r| panic!("{r}"));
    assert_eq!(machine.states().count(), 17);
    insta::assert_snapshot!("shipped_mermaid", fsm::graph(&machine, Format::Mermaid));
    insta::assert_snapshot!("shipped_dot", fsm::graph(&machine, Format::Dot));
}

/// Whatever a file says, reading it ends in a machine or in a report, never in a panic: lines
/// of the shipped machine dropped, doubled or cut one by one.
#[test]
fn a_damaged_file_never_panics() {
    let lines: Vec<&str> = fsm::DEFAULT.lines().collect();
    for i in 0..lines.len() {
        let mut without = lines.clone();
        without.remove(i);
        let mut twice = lines.clone();
        twice.insert(i, lines[i]);
        let half = &lines[i][..lines[i].len() / 2];
        let mut cut = lines.clone();
        cut[i] = half;
        // One kind of damage for each line keeps the test short.
        let text = &[without, twice, cut][i % 3];
        if let Err(report) = fsm::check(&text.join("\n"), "damaged.yaml") {
            assert!(!report.violations.is_empty());
            assert!(report.violations.iter().all(|v| v.line >= 1));
        }
    }
}

#[test]
fn what_is_no_machine_is_refused_in_plain_words() {
    let huge: String = (1..12).fold("a0: &a0 [x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, i| {
        let one = format!("*a{}", i - 1);
        format!("{text}a{i}: &a{i} [{}]\n", [one.as_str(); 9].join(","))
    });
    for (text, said) in [
        (
            "---\nversion: 1\n---\nversion: 2\n",
            "more than one document",
        ),
        ("a: &a [*a]", "an alias that contains itself"),
        (&huge, "too large once its aliases are followed"),
    ] {
        let refused = fsm::check(text, "odd.yaml").err().unwrap().to_string();
        assert!(refused.contains(said), "{refused}");
        assert!(
            !refused.contains("::") && !refused.contains("from_str"),
            "{refused}"
        );
    }
}
