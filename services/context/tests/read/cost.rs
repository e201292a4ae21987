//! How often each answer goes to the store, what is kept, and what happens without the store.

use std::sync::Arc;

use fleet_context::Config;
use fleet_graph::EdgeType;
use fleet_graph::Label;
use fleet_proto::context::v1 as pb;
use fleet_testing::Gone;
use serde_json::json;
use tonic::Code;

use crate::seed::{Seed, key};
use crate::world::{Replica, World, ask, code, on_every_backend, soon};

on_every_backend!(
    an_answer_costs_two_round_trips_and_one_when_it_is_kept,
    five_roles_cost_two_round_trips,
    decisions_of_old_cost_one_more,
    a_story_that_moves_is_read_again,
    half_of_a_commit_is_not_taken_for_all_of_it,
    replicas_give_the_same_bytes_and_share_what_they_keep,
);

async fn an_answer_costs_two_round_trips_and_one_when_it_is_kept(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let task = format!("T-{}", world.tag);
    seed.task(&task, "developer", &[]).await;
    seed.decision(&format!("DEC-{}", world.tag), 1, json!({}))
        .await;
    let story = seed.story.clone();
    let question = || pb::GetContextRequest {
        subtask_id: task.clone(),
        include_receipt: true,
        ..ask(&story, "DEV", "build")
    };
    a.store.trips();
    let first = a.must(question()).await;
    assert_eq!(a.store.trips(), 2, "the first answer");
    for _ in 0..3 {
        let kept = a.must(question()).await;
        assert_eq!(a.store.trips(), 1, "an answer that was kept");
        assert_eq!(kept, first, "receipt and all");
    }
    let without = a
        .must(pb::GetContextRequest {
            include_receipt: false,
            ..question()
        })
        .await;
    assert_eq!((without.receipt, a.store.trips()), (None, 1));
    assert_eq!(a.counted("fleet_context_packs_total{from=\"made\"}"), 1);
    assert_eq!(a.counted("fleet_context_packs_total{from=\"kept\"}"), 4);

    // Each question has an answer of its own.
    let other = a
        .must(pb::GetContextRequest {
            token_budget: 1_000,
            ..question()
        })
        .await;
    assert_eq!(a.store.trips(), 1, "the story is remembered");
    assert_eq!(other.token_budget, 1_000);
    assert!(other.token_count <= 1_000);

    // A change is an invalidation.
    seed.decision(&format!("DEC-{}-2", world.tag), 2, json!({}))
        .await;
    let overtaken = a.must(question()).await;
    assert_eq!(a.store.trips(), 3, "found out by one, then as ever");
    assert_ne!(overtaken.graph_version, first.graph_version);
    assert_ne!(overtaken.hash, first.hash);
    assert!(overtaken.context.contains(&format!("DEC-{}-2", world.tag)));
    assert_eq!(a.must(question()).await, overtaken);
    assert_eq!(a.store.trips(), 1);

    // One that this process made, or heard of, needs no finding out.
    a.client
        .clone()
        .update_context(pb::UpdateContextRequest {
            story_id: story.clone(),
            role: "architect".to_owned(),
            changes: vec![pb::ContextChange {
                operation: "CREATE".to_owned(),
                entity_type: "DECISION".to_owned(),
                entity_id: format!("DEC-{}-3", world.tag),
                payload: "{\"title\": \"The third\"}".to_owned(),
                reason: String::new(),
            }],
            ..pb::UpdateContextRequest::default()
        })
        .await
        .unwrap();
    a.store.trips();
    let changed = a.must(question()).await;
    assert!(changed.context.contains("The third"));
    assert_eq!(a.store.trips(), 2);
    assert_eq!(a.must(question()).await, changed);
    assert_eq!(a.store.trips(), 1);

    // Many at once: one of them reads, the others make sure.
    let together = pb::GetContextRequest {
        token_budget: 1_234,
        ..question()
    };
    let calls = (0..16).map(|_| a.must(together.clone()));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(a.store.trips() <= 2 + 15, "not twice each");
    a.stop().await;
}

async fn five_roles_cost_two_round_trips(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    for role in ["developer", "qa", "devops", "data", "architect"] {
        let task = format!("T-{}-{role}", world.tag);
        seed.task(&task, role, &[]).await;
        let decision = format!("DEC-{}-{role}", world.tag);
        seed.decision(&decision, 1, json!({})).await;
        seed.relate(&decision, EdgeType::Affects, key(Label::Task, task))
            .await;
    }
    a.store.trips();
    let roles = ["developer", "qa", "devops", "data", "architect"];
    let answer = a
        .client
        .clone()
        .rehydrate_session(pb::RehydrateSessionRequest {
            case_id: seed.story.clone(),
            roles: roles.map(str::to_owned).to_vec(),
            include_timeline: true,
            include_summaries: true,
            ..pb::RehydrateSessionRequest::default()
        })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(a.store.trips(), 2);
    assert_eq!(answer.packs.len(), 5);
    for (role, pack) in &answer.packs {
        let all = matches!(role.as_str(), "qa" | "architect");
        assert_eq!(pack.subtasks.len(), if all { 5 } else { 1 }, "{role}");
    }
    a.stop().await;
}

