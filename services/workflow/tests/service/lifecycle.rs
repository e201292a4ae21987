//! A task from its release to its end, and what is to be seen of it on the way.

use fleet_events::payload::{StateChanged, StoryCompleted, TaskAssigned};
use fleet_proto::workflow::v1 as pb;

use crate::support::{World, act, claim, commit, on_every_backend, reject};

on_every_backend!(a_story_with_rework_ends_once, pages_and_figures);

async fn a_story_with_rework_ends_once(world: World) {
    let story = world.released(&[&[], &[0]]).await;
    let (first, second) = (&story.tasks[0], &story.tasks[1]);
    let mut api = world.client();

    // What builds on something cannot be taken up, and says on what.
    let blocked = world.state(second).await;
    assert_eq!(blocked.blocked_by, [first.to_string()]);
    assert!(!blocked.is_waiting_for_action);
    let next = pb::GetNextActionsRequest {
        task_id: second.to_string(),
        role: "developer".to_owned(),
        agent_id: String::new(),
    };
    let next = api.get_next_actions(next).await.unwrap().into_inner();
    assert_eq!(next.why_not_code, "BLOCKED_BY_DEPENDENCIES");
    assert_eq!(next.blocked_by, [first.to_string()]);

    let claimed = api
        .claim_task(claim(first, "DEV", "dev-1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (claimed.claimed, claimed.claim_epoch, claimed.version),
        (true, 1, 2)
    );
    assert_eq!(
        (claimed.current_state.as_str(), claimed.action.as_str()),
        ("implementing", "claim_task")
    );
    assert!(claimed.lease_until_ms > claimed.claimed_at * 1_000);

    let mut work = commit(first, "dev-1", "abc123");
    work.claim_epoch = Some(1);
    let done = api.request_validation(work).await.unwrap().into_inner();
    assert_eq!(
        (done.status.as_str(), done.current_state.as_str()),
        ("accepted", "pending_arch_review")
    );
    assert_eq!(
        (done.next_role.as_str(), done.next_action.as_str()),
        ("architect", "claim_review")
    );

    let words = "the error path has no test";
    api.claim_task(claim(first, "architect", "arch-1"))
        .await
        .unwrap();
    let refused = reject(first, "architect", "arch-1", "REJECT_DESIGN", words);
    let refused = api.request_validation(refused).await.unwrap().into_inner();
    assert_eq!(
        (refused.status.as_str(), refused.current_state.as_str()),
        ("rejected", "arch_rejected")
    );
    let state = world.state(first).await;
    assert_eq!((state.feedback.as_str(), state.rejection_count), (words, 1));
    let assigned = world
        .hears(first.as_str(), "workflow.task.assigned", 3)
        .await;
    let rework: TaskAssigned = assigned[2].payload().unwrap();
    assert_eq!(rework.feedback.as_deref(), Some(words));
    assert_eq!(rework.previous_agent_id.unwrap().as_str(), "dev-1");
    assert_eq!(rework.commit_sha.as_deref(), Some("abc123"));

    api.claim_task(claim(first, "developer", "dev-1"))
        .await
        .unwrap();
    api.request_validation(commit(first, "dev-1", "def456"))
        .await
        .unwrap();
    // Without a claim of its own: both hops are recorded.
    api.request_validation(act(first, "architect", "arch-1", "approve_design"))
        .await
        .unwrap();
    api.request_validation(act(first, "qa", "qa-1", "claim_testing"))
        .await
        .unwrap();
    api.request_validation(act(first, "tester", "qa-1", "approve_tests"))
        .await
        .unwrap();
    let last = api
        .request_validation(act(first, "PRODUCT_OWNER", "po-1", "approve_story"))
        .await;
    let last = last.unwrap().into_inner();
    assert!(last.workflow_completed);
    assert_eq!(
        (last.current_state.as_str(), last.next_role.as_str()),
        ("done", "")
    );

    let state = world.state(first).await;
    assert!(state.is_terminal && state.feedback.is_empty());
    let history: Vec<String> = state
        .history
        .iter()
        .map(|hop| {
            format!(
                "{:2} {} -{}-> {}",
                hop.seq, hop.from_state, hop.action, hop.to_state
            )
        })
        .collect();
    insta::assert_snapshot!("history_of_a_task", history.join("\n"));
    assert_eq!(state.history[2].artifacts["commit_sha"], "abc123");

    // The end of the first frees the second, which is said.
    let free = world
        .hears(second.as_str(), "workflow.task.assigned", 1)
        .await;
    assert_eq!(
        free[0].payload::<TaskAssigned>().unwrap().current_state,
        "todo"
    );
    assert!(world.state(second).await.blocked_by.is_empty());
    assert!(
        world.heard(story.id.as_str()).is_empty(),
        "the story is not over"
    );

    api.request_validation(act(second, "po", "po-1", "discard_task"))
        .await
        .unwrap();
    let over = world
        .hears(story.id.as_str(), "workflow.story.completed", 1)
        .await;
    let over: StoryCompleted = over[0].payload().unwrap();
    assert_eq!(
        (over.execution, over.tasks_done, over.tasks_cancelled),
        (1, 1, 1)
    );

    // Every hop was said, in order, once.
    let changed = world
        .hears(
            first.as_str(),
            "workflow.state.changed",
            state.history.len(),
        )
        .await;
    let mut seqs: Vec<i64> = changed
        .iter()
        .map(|event| event.payload::<StateChanged>().unwrap().seq)
        .collect();
    seqs.sort_unstable();
    assert_eq!(
        seqs,
        (1..=i64::try_from(state.history.len()).unwrap()).collect::<Vec<_>>()
    );
    world
        .hears(first.as_str(), "workflow.task.completed", 1)
        .await;
    world.stop().await;
}

async fn pages_and_figures(world: World) {
    let story = world.released(&[&[], &[], &[], &[]]).await;
    let mut api = world.client();
    // The third was refused once and comes first, whoever waits longer.
    let refused = &story.tasks[2];
    api.claim_task(claim(refused, "developer", "dev-1"))
        .await
        .unwrap();
    api.request_validation(commit(refused, "dev-1", "abc123"))
        .await
        .unwrap();
    let words = "this needs another look";
    api.request_validation(reject(
        refused,
        "architect",
        "arch-1",
        "reject_design",
        words,
    ))
    .await
    .unwrap();

    let page = |token: &str| pb::GetPendingTasksRequest {
        role: "developer".to_owned(),
        limit: 3,
        story_id: Some(story.id.to_string()),
        page_token: token.to_owned(),
        ..Default::default()
    };
    let first = api.get_pending_tasks(page("")).await.unwrap().into_inner();
    assert_eq!((first.tasks.len(), first.total_count), (3, 4));
    let top = &first.tasks[0];
    assert_eq!(
        (top.task_id.as_str(), top.rejection_count),
        (refused.as_str(), 1)
    );
    assert_eq!(
        (top.feedback.as_str(), top.required_action.as_str()),
        (words, "revise_code")
    );
    let work = top.work.as_ref().unwrap();
    assert_eq!(
        (work.commit_sha.as_str(), work.files_changed.len()),
        ("abc123", 2)
    );
    assert_eq!(
        (work.metadata["tool"].as_str(), work.agent_id.as_str()),
        ("x", "dev-1")
    );
    let rest = api
        .get_pending_tasks(page(&first.next_page_token))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((rest.tasks.len(), rest.next_page_token.as_str()), (1, ""));
    let mut seen: Vec<&str> = first
        .tasks
        .iter()
        .chain(&rest.tasks)
        .map(|t| t.task_id.as_str())
        .collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4);
    // A token of other filters is refused.
    let mut other = page(&first.next_page_token);
    other.role = "qa".to_owned();
    assert_eq!(
        api.get_pending_tasks(other).await.unwrap_err().code(),
        tonic::Code::InvalidArgument
    );
    // Over all stories the same task is found by the role alone.
    let all = pb::GetPendingTasksRequest {
        role: "dev".to_owned(),
        limit: 1000,
        ..Default::default()
    };
    let all = api.get_pending_tasks(all).await.unwrap().into_inner();
    assert!(all.total_count >= 4);
    assert!(all.tasks.len() < 1000 || all.tasks.iter().any(|t| t.task_id == refused.as_str()));

    api.request_validation(act(&story.tasks[0], "po", "po-1", "discard_task"))
        .await
        .unwrap();
    let stats = pb::GetStatsRequest {
        story_id: story.id.to_string(),
        role: String::new(),
    };
    let stats = api.get_stats(stats).await.unwrap().into_inner();
    assert_eq!(
        (
            stats.total_tasks,
            stats.tasks_cancelled,
            stats.total_rejections
        ),
        (4, 1, 1)
    );
    assert_eq!(
        (
            stats.tasks_by_state["todo"],
            stats.tasks_by_state["arch_rejected"]
        ),
        (2, 1)
    );
    assert_eq!(stats.approval_rate, 0.0);
    let all = api
        .get_stats(pb::GetStatsRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(all.total_tasks >= 4);

    // The audit trail of the story, page by page, is in order of time.
    let mut token = String::new();
    let mut trail = Vec::new();
    loop {
        let request = pb::ListAuditRequest {
            story_id: story.id.to_string(),
            limit: 3,
            page_token: token,
            ..Default::default()
        };
        let page = api.list_audit(request).await.unwrap().into_inner();
        assert_eq!(page.total_count, 10);
        trail.extend(page.entries);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(trail.len(), 10);
    assert!(trail.is_sorted_by_key(|entry| entry.at_ms));
    let of_kind = pb::ListAuditRequest {
        task_id: refused.to_string(),
        kind: "transition".to_owned(),
        ..Default::default()
    };
    let of_kind = api.list_audit(of_kind).await.unwrap().into_inner();
    assert_eq!(of_kind.entries.len(), 6);
    assert_eq!(of_kind.entries[1].agent_id, "dev-1");

    // Filters that no listing covers together page just the same.
    let mut token = String::new();
    let mut one_by_one = Vec::new();
    loop {
        let request = pb::ListAuditRequest {
            task_id: refused.to_string(),
            kind: "transition".to_owned(),
            limit: 1,
            page_token: token,
            ..Default::default()
        };
        let page = api.list_audit(request).await.unwrap().into_inner();
        assert_eq!((page.total_count, page.total_is_lower_bound), (6, false));
        one_by_one.extend(page.entries);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(one_by_one, of_kind.entries);
    assert!(
        of_kind
            .entries
            .iter()
            .all(|entry| entry.event_id.starts_with("ev-"))
    );
    world.stop().await;
}
