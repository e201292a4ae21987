//! Stories and tasks created through context are planning's, as any other.

use fleet_context::Config;
use fleet_graph::{EdgeType, Label};
use fleet_proto::context::v1 as pb;
use fleet_proto::planning::v2 as planning;
use fleet_service::ServerSettings;
use tonic::Code;

use crate::ask::{fields, key, planned, quiet, refused, story, task, version};
use crate::world::{World, eventually, impatient, on_every_backend};

on_every_backend!(
    a_story_is_an_ordinary_one_in_its_phase,
    a_story_of_planning_gets_its_context_by_itself,
    a_repetition_heals_what_a_crash_left_half_done,
    a_repeated_story_is_one_story,
    a_task_is_an_ordinary_one,
    planning_has_the_last_word,
    without_planning_nothing_is_created,
);

fn request() -> pb::CreateStoryRequest {
    pb::CreateStoryRequest {
        title: "Export invoices".into(),
        description: "As an accountant I want to export invoices".into(),
        initial_phase: "BUILD".into(),
        ..Default::default()
    }
}

async fn a_story_is_an_ordinary_one_in_its_phase(world: &World) {
    let replica = world.replica().await;
    let wanted = pb::CreateStoryRequest {
        created_by: "ana".into(),
        ..request()
    };
    let created = replica.client.clone().create_story(wanted).await.unwrap();
    let created = created.into_inner();
    assert_eq!(created.context_id, format!("ctx-{}", created.story_id));
    assert_eq!(created.current_phase, "BUILD");
    let story = planned(&replica, &created.story_id).await;
    assert_eq!(story.state, "DRAFT");
    assert_eq!(story.title, "Export invoices");
    assert_eq!(story.created_by, "ana");
    assert_eq!(story.epic_id, "");
    quiet(&replica, &created.story_id).await;
    let context = key(Label::StoryContext, &created.story_id);
    assert_eq!(replica.prop(context, "phase").await, "BUILD");
    let parent = key(Label::Story, &created.story_id);
    assert_eq!(
        replica.ids(parent, EdgeType::HasContext).await,
        [created.story_id.as_str()]
    );
    // Behind those of other tests, on a server that they share.
    let mut page = planning::ListStoriesRequest {
        limit: 1_000,
        ..Default::default()
    };
    loop {
        let mut planning = replica.planning.clone();
        let listed = planning.list_stories(page.clone()).await.unwrap();
        let listed = listed.into_inner();
        let mut stories = listed.stories.iter();
        if stories.any(|story| story.story_id == created.story_id) {
            break;
        }
        assert!(!listed.next_page_token.is_empty(), "planning lists it");
        page.page_token = listed.next_page_token;
    }

    let taken = pb::CreateStoryRequest {
        story_id: created.story_id.clone(),
        ..request()
    };
    let taken = replica.client.clone().create_story(taken).await;
    refused(taken, Code::AlreadyExists, "ALREADY_EXISTS", &[]);
    replica.stop().await;
}

async fn a_story_of_planning_gets_its_context_by_itself(world: &World) {
    let replica = world.replica().await;
    let created = planning::CreateStoryRequest {
        title: "Import invoices".into(),
        brief: "As an accountant I want them in".into(),
        created_by: "ana".into(),
        without_epic: true,
        ..Default::default()
    };
    let created = replica
        .planning
        .clone()
        .create_story(created)
        .await
        .unwrap();
    let story_id = created.into_inner().story.unwrap().story_id;
    quiet(&replica, &story_id).await;
    let context = key(Label::StoryContext, &story_id);
    assert_eq!(replica.prop(context, "phase").await, "DESIGN");
    replica.stop().await;
}

