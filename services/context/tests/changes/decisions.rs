//! AddProjectDecision, and verdicts on decisions by planning.

use std::collections::BTreeMap;

use fleet_graph::{EdgeType, Label};
use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;
use serde_json::json;
use tonic::Code;

use crate::ask::{apply, create, key, refused, story, task, version};
use crate::world::{World, eventually, on_every_backend};

on_every_backend!(
    a_decision_is_recorded_with_all_that_was_said,
    a_repeated_request_records_one_decision,
    what_is_wrong_with_its_relations_is_refused,
    verdicts_of_the_product_owner_move_its_status,
);

fn request(story: &str) -> pb::AddProjectDecisionRequest {
    pb::AddProjectDecisionRequest {
        story_id: story.to_owned(),
        decision_type: "ARCHITECTURE".into(),
        title: "Use queues".into(),
        rationale: "They decouple.".into(),
        ..Default::default()
    }
}

async fn a_decision_is_recorded_with_all_that_was_said(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&mut replica.client.clone(), story(&replica).await);
    let (one, two) = (
        task(&replica, &story_id, "One").await,
        task(&replica, &story_id, "Two").await,
    );
    let old = client
        .add_project_decision(request(&story_id))
        .await
        .unwrap();
    let old = old.into_inner().decision_id;
    let metadata = [
        ("role", "DEV".to_owned()),
        ("winner", "agent-7".to_owned()),
        ("affects", format!("{one}, {two}")),
        ("supersedes", old.clone()),
    ];
    let before = version(&replica, &story_id).await;
    let new = pb::AddProjectDecisionRequest {
        alternatives_considered: "Polling\n\n Webhooks ".into(),
        metadata: BTreeMap::from(metadata.map(|(name, value)| (name.to_owned(), value))),
        affects: vec![one.clone()],
        ..request(&story_id)
    };
    let new = client.add_project_decision(new).await.unwrap().into_inner();
    assert_eq!(new.version, before + 1);
    let uuid = new.decision_id.strip_prefix("DEC-").unwrap();
    assert_eq!(uuid::Uuid::parse_str(uuid).unwrap().get_version_num(), 7);
    let node = key(Label::Decision, &new.decision_id);
    for (name, expected) in [
        ("title", json!("Use queues")),
        ("rationale", json!("They decouple.")),
        ("decision_type", json!("ARCHITECTURE")),
        ("status", json!("PROPOSED")),
        ("alternatives", json!(["Polling", "Webhooks"])),
        ("author_role", json!("developer")),
        ("author_agent", json!("agent-7")),
    ] {
        assert_eq!(replica.prop(node.clone(), name).await, expected, "{name}");
    }
    let mut affects = replica.ids(node.clone(), EdgeType::Affects).await;
    affects.sort();
    let mut expected = [one, two];
    expected.sort();
    assert_eq!(affects, expected);
    assert_eq!(replica.ids(node, EdgeType::Supersedes).await, [old]);
    let decisions = replica
        .ids(key(Label::Story, &story_id), EdgeType::HasDecision)
        .await;
    assert_eq!(decisions.len(), 2);

    let found = pb::SearchDecisionsRequest {
        query: "queues".into(),
        story_id: story_id.clone(),
        ..Default::default()
    };
    let found = client.search_decisions(found).await.unwrap().into_inner();
    assert_eq!(found.decisions.len(), 2, "what is written is found");
    let context = pb::GetContextRequest {
        story_id,
        role: "architect".into(),
        phase: "DESIGN".into(),
        ..Default::default()
    };
    let context = client.get_context(context).await.unwrap().into_inner();
    assert!(
        context.context.contains("They decouple."),
        "{}",
        context.context
    );
    replica.stop().await;
}

async fn a_repeated_request_records_one_decision(world: &World) {
    let (one, two) = (world.replica().await, world.replica().await);
    let story_id = story(&one).await;
    let repeated = pb::AddProjectDecisionRequest {
        request_id: format!("d {story_id}"),
        ..request(&story_id)
    };
    let calls = (0..8).map(|i| {
        let mut client = if i % 2 == 0 {
            one.client.clone()
        } else {
            two.client.clone()
        };
        let request = repeated.clone();
        async move {
            client
                .add_project_decision(request)
                .await
                .unwrap()
                .into_inner()
        }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    let decisions = one
        .ids(key(Label::Story, &story_id), EdgeType::HasDecision)
        .await;
    assert_eq!(decisions.len(), 1);
    let other = pb::AddProjectDecisionRequest {
        title: "Another".into(),
        ..repeated
    };
    let other = one.client.clone().add_project_decision(other).await;
    refused(other, Code::AlreadyExists, "REQUEST_ID_REUSED", &[]);
    one.stop().await;
    two.stop().await;
}

async fn what_is_wrong_with_its_relations_is_refused(world: &World) {
    let replica = world.replica().await;
    let (story_id, other) = (story(&replica).await, story(&replica).await);
    let theirs = format!("DEC-{other}");
    apply(&replica.client, &other, vec![create(&theirs, "x")])
        .await
        .unwrap();
    let client = &mut replica.client.clone();
    let before = version(&replica, &story_id).await;
    for (supersedes, affects, code, reason) in [
        (
            vec!["DEC-none".to_owned()],
            vec![],
            Code::NotFound,
            "NOT_FOUND",
        ),
        (
            vec![theirs],
            vec![],
            Code::FailedPrecondition,
            "PARENT_MISMATCH",
        ),
        (
            vec![],
            vec!["T-none".to_owned()],
            Code::NotFound,
            "NOT_FOUND",
        ),
    ] {
        let wrong = pb::AddProjectDecisionRequest {
            supersedes,
            affects,
            ..request(&story_id)
        };
        refused(client.add_project_decision(wrong).await, code, reason, &[]);
    }
    assert_eq!(version(&replica, &story_id).await, before);
    replica.stop().await;
}

async fn verdicts_of_the_product_owner_move_its_status(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&mut replica.client.clone(), story(&replica).await);
    let mut planning = replica.planning.clone();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let added = client
            .add_project_decision(request(&story_id))
            .await
            .unwrap();
        ids.push(added.into_inner().decision_id);
    }
    let approve = planning::ApproveDecisionRequest {
        story_id: story_id.clone(),
        decision_id: ids[0].clone(),
        approved_by: "pia".into(),
        ..Default::default()
    };
    planning.approve_decision(approve).await.unwrap();
    let reject = planning::RejectDecisionRequest {
        story_id,
        decision_id: ids[1].clone(),
        rejected_by: "pia".into(),
        reason: "Too dear".into(),
        ..Default::default()
    };
    planning.reject_decision(reject).await.unwrap();
    for (id, status) in ids.iter().zip(["APPROVED", "REJECTED"]) {
        let node = key(Label::Decision, id);
        eventually(status, || async {
            (replica.prop(node.clone(), "status").await == status).then_some(())
        })
        .await;
        assert_eq!(replica.prop(node.clone(), "changed_by_role").await, "po");
        let why = replica.prop(node, "change_reason").await;
        assert!(why.as_str().unwrap().contains("pia"), "{why}");
    }
    replica.stop().await;
}