/// A decision that was written before there were light texts, or has a strange one, is read by
/// its columns: that costs a round trip, and changes nothing else.
async fn decisions_of_old_cost_one_more(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let task = format!("T-{}", world.tag);
    seed.task(&task, "developer", &[]).await;
    let decision = |n: usize| format!("DEC-{}-{n}", world.tag);
    for n in 0..3 {
        seed.decision(&decision(n), n, json!({})).await;
    }
    seed.relate(
        &decision(1),
        EdgeType::DependsOn,
        key(Label::Decision, decision(0)),
    )
    .await;
    seed.relate(&decision(2), EdgeType::Affects, key(Label::Task, &task))
        .await;
    let story = seed.story.clone();
    // Nobody asked the same before: nothing is kept.
    let question = |n: i32| pb::GetContextRequest {
        token_budget: 6_000 + n,
        ..ask(&story, "architect", "DESIGN")
    };
    a.store.trips();
    let light = a.must(question(0)).await;
    assert_eq!(a.store.trips(), 2);
    let old = key(Label::Decision, decision(1));
    for (n, text) in [(1, None), (2, Some("[\"nonsense\"]"))] {
        let found = store.get(std::slice::from_ref(&old), soon()).await;
        let mut node = found.unwrap().remove(0).unwrap();
        node.props.remove("light");
        node.props
            .extend(text.map(|text| ("light".to_owned(), text.into())));
        seed.apply(|commit| {
            commit.update(old.clone(), node.version, node.ord, node.props);
        })
        .await;
        let other = world.replica().await;
        let answer = other.must(question(n)).await;
        assert_eq!(other.store.trips(), 3, "{text:?}");
        assert_eq!(answer.context, light.context);
        other.stop().await;
    }
    a.stop().await;
}

/// What changes between the two round trips is read again, and never kept as what it is not.
async fn a_story_that_moves_is_read_again(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let decision = |n: usize| format!("DEC-{}-{n}", world.tag);
    seed.decision(&decision(0), 0, json!({})).await;
    a.store.trips();
    let mut change = seed.change(|_| {});
    seed.put_decision(&mut change, &decision(1), 1, json!({}));
    a.store.move_meanwhile(change);
    seed.moved();
    let answer = a.must(ask(&seed.story, "architect", "DESIGN")).await;
    assert_eq!(a.store.trips(), 4);
    assert!(answer.context.contains(&decision(1)), "the later one, too");
    assert_eq!(answer.warnings, Vec::<String>::new());
    assert_eq!(a.counted("fleet_context_moved_reads_total"), 1);
    let again = a.must(ask(&seed.story, "architect", "DESIGN")).await;
    assert_eq!((again, a.store.trips()), (answer, 1));

    // It never comes to rest: an answer that says so, and is not kept.
    let restless = pb::GetContextRequest {
        token_budget: 3_000,
        ..ask(&seed.story, "architect", "DESIGN")
    };
    let mut changes = Vec::new();
    // What is remembered of the story does not hold any more.
    seed.decision(&decision(2), 2, json!({})).await;
    for n in 3..9 {
        let mut change = seed.change(|_| {});
        seed.put_decision(&mut change, &decision(n), n, json!({}));
        seed.moved();
        changes.push(change);
    }
    // Taken from the end.
    for change in changes.into_iter().rev() {
        a.store.move_meanwhile(change);
    }
    let answer = a.must(restless.clone()).await;
    assert_eq!(answer.warnings, ["the story changed while it was read"]);
    a.store.trips();
    let settled = a.must(restless).await;
    assert_eq!((a.store.trips(), settled.warnings.len()), (2, 0));
    assert!(settled.context.contains(&decision(8)));
    a.stop().await;
}

/// Records a decision as everybody does; its id.
async fn decide(a: &Replica, seed: &Seed<'_>, n: usize) -> String {
    let id = format!("DEC-{}-{n}", seed.story);
    let change = pb::ContextChange {
        operation: "CREATE".to_owned(),
        entity_type: "DECISION".to_owned(),
        entity_id: id.clone(),
        payload: json!({ "title": format!("The decision number {n}") }).to_string(),
        reason: String::new(),
    };
    let update = pb::UpdateContextRequest {
        story_id: seed.story.clone(),
        role: "architect".to_owned(),
        changes: vec![change],
        ..pb::UpdateContextRequest::default()
    };
    a.client.clone().update_context(update).await.unwrap();
    id
}

