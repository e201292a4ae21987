//! What is refused, with which code, and what the refusal says.

use fleet_events::payload::RbacViolation;
use fleet_proto::workflow::v1 as pb;
use tonic::Code;

use crate::support::{World, act, claim, commit, fact, fields, on_every_backend, reject, why};

on_every_backend!(
    malformed_calls_name_every_field,
    unknown_wrong_state_and_blocked,
    wrong_roles_are_recorded_and_said,
    a_repeated_request_has_one_effect,
    what_may_be_done_next,
);

async fn malformed_calls_name_every_field(world: World) {
    let mut api = world.client();
    let bad = pb::RequestValidationRequest {
        task_id: "s-1".to_owned(),
        role: "boss".to_owned(),
        action: "commit_code".to_owned(),
        agent_id: "a b".to_owned(),
        claim_epoch: Some(0),
        request_id: "x".repeat(200),
        result: Some(pb::WorkResult {
            reasoning: "\u{1}".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let status = api.request_validation(bad).await.unwrap_err();
    assert_eq!(
        why(&status),
        (Code::InvalidArgument, "VALIDATION_FAILED".to_owned()),
        "{status:?}"
    );
    let mut named = fields(&status);
    named.sort();
    assert_eq!(
        named,
        [
            "agent_id",
            "claim_epoch",
            "request_id",
            "result.artifacts",
            "result.reasoning",
            "role",
            "task_id"
        ]
    );
    let mut wrong = claim(&"T-1".parse().unwrap(), "", "");
    wrong.lease_seconds = Some(-1);
    let status = api.claim_task(wrong).await.unwrap_err();
    assert_eq!(fields(&status), ["agent_id", "role", "lease_seconds"]);
    // Too short a rejection is a malformed one, whatever the state of the task.
    let task = "T-1".parse().unwrap();
    let status = api
        .request_validation(reject(&task, "qa", "qa-1", "reject_tests", " no  "))
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["result.feedback"]);
    let status = api
        .list_audit(pb::ListAuditRequest {
            kind: "gossip".to_owned(),
            ..Default::default()
        })
        .await;
    assert_eq!(fields(&status.unwrap_err()), ["kind"]);
    let status = api
        .get_pending_tasks(pb::GetPendingTasksRequest {
            offset: -1,
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["role", "offset"]);
    let huge = "x".repeat(fleet_types::MAX_TEXT_BYTES + 1);
    let status = api
        .request_validation(reject(&task, "qa", "q", "reject_tests", &huge))
        .await
        .unwrap_err();
    assert_eq!(fields(&status)[0], "result.feedback");
    world.stop().await;
}

async fn unknown_wrong_state_and_blocked(world: World) {
    let story = world.released(&[&[], &[0]]).await;
    let (task, blocked) = (&story.tasks[0], &story.tasks[1]);
    let mut api = world.client();
    let nobody = "T-nobody".parse().unwrap();
    let status = api
        .claim_task(claim(&nobody, "developer", "dev-1"))
        .await
        .unwrap_err();
    assert_eq!(why(&status), (Code::NotFound, "NOT_FOUND".to_owned()));
    // Unknown comes before the role.
    let status = api
        .request_validation(act(&nobody, "system", "dev-1", "retry"))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::NotFound);

    let status = api
        .request_validation(commit(task, "dev-1", "abc"))
        .await
        .unwrap_err();
    assert_eq!(
        why(&status),
        (Code::FailedPrecondition, "TASK_STATE".to_owned())
    );
    assert_eq!(fact(&status, "current_state"), "todo");
    assert!(
        fact(&status, "allowed").starts_with("claim_task (developer)"),
        "{}",
        status.message()
    );

    let status = api
        .claim_task(claim(task, "architect", "arch-1"))
        .await
        .unwrap_err();
    assert_eq!(
        why(&status),
        (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned())
    );
    let status = api
        .claim_task(claim(blocked, "developer", "dev-1"))
        .await
        .unwrap_err();
    assert_eq!(
        why(&status),
        (Code::FailedPrecondition, "TASK_BLOCKED".to_owned())
    );
    assert_eq!(fact(&status, "blocked_by"), task.to_string());

    let mut stale = claim(task, "developer", "dev-1");
    stale.expected_version = Some(7);
    let status = api.claim_task(stale).await.unwrap_err();
    assert_eq!(why(&status), (Code::Aborted, "STALE_VERSION".to_owned()));
    assert_eq!(fact(&status, "current_version"), "1");

    let status = api
        .renew_claim(pb::RenewClaimRequest {
            task_id: task.to_string(),
            agent_id: "dev-1".to_owned(),
            role: "developer".to_owned(),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        why(&status),
        (Code::FailedPrecondition, "TASK_STATE".to_owned())
    );

    api.request_validation(act(task, "po", "po-1", "discard_task"))
        .await
        .unwrap();
    let status = api
        .claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap_err();
    assert_eq!(
        why(&status),
        (Code::FailedPrecondition, "NOT_CLAIMABLE".to_owned())
    );
    assert_eq!(fact(&status, "current_state"), "cancelled");
    world.stop().await;
}

async fn wrong_roles_are_recorded_and_said(world: World) {
    let story = world.released(&[&[]]).await;
    let task = &story.tasks[0];
    let mut api = world.client();
    let denied = (Code::PermissionDenied, "ROLE_NOT_ALLOWED".to_owned());

    let status = api
        .request_validation(act(task, "qa", "qa-1", "approve_design"))
        .await
        .unwrap_err();
    assert_eq!(why(&status), denied);
    let status = api
        .request_validation(act(task, "system", "sly", "cancel"))
        .await
        .unwrap_err();
    assert_eq!(why(&status), denied);
    let status = api
        .claim_task(claim(task, "orchestrator", "sly"))
        .await
        .unwrap_err();
    assert_eq!(why(&status), denied);
    let status = api.claim_task(claim(task, "po", "po-1")).await.unwrap_err();
    assert_eq!(why(&status), denied);

    api.claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap();
    api.request_validation(commit(task, "dev-1", "abc"))
        .await
        .unwrap();
    let own = api
        .request_validation(act(task, "architect", "dev-1", "approve_design"))
        .await
        .unwrap_err();
    assert_eq!(
        why(&own),
        (Code::PermissionDenied, "SEPARATION_OF_DUTIES".to_owned())
    );

    let said = world
        .hears(task.as_str(), "workflow.rbac.violation", 5)
        .await;
    let mut who: Vec<String> = said
        .iter()
        .map(|event| event.payload::<RbacViolation>().unwrap())
        .map(|violation| {
            format!(
                "{} {} {}",
                violation.role, violation.action, violation.agent_id
            )
        })
        .collect();
    who.sort();
    assert_eq!(
        who,
        [
            "architect approve_design dev-1",
            "orchestrator claim_task sly",
            "po claim_task po-1",
            "qa approve_design qa-1",
            "system cancel sly",
        ]
    );
    let trail = pb::ListAuditRequest {
        task_id: task.to_string(),
        kind: "rbac_violation".to_owned(),
        ..Default::default()
    };
    let trail = api.list_audit(trail).await.unwrap().into_inner();
    assert_eq!((trail.entries.len(), trail.total_count), (5, 5));
    assert!(
        trail
            .entries
            .iter()
            .all(|entry| entry.seq == 0 && !entry.detail.is_empty())
    );
    // Without identity the caller is the agent, here as in the history.
    assert!(
        trail
            .entries
            .iter()
            .all(|entry| entry.actor == entry.agent_id),
        "{:?}",
        trail.entries
    );
    // Nothing of it moved the task.
    assert_eq!(world.state(task).await.current_state, "pending_arch_review");
    world.stop().await;
}

async fn a_repeated_request_has_one_effect(world: World) {
    let story = world.released(&[&[], &[]]).await;
    let mut api = world.client();
    let mut request = claim(&story.tasks[0], "developer", "dev-1");
    request.request_id = format!("claim-{}", story.id);
    let first = api.claim_task(request.clone()).await.unwrap().into_inner();
    let again = api.claim_task(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, again);
    assert_eq!(world.state(&story.tasks[0]).await.version, 2);
    request.agent_id = "dev-2".to_owned();
    let status = api.claim_task(request).await.unwrap_err();
    assert_eq!(
        why(&status),
        (Code::AlreadyExists, "REQUEST_ID_REUSED".to_owned())
    );

    // The same commit twice at once: one effect, one answer.
    let mut work = commit(&story.tasks[0], "dev-1", "abc");
    work.request_id = format!("commit-{}", story.id);
    let (mut one, mut two) = (world.client(), world.client());
    let (one, two) = tokio::join!(
        one.request_validation(work.clone()),
        two.request_validation(work.clone())
    );
    let (one, two) = (one.unwrap().into_inner(), two.unwrap().into_inner());
    assert_eq!(one, two);
    assert_eq!(world.state(&story.tasks[0]).await.version, 3);
    world.stop().await;
}

async fn what_may_be_done_next(world: World) {
    let story = world.released(&[&[]]).await;
    let task = &story.tasks[0];
    let mut api = world.client();
    let ask = async |role: &str, agent: &str| {
        let request = pb::GetNextActionsRequest {
            task_id: task.to_string(),
            role: role.to_owned(),
            agent_id: agent.to_owned(),
        };
        world
            .client()
            .get_next_actions(request)
            .await
            .unwrap()
            .into_inner()
    };
    let next = ask("developer", "dev-1").await;
    assert_eq!(
        (next.actions.len(), next.actions[0].action.as_str()),
        (1, "claim_task")
    );
    assert!(next.actions[0].is_claim);
    assert_eq!(ask("qa", "").await.why_not_code, "OTHER_ROLE");

    api.claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap();
    let held = ask("developer", "dev-2").await;
    assert_eq!(
        (held.why_not_code.as_str(), held.holder_agent_id.as_str()),
        ("HELD_BY_OTHER", "dev-1")
    );
    let mine = ask("developer", "dev-1").await;
    assert_eq!(mine.actions[0].required_artifacts, ["commit_sha"]);
    assert_eq!(mine.actions[0].to_state, "pending_arch_review");

    api.request_validation(commit(task, "dev-1", "abc"))
        .await
        .unwrap();
    let own: Vec<String> = ask("architect", "dev-1")
        .await
        .actions
        .into_iter()
        .map(|a| a.action)
        .collect();
    assert!(!own.contains(&"approve_design".to_owned()), "{own:?}");
    let reject = ask("architect", "arch-1")
        .await
        .actions
        .into_iter()
        .find(|a| a.action == "reject_design");
    assert_eq!(reject.unwrap().min_feedback_chars, 10);

    api.request_validation(act(task, "po", "po-1", "discard_task"))
        .await
        .unwrap();
    assert_eq!(ask("po", "po-1").await.why_not_code, "TERMINAL_STATE");
    world.stop().await;
}
