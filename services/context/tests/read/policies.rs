//! What a role may not see comes out of no call: markers are planted wherever the policies say
//! no, secrets wherever a text is, and every answer is searched for them.

use fleet_graph::EdgeType;
use fleet_graph::Label;
use fleet_proto::context::v1 as pb;
use serde_json::json;

use crate::seed::{Seed, key};
use crate::world::{Replica, World, ask, on_every_backend};

on_every_backend!(nothing_leaves_that_a_policy_forbids);

const SECRET: &str = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
const PASSWORD: &str = "hunter2-and-more";

/// Everything that a role can get at, as one text.
async fn everything(a: &Replica, story: &str, task: &str, decision: &str, role: &str) -> String {
    let mut client = a.client.clone();
    let mut all = String::new();
    for phase in ["DESIGN", "BUILD", "TEST", "DOC"] {
        for subtask_id in ["", task] {
            let question = pb::GetContextRequest {
                subtask_id: subtask_id.to_owned(),
                include_receipt: true,
                token_budget: 20_000,
                ..ask(story, role, phase)
            };
            if let Ok(answer) = a.get(question).await {
                let hash = answer.hash.clone();
                let receipt = client.get_receipt(pb::GetReceiptRequest { hash }).await;
                all += &format!("{answer:?}{receipt:?}");
            }
        }
    }
    let session = client
        .rehydrate_session(pb::RehydrateSessionRequest {
            case_id: story.to_owned(),
            roles: vec![role.to_owned()],
            include_timeline: true,
            include_summaries: true,
            persist_bundle: true,
            ..pb::RehydrateSessionRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    all += &format!("{session:?}");
    let bundle_id = session.bundle_id;
    let again = pb::RehydrateSessionRequest {
        bundle_id,
        ..pb::RehydrateSessionRequest::default()
    };
    all += &format!("{:?}", client.rehydrate_session(again).await.unwrap());
    for (node_type, node_id) in [("Story", story), ("Task", task), ("Decision", decision)] {
        let near = client
            .get_graph_relationships(pb::GetGraphRelationshipsRequest {
                node_id: node_id.to_owned(),
                node_type: node_type.to_owned(),
                depth: 3,
                role: role.to_owned(),
                max_nodes: 1_000,
            })
            .await;
        all += &format!("{:?}", near.unwrap());
    }
    for query in ["marker", "password", "decision", "title", "hunter2"] {
        for story_id in ["", story] {
            let found = client
                .search_decisions(pb::SearchDecisionsRequest {
                    query: query.to_owned(),
                    story_id: story_id.to_owned(),
                    role: role.to_owned(),
                    limit: 100,
                })
                .await;
            all += &format!("{:?}", found.unwrap());
        }
    }
    all
}

async fn nothing_leaves_that_a_policy_forbids(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let story = format!("s-{}", world.tag);
    let mut seed = Seed::story(&*store, &story).await;
    let task = format!("T-{}", world.tag);
    let decision = format!("DEC-{}", world.tag);
    let tainted = format!("password={PASSWORD} and {SECRET} but decision words stay");
    seed.task(&task, "qa", &[]).await;
    seed.run(
        &task,
        json!({"feedback": tainted, "work_summary": tainted, "claim_principal": "hidden-marker"}),
    )
    .await;
    seed.plan(&format!("PL-{}", world.tag), 1, "plan-comment-marker")
        .await;
    seed.decision(
        &decision,
        1,
        json!({
            "rationale": tainted, "title": format!("decision {SECRET}"),
            "alternatives": ["alternatives-marker", tainted], "author_agent": "agent-marker",
            "change_reason": "never-shown-marker",
        }),
    )
    .await;
    seed.relate(&decision, EdgeType::Affects, key(Label::Task, &*task))
        .await;
    seed.milestone("m-1", 1, &tainted).await;
    seed.summary("sum-1", 1, &tainted).await;

    // Another story, whose decision only some may see.
    let other = format!("s-{}-other", world.tag);
    let mut foreign = Seed::story(&*store, &other).await;
    let of_other = format!("DEC-{}-other", world.tag);
    let quality = json!({"decision_type": "QUALITY", "title": "foreign-marker decision"});
    foreign.decision(&of_other, 1, quality).await;
    seed.relate(
        &decision,
        EdgeType::DependsOn,
        key(Label::Decision, &*of_other),
    )
    .await;

    for (role, hidden) in [
        (
            "qa",
            &[
                "alternatives-marker",
                "agent-marker",
                "plan-comment-marker",
                "foreign-marker",
            ][..],
        ),
        ("developer", &["agent-marker", "foreign-marker"][..]),
        ("architect", &["foreign-marker"][..]),
        ("po", &[][..]),
    ] {
        let all = everything(&a, &story, &task, &decision, role).await;
        assert!(
            all.contains("decision words stay"),
            "{role}: something is told"
        );
        assert!(all.contains("[REDACTED"), "{role}");
        for never in [SECRET, PASSWORD, "never-shown-marker", "hidden-marker"] {
            assert!(!all.contains(never), "{role} got {never}");
        }
        for marker in hidden {
            assert!(!all.contains(marker), "{role} got {marker}");
        }
        if hidden.is_empty() {
            assert!(all.contains("foreign-marker") && all.contains("alternatives-marker"));
        }
    }
    // What redaction hides is not found by searching for it either; what a column hides is not.
    for (role, query, found) in [
        ("po", "hunter2", 0),
        ("qa", "alternatives marker", 0),
        ("developer", "alternatives marker", 1),
    ] {
        let answer = a
            .client
            .clone()
            .search_decisions(pb::SearchDecisionsRequest {
                query: query.to_owned(),
                story_id: story.clone(),
                role: role.to_owned(),
                limit: 0,
            })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(answer.decisions.len(), found, "{role} {query}");
    }
    a.stop().await;
}
