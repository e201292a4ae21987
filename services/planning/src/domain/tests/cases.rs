//! Single rules, with what is said when they are broken.

use super::world::{Command, World};
use super::*;

fn released() -> World {
    let mut world = World::new(2);
    world.apply(&Command::Task { depends_on: vec![] }).unwrap();
    for to in [
        StoryState::PoReview,
        StoryState::ReadyForPlanning,
        StoryState::Planned,
        StoryState::ReadyForExecution,
    ] {
        world
            .apply(&Command::Move {
                to,
                reason: false,
                overridden: false,
            })
            .unwrap();
    }
    world
}

#[test]
fn the_table_is_the_documented_one() {
    use StoryState::*;
    let table = [
        (Draft, vec![PoReview]),
        (PoReview, vec![ReadyForPlanning, Draft]),
        (ReadyForPlanning, vec![Planned, Draft]),
        (Planned, vec![ReadyForExecution, Draft]),
        (ReadyForExecution, vec![InProgress, CarryOver, Draft]),
        (InProgress, vec![CodeReview, CarryOver, Draft]),
        (CodeReview, vec![Testing, InProgress, CarryOver, Draft]),
        (Testing, vec![ReadyToReview, InProgress, CarryOver, Draft]),
        (ReadyToReview, vec![Accepted, InProgress, CarryOver, Draft]),
        (Accepted, vec![Done, Draft]),
        (CarryOver, vec![ReadyForExecution, Archived, Draft]),
        (Done, vec![Archived, Draft]),
        (Archived, vec![]),
    ];
    assert_eq!(table.len(), StoryState::ALL.len());
    for (from, to) in table {
        assert_eq!(allowed(from), to, "{from}");
        assert!(!allowed(from).contains(&from), "no self-loop at {from}");
    }
}

#[test]
fn gates_say_what_is_missing() {
    let mut world = World::new(0);
    let go = |to| Command::Move {
        to,
        reason: false,
        overridden: false,
    };
    world.apply(&go(StoryState::PoReview)).unwrap();
    let refused = world
        .apply(&go(StoryState::ReadyForPlanning))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("scores 70 of 80") && refused.contains("acceptance_criteria (0/30)"),
        "{refused}"
    );
    world
        .apply(&Command::Move {
            to: StoryState::ReadyForPlanning,
            reason: false,
            overridden: true,
        })
        .unwrap();
    assert_eq!(world.history.last().unwrap().override_reason, "because");
    let refused = world.apply(&Command::Edit { criteria: 2 }).unwrap_err();
    assert!(
        matches!(refused, Rejection::NotEditable { .. }),
        "{refused}"
    );
    world.apply(&go(StoryState::Planned)).unwrap();
    let refused = world.apply(&go(StoryState::ReadyForExecution)).unwrap_err();
    assert_eq!(refused, Rejection::NoTasks { story: story_id() });
    let refused = world.apply(&go(StoryState::Done)).unwrap_err().to_string();
    assert_eq!(
        refused,
        "story s-1 is in PLANNED and cannot move to DONE; from PLANNED it can move to READY_FOR_EXECUTION, DRAFT"
    );
    let refused = world.apply(&go(StoryState::Draft)).unwrap_err();
    assert!(matches!(refused, Rejection::ReasonRequired { .. }));
    // An override where none is needed leaves no trace.
    let mut ready = World::new(2);
    ready.apply(&go(StoryState::PoReview)).unwrap();
    ready
        .apply(&Command::Move {
            to: StoryState::ReadyForPlanning,
            reason: false,
            overridden: true,
        })
        .unwrap();
    assert_eq!(ready.history.last().unwrap().override_reason, "");
}