/// The process died after planning had created the story.
async fn a_repetition_heals_what_a_crash_left_half_done(world: &World) {
    let replica = world.replica().await;
    let request_id = format!("crash {}", std::process::id());
    let half = planning::CreateStoryRequest {
        title: request().title,
        brief: request().description,
        created_by: "context".into(),
        without_epic: true,
        request_id: request_id.clone(),
        ..Default::default()
    };
    let half = replica.planning.clone().create_story(half).await.unwrap();
    let story_id = half.into_inner().story.unwrap().story_id;
    // The news of it may have opened the context before, in the first of all phases.
    quiet(&replica, &story_id).await;
    let repeated = pb::CreateStoryRequest {
        request_id,
        ..request()
    };
    let mut client = replica.client.clone();
    let healed = client
        .create_story(repeated.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(healed.story_id, story_id);
    assert_eq!(healed.current_phase, "BUILD");
    let context = key(Label::StoryContext, &story_id);
    assert_eq!(replica.prop(context.clone(), "phase").await, "BUILD");
    let step = pb::TransitionPhaseRequest {
        story_id: story_id.clone(),
        from_phase: "BUILD".into(),
        to_phase: "TEST".into(),
        ..Default::default()
    };
    client.transition_phase(step).await.unwrap();
    let again = client.create_story(repeated).await.unwrap().into_inner();
    assert_eq!(again, healed, "the first answer");
    assert_eq!(
        replica.prop(context, "phase").await,
        "TEST",
        "and no effect"
    );
    replica.stop().await;
}

async fn a_repeated_story_is_one_story(world: &World) {
    let replica = world.replica().await;
    let repeated = pb::CreateStoryRequest {
        request_id: format!("once {}", std::process::id()),
        ..request()
    };
    let calls = (0..4).map(|_| {
        let (mut client, request) = (replica.client.clone(), repeated.clone());
        async move { client.create_story(request).await.unwrap().into_inner() }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    let other = pb::CreateStoryRequest {
        initial_phase: "TEST".into(),
        ..repeated
    };
    let other = replica.client.clone().create_story(other).await;
    refused(other, Code::AlreadyExists, "REQUEST_ID_REUSED", &[]);
    replica.stop().await;
}

async fn a_task_is_an_ordinary_one(world: &World) {
    let replica = world.replica().await;
    let story_id = story(&replica).await;
    let mut heard = replica.listen_to_context().await;
    let first = task(&replica, &story_id, "First").await;
    let label = format!("task:{first}");
    heard
        .until("context.events.updated", |body| {
            body["changed"][0] == label.as_str()
        })
        .await;
    let wanted = pb::CreateTaskRequest {
        story_id: story_id.clone(),
        task_id: format!("T-own-{story_id}"),
        title: "Second".into(),
        description: "With care".into(),
        role: "qa".into(),
        dependencies: vec![first.clone()],
        priority: 3,
        estimated_hours: 5,
        request_id: format!("t {story_id}"),
    };
    let mut client = replica.client.clone();
    let created = client
        .create_task(wanted.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(created.task_id, wanted.task_id);
    assert_eq!(
        (created.story_id.as_str(), created.status.as_str()),
        (story_id.as_str(), "todo")
    );
    let again = client
        .create_task(wanted.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!(again, created);
    let found = planning::GetTaskRequest {
        task_id: created.task_id,
    };
    let found = replica.planning.clone().get_task(found).await.unwrap();
    let found = found.into_inner().task.unwrap();
    assert_eq!(found.description, "With care");
    assert_eq!(
        (found.role.as_str(), found.priority, found.estimated_hours),
        ("qa", 3, 5)
    );
    assert_eq!(found.depends_on, [first]);
    replica.stop().await;
}

async fn planning_has_the_last_word(world: &World) {
    let replica = world.replica().await;
    let (story_id, other) = (story(&replica).await, story(&replica).await);
    let theirs = task(&replica, &other, "Theirs").await;
    let mut client = replica.client.clone();
    let wanted = |dependencies: Vec<String>| pb::CreateTaskRequest {
        story_id: story_id.clone(),
        title: "x".into(),
        dependencies,
        ..Default::default()
    };
    let unknown = client.create_task(wanted(vec!["T-none".into()])).await;
    refused(unknown, Code::NotFound, "NOT_FOUND", &["T-none"]);
    let foreign = client.create_task(wanted(vec![theirs])).await;
    refused(foreign, Code::FailedPrecondition, "PARENT_MISMATCH", &[]);
    let itself = pb::CreateTaskRequest {
        task_id: "T-me".into(),
        ..wanted(vec!["T-me".into()])
    };
    let found = fields(client.create_task(itself).await);
    assert_eq!(found[0].0, "dependencies[0]");
    assert!(found[0].1.contains("T-me -> T-me"));
    replica.stop().await;
}

async fn without_planning_nothing_is_created(world: &World) {
    let config = Config {
        planning_uri: Some("http://127.0.0.1:9".into()),
        ..impatient()
    };
    let replica = world
        .replica_with(config, |_| ServerSettings::default())
        .await;
    let away = replica.client.clone().create_story(request()).await;
    let facts = refused(
        away,
        Code::Unavailable,
        "DEPENDENCY_UNAVAILABLE",
        &["planning"],
    );
    assert_eq!(facts["dependency"], "planning");
    // What needs no planning goes on: a story that it had before.
    let created = planning::CreateStoryRequest {
        title: "x".into(),
        brief: "y".into(),
        created_by: "ana".into(),
        without_epic: true,
        ..Default::default()
    };
    let created = replica
        .planning
        .clone()
        .create_story(created)
        .await
        .unwrap();
    let story_id = created.into_inner().story.unwrap().story_id;
    eventually("its context", || async {
        (version(&replica, &story_id).await > 0).then_some(())
    })
    .await;
    replica.stop().await;
}
