//! With identity configured, the product owner's gates need the role, and the principal acts.

use std::sync::Arc;

use fleet_planning::Config;
use fleet_proto::planning::v2 as pb;
use fleet_service::{Authenticator, ServerSettings};
use fleet_types::Clock as _;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use crate::ask::{self, history, move_request, refused};
use crate::fleet::{Fleet, Replica, on_every_backend};

on_every_backend!(gates_are_the_product_owners);

const SECRET: &[u8] = b"a secret of the tests, long enough for HS256";

fn token(subject: &str, roles: &[&str]) -> String {
    let expires = fleet_service::SystemClock.now().seconds() + 600;
    let claims =
        json!({"sub": subject, "roles": roles, "iss": "tests", "aud": "fleet", "exp": expires});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap()
}

/// Asks in the name of somebody.
fn by<T>(subject: &str, roles: &[&str], message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {}", token(subject, roles));
    request
        .metadata_mut()
        .insert("authorization", MetadataValue::try_from(bearer).unwrap());
    request
}

async fn guarded(fleet: &Fleet) -> Replica {
    let settings = |process: &fleet_service::Process| {
        let authenticator =
            Authenticator::new("HS256", SECRET, "tests", "fleet", process.clock.clone());
        ServerSettings {
            authenticator: Some(Arc::new(authenticator.unwrap())),
            ..ServerSettings::default()
        }
    };
    fleet.replica_with(Config::default(), settings).await
}

async fn gates_are_the_product_owners(fleet: &Fleet) {
    let replica = guarded(fleet).await;
    let client = &mut replica.client.clone();
    let refusal = client.create_story(ask::story_request("")).await;
    assert_eq!(refusal.unwrap_err().code(), Code::Unauthenticated);
    let dev = |message| by("dora", &["developer"], message);
    let story = client
        .create_story(by("dora", &["developer"], ask::story_request("")))
        .await
        .unwrap();
    let story = story.into_inner().story.unwrap();
    assert_eq!(
        story.created_by, "dora",
        "the principal, whatever the request says"
    );
    let id = story.story_id.as_str();
    client
        .transition_story(dev(move_request(id, "PO_REVIEW")))
        .await
        .unwrap();
    let only_po = &["only the role po"];
    for back in ["READY_FOR_PLANNING", "DRAFT"] {
        let wish = pb::TransitionStoryRequest {
            reason: "no".into(),
            override_reason: "yes".into(),
            ..move_request(id, back)
        };
        refused(
            client.transition_story(dev(wish)).await,
            Code::PermissionDenied,
            "ROLE_NOT_ALLOWED",
            only_po,
        );
    }
    let plan = pb::ApprovePlanRequest {
        story_id: id.into(),
        approved_by: "x".into(),
        ..Default::default()
    };
    refused(
        client
            .approve_plan(by("dora", &["developer"], plan.clone()))
            .await,
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        only_po,
    );
    let verdict = pb::ApproveDecisionRequest {
        story_id: id.into(),
        decision_id: "DEC-1".into(),
        approved_by: "x".into(),
        ..Default::default()
    };
    refused(
        client
            .approve_decision(by("dora", &["developer"], verdict))
            .await,
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        only_po,
    );
    client
        .approve_plan(by("petra", &["po"], plan))
        .await
        .unwrap();
    client
        .create_task(by(
            "dora",
            &["developer"],
            ask::task_request(id, "Part", &[]),
        ))
        .await
        .unwrap();
    let wish = move_request(id, "READY_FOR_PLANNING");
    client
        .transition_story(by("petra", &["PRODUCT_OWNER"], wish))
        .await
        .unwrap();
    for state in [
        "PLANNED",
        "READY_FOR_EXECUTION",
        "IN_PROGRESS",
        "CODE_REVIEW",
        "TESTING",
        "READY_TO_REVIEW",
    ] {
        client
            .transition_story(dev(move_request(id, state)))
            .await
            .unwrap();
    }
    refused(
        client
            .transition_story(dev(move_request(id, "ACCEPTED")))
            .await,
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        only_po,
    );
    let wish = by("petra", &["developer", "po"], move_request(id, "ACCEPTED"));
    client.transition_story(wish).await.unwrap();

    // A repeated request is one of the same caller.
    let keyed = |message: pb::CreateProjectRequest| pb::CreateProjectRequest {
        request_id: format!("same {id}"),
        ..message
    };
    let named = |name: &str| {
        keyed(pb::CreateProjectRequest {
            name: name.into(),
            ..Default::default()
        })
    };
    client
        .create_project(by("dora", &[], named("Hers")))
        .await
        .unwrap();
    client
        .create_project(by("emil", &[], named("His")))
        .await
        .unwrap();
    refused(
        client.create_project(by("dora", &[], named("Other"))).await,
        Code::AlreadyExists,
        "REQUEST_ID_REUSED",
        &[],
    );
    replica.stop().await;

    let open = fleet.replica().await;
    let actors: Vec<_> = history(&mut open.client.clone(), id)
        .await
        .into_iter()
        .map(|e| e.actor)
        .collect();
    assert_eq!(actors[0], "dora");
    assert_eq!(actors[2], "petra");
    assert_eq!(actors.last().unwrap(), "petra");
    open.stop().await;
}
