//! UpdateContext: what it writes, all of it or nothing.

use fleet_graph::{EdgeType, Label};
use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;
use serde_json::json;
use tonic::Code;

use crate::ask::{apply, change, create, fields, key, refused, story, task, update, version};
use crate::world::{Replica, World, eventually, on_every_backend};

on_every_backend!(
    what_is_created_is_there_with_its_parents_and_its_news,
    things_are_created_changed_and_deleted_for_good,
    the_record_of_a_change_is_nobodys_to_change,
    records_of_changes_are_no_milestones,
    one_wrong_change_and_nothing_happens,
    the_status_of_a_decision_follows_its_machine,
    the_product_owners_verdict_holds_from_the_moment_it_is_taken,
    the_same_changes_have_the_same_hash,
    two_hundred_changes_are_one_commit_and_more_are_refused,
);

async fn what_is_created_is_there_with_its_parents_and_its_news(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let task_id = task(&replica, &story_id, "Write the export").await;
    let mut heard = replica.listen_to_context().await;
    let before = version(&replica, &story_id).await;
    let id = format!("DEC-{story_id}");
    let payload = json!({
        "title": "Use queues; password=hunter2hunter2",
        "rationale": "They decouple.",
        "decision_type": "ARCHITECTURE token=hunter2hunter2",
        "alternatives": ["Polling"],
        "affects": [task_id],
    });
    let mut request = update(
        &story_id,
        vec![
            change("CREATE", "DECISION", &id, &payload),
            change(
                "CREATE",
                "MILESTONE",
                "m-1",
                &json!({"description": "Shown to users"}),
            ),
            change("UPSERT", "SUMMARY", "sum-1", &json!({"text": "Half done."})),
        ],
    );
    request.changes[0].reason = "Load".into();
    request.task_id.clone_from(&task_id);
    request.timestamp = "2026-01-02T03:04:05".into();
    let answer = replica.client.clone().update_context(request).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(i64::from(answer.version), before + 1);
    assert_eq!(answer.hash.len(), 16);
    assert_eq!(answer.warnings, Vec::<String>::new());

    let parent = key(Label::Story, &story_id);
    assert_eq!(
        replica.ids(parent.clone(), EdgeType::HasDecision).await,
        [id.as_str()]
    );
    assert_eq!(
        replica.ids(parent.clone(), EdgeType::HasSummary).await,
        [format!("{story_id}/sum-1")]
    );
    let decision = key(Label::Decision, &id);
    assert_eq!(
        replica.ids(decision.clone(), EdgeType::Affects).await,
        [task_id.as_str()]
    );
    for (name, expected) in [
        ("story_id", json!(story_id)),
        ("status", json!("PROPOSED")),
        ("author_role", json!("architect")),
        ("changed_by_role", json!("architect")),
        ("change_reason", json!("Load")),
        ("stated_at", json!("2026-01-02T03:04:05.000Z")),
        ("task_id", json!(task_id)),
        ("alternatives", json!(["Polling"])),
        ("rationale", json!("They decouple.")),
    ] {
        assert_eq!(
            replica.prop(decision.clone(), name).await,
            expected,
            "{name}"
        );
    }
    assert!(
        replica
            .prop(decision.clone(), "tokens_rationale")
            .await
            .as_u64()
            > Some(2)
    );
    let counted_by = replica.prop(decision, "tokens_by").await;
    assert!(
        counted_by.as_str().unwrap().starts_with("o200k"),
        "{counted_by}"
    );

    let events = replica.children(parent, EdgeType::HasRecord).await;
    let records: Vec<_> = events
        .iter()
        .filter(|node| node.props["event_type"] == "context_updated")
        .collect();
    assert_eq!(records.len(), 1, "one record of one call");
    let record = &records[0].props;
    let words = record["description"].as_str().unwrap();
    assert_eq!(
        words,
        format!("created decision {id}: Load; created milestone m-1; created summary sum-1")
    );
    assert_eq!(
        (&record["actor_role"], &record["change_reason"]),
        (&json!("architect"), &json!("Load"))
    );

    let said = heard
        .until("context.events.updated", |body| {
            body["version"] == answer.version
        })
        .await;
    assert_eq!(said.body["hash"], answer.hash);
    assert_eq!(
        said.body["changed"],
        json!([format!("decision:{id}"), "milestone:m-1", "summary:sum-1"])
    );
    assert_eq!(said.aggregate_version, before + 1);
    let said = heard
        .until("context.decision.added", |body| body["decision_id"] == id)
        .await;
    let title = said.body["title"].as_str().unwrap();
    assert!(
        title.starts_with("Use queues") && !title.contains("hunter2"),
        "{title}"
    );
    let kind = said.body["decision_type"].as_str().unwrap();
    assert!(kind.starts_with("ARCHITECTURE"), "{kind}");
    assert!(!said.body.to_string().contains("hunter2"), "{}", said.body);
    assert_eq!(said.body["affects"], json!([task_id]));
    replica.stop().await;
}

