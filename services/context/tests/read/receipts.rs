//! Receipts, scopes and why something is not there.

use fleet_graph::EdgeType;
use fleet_graph::Label;
use fleet_proto::context::v1 as pb;
use serde_json::json;
use tonic::Code;

use crate::seed::{Seed, key};
use crate::world::{World, ask, code, on_every_backend};

on_every_backend!(
    a_receipt_is_found_by_its_hash,
    what_is_not_told_is_explained,
    scopes_are_compared_strictly,
);

async fn a_receipt_is_found_by_its_hash(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let question = pb::GetContextRequest {
        include_receipt: true,
        ..ask(&seed.story, "qa", "TEST")
    };
    let answer = a.must(question).await;
    let receipt = answer.receipt.clone().unwrap();
    assert_eq!(receipt.hash, answer.hash);
    assert!(answer.hash.starts_with(&answer.version) && answer.version.len() == 16);
    assert_eq!(receipt.graph_version, answer.graph_version);
    assert_eq!(
        (receipt.token_count, receipt.token_budget),
        (answer.token_count, answer.token_budget)
    );
    assert!(receipt.head_tokens > 0 && receipt.head_tokens <= receipt.token_count);
    for hash in [&answer.hash, &answer.version, &answer.hash.to_uppercase()] {
        let found = a
            .client
            .clone()
            .get_receipt(pb::GetReceiptRequest { hash: hash.clone() })
            .await
            .unwrap()
            .into_inner();
        assert_eq!(found.receipt.as_ref(), Some(&receipt));
        assert_eq!(found.context, answer.context);
    }
    for (hash, refused) in [
        ("0".repeat(64), Code::NotFound),
        ("0".repeat(63), Code::InvalidArgument),
        ("g".repeat(16), Code::InvalidArgument),
        (String::new(), Code::InvalidArgument),
    ] {
        let answer = a
            .client
            .clone()
            .get_receipt(pb::GetReceiptRequest { hash })
            .await;
        assert_eq!(code(answer), refused);
    }
    // The budget is what the head takes, or more.
    let tight = |token_budget| pb::GetContextRequest {
        token_budget,
        ..ask(&seed.story, "qa", "TEST")
    };
    let refused = a.get(tight(receipt.head_tokens - 1)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let words = refused.message();
    assert!(
        words.contains("token_budget") && words.contains(&receipt.head_tokens.to_string()),
        "{words}"
    );
    let least = a.must(tight(receipt.head_tokens)).await;
    assert_eq!(least.token_count, receipt.head_tokens);
    a.stop().await;
}

async fn what_is_not_told_is_explained(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let (mine, others) = (format!("T-{}-a", world.tag), format!("T-{}-b", world.tag));
    seed.task(&mine, "developer", &[]).await;
    seed.task(&others, "devops", &[]).await;
    let id = |n: usize| format!("DEC-{}-{n}", world.tag);
    seed.decision(&id(0), 0, json!({})).await;
    seed.decision(&id(1), 1, json!({})).await;
    seed.relate(&id(0), EdgeType::Affects, key(Label::Task, &*mine))
        .await;
    seed.relate(&id(1), EdgeType::Affects, key(Label::Task, &*others))
        .await;
    seed.decision(&id(2), 2, json!({})).await;
    seed.relate(&id(2), EdgeType::Supersedes, key(Label::Decision, id(0)))
        .await;
    seed.milestone("m-1", 1, "something").await;
    let explain = async |role: &str, phase: &str, kind: &str, node: String| {
        let request = pb::ExplainScopeRequest {
            role: role.to_owned(),
            phase: phase.to_owned(),
            node_id: node,
            node_type: kind.to_owned(),
            ..pb::ExplainScopeRequest::default()
        };
        a.client
            .clone()
            .explain_scope(request)
            .await
            .map(|a| a.into_inner())
    };
    for (role, phase, kind, node, visible, rule, exclusion) in [
        (
            "developer",
            "BUILD",
            "Story",
            seed.story.clone(),
            true,
            "none",
            "",
        ),
        ("developer", "BUILD", "Task", mine.clone(), true, "none", ""),
        (
            "developer",
            "BUILD",
            "Task",
            others.clone(),
            false,
            "scope",
            "OUT_OF_SCOPE",
        ),
        (
            "architect",
            "BUILD",
            "Task",
            others.clone(),
            true,
            "none",
            "",
        ),
        (
            "architect",
            "DESIGN",
            "Decision",
            id(0),
            false,
            "none",
            "SUPERSEDED",
        ),
        ("architect", "DESIGN", "Decision", id(2), true, "none", ""),
        (
            "data",
            "TEST",
            "Decision",
            id(2),
            false,
            "scope",
            "OUT_OF_SCOPE",
        ),
        (
            "developer",
            "BUILD",
            "Event",
            format!("{}/m-1", seed.story),
            false,
            "scope",
            "OUT_OF_SCOPE",
        ),
        (
            "architect",
            "BUILD",
            "Event",
            format!("{}/m-1", seed.story),
            true,
            "none",
            "",
        ),
    ] {
        let told = explain(role, phase, kind, node.clone()).await.unwrap();
        let context = format!("{role} {phase} {kind} {node}: {told:?}");
        assert_eq!(told.visible, visible, "{context}");
        assert_eq!(
            (told.rule.as_str(), told.exclusion.as_str()),
            (rule, exclusion),
            "{context}"
        );
        assert!(!told.reason.is_empty());
        if visible {
            assert!(
                !told.scopes.is_empty() && !told.columns.is_empty(),
                "{context}"
            );
        }
    }
    seed.summary("sum-1", 1, "all of it").await;
    let own = format!("{}/1", seed.story);
    let row = json!({"transition_id": own, "story_id": seed.story, "seq": 1,
        "from_phase": "DESIGN", "to_phase": "BUILD", "rationale": "it is designed",
        "actor": "pia", "at": crate::seed::at(400)});
    let story = key(Label::Story, seed.story.as_str());
    seed.apply(|commit| {
        let step = key(Label::PhaseTransition, &*own);
        commit
            .create(step.clone(), format!("{:012}", 1), crate::seed::props(row))
            .relate(story, EdgeType::HasPhase, step);
    })
    .await;
    let of_story = async |kind: &str, node: &str, story: &str| {
        let request = pb::ExplainScopeRequest {
            role: "architect".to_owned(),
            phase: "BUILD".to_owned(),
            node_id: node.to_owned(),
            node_type: kind.to_owned(),
            subtask_id: String::new(),
            story_id: story.to_owned(),
        };
        a.client.clone().explain_scope(request).await
    };
    // By the id that receipts give, with the story; or by the one that the graph gives.
    for (kind, id) in [
        ("Event", "m-1"),
        ("Summary", "sum-1"),
        ("PhaseTransition", "1"),
    ] {
        let whole = format!("{}/{id}", seed.story);
        for (node, story) in [(id, &*seed.story), (&*whole, ""), (&*whole, &*seed.story)] {
            let told = of_story(kind, node, story).await.unwrap().into_inner();
            assert!(
                told.visible || told.rule == "scope",
                "{kind} {node}: {told:?}"
            );
        }
        let elsewhere = of_story(kind, id, "s-elsewhere").await;
        assert_eq!(code(elsewhere), Code::NotFound);
        let unsaid = of_story(kind, id, "").await.unwrap_err();
        assert_eq!(unsaid.code(), Code::InvalidArgument);
        assert!(
            unsaid.message().contains("story_id"),
            "{}",
            unsaid.message()
        );
    }
    let no_number = of_story("PhaseTransition", "first", &seed.story).await;
    assert_eq!(code(no_number), Code::InvalidArgument);
    let gone = explain("qa", "TEST", "Decision", "DEC-nobody".to_owned()).await;
    assert_eq!(code(gone), Code::NotFound);
    let unknown = explain("qa", "LUNCH", "Cake", String::new()).await;
    assert_eq!(code(unknown), Code::InvalidArgument);
    a.stop().await;
}

async fn scopes_are_compared_strictly(world: &World) {
    let a = world.replica().await;
    let compare = async |role: &str, phase: &str, scopes: &[&str]| {
        let request = pb::ValidateScopeRequest {
            role: role.to_owned(),
            phase: phase.to_owned(),
            provided_scopes: scopes.iter().map(|s| (*s).to_owned()).collect(),
        };
        a.client
            .clone()
            .validate_scope(request)
            .await
            .map(|a| a.into_inner())
    };
    let same = compare(
        "DEV",
        "test",
        &["SUBTASKS_ROLE_MIN", "PLAN_HEADER", "CASE_HEADER"],
    )
    .await;
    assert!(same.unwrap().allowed);
    let other = compare(
        "developer",
        "TEST",
        &["SUMMARY_LAST", "MILESTONES", "CASE_HEADER"],
    )
    .await;
    let other = other.unwrap();
    assert!(!other.allowed);
    assert_eq!(other.missing, ["PLAN_HEADER", "SUBTASKS_ROLE_MIN"]);
    assert_eq!(other.extra, ["MILESTONES", "SUMMARY_LAST"]);
    let none = compare("data", "DOCS", &[]).await.unwrap();
    assert!(
        !none.allowed && !none.reason.is_empty(),
        "a pair without scopes allows nothing"
    );
    let unknown = compare("nobody", "", &["CASE_HEADER", "EVERYTHING"])
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
    for field in ["role", "phase", "provided_scopes[1]"] {
        assert!(unknown.message().contains(field), "{}", unknown.message());
    }
    a.stop().await;
}