/// Some stores show the row of a context before the decisions that were written with it. The row
/// says how many there are.
async fn half_of_a_commit_is_not_taken_for_all_of_it(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    // A row that does not count yet is taken as it is.
    let uncounted = decide(&a, &seed, 0).await;
    let question = || ask(&seed.story, "architect", "DESIGN");
    a.store.hide(key(Label::Decision, uncounted), 1);
    a.store.trips();
    a.must(question()).await;
    assert_eq!(a.store.trips(), 2);

    let seed = Seed::bare(&*store, &format!("s-{}-2", world.tag)).await;
    let (first, second) = (decide(&a, &seed, 1).await, decide(&a, &seed, 2).await);
    let question = || ask(&seed.story, "architect", "DESIGN");
    a.store.hide(key(Label::Decision, &*second), 1);
    a.store.trips();
    let moved = a.counted("fleet_context_moved_reads_total");
    let answer = a.must(question()).await;
    assert_eq!(a.store.trips(), 4, "read again, since one was missing");
    assert_eq!(a.counted("fleet_context_moved_reads_total"), moved + 1);
    assert!(answer.context.contains(&first) && answer.context.contains(&second));
    assert_eq!(answer.warnings, Vec::<String>::new());
    assert_eq!((a.must(question()).await, a.store.trips()), (answer, 1));

    // What counts wrongly for good does not keep anybody from reading.
    let third = decide(&a, &seed, 3).await;
    a.store.hide(key(Label::Decision, third), 100);
    a.store.trips();
    let with_receipt = pb::GetContextRequest {
        include_receipt: true,
        ..question()
    };
    let receipt = a.must(with_receipt).await.receipt.unwrap();
    // Once for the third alone, since the others are remembered; then twice for all.
    assert_eq!(a.store.trips(), 5, "and no more than that");
    let told = receipt
        .included
        .iter()
        .filter(|item| item.kind == "decision");
    let mut told: Vec<_> = told.map(|item| &item.id).collect();
    told.sort();
    assert_eq!(told, [&first, &second]);
    a.stop().await;
}

async fn replicas_give_the_same_bytes_and_share_what_they_keep(world: &World) {
    let (a, b) = (world.replica().await, world.replica().await);
    let store = world.backends().await.store;
    let mut seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    for n in 0..20 {
        let decision = format!("DEC-{}-{n:02}", world.tag);
        seed.decision(&decision, n % 3, json!({})).await;
    }
    let question = ask(&seed.story, "qa", "DESIGN");
    let first = a.must(question.clone()).await;
    b.store.trips();
    assert_eq!(b.must(question.clone()).await, first);
    assert_eq!(b.store.trips(), 1, "kept by the other one");
    // Without anything kept, the same again.
    let mut backends = world.backends().await;
    backends.cache = Arc::new(Gone);
    let alone = world.replica_with(backends, Config::default()).await;
    alone.store.trips();
    let made = alone.must(question.clone()).await;
    assert_eq!((&made.hash, &made.context), (&first.hash, &first.context));
    assert_eq!(made, first);
    assert_eq!(alone.store.trips(), 2, "a lost cache costs time only");
    assert_eq!(alone.must(question.clone()).await, first);
    alone.store.cut_off(true);
    let stale = pb::GetContextRequest {
        allow_stale: true,
        ..question
    };
    assert_eq!(code(alone.get(stale).await), Code::Unavailable);
    alone.store.cut_off(false);
    alone.stop().await;
    a.stop().await;
    b.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_store_only_what_is_kept_is_told_and_marked() {
    let world = World::embedded();
    let (a, store) = (world.replica().await, world.backends().await.store);
    let seed = Seed::story(&*store, "s-1").await;
    let question = ask(&seed.story, "developer", "BUILD");
    let fresh = a.must(question.clone()).await;
    assert!(!fresh.stale);

    a.store.cut_off(true);
    assert_eq!(code(a.get(question.clone()).await), Code::Unavailable);
    let lenient = pb::GetContextRequest {
        allow_stale: true,
        include_receipt: true,
        ..question.clone()
    };
    let stale = a.must(lenient.clone()).await;
    assert!(stale.stale);
    assert_eq!((&stale.context, &stale.hash), (&fresh.context, &fresh.hash));
    assert_eq!(stale.receipt.unwrap().hash, fresh.hash);
    let never = pb::GetContextRequest {
        token_budget: 999,
        ..lenient.clone()
    };
    assert_eq!(code(a.get(never).await), Code::Unavailable);
    let session = pb::RehydrateSessionRequest {
        case_id: seed.story.clone(),
        roles: vec!["qa".to_owned()],
        ..pb::RehydrateSessionRequest::default()
    };
    let refused = a.client.clone().rehydrate_session(session).await;
    assert_eq!(code(refused), Code::Unavailable);

    a.store.cut_off(false);
    let again = a.must(lenient).await;
    assert!(!again.stale, "provably current");
    a.stop().await;
}
