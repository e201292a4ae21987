//! With identities, a role is the caller's own.

use std::sync::Arc;

use fleet_context::Config;
use fleet_proto::context::v1 as pb;
use fleet_service::{Authenticator, ServerSettings, SystemClock};
use fleet_types::Clock as _;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use crate::seed::Seed;
use crate::world::{World, ask, code};

const SECRET: &[u8] = b"a secret of the tests, long enough for HS256";

/// Asks in the name of somebody with these roles.
fn by<T>(roles: &[&str], message: T) -> Request<T> {
    let expires = SystemClock.now().seconds() + 600;
    let claims =
        json!({"sub": "ana", "roles": roles, "iss": "tests", "aud": "fleet", "exp": expires});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let mut request = Request::new(message);
    let bearer = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_reads_what_was_made_for_another_role() {
    let world = World::embedded();
    let authenticator =
        Authenticator::new("HS256", SECRET, "tests", "fleet", Arc::new(SystemClock)).unwrap();
    let settings = ServerSettings {
        authenticator: Some(Arc::new(authenticator)),
        ..ServerSettings::default()
    };
    let a = world
        .replica_on(world.backends().await, Config::default(), settings)
        .await;
    let store = world.backends().await.store;
    Seed::story(&*store, "s-1").await;
    let mut client = a.client.clone();
    let question = || ask("s-1", "architect", "DESIGN");

    let nobody = client.get_context(question()).await;
    assert_eq!(code(nobody), Code::Unauthenticated);
    let refused = client.get_context(by(&["qa"], question())).await;
    assert_eq!(code(refused), Code::PermissionDenied);
    for roles in [&["architect"][..], &["qa", "architect"], &["orchestrator"]] {
        let answer = client.get_context(by(roles, question())).await.unwrap();
        assert_eq!(answer.into_inner().token_budget, 8_192);
    }
    let made = client.get_context(by(&["architect"], question())).await;
    let hash = made.unwrap().into_inner().hash;
    let receipt = |roles: &[&str]| {
        let request = pb::GetReceiptRequest { hash: hash.clone() };
        by(roles, request)
    };
    client.get_receipt(receipt(&["architect"])).await.unwrap();
    client
        .get_receipt(receipt(&["orchestrator"]))
        .await
        .unwrap();
    let refused = client.get_receipt(receipt(&["qa", "po"])).await;
    assert_eq!(code(refused), Code::PermissionDenied);

    let session = |roles: &[&str], persist_bundle| pb::RehydrateSessionRequest {
        case_id: "s-1".to_owned(),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        persist_bundle,
        ..pb::RehydrateSessionRequest::default()
    };
    let refused = client
        .rehydrate_session(by(&["qa"], session(&["qa", "po"], false)))
        .await;
    assert_eq!(code(refused), Code::PermissionDenied);
    let kept = client
        .rehydrate_session(by(&["qa", "po"], session(&["qa", "po"], true)))
        .await
        .unwrap()
        .into_inner();
    let bundle = |roles: &[&str]| {
        let request = pb::RehydrateSessionRequest {
            bundle_id: kept.bundle_id.clone(),
            ..pb::RehydrateSessionRequest::default()
        };
        by(roles, request)
    };
    let again = client.rehydrate_session(bundle(&["po", "qa"])).await;
    assert_eq!(again.unwrap().into_inner(), kept);
    let refused = client.rehydrate_session(bundle(&["qa"])).await;
    assert_eq!(code(refused), Code::PermissionDenied);

    // Without a role in the request, the caller's only one.
    let near = |role: &str| pb::GetGraphRelationshipsRequest {
        node_id: "s-1".to_owned(),
        node_type: "Story".to_owned(),
        depth: 1,
        role: role.to_owned(),
        max_nodes: 0,
    };
    let own = client
        .get_graph_relationships(by(&["developer"], near("")))
        .await;
    let node = own.unwrap().into_inner().node.unwrap();
    assert!(!node.properties.contains_key("created_by"));
    let which = client
        .get_graph_relationships(by(&["developer", "qa"], near("")))
        .await;
    assert_eq!(code(which), Code::InvalidArgument);
    let refused = client
        .get_graph_relationships(by(&["developer"], near("po")))
        .await;
    assert_eq!(code(refused), Code::PermissionDenied);

    // So in every other call that shows something: nobody learns what another role sees, nor
    // whether there is something to see.
    let scopes = |role: &str| pb::ValidateScopeRequest {
        role: role.to_owned(),
        phase: "BUILD".to_owned(),
        provided_scopes: Vec::new(),
    };
    let explain = |role: &str, node_id: &str| pb::ExplainScopeRequest {
        role: role.to_owned(),
        phase: "BUILD".to_owned(),
        node_id: node_id.to_owned(),
        node_type: "Story".to_owned(),
        subtask_id: String::new(),
        ..Default::default()
    };
    let find = |role: &str| pb::SearchDecisionsRequest {
        query: "title".to_owned(),
        story_id: "s-1".to_owned(),
        role: role.to_owned(),
        limit: 0,
    };
    let watch = |role: &str| pb::StreamContextUpdatesRequest {
        story_id: "s-1".to_owned(),
        role: role.to_owned(),
    };
    for (caller, role, allowed) in [
        ("qa", "po", false),
        ("qa", "qa", true),
        ("orchestrator", "po", true),
    ] {
        let of = &[caller];
        let validated = client.validate_scope(by(of, scopes(role))).await;
        let explained = client.explain_scope(by(of, explain(role, "s-1"))).await;
        let found = client.search_decisions(by(of, find(role))).await;
        let watched = client.stream_context_updates(by(of, watch(role))).await;
        let answers = [
            validated.map(drop),
            explained.map(drop),
            found.map(drop),
            watched.map(drop),
        ];
        for (at, answer) in answers.into_iter().enumerate() {
            let code = answer.map_or_else(|status| status.code(), |()| Code::Ok);
            let expected = if allowed {
                Code::Ok
            } else {
                Code::PermissionDenied
            };
            assert_eq!(code, expected, "{caller} as {role}: {at}");
        }
    }
    let gone = client
        .explain_scope(by(&["qa"], explain("po", "s-2")))
        .await;
    assert_eq!(code(gone), Code::PermissionDenied, "there or not");
    let gone = client
        .explain_scope(by(&["qa"], explain("qa", "s-2")))
        .await;
    assert_eq!(code(gone), Code::NotFound);
    drop(client);
    a.stop().await;
}
