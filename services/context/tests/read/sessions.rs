//! RehydrateSession: every field is true, bundles are kept and given again.

use fleet_graph::EdgeType;
use fleet_graph::Label;
use fleet_proto::context::v1 as pb;
use serde_json::json;

use crate::seed::{Seed, at, key};
use crate::world::{World, on_every_backend};

on_every_backend!(a_pack_tells_what_a_role_needs, a_bundle_is_given_again);

async fn a_pack_tells_what_a_role_needs(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let task = |n: usize| format!("T-{}-{n}", world.tag);
    let dec = |n: usize| format!("DEC-{}-{n}", world.tag);
    seed.task(&task(1), "developer", &[]).await;
    seed.task(&task(2), "developer", &[&task(1)]).await;
    seed.task(&task(3), "qa", &[&task(2)]).await;
    seed.run(&task(1), json!({"state": "done"})).await;
    seed.run(&task(2), json!({"state": "implementing"})).await;
    seed.plan(&format!("PL-{}-1", world.tag), 1, "the first")
        .await;
    seed.plan(&format!("PL-{}-2", world.tag), 2, "the second")
        .await;
    for n in 0..12 {
        seed.decision(&dec(n), n, json!({})).await;
    }
    seed.relate(&dec(3), EdgeType::Affects, key(Label::Task, task(2)))
        .await;
    seed.relate(&dec(3), EdgeType::DependsOn, key(Label::Decision, dec(1)))
        .await;
    seed.relate(&dec(1), EdgeType::Supersedes, key(Label::Decision, dec(0)))
        .await;
    for n in 0..60 {
        seed.milestone(&format!("m-{n:02}"), n, &format!("event {n}"))
            .await;
    }
    seed.summary("old", 1, "the old summary").await;
    seed.summary("new", 2, "the new summary").await;

    let answer = a
        .client
        .clone()
        .rehydrate_session(pb::RehydrateSessionRequest {
            case_id: seed.story.clone(),
            roles: vec![
                "DEV".to_owned(),
                "devops".to_owned(),
                "PRODUCT_OWNER".to_owned(),
            ],
            include_timeline: true,
            include_summaries: true,
            ..pb::RehydrateSessionRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(answer.case_id, seed.story);
    assert!(answer.generated_at_ms > 1_700_000_000_000);
    assert_eq!(answer.bundle_id, "");
    assert_eq!(answer.warnings, Vec::<String>::new());
    let stats = answer.stats.unwrap();
    assert_eq!((stats.decisions, stats.decision_edges), (12, 2));
    assert_eq!((stats.impacts, stats.events), (1, 60));
    assert_eq!(stats.roles, ["developer", "po", "devops"]);

    let developer = &answer.packs["developer"];
    let header = developer.case_header.as_ref().unwrap();
    assert_eq!(header.title, format!("Title of {}", seed.story));
    assert_eq!(header.description, "Who wants what, and why");
    assert_eq!(
        (header.status.as_str(), header.phase.as_str()),
        ("IN_PROGRESS", "DESIGN")
    );
    assert_eq!(header.acceptance_criteria, ["it works", "it is fast"]);
    assert_eq!(header.constraints, ["no downtime"]);
    assert_eq!(header.created_by, "", "not the developer's to see");
    let plan = developer.plan_header.as_ref().unwrap();
    assert_eq!((plan.version, plan.status.as_str()), (2, "APPROVED"));
    assert_eq!((plan.total_subtasks, plan.completed_subtasks), (3, 1));
    assert_eq!(plan.rationale, "the second");
    let tasks: Vec<_> = developer
        .subtasks
        .iter()
        .map(|t| t.subtask_id.clone())
        .collect();
    assert_eq!(tasks, [task(1), task(2)]);
    let second = &developer.subtasks[1];
    assert_eq!(
        (second.status.as_str(), second.role.as_str()),
        ("implementing", "developer")
    );
    assert_eq!(second.dependencies, [task(1)]);
    assert_eq!(second.description, format!("What to do in {}", task(2)));
    assert_eq!(second.priority, 1);
    assert_eq!(developer.decisions.len(), 1);
    let decision = &developer.decisions[0];
    assert_eq!((&decision.id, &decision.affects), (&dec(3), &vec![task(2)]));
    assert_eq!(decision.rationale, format!("Why {}", dec(3)));
    assert_eq!(
        (decision.decided_by.as_str(), &decision.decided_at),
        ("architect", &at(103))
    );
    assert_eq!(decision.alternatives, ["do nothing"]);
    assert_eq!(developer.decision_deps.len(), 1);
    let relation = &developer.decision_deps[0];
    assert_eq!(
        (&relation.dst_id, relation.relation_type.as_str()),
        (&dec(1), "DEPENDS_ON")
    );
    assert_eq!(developer.impacted.len(), 1);
    assert_eq!(developer.impacted[0].title, format!("Title of {}", task(2)));
    assert_eq!(developer.milestones.len(), 50);
    let (first, last) = (&developer.milestones[0], &developer.milestones[49]);
    assert_eq!(
        (first.id.as_str(), last.id.as_str()),
        ("m-10", "m-59"),
        "oldest first"
    );
    assert_eq!(
        (last.event_type.as_str(), last.description.as_str()),
        ("plan_approved", "event 59")
    );
    assert!(first.ts_ms > 0 && first.ts_ms < last.ts_ms);
    assert_eq!(last.actor, "po", "the person is not the developer's to see");
    assert_eq!(developer.last_summary, "the new summary");
    assert!(developer.token_budget_hint >= 4096 + 2 * 256);

    let devops = &answer.packs["devops"];
    assert!(devops.subtasks.is_empty() && devops.impacted.is_empty());
    assert_eq!(devops.decisions.len(), 10, "the newest stand in");
    assert_eq!(devops.decisions[0].id, dec(11));
    let po = &answer.packs["po"];
    assert_eq!(po.subtasks.len(), 3);
    assert_eq!(po.case_header.as_ref().unwrap().created_by, "ana");
    assert_eq!(po.milestones[0].actor, "pia");
    a.stop().await;
}

async fn a_bundle_is_given_again(world: &World) {
    let (a, b) = (world.replica().await, world.replica().await);
    let store = world.backends().await.store;
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let request = |persist_bundle| pb::RehydrateSessionRequest {
        case_id: seed.story.clone(),
        roles: vec!["qa".to_owned()],
        persist_bundle,
        ..pb::RehydrateSessionRequest::default()
    };
    let mut client = a.client.clone();
    let made = client
        .rehydrate_session(request(true))
        .await
        .unwrap()
        .into_inner();
    let other = client
        .rehydrate_session(request(true))
        .await
        .unwrap()
        .into_inner();
    assert!(made.bundle_id.starts_with("HB-"));
    assert_ne!(made.bundle_id, other.bundle_id, "never written over");
    seed.decision(&format!("DEC-{}", world.tag), 1, json!({}))
        .await;
    b.store.trips();
    let again = pb::RehydrateSessionRequest {
        bundle_id: made.bundle_id.clone(),
        ..pb::RehydrateSessionRequest::default()
    };
    let kept = b
        .client
        .clone()
        .rehydrate_session(again)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(kept, made, "as it was");
    assert_eq!(b.store.trips(), 0);
    a.stop().await;
    b.stop().await;
}
