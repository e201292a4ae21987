//! What callers see when the server dies, comes back, hangs, or would not have us.

#![expect(clippy::unwrap_used, reason = "a test: its panic is its verdict")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::{Own, PATIENCE, open};
use fleet_cache::{Cache, CacheError, Key, Namespace, Stored, Tolerant};
use fleet_cache_valkey::{Settings, Valkey};
use tokio::time::Instant;

const N: Namespace = Namespace::new("faults");
const LONG: Duration = Duration::from_secs(600);
const WITHIN: Duration = Duration::from_millis(400);
/// How much later than its time an answer may come on a busy machine.
const SLACK: Duration = Duration::from_secs(3);

fn key() -> Key {
    Key::new(N).text("s-1")
}

fn value() -> Bytes {
    Bytes::from_static(b"value")
}

/// Waits until a value can be kept again.
async fn back(cache: &dyn Cache) {
    let until = Instant::now() + PATIENCE;
    loop {
        match cache.set(&key(), value(), LONG, WITHIN).await {
            Ok(stored) => return assert_eq!(stored, Stored::Kept),
            Err(e) => assert!(Instant::now() < until, "never comes back: {e}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn fails_in_time(cache: &dyn Cache) -> CacheError {
    let began = Instant::now();
    let error = cache.get(&key(), WITHIN).await.unwrap_err();
    assert!(began.elapsed() < WITHIN + SLACK, "{:?}", began.elapsed());
    error
}

#[tokio::test]
async fn a_server_that_was_killed_and_started_again_is_used_again() {
    let Some(mut server) = Own::start(&[]).await else {
        return;
    };
    let cache = open(&server.url(), "own");
    back(&*cache).await;
    assert_eq!(cache.get(&key(), PATIENCE).await.unwrap(), Some(value()));
    let tolerant = Tolerant::new(cache.clone());
    for _ in 0..3 {
        server.kill();
        let error = fails_in_time(&*cache).await;
        assert!(matches!(error, CacheError::Unavailable { .. }), "{error}");
        assert_eq!(tolerant.get(&key()).await, None);
        server.again(&[]).await;
        back(&*cache).await;
        assert_eq!(cache.get(&key(), PATIENCE).await.unwrap(), Some(value()));
    }
    // Restarted between two calls: the first call after it finds the connection broken, and
    // is made again by itself.
    server.kill();
    server.again(&[]).await;
    assert_eq!(cache.get(&key(), PATIENCE).await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_comes_later_is_used_when_it_is_there() {
    let Some(mut server) = Own::start(&[]).await else {
        return;
    };
    server.kill();
    let cache = open(&server.url(), "own");
    for _ in 0..5 {
        fails_in_time(&*cache).await;
    }
    server.again(&[]).await;
    back(&*cache).await;
}

#[tokio::test]
async fn a_server_that_hangs_costs_the_time_it_is_given() {
    let Some(server) = Own::start(&[]).await else {
        return;
    };
    let cache = open(&server.url(), "own");
    back(&*cache).await;
    server.signal("STOP");
    for _ in 0..4 {
        assert_eq!(fails_in_time(&*cache).await, CacheError::Timeout(WITHIN));
    }
    let tolerant = Tolerant::within(cache.clone(), WITHIN);
    let began = Instant::now();
    for _ in 0..1000 {
        assert_eq!(tolerant.get(&key()).await, None);
    }
    assert!(
        began.elapsed() < WITHIN * 2 + SLACK,
        "{:?}",
        began.elapsed()
    );
    server.signal("CONT");
    back(&*cache).await;
}

#[tokio::test]
async fn credentials_of_the_url_are_used_and_never_shown() {
    let Some(mut server) = Own::start(&["--requirepass", "s3cret pass@"]).await else {
        return;
    };
    let port = server.port;
    let with = |userinfo: &str| open(&format!("redis://{userinfo}127.0.0.1:{port}"), "own");
    let right = with(":s3cret%20pass%40@");
    back(&*right).await;
    for cache in [with(""), with(":wr0ng@"), with("nobody:wr0ng@")] {
        for _ in 0..5 {
            let error = fails_in_time(&*cache).await;
            let said = format!("{error} {error:?} {cache:?}");
            assert!(matches!(error, CacheError::Refused { .. }), "{said}");
            assert!(!said.contains("wr0ng") && !said.contains("s3cret"));
            assert!(cache.ping(PATIENCE).await.is_err(), "refused is not there");
        }
    }
    // A server that will have us after all is used without a restart of ours.
    let wrong = with(":wr0ng@");
    fails_in_time(&*wrong).await;
    server.kill();
    server.again(&["--requirepass", "wr0ng"]).await;
    back(&*wrong).await;
    fails_in_time(&*right).await;
}

#[tokio::test]
async fn an_account_needs_four_commands_on_the_keys_of_its_deployment() {
    let account = "--user fleet on >s3cret ~fleet:own:* +get +set +unlink +exists";
    let account: Vec<&str> = account.split(' ').collect();
    let Some(server) = Own::start(&account).await else {
        return;
    };
    let url = format!("redis://fleet:s3cret@127.0.0.1:{}", server.port);
    let cache = open(&url, "own");
    back(&*cache).await;
    cache.ping(PATIENCE).await.unwrap();
    assert_eq!(cache.get(&key(), PATIENCE).await, Ok(Some(value())));
    cache.delete(&key(), PATIENCE).await.unwrap();
    let other = open(&url, "other");
    for refused in [
        other.ping(PATIENCE).await.unwrap_err(),
        other.get(&key(), PATIENCE).await.unwrap_err(),
    ] {
        assert!(matches!(refused, CacheError::Refused { .. }), "{refused}");
        assert!(refused.to_string().contains("NOPERM"), "{refused}");
    }
}

#[tokio::test]
async fn a_full_server_refuses_and_still_answers() {
    let full = ["--maxmemory", "1", "--maxmemory-policy", "noeviction"];
    let Some(server) = Own::start(&full).await else {
        return;
    };
    let cache = open(&server.url(), "own");
    for _ in 0..5 {
        let refused = cache.set(&key(), value(), LONG, PATIENCE).await;
        assert!(
            matches!(refused, Err(CacheError::Refused { .. })),
            "{refused:?}"
        );
        assert_eq!(cache.get(&key(), PATIENCE).await, Ok(None));
    }
    let tolerant = Tolerant::new(cache);
    assert!(!tolerant.set(&key(), value(), LONG).await);
    assert_eq!(tolerant.get(&key()).await, None);
    assert_eq!(tolerant.failures().skipped, 0, "who refuses is there");
}

#[tokio::test]
async fn tls_is_verified_against_the_given_authorities() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let directory = tempfile::TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key_file) = (
        directory.path().join("c.pem"),
        directory.path().join("k.pem"),
    );
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    let tls_port = common::free_port().to_string();
    let (cert, key_file) = (cert.to_str().unwrap(), key_file.to_str().unwrap());
    let options = [
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        cert,
        "--tls-key-file",
        key_file,
        "--tls-ca-cert-file",
        cert,
        "--tls-auth-clients",
        "no",
    ];
    let Some(_server) = Own::start(&options).await else {
        return;
    };
    let settings = Settings {
        root_certificates: Some(made.cert.pem().into_bytes()),
        ..Settings::new(format!("rediss://localhost:{tls_port}"))
    };
    let trusting = Valkey::connect(&settings).unwrap();
    back(&trusting).await;
    assert_eq!(trusting.get(&key(), PATIENCE).await, Ok(Some(value())));
    let distrusting: Arc<dyn Cache> = open(&settings.url, "own");
    assert!(
        distrusting.ping(PATIENCE).await.is_err(),
        "an unknown authority"
    );
}

#[tokio::test]
async fn settings_that_can_never_work_are_refused_without_their_password() {
    let addresses = [
        "",
        "127.0.0.1:6379",
        "http://u:s3cret@h",
        "redis://u:s3cret@h:port",
        "redis://u:s3cret@h/db",
        "redis://:s3c/ret@h:1",
    ];
    for url in addresses {
        let settings = Settings::new(url);
        let refused = Valkey::connect(&settings).unwrap_err();
        let said = format!("{refused} {refused:?} {settings:?}");
        assert!(!said.contains("s3c"), "{said}");
    }
}
