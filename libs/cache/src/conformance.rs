//! The suite that every adapter of the cache port passes.
//!
//! An adapter's tests say how a cache is opened ([`Place`]) and expand [`conformance_tests!`],
//! one named test per case:
//!
//! ```text
//! /// `None`: the server is not there; says so and is not exercised.
//! async fn place() -> Option<MyPlace> { … }
//! fleet_cache::conformance_tests!(place);
//! ```
//!
//! Every case has a deployment of its own, so that the cases pass while other tests use the
//! same server. A case panics with what it saw.
//!
//! [`conformance_tests!`]: crate::conformance_tests

#![expect(clippy::unwrap_used, reason = "a test suite: its panic is its verdict")]

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::{join_all, poll_immediate};
use tokio::time::{Instant, timeout};

use crate::{Cache, Key, MAX_VALUE_BYTES, Namespace, Stored};

/// Where an adapter keeps its values.
#[async_trait]
pub trait Place: Send + Sync {
    /// A handle on the values of this deployment, with its own connection, as another replica
    /// would have it. Every handle of one deployment sees the same values.
    async fn open(&self, deployment: &str) -> Arc<dyn Cache>;

    /// Handles whose server is lost, each in its own way; empty for adapters without one.
    async fn lost(&self) -> Vec<Arc<dyn Cache>>;
}

/// How long a call may take before a case gives up. Generous: a busy machine is no failure.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(600);
const SHORT: Duration = Duration::from_millis(40);
const N: Namespace = Namespace::new("conformance");

/// The value of an environment key that says how to reach `server`, e.g. `valkey`. If there is
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

/// A deployment that no other test uses.
pub fn fresh_deployment() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    #[expect(
        clippy::disallowed_methods,
        reason = "a test's names need no port, only to be fresh"
    )]
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_nanos();
    let (process, next) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("t{now:x}-{process:x}-{next:x}")
}

fn key(part: &str) -> Key {
    Key::new(N).text(part)
}

/// Calls that must succeed.
struct Sure(Arc<dyn Cache>);

impl Sure {
    async fn open(place: &dyn Place) -> Self {
        Self(place.open(&fresh_deployment()).await)
    }

    async fn get(&self, key: &Key) -> Option<Bytes> {
        self.0.get(key, PATIENCE).await.unwrap()
    }

    async fn set(&self, key: &Key, value: &[u8], ttl: Duration) -> Stored {
        let value = Bytes::copy_from_slice(value);
        self.0.set(key, value, ttl, PATIENCE).await.unwrap()
    }

    async fn delete(&self, key: &Key) {
        self.0.delete(key, PATIENCE).await.unwrap();
    }