#[test]
fn a_stored_cycle_stops_the_release_with_its_path() {
    let mut world = World::new(2);
    for depends_on in [vec![], vec![0], vec![1]] {
        world.apply(&Command::Task { depends_on }).unwrap();
    }
    let refused = world
        .apply(&Command::Depend { task: 0, on: 2 })
        .unwrap_err()
        .to_string();
    assert_eq!(
        refused,
        "tasks of story s-1 wait for each other: T-0 -> T-2 -> T-1 -> T-0"
    );
    // As if somebody had written it past us.
    world
        .tasks
        .get_mut(&task_id(0))
        .unwrap()
        .depends_on
        .push(task_id(2));
    world.story.state = StoryState::Planned;
    let refused = world.story.transition(
        &wish(StoryState::ReadyForExecution),
        &world.all(),
        80,
        at(0),
    );
    assert!(matches!(refused, Err(Rejection::Cycle { cycle, .. }) if cycle.len() == 4));
}

#[test]
fn news_of_the_work_end_in_the_same_state_in_any_order() {
    for order in [["began", "completed"], ["completed", "began"]] {
        let mut world = released();
        for news in order.iter().chain(order.iter()) {
            let command = match *news {
                "began" => Command::Began { execution: 1 },
                _ => Command::Completed { execution: 1 },
            };
            world.apply(&command).unwrap();
        }
        assert_eq!(world.story.state, StoryState::ReadyToReview);
        let hops: Vec<_> = world
            .history
            .iter()
            .rev()
            .take(4)
            .map(|h| (h.actor.as_str(), h.to))
            .collect();
        assert_eq!(hops[0], (SYSTEM, StoryState::ReadyToReview));
        assert_eq!(hops[3], (SYSTEM, StoryState::InProgress));
        world.check();
    }
    let mut world = released();
    world
        .apply(&Command::Move {
            to: StoryState::CarryOver,
            reason: false,
            overridden: false,
        })
        .unwrap();
    world
        .apply(&Command::Move {
            to: StoryState::ReadyForExecution,
            reason: false,
            overridden: false,
        })
        .unwrap();
    assert_eq!(world.story.execution, 2);
    world.apply(&Command::Completed { execution: 1 }).unwrap();
    world.apply(&Command::Began { execution: 1 }).unwrap();
    assert_eq!(
        world.story.state,
        StoryState::ReadyForExecution,
        "the first execution is over"
    );
}

#[test]
fn the_first_verdict_stands() {
    let review = |verdict| DecisionReview {
        story_id: story_id(),
        decision_id: fleet_types::DecisionId::parse("DEC-1").unwrap(),
        verdict,
        by: "ana".to_owned(),
        words: String::new(),
        at: at(5),
    };
    let first = review(Verdict::Approved);
    assert_eq!(judge(None, first.clone()), Ok(Judged::New(first.clone())));
    let again = DecisionReview {
        by: "bob".to_owned(),
        at: at(9),
        ..first.clone()
    };
    assert_eq!(
        judge(Some(first.clone()), again),
        Ok(Judged::Same(first.clone()))
    );
    let refused = judge(Some(first), review(Verdict::Rejected))
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("was approved by ana at 1970-01-01T00:00:00.005Z"),
        "{refused}"
    );
}

#[test]
fn stories_do_not_grow_without_bound() {
    let (mut story, _) = Story::create(story_id(), None, new_story(2), at(0)).unwrap();
    story.tasks = MAX_TASKS;
    let refused = create_task(&story, task_id(0), new_task(), &[], at(0)).unwrap_err();
    assert!(
        refused.to_string().contains("2001 tasks; at most 2000"),
        "{refused}"
    );
}

#[test]
fn closed_parents_take_no_children() {
    let id = fleet_types::ProjectId::parse("PROJ-1").unwrap();
    let mut project = Project::create(id, "Shop".into(), String::new(), String::new(), at(0));
    let epic = |project: &Project| {
        let id = fleet_types::EpicId::parse("E-1").unwrap();
        Epic::create(id, project, "Invoices".into(), String::new(), at(0))
    };
    let mut open = epic(&project).unwrap();
    project.status = Lifecycle::Archived;
    assert!(matches!(
        epic(&project),
        Err(Rejection::ProjectClosed { .. })
    ));
    open.status = Lifecycle::Cancelled;
    let refused = Story::create(story_id(), Some(&open), new_story(2), at(0)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "epic E-1 is cancelled: nothing new goes under it"
    );
}
