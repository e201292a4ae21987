//! What a request becomes, and what an entity looks like to a caller.

use std::collections::BTreeSet;
use std::time::Duration;

use fleet_graph::{Deadline, Total, Versioned};
use fleet_proto::planning::v2 as pb;
use fleet_service::{Call, Fault, Principal};
use fleet_types::{PrincipalId, Role, Timestamp};
use proptest::prelude::*;
use prost::Message;

use super::{answer, parse};
use crate::app::Listed;
use crate::domain::{Lifecycle, Project, Size, Story, StoryState};

fn call() -> Call {
    Call::local("test", Deadline::after(Duration::from_secs(5)))
}

fn known(roles: &[Role]) -> Call {
    let id = PrincipalId::parse("carol").unwrap();
    let roles = Some(roles.iter().copied().collect::<BTreeSet<_>>());
    Call {
        principal: Principal { id, roles },
        ..call()
    }
}

/// The fields that a refused request names.
fn fields<T: std::fmt::Debug>(parsed: Result<T, Fault>) -> Vec<String> {
    match parsed {
        Err(Fault::Invalid(v)) => v.iter().map(|violation| violation.field.clone()).collect(),
        other => panic!("{other:?} is no refusal"),
    }
}

fn story_request() -> pb::CreateStoryRequest {
    pb::CreateStoryRequest {
        epic_id: "E-1".into(),
        title: " Export ".into(),
        brief: "As a user".into(),
        created_by: "ana".into(),
        size: "m".into(),
        ..Default::default()
    }
}

#[test]
fn a_story_is_trimmed_and_parsed() {
    let parsed = parse::create_story(&story_request(), &call()).unwrap();
    assert_eq!(parsed.content.title, "Export");
    assert_eq!(parsed.content.size, Some(Size::M));
    assert_eq!(parsed.content.created_by, "ana");
    assert_eq!(parsed.epic_id.unwrap().as_str(), "E-1");
    assert_eq!(parsed.story_id, None);
}

#[test]
fn every_violation_is_named_at_once() {
    let bad = pb::CreateStoryRequest {
        epic_id: "PROJ-1".into(),
        title: " \n".into(),
        brief: "x".repeat(65 * 1024),
        created_by: "System".into(),
        request_id: "\u{7}".into(),
        acceptance_criteria: vec!["fine".into(), "a\u{0}b".into()],
        constraints: vec!["c".into(); 101],
        size: "huge".into(),
        story_id: Some("T-1".into()),
        ..Default::default()
    };
    let named = fields(parse::create_story(&bad, &call()));
    let all = [
        "request_id",
        "epic_id",
        "story_id",
        "title",
        "brief",
        "acceptance_criteria[1]",
        "constraints",
        "size",
        "created_by",
    ];
    assert_eq!(named, all);

    let neither = pb::CreateStoryRequest {
        epic_id: String::new(),
        ..story_request()
    };
    assert_eq!(fields(parse::create_story(&neither, &call())), ["epic_id"]);
    let both = pb::CreateStoryRequest {
        without_epic: true,
        ..story_request()
    };
    assert_eq!(fields(parse::create_story(&both, &call())), ["epic_id"]);

    let bad = pb::CreateTaskRequest {
        task_id: Some("T-1".into()),
        plan_id: Some("x".into()),
        r#type: "magic".into(),
        estimated_hours: -1,
        priority: -3,
        role: "system".into(),
        depends_on: vec!["T-2".into(), "T-1".into(), "s-1".into()],
        ..Default::default()
    };
    let all = [
        "story_id",
        "plan_id",
        "title",
        "type",
        "role",
        "estimated_hours",
        "priority",
        "depends_on[1]",
        "depends_on[2]",
    ];
    assert_eq!(fields(parse::create_task(&bad, &call())), all);

    let none = pb::TransitionStoryRequest {
        expected_version: Some(0),
        ..Default::default()
    };
    let all = [
        "story_id",
        "target_state",
        "transitioned_by",
        "expected_version",
    ];
    assert_eq!(fields(parse::transition_story(&none, &call())), all);
    let reset = pb::TransitionStoryRequest {
        story_id: "s-1".into(),
        target_state: "draft".into(),
        transitioned_by: "ana".into(),
        reason: "  ".into(),
        ..Default::default()
    };
    assert_eq!(fields(parse::transition_story(&reset, &call())), ["reason"]);

    let empty = pb::UpdateStoryRequest {
        story_id: "s-1".into(),
        updated_by: "a".into(),
        ..Default::default()
    };
    assert_eq!(fields(parse::update_story(&empty, &call())), ["title"]);
    let empty = pb::UpdateTaskRequest {
        task_id: "T-1".into(),
        updated_by: "a".into(),
        ..Default::default()
    };
    assert_eq!(fields(parse::update_task(&empty, &call())), ["title"]);
    let own = pb::AddTaskDependencyRequest {
        task_id: "T-1".into(),
        depends_on_task_id: "T-1".into(),
        ..Default::default()
    };
    assert_eq!(
        fields(parse::add_dependency(&own, &call())),
        ["changed_by", "depends_on_task_id"]
    );
    let plan = pb::ApprovePlanRequest {
        roles: vec!["boss".into(), " ".into()],
        ..Default::default()
    };
    let all = ["story_id", "approved_by", "roles[0]", "roles[1]"];
    assert_eq!(fields(parse::approve_plan(&plan, &call())), all);
    let verdict = pb::RejectDecisionRequest::default();
    let all = ["reason", "rejected_by", "story_id", "decision_id"];
    assert_eq!(fields(parse::reject_decision(&verdict, &call())), all);
}