async fn things_are_created_changed_and_deleted_for_good(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let id = format!("DEC-{story_id}");
    let kinds = [
        ("DECISION", id.as_str(), "title", key(Label::Decision, &id)),
        (
            "MILESTONE",
            "m-1",
            "description",
            key(Label::Event, &format!("{story_id}/m-1")),
        ),
        (
            "SUMMARY",
            "x-1",
            "text",
            key(Label::Summary, &format!("{story_id}/x-1")),
        ),
    ];
    for (kind, id, field, node) in kinds {
        let one = |operation: &str, text: &str| {
            let payload = match text {
                "" => json!(null),
                text => json!({field: text}),
            };
            vec![change(operation, kind, id, &payload)]
        };
        for operation in ["UPDATE", "DELETE"] {
            let text = if operation == "UPDATE" { "x" } else { "" };
            let missing = apply(client, &story_id, one(operation, text)).await;
            refused(missing, Code::NotFound, "NOT_FOUND", &[id]);
        }
        apply(client, &story_id, one("UPSERT", "one"))
            .await
            .unwrap();
        let taken = apply(client, &story_id, one("CREATE", "two")).await;
        refused(
            taken,
            Code::AlreadyExists,
            "ALREADY_EXISTS",
            &["changes[0]", id],
        );
        apply(client, &story_id, one("UPDATE", "two"))
            .await
            .unwrap();
        assert_eq!(replica.prop(node.clone(), field).await, "two");
        let at = version(&replica, &story_id).await;
        let same = apply(client, &story_id, one("UPSERT", "two"))
            .await
            .unwrap();
        assert_eq!(i64::from(same.version), at, "nothing changed");
        assert_eq!(same.warnings.len(), 1, "{same:?}");
        apply(client, &story_id, one("UPSERT", "three"))
            .await
            .unwrap();
        assert_eq!(replica.prop(node.clone(), field).await, "three");
        apply(client, &story_id, one("DELETE", "")).await.unwrap();
        assert_eq!(
            replica.prop(node.clone(), field).await,
            "",
            "the trace says nothing"
        );
        assert!(replica.prop(node, "deleted_at").await.is_string());
        for (operation, text) in [("UPDATE", "x"), ("UPSERT", "x"), ("DELETE", "")] {
            let gone = apply(client, &story_id, one(operation, text)).await;
            refused(
                gone,
                Code::FailedPrecondition,
                "DELETED",
                &["changes[0]", id],
            );
        }
        let taken = apply(client, &story_id, one("CREATE", "x")).await;
        refused(taken, Code::AlreadyExists, "ALREADY_EXISTS", &[id]);
    }
    replica.stop().await;
}

