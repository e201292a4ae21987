//! Lists: order, pages, totals, filters.

use fleet_graph::{Commit, Label, NodeKey, Owner, Props};
use fleet_proto::planning::v2 as pb;
use fleet_service::{SystemClock, SystemIds};
use fleet_types::{Clock as _, Ids as _};

use crate::ask::{self, fields, go};
use crate::fleet::{Client, Fleet, on_every_backend, soon};

on_every_backend!(
    pages_are_stable_while_things_are_added,
    every_filter_has_its_true_total
);

async fn page(
    client: &mut Client,
    epic: &str,
    token: &str,
    limit: i32,
    offset: i32,
) -> pb::ListStoriesResponse {
    let request = pb::ListStoriesRequest {
        epic_id: Some(epic.to_owned()),
        limit,
        offset,
        page_token: token.to_owned(),
        ..Default::default()
    };
    client.list_stories(request).await.unwrap().into_inner()
}

async fn pages_are_stable_while_things_are_added(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let epic = ask::epic(client).await.epic_id;
    let mut made = Vec::new();
    for _ in 0..7 {
        let request = ask::story_request(&epic);
        made.push(
            client
                .create_story(request)
                .await
                .unwrap()
                .into_inner()
                .story
                .unwrap()
                .story_id,
        );
    }
    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let page = page(client, &epic, &token, 3, 0).await;
        assert!(page.success && !page.total_is_lower_bound);
        assert_eq!(usize::try_from(page.total_count).unwrap(), made.len());
        seen.extend(page.stories.into_iter().map(|story| story.story_id));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
        if made.len() < 9 {
            // The cursor is a place, not a count: newcomers come at the end, once.
            let request = ask::story_request(&epic);
            made.push(
                client
                    .create_story(request)
                    .await
                    .unwrap()
                    .into_inner()
                    .story
                    .unwrap()
                    .story_id,
            );
        }
    }
    assert_eq!(seen, made, "oldest first, each once");
    let rest = page(client, &epic, "", 100, 5).await;
    assert_eq!(
        rest.stories.iter().map(|s| &s.story_id).collect::<Vec<_>>(),
        made[5..].iter().collect::<Vec<_>>()
    );
    assert_eq!((rest.total_count, rest.next_page_token.as_str()), (9, ""));
    let first = page(client, &epic, "", 2, 0).await.next_page_token;
    let behind = page(client, &epic, &first, 2, 7).await;
    assert_eq!(
        behind.stories[0].story_id, made[2],
        "the token wins over the offset"
    );
    let other = pb::ListStoriesRequest {
        page_token: first,
        ..Default::default()
    };
    assert_eq!(fields(client.list_stories(other).await), ["page_token"]);
    let none = page(client, "E-none", "", 0, 0).await;
    assert_eq!((none.stories.len(), none.total_count), (0, 0));

    // The history pages, too.
    let id = &made[0];
    for state in ["PO_REVIEW", "READY_FOR_PLANNING", "PLANNED"] {
        go(client, id, state).await;
    }
    let request = pb::GetStoryHistoryRequest {
        story_id: id.clone(),
        limit: 3,
        ..Default::default()
    };
    let head = client
        .get_story_history(request.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((head.entries.len(), head.total_count), (3, 4));
    let request = pb::GetStoryHistoryRequest {
        page_token: head.next_page_token,
        ..request
    };
    let tail = client
        .get_story_history(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(tail.entries.iter().map(|e| e.seq).collect::<Vec<_>>(), [4]);
    assert_eq!(tail.next_page_token, "");
    replica.stop().await;
}

async fn every_filter_has_its_true_total(fleet: &Fleet) {
    let replica = fleet.replica().await;
    let client = &mut replica.client.clone();
    let epic = ask::epic(client).await;
    for i in 0..3 {
        let request = ask::story_request(&epic.epic_id);
        let id = client
            .create_story(request)
            .await
            .unwrap()
            .into_inner()
            .story
            .unwrap()
            .story_id;
        if i > 0 {
            go(client, &id, "PO_REVIEW").await;
        }
        for n in 0..i {
            ask::task(client, &id, &format!("Part {n}"), &[]).await;
        }
        let of = |status: Option<&str>| pb::ListTasksRequest {
            story_id: Some(id.clone()),
            status_filter: status.map(Into::into),
            ..Default::default()
        };
        for (status, total) in [(None, i), (Some("TODO"), i), (Some("completed"), 0)] {
            let tasks = client.list_tasks(of(status)).await.unwrap().into_inner();
            assert_eq!(
                (tasks.total_count, tasks.tasks.len()),
                (i32::try_from(total).unwrap(), total)
            );
        }
    }
    let of = |state: Option<&str>| pb::ListStoriesRequest {
        epic_id: Some(epic.epic_id.clone()),
        state_filter: state.map(Into::into),
        ..Default::default()
    };
    for (state, total) in [
        (None, 3),
        (Some("draft"), 1),
        (Some("PO_REVIEW"), 2),
        (Some("DONE"), 0),
        (Some(""), 3),
    ] {
        let stories = client.list_stories(of(state)).await.unwrap().into_inner();
        assert_eq!(
            (stories.total_count, stories.stories.len()),
            (total, usize::try_from(total).unwrap()),
            "{state:?}"
        );
    }
    let of = |status: Option<&str>| pb::ListEpicsRequest {
        project_id: Some(epic.project_id.clone()),
        status_filter: status.map(Into::into),
        ..Default::default()
    };
    for (status, total) in [(None, 1), (Some("active"), 1), (Some("archived"), 0)] {
        assert_eq!(
            client
                .list_epics(of(status))
                .await
                .unwrap()
                .into_inner()
                .total_count,
            total
        );
    }
    // One damaged row does not hide the others.
    let key = NodeKey::new(Label::Epic, format!("E-{}", SystemIds.uuid()));
    let mut props = Props::new();
    props.insert("project_id".into(), epic.project_id.as_str().into());
    let mut commit = Commit::new(SystemIds.uuid(), Owner::Planning, SystemClock.now());
    commit.create(key, "0", props);
    replica.deps.store.commit(&commit, soon()).await.unwrap();
    let damaged = pb::ListEpicsRequest {
        limit: 1,
        ..of(None)
    };
    let head = client
        .list_epics(damaged.clone())
        .await
        .unwrap()
        .into_inner();
    assert_eq!((head.epics.len(), head.total_count), (0, 2));
    let rest = pb::ListEpicsRequest {
        page_token: head.next_page_token,
        ..damaged
    };
    assert_eq!(
        client.list_epics(rest).await.unwrap().into_inner().epics[0],
        epic
    );

    // Without a parent the lists hold what others made, too; ours are in there.
    let all = client
        .list_projects(pb::ListProjectsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(all.total_count >= 1 && !all.total_is_lower_bound);
    let active = pb::ListProjectsRequest {
        status_filter: Some("active".into()),
        ..Default::default()
    };
    assert!(
        client
            .list_projects(active)
            .await
            .unwrap()
            .into_inner()
            .total_count
            >= 1
    );
    let archived = pb::ListEpicsRequest {
        status_filter: Some("active".into()),
        limit: 1,
        ..Default::default()
    };
    let epics = client.list_epics(archived).await.unwrap().into_inner();
    assert!(epics.total_count >= 1 && epics.epics.len() == 1);
    let todo = pb::ListTasksRequest {
        status_filter: Some("todo".into()),
        limit: 2,
        ..Default::default()
    };
    let tasks = client.list_tasks(todo).await.unwrap().into_inner();
    assert!(tasks.total_count >= 3 && tasks.tasks.len() == 2);
    let tasks = client
        .list_tasks(pb::ListTasksRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(tasks.total_count >= 3);
    let drafts = pb::ListStoriesRequest {
        state_filter: Some("DRAFT".into()),
        ..Default::default()
    };
    assert!(
        client
            .list_stories(drafts)
            .await
            .unwrap()
            .into_inner()
            .total_count
            >= 1
    );
    replica.stop().await;
}
