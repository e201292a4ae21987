//! Where identities are required, the role of a change is one of the caller's, planning sees the
//! same caller, and who did it is the verified one.

use std::sync::Arc;

use fleet_graph::Label;
use fleet_proto::context::v1 as pb;
use fleet_service::{Authenticator, Process, ServerSettings};
use fleet_types::Clock as _;
use serde_json::json;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use crate::ask::{create, key, refused, update};
use crate::world::{World, impatient, on_every_backend};

on_every_backend!(callers_act_in_their_own_roles);

const SECRET: &[u8] = b"a secret of the tests, long enough for HS256";

/// Asks in the name of somebody.
fn by<T>(subject: &str, roles: &[&str], message: T) -> Request<T> {
    let expires = fleet_service::SystemClock.now().seconds() + 600;
    let claims =
        json!({"sub": subject, "roles": roles, "iss": "tests", "aud": "fleet", "exp": expires});
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    let token = jsonwebtoken::encode(&jsonwebtoken::Header::default(), &claims, &key).unwrap();
    let mut request = Request::new(message);
    let bearer = MetadataValue::try_from(format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", bearer);
    request
}

fn guarded(process: &Process) -> ServerSettings {
    let clock = process.clock.clone();
    let authenticator = Authenticator::new("HS256", SECRET, "tests", "fleet", clock);
    ServerSettings {
        authenticator: Some(Arc::new(authenticator.unwrap())),
        ..ServerSettings::default()
    }
}

async fn callers_act_in_their_own_roles(world: &World) {
    let replica = world.replica_with(impatient(), guarded).await;
    let mut client = replica.client.clone();
    let wanted = pb::CreateStoryRequest {
        title: "x".into(),
        description: "y".into(),
        created_by: "somebody else".into(),
        ..Default::default()
    };
    let nobody = client.create_story(wanted.clone()).await;
    assert_eq!(nobody.unwrap_err().code(), Code::Unauthenticated);
    let created = client
        .create_story(by("dora", &["developer"], wanted))
        .await;
    let story_id = created.unwrap().into_inner().story_id;
    let story = key(Label::Story, &story_id);
    assert_eq!(
        replica.prop(story, "created_by").await,
        "dora",
        "planning saw her"
    );

    let id = format!("DEC-{story_id}");
    let as_architect = update(&story_id, vec![create(&id, "x")]);
    let denied = client
        .update_context(by("dora", &["developer"], as_architect.clone()))
        .await;
    refused(
        denied,
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        &["architect"],
    );
    let unsaid = pb::UpdateContextRequest {
        role: String::new(),
        ..as_architect.clone()
    };
    let unclear = client
        .update_context(by("dora", &["developer", "qa"], unsaid.clone()))
        .await;
    assert_eq!(unclear.unwrap_err().code(), Code::InvalidArgument);
    let request = by("dora", &["developer"], unsaid);
    client.update_context(request).await.unwrap();
    let node = key(Label::Decision, &id);
    assert_eq!(replica.prop(node.clone(), "author_role").await, "developer");
    assert_eq!(replica.prop(node, "author_agent").await, "dora");

    let other = update(&story_id, vec![create(&format!("{id}-2"), "x")]);
    let request = by("otto", &["orchestrator"], other);
    client.update_context(request).await.unwrap();
    let node = key(Label::Decision, &format!("{id}-2"));
    assert_eq!(replica.prop(node, "author_role").await, "architect");

    let won = |agent: &str| pb::AddProjectDecisionRequest {
        story_id: story_id.clone(),
        decision_type: "TECHNICAL".into(),
        title: "x".into(),
        metadata: [("winner".to_owned(), agent.to_owned())].into(),
        ..Default::default()
    };
    let denied = client
        .add_project_decision(by("dora", &["developer"], won("agent-7")))
        .await;
    refused(
        denied,
        Code::PermissionDenied,
        "ROLE_NOT_ALLOWED",
        &["agent-7"],
    );
    for (caller, role, agent) in [
        ("dora", "developer", "dora"),
        ("otto", "orchestrator", "agent-7"),
    ] {
        let request = by(caller, &[role], won(agent));
        let added = client.add_project_decision(request).await.unwrap();
        let node = key(Label::Decision, &added.into_inner().decision_id);
        assert_eq!(replica.prop(node, "author_agent").await, agent);
    }
    replica.stop().await;
}