async fn the_record_of_a_change_is_nobodys_to_change(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    apply(
        client,
        &story_id,
        vec![create(&format!("DEC-{story_id}"), "x")],
    )
    .await
    .unwrap();
    let events = replica
        .children(key(Label::Story, &story_id), EdgeType::HasRecord)
        .await;
    let mut records = events
        .iter()
        .filter(|node| node.props["event_type"] == "context_updated");
    let record = records.next().unwrap().props["event_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let before = version(&replica, &story_id).await;
    for (operation, payload) in [
        ("UPDATE", json!({"description": "nothing happened"})),
        ("UPSERT", json!({"description": "nothing happened"})),
        ("DELETE", json!(null)),
    ] {
        let tampered = vec![change(operation, "MILESTONE", &record, &payload)];
        let tampered = apply(client, &story_id, tampered).await;
        refused(
            tampered,
            Code::FailedPrecondition,
            "RECORD_KEPT",
            &["changes[0]", &record],
        );
    }
    assert_eq!(version(&replica, &story_id).await, before);
    replica.stop().await;
}

async fn one_wrong_change_and_nothing_happens(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let id = format!("DEC-{story_id}");
    let before = version(&replica, &story_id).await;
    let wrong = [
        change("UPDATE", "SUMMARY", "none", &json!({"text": "x"})),
        change("UPSERT", "SUMMARY", "new", &json!({"text": 1})),
        change(
            "CREATE",
            "DECISION",
            "DEC-other",
            &json!({"title": "x", "affects": ["T-none"]}),
        ),
        change(
            "CREATE",
            "DECISION",
            "DEC-other",
            &json!({"title": "x", "status": "IMPLEMENTED"}),
        ),
        change("UPSERT", "MILESTONE", "new", &json!({"event_type": "x"})),
    ];
    for wrong in wrong {
        let outcome = apply(client, &story_id, vec![create(&id, "Good"), wrong.clone()]).await;
        assert!(outcome.is_err(), "{wrong:?}");
        assert_eq!(version(&replica, &story_id).await, before);
        assert!(
            replica.node(key(Label::Decision, &id)).await.is_none(),
            "{wrong:?}"
        );
    }
    // What can only be seen with the store is named by its place, too.
    let upsert = change("UPSERT", "MILESTONE", "new", &json!({"event_type": "x"}));
    let found = fields(apply(client, &story_id, vec![create(&id, "Good"), upsert]).await);
    assert_eq!(found[0].0, "changes[1].payload.description");
    replica.stop().await;
}

async fn the_status_of_a_decision_follows_its_machine(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let to =
        |id: &str, status: &str| vec![change("UPDATE", "DECISION", id, &json!({"status": status}))];
    let paths: [&[&str]; 3] = [
        &["REJECTED"],
        &["APPROVED", "DEPRECATED"],
        &["approved", "IMPLEMENTED", "DEPRECATED"],
    ];
    for (i, path) in paths.into_iter().enumerate() {
        let id = format!("DEC-{story_id}-{i}");
        apply(client, &story_id, vec![create(&id, "x")])
            .await
            .unwrap();
        let skipped = apply(client, &story_id, to(&id, "IMPLEMENTED")).await;
        let facts = refused(
            skipped,
            Code::FailedPrecondition,
            "DECISION_STATE",
            &[
                "changes[0].payload.status",
                &id,
                "PROPOSED",
                "APPROVED or REJECTED",
            ],
        );
        assert_eq!(facts["current_status"], "PROPOSED");
        assert_eq!(facts["allowed"], "APPROVED,REJECTED");
        for status in path {
            apply(client, &story_id, to(&id, status)).await.unwrap();
        }
        let back = apply(client, &story_id, to(&id, "PROPOSED")).await;
        refused(back, Code::FailedPrecondition, "DECISION_STATE", &["final"]);
        let found = replica.prop(key(Label::Decision, &id), "status").await;
        assert_eq!(found, path.last().unwrap().to_ascii_uppercase());
    }
    let born = change(
        "CREATE",
        "DECISION",
        "DEC-born",
        &json!({"title": "x", "status": "APPROVED"}),
    );
    let born = apply(client, &story_id, vec![born]).await;
    refused(
        born,
        Code::FailedPrecondition,
        "DECISION_STATE",
        &["new", "PROPOSED"],
    );
    replica.stop().await;
}

async fn approve(replica: &Replica, story: &str, decision: &str) {
    let approve = planning::ApproveDecisionRequest {
        story_id: story.to_owned(),
        decision_id: decision.to_owned(),
        approved_by: "pia".into(),
        ..Default::default()
    };
    let mut planning = replica.planning.clone();
    planning.approve_decision(approve).await.unwrap();
}

async fn reject(replica: &Replica, story: &str, decision: &str) {
    let reject = planning::RejectDecisionRequest {
        story_id: story.to_owned(),
        decision_id: decision.to_owned(),
        rejected_by: "pia".into(),
        reason: "Too dear".into(),
        ..Default::default()
    };
    let mut planning = replica.planning.clone();
    planning.reject_decision(reject).await.unwrap();
}

async fn the_product_owners_verdict_holds_from_the_moment_it_is_taken(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let task_id = task(&replica, &story_id, "Write the export").await;
    let one =
        |id: &str, payload: serde_json::Value| vec![change("UPDATE", "DECISION", id, &payload)];
    let is = |id: &str, status: &'static str| {
        let (node, replica) = (key(Label::Decision, id), &replica);
        async move {
            eventually(status, || async {
                (replica.prop(node.clone(), "status").await == status).then_some(())
            })
            .await;
        }
    };
    let (good, bad) = (format!("DEC-{story_id}-1"), format!("DEC-{story_id}-2"));
    let both = vec![create(&good, "Use queues"), create(&bad, "Use pigeons")];
    apply(client, &story_id, both).await.unwrap();
    // The words are still open.
    let better = one(&good, json!({"title": "Use queues only"}));
    apply(client, &story_id, better).await.unwrap();

    approve(&replica, &story_id, &good).await;
    reject(&replica, &story_id, &bad).await;
    // From the very moment, heard or not.
    for (id, status) in [(&good, "REJECTED"), (&bad, "APPROVED")] {
        let other = apply(client, &story_id, one(id, json!({"status": status}))).await;
        refused(other, Code::FailedPrecondition, "DECISION_STATE", &[id]);
        for words in [
            json!({"title": "x"}),
            json!({"rationale": "x"}),
            json!({"decision_type": "x"}),
            json!({"alternatives": ["x"]}),
        ] {
            let other = apply(client, &story_id, one(id, words)).await;
            let reason = "DECISION_CONTRADICTED";
            refused(other, Code::FailedPrecondition, reason, &["changes[0]", id]);
        }
    }
    is(&good, "APPROVED").await;
    is(&bad, "REJECTED").await;
    let said = json!({"status": "IMPLEMENTED", "affects": [task_id]});
    apply(client, &story_id, one(&good, said)).await.unwrap();
    let node = key(Label::Decision, &good);
    assert_eq!(replica.prop(node.clone(), "title").await, "Use queues only");
    assert_eq!(replica.ids(node, EdgeType::Affects).await, [task_id]);
    is(&good, "IMPLEMENTED").await;
    replica.stop().await;
}