#[test]
fn an_update_tells_not_given_from_empty() {
    let request = pb::UpdateStoryRequest {
        story_id: "s-1".into(),
        size: Some(String::new()),
        repository: Some(" ".into()),
        constraints: Some(pb::TextList::default()),
        updated_by: "ana".into(),
        ..Default::default()
    };
    let edit = parse::update_story(&request, &call()).unwrap().edit;
    assert_eq!(edit.size, Some(None));
    assert_eq!(edit.repository.as_deref(), Some(""));
    assert_eq!(edit.constraints, Some(Vec::new()));
    assert_eq!(
        (edit.title, edit.brief, edit.acceptance_criteria),
        (None, None, None)
    );
}

#[test]
fn with_identity_the_principal_acts_and_needs_the_role() {
    let request = pb::ApproveDecisionRequest {
        story_id: "s-1".into(),
        decision_id: "DEC-1".into(),
        approved_by: "somebody".into(),
        ..Default::default()
    };
    assert_eq!(
        parse::approve_decision(&request, &call()).unwrap().by,
        "somebody"
    );
    assert_eq!(
        parse::approve_decision(&request, &known(&[Role::Po]))
            .unwrap()
            .by,
        "carol"
    );
    let refused = parse::approve_decision(&request, &known(&[Role::Developer])).unwrap_err();
    assert!(matches!(refused, Fault::Denied { .. }), "{refused}");
    let wish = pb::TransitionStoryRequest {
        story_id: "s-1".into(),
        target_state: "ready_for_planning".into(),
        transitioned_by: "x".into(),
        ..Default::default()
    };
    assert!(parse::transition_story(&wish, &call()).unwrap().po);
    assert!(
        !parse::transition_story(&wish, &known(&[Role::Qa]))
            .unwrap()
            .po
    );
}