    async fn gone(&self, key: &Key) {
        let until = Instant::now() + PATIENCE;
        while self.get(key).await.is_some() {
            assert!(Instant::now() < until, "{key} never ends");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

/// Set, get, overwrite, delete.
pub async fn what_was_set_is_found_until_it_is_deleted(place: &dyn Place) {
    let cache = Sure::open(place).await;
    cache.0.ping(PATIENCE).await.unwrap();
    assert!(!cache.0.name().is_empty());
    let key = key("s-1");
    assert_eq!(cache.get(&key).await, None);
    cache.delete(&key).await;
    for value in ["a long first value", "short", ""] {
        assert_eq!(cache.set(&key, value.as_bytes(), LONG).await, Stored::Kept);
        assert_eq!(cache.get(&key).await.unwrap(), value);
    }
    cache.delete(&key).await;
    assert_eq!(cache.get(&key).await, None);
    cache.delete(&key).await;
}

/// No byte has a meaning of its own.
pub async fn values_are_bytes(place: &dyn Place) {
    let cache = Sure::open(place).await;
    let every: Vec<u8> = (0..=255).collect();
    let values: [&[u8]; 6] = [
        &every,
        b"\0",
        b"$-1\r\n",
        b"\r\n*1\r\n$4\r\nPING\r\n",
        "päckchen 🚚 \u{202e}".as_bytes(),
        &every.repeat(4096),
    ];
    for (n, value) in (0_u64..).zip(values) {
        let key = Key::new(N).number(n);
        assert_eq!(cache.set(&key, value, LONG).await, Stored::Kept);
        assert_eq!(cache.get(&key).await.as_deref(), Some(value));
    }
}

/// Keys that look alike, or like commands and patterns, are different keys.
pub async fn keys_do_not_mix(place: &dyn Place) {
    let cache = Sure::open(place).await;
    let huge = "k".repeat(100_000);
    let hostile = [
        "",
        "s-1",
        "s-10",
        "S-1",
        "s-1 ",
        "s-1:",
        "s-*",
        "*",
        "s-?",
        "[s]-1",
        "{s-1}",
        "é",
        "e\u{301}",
        "\0",
        "\r\nFLUSHALL\r\n",
        "a b",
        "../s-1",
        &huge,
    ];
    let mut keys: Vec<Key> = hostile.iter().map(|part| key(part)).collect();
    keys.push(Key::new(N));
    keys.push(key("s-1").number(0));
    keys.push(key("s").text("1"));
    keys.push(key("a:b").text("c"));
    keys.push(key("a").text("b:c"));
    keys.push(key(&huge).text("x"));
    keys.push(Key::new(Namespace::new("conformance-2")).text("s-1"));
    for key in &keys {
        cache.set(key, key.as_str().as_bytes(), LONG).await;
    }
    for key in &keys {
        assert_eq!(cache.get(key).await.unwrap(), key.as_str());
    }
    // Deleting one takes only that one along.
    cache.delete(&keys[1]).await;
    cache.delete(&key("*")).await;
    let deleted = [keys[1].clone(), key("*")];
    for key in &keys {
        assert_eq!(cache.get(key).await.is_none(), deleted.contains(key));
    }
}

/// A value ends with its time, not before; the last write says when.
pub async fn a_value_ends_with_its_time(place: &dyn Place) {
    let cache = Sure::open(place).await;
    let [short, long, longer, shorter] = ["short", "long", "longer", "shorter"].map(key);
    cache.set(&long, b"v", LONG).await;
    cache.set(&longer, b"v", SHORT).await;
    cache.set(&longer, b"v", LONG).await;
    cache.set(&shorter, b"v", LONG).await;
    cache.set(&shorter, b"v", SHORT).await;
    cache.set(&short, b"v", SHORT).await;
    cache.gone(&short).await;
    cache.gone(&shorter).await;
    assert!(cache.get(&long).await.is_some());
    assert!(cache.get(&longer).await.is_some());
    // Deleted and set again: the old time does not count.
    cache.set(&short, b"v", SHORT).await;
    cache.delete(&short).await;
    cache.set(&short, b"v", LONG).await;
    cache.set(&shorter, b"v", SHORT).await;
    cache.gone(&shorter).await;
    assert!(cache.get(&short).await.is_some());
}

/// Values too large or without time are not kept, quietly, and leave nothing old behind.
pub async fn what_is_not_kept_leaves_nothing_behind(place: &dyn Place) {
    let cache = Sure::open(place).await;
    let key = key("k");
    let largest = vec![b'x'; MAX_VALUE_BYTES];
    assert_eq!(cache.set(&key, &largest, LONG).await, Stored::Kept);
    assert_eq!(cache.get(&key).await.unwrap().len(), MAX_VALUE_BYTES);
    let too_large = vec![b'x'; MAX_VALUE_BYTES + 1];
    assert_eq!(cache.set(&key, &too_large, LONG).await, Stored::NotKept);
    assert_eq!(cache.get(&key).await, None);
    assert_eq!(cache.set(&key, b"v", LONG).await, Stored::Kept);
    let no_time = [Duration::ZERO, Duration::from_micros(999)];
    for ttl in no_time {
        assert_eq!(cache.set(&key, b"w", ttl).await, Stored::NotKept);
        assert_eq!(cache.get(&key).await, None);
    }
    // The longest time is cut, not refused.
    assert_eq!(cache.set(&key, b"v", Duration::MAX).await, Stored::Kept);
    assert_eq!(cache.get(&key).await.unwrap(), "v");
}

/// Many writers and readers of few keys: every read is a whole value of its key.
pub async fn concurrent_calls_never_see_half_a_value(place: &dyn Place) {
    let deployment = fresh_deployment();
    let replicas = join_all((0..2).map(|_| place.open(&deployment))).await;
    let calls = (0..32_u8).map(|caller| {
        let cache = Sure(replicas[usize::from(caller % 2)].clone());
        async move {
            for round in 0..20_u8 {
                let which = (caller + round) % 4;
                let key = Key::new(N).number(which);
                let mut value = vec![which];
                value.resize(1 + usize::from(caller) * 100, caller);
                cache.set(&key, &value, LONG).await;
                let found = cache.get(&key).await.unwrap();
                assert_eq!(found[0], which);
                let writer = found.get(1).copied().unwrap_or(0);
                assert_eq!(found.len(), 1 + usize::from(writer) * 100);
                assert!(found[1..].iter().all(|byte| *byte == writer));
            }
        }
    });
    join_all(calls).await;
}

/// Replicas of one deployment share values; deployments do not.
pub async fn replicas_share_and_deployments_do_not(place: &dyn Place) {
    let deployment = fresh_deployment();
    let a = Sure(place.open(&deployment).await);
    let b = Sure(place.open(&deployment).await);
    // A name that the other one begins with.
    let other = Sure(place.open(&format!("{deployment}0")).await);
    let key = key("s-1");
    a.set(&key, b"a", LONG).await;
    assert_eq!(b.get(&key).await.unwrap(), "a");
    assert_eq!(other.get(&key).await, None);
    other.set(&key, b"other", LONG).await;
    b.delete(&key).await;
    assert_eq!(a.get(&key).await, None);
    assert_eq!(other.get(&key).await.unwrap(), "other");
}

/// Calls that are dropped half way disturb no other call.
pub async fn a_call_given_up_disturbs_nobody(place: &dyn Place) {
    let cache = Sure::open(place).await;
    let large = "a large value ".repeat(10_000);
    cache.set(&key("large"), large.as_bytes(), LONG).await;
    cache.set(&key("small"), b"small", LONG).await;
    for round in 0..50_u64 {
        let (large, other) = (key("large"), Key::new(N).number(round));
        let _ = poll_immediate(cache.0.get(&large, PATIENCE)).await;
        let value = Bytes::from_static(b"given up");
        let _ = poll_immediate(cache.0.set(&other, value, LONG, PATIENCE)).await;
        let _ = poll_immediate(cache.0.delete(&key("absent"), PATIENCE)).await;
        assert_eq!(cache.get(&key("small")).await.unwrap(), "small");
        let written = cache.get(&other).await;
        assert!(written.is_none_or(|value| value == "given up"));
    }
    assert_eq!(cache.get(&key("large")).await.unwrap(), large);
}

/// Without a server every call is an error, in time.
pub async fn a_lost_server_is_an_error_in_time(place: &dyn Place) {
    for cache in place.lost().await {
        let within = Duration::from_millis(300);
        let key = key("k");
        for _ in 0..5 {
            let value = Bytes::from_static(b"v");
            let calls = async {
                assert!(cache.get(&key, within).await.is_err());
                assert!(cache.set(&key, value, LONG, within).await.is_err());
                assert!(cache.delete(&key, within).await.is_err());
                assert!(cache.ping(within).await.is_err());
            };
            let slack = Duration::from_secs(3);
            timeout(within * 4 + slack, calls)
                .await
                .expect("an answer in time");
        }
    }
}

/// Expands to one `#[tokio::test]` per case of the suite. The argument is the path of an
/// `async fn() -> Option<impl Place>`; each case calls it once, and is skipped on `None`.
#[macro_export]
macro_rules! conformance_tests {
    ($factory:path) => {
        $crate::conformance_tests! { @each $factory;
            what_was_set_is_found_until_it_is_deleted
            values_are_bytes
            keys_do_not_mix
            a_value_ends_with_its_time
            what_is_not_kept_leaves_nothing_behind
            concurrent_calls_never_see_half_a_value
            replicas_share_and_deployments_do_not
            a_call_given_up_disturbs_nobody
            a_lost_server_is_an_error_in_time
        }
    };
    (@each $factory:path; $($case:ident)+) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            if let Some(place) = $factory().await {
                $crate::conformance::$case(&place).await;
            }
        }
    )+};
}
