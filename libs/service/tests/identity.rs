//! Bearer tokens: who is let in, as whom, and who is not.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use common::{Fixture, reason, state_of};
use fleet_service::{Authenticator, Process, ServerSettings, SystemIds};
use fleet_types::{Clock, Role, Timestamp};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: i64 = 1_750_000_000;

/// A clock that stands where a test puts it.
#[derive(Debug)]
struct Hands(AtomicI64);

impl Clock for Hands {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst) * 1000)
    }
}

fn claims() -> Value {
    json!({
        "sub": "agent-7", "iss": "https://id.example", "aud": ["fleet", "other"],
        "exp": NOW + 600, "nbf": NOW - 5, "roles": ["developer", "QA", "system", "unknown-elsewhere"],
    })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[key] = value;
    claims
}

fn without(key: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

fn token(algorithm: Algorithm, secret: &[u8], claims: &Value) -> String {
    let token = jsonwebtoken::encode(
        &Header::new(algorithm),
        claims,
        &EncodingKey::from_secret(secret),
    )
    .unwrap();
    format!("Bearer {token}")
}

fn authenticator() -> (Arc<Hands>, Authenticator) {
    let clock = Arc::new(Hands(AtomicI64::new(NOW)));
    let authenticator = Authenticator::new(
        "HS256",
        SECRET,
        "https://id.example",
        "fleet",
        clock.clone(),
    )
    .unwrap();
    (clock, authenticator)
}

#[test]
fn a_good_token_gives_its_subject_and_the_roles_we_know() {
    let (_, authenticator) = authenticator();
    let header = token(Algorithm::HS256, SECRET, &claims());
    for _ in 0..2 {
        let principal = authenticator.principal(Some(&header)).unwrap();
        assert_eq!(principal.id.as_str(), "agent-7");
        assert_eq!(
            principal.roles,
            Some(BTreeSet::from([Role::Developer, Role::Qa]))
        );
        assert!(
            principal.may_act_as(Role::Qa)
                && !principal.may_act_as(Role::Po)
                && !principal.may_act_as(Role::System)
        );
    }
    let words = token(
        Algorithm::HS256,
        SECRET,
        &with("roles", json!("po architect")),
    );
    let principal = authenticator.principal(Some(&words)).unwrap();
    assert_eq!(
        principal.roles,
        Some(BTreeSet::from([Role::Po, Role::Architect]))
    );
    let none = token(Algorithm::HS256, SECRET, &without("roles"));
    assert_eq!(
        authenticator.principal(Some(&none)).unwrap().roles,
        Some(BTreeSet::new())
    );
    // Foreign subjects stay apart, whatever characters they have.
    let id = |sub: &str| {
        let header = token(Algorithm::HS256, SECRET, &with("sub", json!(sub)));
        authenticator.principal(Some(&header)).unwrap().id
    };
    assert_ne!(id("auth0|1"), id("auth0|2"));
}

#[test]
fn every_other_token_is_refused() {
    let (_, authenticator) = authenticator();
    let forged = {
        // `none`: header and claims without a signature.
        use base64::Engine as _;
        let encode =
            |v: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(v.to_string());
        format!(
            "Bearer {}.{}.",
            encode(&json!({ "alg": "none", "typ": "JWT" })),
            encode(&claims())
        )
    };
    let cases = [
        ("no token", None),
        ("another scheme", Some("Basic dTpw".to_owned())),
        ("no signature", Some(forged)),
        (
            "another secret",
            Some(token(
                Algorithm::HS256,
                b"fedcba9876543210fedcba9876543210",
                &claims(),
            )),
        ),
        (
            "another algorithm",
            Some(token(Algorithm::HS384, SECRET, &claims())),
        ),
        (
            "another audience",
            Some(token(
                Algorithm::HS256,
                SECRET,
                &with("aud", json!("billing")),
            )),
        ),
        (
            "no audience",
            Some(token(Algorithm::HS256, SECRET, &without("aud"))),
        ),
        (
            "another issuer",
            Some(token(
                Algorithm::HS256,
                SECRET,
                &with("iss", json!("https://evil.example")),
            )),
        ),
        (
            "no issuer",
            Some(token(Algorithm::HS256, SECRET, &without("iss"))),
        ),
        (
            "no expiry",
            Some(token(Algorithm::HS256, SECRET, &without("exp"))),
        ),
        (
            "no subject",
            Some(token(Algorithm::HS256, SECRET, &without("sub"))),
        ),
        (
            "expired",
            Some(token(
                Algorithm::HS256,
                SECRET,
                &with("exp", json!(NOW - 61)),
            )),
        ),
        (
            "not yet",
            Some(token(
                Algorithm::HS256,
                SECRET,
                &with("nbf", json!(NOW + 61)),
            )),
        ),
        ("garbage", Some("Bearer a.b.c".to_owned())),
        ("huge", Some(format!("Bearer {}", "x".repeat(100_000)))),
    ];
    for (case, header) in cases {
        let refused = authenticator.principal(header.as_deref()).unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{case}");
    }
    for (name, value) in [("exp", NOW - 59), ("nbf", NOW + 59)] {
        let header = token(Algorithm::HS256, SECRET, &with(name, json!(value)));
        assert!(
            authenticator.principal(Some(&header)).is_ok(),
            "{name}: clocks may differ by a minute"
        );
    }
}

#[test]
fn a_remembered_token_expires_all_the_same() {
    let (clock, authenticator) = authenticator();
    let header = token(Algorithm::HS256, SECRET, &claims());
    assert!(authenticator.principal(Some(&header)).is_ok());
    clock.0.store(NOW + 659, Ordering::SeqCst);
    assert!(authenticator.principal(Some(&header)).is_ok());
    clock.0.store(NOW + 660, Ordering::SeqCst);
    let expired = authenticator.principal(Some(&header)).unwrap_err();
    assert_eq!(expired.to_string(), "the token has expired");
}

#[test]
fn keys_that_do_not_fit_are_refused_at_the_start() {
    let clock: Arc<dyn Clock> = Arc::new(Hands(AtomicI64::new(NOW)));
    for (algorithm, key) in [
        ("HS256", &b"short"[..]),
        ("RS256", SECRET),
        ("none", SECRET),
    ] {
        assert!(
            Authenticator::new(algorithm, key, "i", "a", clock.clone()).is_err(),
            "{algorithm}"
        );
    }
}

#[tokio::test]
async fn with_identity_configured_only_health_is_open() {
    let (clock, authenticator) = authenticator();
    let settings = ServerSettings {
        authenticator: Some(Arc::new(authenticator)),
        ..ServerSettings::default()
    };
    let process = Process::new(clock, Arc::new(SystemIds));
    let fixture = Fixture::start_on(process, settings).await;
    let mut client = fixture.client().await;
    let status = client
        .get_workflow_state(state_of("T-1"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unauthenticated, "UNAUTHENTICATED")
    );
    let mut request = state_of("T-1");
    request.metadata_mut().insert(
        "authorization",
        token(Algorithm::HS256, SECRET, &claims()).parse().unwrap(),
    );
    assert!(client.get_workflow_state(request).await.is_ok());
    let call = fixture.controls.last.lock().unwrap().clone().unwrap();
    assert_eq!(call.principal.id.as_str(), "agent-7");

    assert!(
        fixture
            .health()
            .await
            .check(HealthCheckRequest::default())
            .await
            .is_ok()
    );
    use tonic_reflection::pb::v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    };
    let mut reflection = ServerReflectionClient::new(fixture.channel().await);
    let asked = tokio_stream::iter([ServerReflectionRequest::default()]);
    let status = reflection.server_reflection_info(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
}