async fn records_of_changes_are_no_milestones(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let mut first = vec![
        create(&format!("DEC-{story_id}-first"), "x"),
        change(
            "CREATE",
            "MILESTONE",
            "m-1",
            &json!({"description": "Shown to users"}),
        ),
    ];
    first[0].reason = "A".into();
    first[1].reason = "B".into();
    apply(client, &story_id, first).await.unwrap();
    for i in 0..12 {
        let one = create(&format!("DEC-{story_id}-{i}"), "x");
        apply(client, &story_id, vec![one]).await.unwrap();
    }
    let packs = pb::RehydrateSessionRequest {
        case_id: story_id.clone(),
        roles: vec!["architect".into()],
        include_timeline: true,
        ..Default::default()
    };
    let packs = client.clone().rehydrate_session(packs).await.unwrap();
    let packs = packs.into_inner();
    let told = &packs.packs["architect"].milestones;
    let told: Vec<&str> = told.iter().map(|m| m.event_type.as_str()).collect();
    assert_eq!(told, ["story_created", "milestone"]);
    assert_eq!(packs.stats.unwrap().events, 2);
    let context = pb::GetContextRequest {
        story_id: story_id.clone(),
        role: "architect".into(),
        phase: "DESIGN".into(),
        ..Default::default()
    };
    let context = client.clone().get_context(context).await.unwrap();
    let context = context.into_inner().context;
    assert!(context.contains("Shown to users"), "{context}");
    assert!(!context.contains("created decision"), "{context}");
    // Who did what, in which role and why is kept all the same.
    let parent = key(Label::Story, &story_id);
    let records = replica.children(parent, EdgeType::HasRecord).await;
    assert_eq!(records.len(), 13);
    let words = format!("created decision DEC-{story_id}-first: A; created milestone m-1: B");
    let record = records.iter().find(|r| r.props["description"] == *words);
    assert_eq!(record.unwrap().props["actor_role"], "architect");
    replica.stop().await;
}

