//! The servers that a test run was given. Every test that needs one asks here, so that what is
//! left out is said once, where it can be seen, and nowhere silently.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Mutex;

/// The value of an environment key that says how to reach `server`, e.g. `neo4j`. If there is
/// none, says what is left out; fails if `FLEET_TEST_REQUIRE` lists the server.
pub fn test_server(server: &str, key: &str) -> Option<String> {
    let value = std::env::var(key).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        let required = std::env::var("FLEET_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|name| name == server),
            "{server} is required: {key} is not set"
        );
        not_exercised(&format!("{server} ({key} not set)"));
    }
    value
}

/// Says that something is left out: once per test binary, past the capture of test output.
pub fn not_exercised(what: &str) {
    static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut said = SAID
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if said.insert(what.to_owned()) {
        let _ = writeln!(std::io::stderr(), "not exercised: {what}");
    }
}
