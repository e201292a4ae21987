//! The domain does no I/O: it cannot even name anything that could.

use std::path::Path;

#[test]
fn the_domain_and_the_machine_import_nothing_that_could_do_io() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    for dir in ["domain", "fsm"] {
        for entry in std::fs::read_dir(root.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            looked_at += 1;
            for line in text.lines() {
                let line = line.trim();
                let Some(used) = line.strip_prefix("use ").or(line.strip_prefix("pub use ")) else {
                    continue;
                };
                let pure = [
                    "std::collections",
                    "std::fmt",
                    "std::time::Duration",
                    "std::str",
                ]
                .iter()
                .any(|module| used.starts_with(module))
                    || [
                        "fleet_types::",
                        "fleet_yaml::",
                        "super::",
                        "self::",
                        "crate::fsm",
                    ]
                    .iter()
                    .any(|name| used.starts_with(name))
                    || [
                        "build", "check", "change", "decide", "graph", "machine", "next",
                        "release", "run", "story",
                    ]
                    .iter()
                    .any(|module| used.starts_with(&format!("{module}::")));
                assert!(pure, "{}: {line}", path.display());
            }
            for word in [
                "SystemTime",
                "Instant",
                "std::fs",
                "std::env",
                "async fn",
                "rand::",
            ] {
                assert!(!text.contains(word), "{} says {word}", path.display());
            }
        }
    }
    assert!(looked_at > 15);
}
