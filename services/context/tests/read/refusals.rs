//! What is refused, and with which code.

use fleet_proto::context::v1 as pb;
use tonic::Code;

use crate::seed::Seed;
use crate::world::{World, ask, code, on_every_backend};

on_every_backend!(every_call_says_what_is_wrong);

async fn every_call_says_what_is_wrong(world: &World) {
    let (a, store) = (world.replica().await, world.backends().await.store);
    let seed = Seed::story(&*store, &format!("s-{}", world.tag)).await;
    let other = Seed::story(&*store, &format!("s-{}-b", world.tag)).await;
    let foreign = format!("T-{}", world.tag);
    other.task(&foreign, "developer", &[]).await;
    let story = seed.story.as_str();
    let task = |task: &str| pb::GetContextRequest {
        subtask_id: task.to_owned(),
        ..ask(story, "developer", "BUILD")
    };
    for (request, refused) in [
        (ask(story, "boss", "BUILD"), Code::InvalidArgument),
        (ask(story, "", "BUILD"), Code::InvalidArgument),
        (ask(story, "system", "BUILD"), Code::InvalidArgument),
        (ask(story, "qa", "LUNCH"), Code::InvalidArgument),
        (ask("x-1", "qa", "TEST"), Code::InvalidArgument),
        (ask(story, "data", "TEST"), Code::PermissionDenied),
        (ask(story, "po", "BUILD"), Code::PermissionDenied),
        (ask("s-nobody", "qa", "TEST"), Code::NotFound),
        (task("T-nobody"), Code::NotFound),
        (task(&foreign), Code::NotFound),
        (task("DEC-1"), Code::InvalidArgument),
        (
            pb::GetContextRequest {
                token_budget: 1,
                ..ask(story, "qa", "TEST")
            },
            Code::InvalidArgument,
        ),
    ] {
        let asked = format!("{request:?}");
        let status = a.get(request).await.expect_err(&asked);
        assert_eq!(status.code(), refused, "{asked}: {status}");
    }
    let all = a.get(ask("", "boss", "LUNCH")).await.unwrap_err();
    for field in ["story_id", "role", "phase"] {
        assert!(all.message().contains(field), "{}", all.message());
    }
    let below = pb::GetContextRequest {
        token_budget: -5,
        ..ask(story, "qa", "TEST")
    };
    assert!(
        a.must(below).await.token_budget >= 4096,
        "the role's default"
    );

    let session = |case_id: &str, roles: &[&str]| pb::RehydrateSessionRequest {
        case_id: case_id.to_owned(),
        roles: roles.iter().map(|r| (*r).to_owned()).collect(),
        ..pb::RehydrateSessionRequest::default()
    };
    let seven = ["qa", "po", "dev", "data", "devops", "architect", "qa"];
    for (request, refused) in [
        (session(story, &[]), Code::InvalidArgument),
        (session(story, &seven), Code::InvalidArgument),
        (session(story, &["DEV", "developer"]), Code::InvalidArgument),
        (session(story, &["qa", "boss"]), Code::InvalidArgument),
        (session("", &["qa"]), Code::InvalidArgument),
        (session("s-nobody", &["qa"]), Code::NotFound),
        (
            pb::RehydrateSessionRequest {
                ttl_seconds: 604_801,
                ..session(story, &["qa"])
            },
            Code::InvalidArgument,
        ),
        (
            pb::RehydrateSessionRequest {
                timeline_events: 1_001,
                ..session(story, &["qa"])
            },
            Code::InvalidArgument,
        ),
        (
            pb::RehydrateSessionRequest {
                bundle_id: "HB-1".to_owned(),
                ..session(story, &[])
            },
            Code::InvalidArgument,
        ),
        (
            pb::RehydrateSessionRequest {
                bundle_id: "HB-1".to_owned(),
                ..session("", &[])
            },
            Code::NotFound,
        ),
    ] {
        let asked = format!("{request:?}");
        let answer = a.client.clone().rehydrate_session(request).await;
        assert_eq!(code(answer), refused, "{asked}");
    }

    let near = |node_type: &str, node_id: &str, role: &str| pb::GetGraphRelationshipsRequest {
        node_id: node_id.to_owned(),
        node_type: node_type.to_owned(),
        depth: 1,
        role: role.to_owned(),
        max_nodes: 0,
    };
    for (request, refused) in [
        (near("Case", story, "po"), Code::InvalidArgument),
        (near("Story", "", "po"), Code::InvalidArgument),
        (near("Task", story, "po"), Code::InvalidArgument),
        (near("Story", "s-nobody", "po"), Code::NotFound),
        (
            pb::GetGraphRelationshipsRequest {
                max_nodes: 1_001,
                ..near("Story", story, "po")
            },
            Code::InvalidArgument,
        ),
    ] {
        let asked = format!("{request:?}");
        let answer = a.client.clone().get_graph_relationships(request).await;
        assert_eq!(code(answer), refused, "{asked}");
    }

    let words = |query: &str, story: &str| pb::SearchDecisionsRequest {
        query: query.to_owned(),
        story_id: story.to_owned(),
        role: String::new(),
        limit: 0,
    };
    let many: Vec<String> = (0..17).map(|n| format!("w{n}")).collect();
    for (request, refused) in [
        (words("?!", ""), Code::InvalidArgument),
        (words(&many.join(" "), ""), Code::InvalidArgument),
        (words("word", "s-nobody"), Code::NotFound),
        (words("word", "nobody"), Code::InvalidArgument),
        (
            pb::SearchDecisionsRequest {
                limit: 101,
                ..words("word", "")
            },
            Code::InvalidArgument,
        ),
    ] {
        let asked = format!("{request:?}");
        let answer = a.client.clone().search_decisions(request).await;
        assert_eq!(code(answer), refused, "{asked}");
    }
    a.stop().await;
}