async fn the_same_changes_have_the_same_hash(world: &World) {
    let replica = world.replica().await;
    let (one, two) = (story(&replica).await, story(&replica).await);
    let changes = |text: &str| {
        vec![
            change("UPSERT", "SUMMARY", "a", &json!({"text": text})),
            change("UPSERT", "MILESTONE", "b", &json!({"description": "y"})),
        ]
    };
    let first = apply(&replica.client, &one, changes("x")).await.unwrap();
    let mut turned = changes("x");
    turned.reverse();
    let second = apply(&replica.client, &two, turned).await.unwrap();
    assert_eq!(first.hash, second.hash, "in any order, anywhere");
    let other = apply(&replica.client, &one, changes("z")).await.unwrap();
    assert_ne!(first.hash, other.hash);
    replica.stop().await;
}

async fn two_hundred_changes_are_one_commit_and_more_are_refused(world: &World) {
    let replica = world.replica().await;
    let (client, story_id) = (&replica.client, story(&replica).await);
    let before = version(&replica, &story_id).await;
    let many = |n: usize| -> Vec<_> {
        (0..n)
            .map(|i| create(&format!("DEC-{story_id}-{i}"), "x"))
            .collect()
    };
    for n in [201, 10_000] {
        let found = fields(apply(client, &story_id, many(n)).await);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, "changes");
        assert!(found[0].1.contains(&n.to_string()), "{found:?}");
    }
    assert_eq!(version(&replica, &story_id).await, before, "refused whole");
    let answer = apply(client, &story_id, many(200)).await.unwrap();
    assert_eq!(i64::from(answer.version), before + 1);
    let parent = key(Label::Story, &story_id);
    assert_eq!(replica.ids(parent, EdgeType::HasDecision).await.len(), 200);
    // Relations count, too: more than a commit holds is refused, not half done.
    let ends =
        |n: usize| -> Vec<String> { (0..n).map(|i| format!("DEC-{story_id}-{i}")).collect() };
    let with_ends = |n: usize| -> Vec<_> {
        let payload = json!({"title": "x", "depends_on": ends(n)});
        let id = |i: usize| format!("DEC-{story_id}-new-{i}");
        (0..200)
            .map(|i| change("CREATE", "DECISION", &id(i), &payload))
            .collect()
    };
    for (n, part) in [(50, "name 10000 relations"), (8, "more than one commit")] {
        let found = fields(apply(client, &story_id, with_ends(n)).await);
        assert_eq!(found[0].0, "changes");
        assert!(found[0].1.contains(part), "{found:?}");
    }
    assert_eq!(version(&replica, &story_id).await, before + 1);
    replica.stop().await;
}