#[test]
fn limits_and_tokens_are_bounded() {
    let list = |limit, offset, page_token: &str, state: Option<&str>| {
        parse::list_stories(&pb::ListStoriesRequest {
            limit,
            offset,
            page_token: page_token.into(),
            state_filter: state.map(Into::into),
            ..Default::default()
        })
    };
    for (asked, given) in [(0, 100), (-5, 100), (7, 7), (5_000, 1_000)] {
        assert_eq!(list(asked, -1, "", None).unwrap().1.limit, given);
    }
    let (listing, page) = list(1, 20, "", Some("draft")).unwrap();
    assert_eq!((page.offset, page.after), (20, None));
    let token = crate::app::token::encode(&listing, "place");
    let (_, page) = list(1, 20, &token, Some("DRAFT")).unwrap();
    assert_eq!((page.offset, page.after.as_deref()), (0, Some("place")));
    assert_eq!(fields(list(1, 0, &token, Some("DONE"))), ["page_token"]);
    assert_eq!(fields(list(1, 0, "what?", None)), ["page_token"]);
    assert_eq!(
        fields(list(1, 0, &token, Some("NOWHERE"))),
        ["state_filter"]
    );
}

#[test]
fn a_page_of_large_entries_is_cut_and_goes_on_behind_its_last() {
    let big = |n: i64| {
        let project = Project {
            project_id: fleet_types::ProjectId::parse(&format!("PROJ-{n}")).unwrap(),
            name: "n".into(),
            description: "x".repeat(1_500_000),
            owner: String::new(),
            status: Lifecycle::Active,
            created_at: Timestamp::from_millis(n),
            updated_at: Timestamp::from_millis(n),
        };
        (
            Versioned {
                value: project,
                version: n,
            },
            format!("token {n}"),
        )
    };
    let total = Total {
        count: 4,
        is_lower_bound: false,
    };
    let listed = Listed {
        entries: (1..=4).map(big).collect(),
        next: None,
        total,
    };
    let answer = answer::projects(&listed);
    assert_eq!((answer.projects.len(), answer.total_count), (2, 4));
    assert_eq!(answer.next_page_token, "token 2");
    let all = Listed {
        entries: vec![big(1)],
        next: None,
        total,
    };
    assert_eq!(answer::projects(&all).next_page_token, "");
}

proptest! {
    /// Every state, size and number survives the way to the wire.
    #[test]
    fn a_story_says_all_it_knows(
        state in prop::sample::select(StoryState::ALL),
        size in prop::option::of(prop::sample::select(Size::ALL)),
        epic in prop::option::of("E-[a-z0-9]{1,10}"),
        texts in prop::collection::vec(".{0,20}", 6),
        numbers in prop::collection::vec(0i64..1_000_000, 4),
    ) {
        let story = Story {
            story_id: "s-1".parse().unwrap(),
            epic_id: epic.as_deref().map(|id| id.parse().unwrap()),
            title: texts[0].clone(),
            brief: texts[1].clone(),
            state,
            acceptance_criteria: texts[2..4].to_vec(),
            constraints: texts[4..].to_vec(),
            size,
            repository: texts[3].clone(),
            base_branch: texts[2].clone(),
            dor_score: 42,
            created_by: texts[5].clone(),
            created_at: Timestamp::from_millis(numbers[0]),
            updated_at: Timestamp::from_millis(numbers[1]),
            execution: numbers[2],
            history: 1,
            plans: 0,
            tasks_rev: 0,
            tasks: 0,
            dependencies: 0,
            said: 0,
        };
        // As it is stored, it is read again.
        let row = fleet_graph::props(&story);
        let read: Story = serde_json::from_value(row.into()).unwrap();
        prop_assert_eq!(&read, &story);
        let wire = answer::story(&Versioned { value: story.clone(), version: numbers[3] });
        let wire = pb::Story::decode(wire.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(wire.state.parse::<StoryState>().unwrap(), state);
        prop_assert_eq!(wire.size, size.map_or("", Size::as_str));
        prop_assert_eq!(wire.epic_id, epic.unwrap_or_default());
        prop_assert_eq!(wire.title, story.title);
        prop_assert_eq!(wire.brief, story.brief);
        prop_assert_eq!(wire.acceptance_criteria, story.acceptance_criteria);
        prop_assert_eq!(wire.constraints, story.constraints);
        prop_assert_eq!(Timestamp::parse(&wire.created_at).unwrap(), story.created_at);
        prop_assert_eq!((wire.execution, wire.version, wire.dor_score), (story.execution, numbers[3], 42));
    }
}
