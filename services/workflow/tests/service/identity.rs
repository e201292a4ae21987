//! With an identity, the roles are the caller's own, and only an orchestrator acts for others.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet_proto::workflow::v1 as pb;
use fleet_service::{Authenticator, ServerSettings, SystemClock};
use fleet_workflow::Config;
use jsonwebtoken::{EncodingKey, Header, encode};
use tonic::{Code, Request};

use crate::support::{On, World, act, claim, commit, why};

const SECRET: &[u8] = b"a secret of at least thirty-two bytes, for tests";

fn settings() -> ServerSettings {
    let clock = Arc::new(SystemClock);
    let authenticator =
        Authenticator::new("HS256", SECRET, "https://id.test", "fleet", clock).unwrap();
    ServerSettings {
        authenticator: Some(Arc::new(authenticator)),
        ..ServerSettings::default()
    }
}

fn by<T>(who: &str, roles: &[&str], message: T) -> Request<T> {
    let claims: BTreeMap<&str, serde_json::Value> = [
        ("sub", who.into()),
        ("iss", "https://id.test".into()),
        ("aud", "fleet".into()),
        ("exp", 4_000_000_000_i64.into()),
        ("roles", roles.into()),
    ]
    .into();
    let token = encode(
        &Header::default(),
        &claims,
        &EncodingKey::from_secret(SECRET),
    )
    .unwrap();
    let mut request = Request::new(message);
    request
        .metadata_mut()
        .insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_come_from_the_identity_and_only_an_orchestrator_acts_for_others() {
    let world = World::with(On::Embedded, 1, Config::default(), settings)
        .await
        .unwrap();
    let story = crate::support::Released::new(&[&[], &[]]);
    world
        .say(
            "fleet-planning",
            story.id.as_str(),
            1,
            &story.release(1, "PLANNED"),
        )
        .await;
    let (task, other) = (&story.tasks[0], &story.tasks[1]);
    let mut api = world.client();
    world
        .eventually("the task is there", async || {
            let ask = pb::GetWorkflowStateRequest {
                task_id: other.to_string(),
            };
            world
                .client()
                .get_workflow_state(by("anna", &["qa"], ask))
                .await
                .ok()
        })
        .await;
    world
        .eventually("the first task is there", async || {
            let ask = pb::GetWorkflowStateRequest {
                task_id: task.to_string(),
            };
            world
                .client()
                .get_workflow_state(by("anna", &["qa"], ask))
                .await
                .ok()
        })
        .await;

    let status = api
        .claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let denied = (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned());
    // Not his role, and not his name.
    let status = api
        .claim_task(by("anna", &["qa"], claim(task, "developer", "anna")))
        .await;
    assert_eq!(why(&status.unwrap_err()), denied);
    let status = api
        .claim_task(by(
            "anna",
            &["developer"],
            claim(task, "developer", "dev-1"),
        ))
        .await;
    assert_eq!(why(&status.unwrap_err()), denied);
    api.claim_task(by("anna", &["developer"], claim(task, "developer", "anna")))
        .await
        .unwrap();

    // The orchestrator claims and reports in the name of its agents, but is not the fleet.
    let boss = &["orchestrator"][..];
    let status = api
        .request_validation(by("orch", boss, act(other, "system", "dev-1", "cancel")))
        .await;
    assert_eq!(why(&status.unwrap_err()), denied);
    let assigned = act(other, "orchestrator", "dev-1", "assign_to_developer");
    let assigned = api
        .request_validation(by("orch", boss, assigned))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (assigned.current_state.as_str(), assigned.claim_epoch),
        ("implementing", 1)
    );
    let done = api
        .request_validation(by("orch", boss, commit(other, "dev-1", "abc")))
        .await
        .unwrap();
    assert_eq!(done.into_inner().current_state, "pending_arch_review");
    let ask = pb::GetWorkflowStateRequest {
        task_id: other.to_string(),
    };
    let state = api
        .get_workflow_state(by("anna", &["qa"], ask))
        .await
        .unwrap()
        .into_inner();
    let hop = &state.history[2];
    assert_eq!(
        (hop.agent_id.as_str(), hop.actor.as_str()),
        ("dev-1", "orch")
    );
    // The agent is judged, not the caller: it may not approve what it committed.
    let own = act(other, "architect", "dev-1", "approve_design");
    let own = api
        .request_validation(by("orch", boss, own))
        .await
        .unwrap_err();
    assert_eq!(
        why(&own),
        (Code::PermissionDenied, "SEPARATION_OF_DUTIES".to_owned())
    );
    world.stop().await;
}
