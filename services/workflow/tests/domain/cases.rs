//! Single rules, one by one.

use std::time::Duration;

use fleet_types::{Action, Role, TaskId};
use fleet_workflow::domain::{Actor, Command, Handed, Rejection, decide};
use fleet_workflow::fsm::Guard;

use crate::world::{World, agent, task};

fn fresh() -> (World, TaskId) {
    (World::new(), task(0))
}

fn act(
    world: &mut World,
    id: &TaskId,
    role: Role,
    who: usize,
    action: Action,
    handed: Handed,
) -> Result<(), Rejection> {
    let actor = Actor::agent(role, agent(who), "test");
    let command = Command::Act {
        actor,
        action,
        handed,
        epoch: None,
    };
    let change = decide(&world.machine, &world.runs[id], &command, world.now)?;
    world.commit(change.expect("changes something"));
    Ok(())
}

fn sha() -> Handed {
    Handed {
        artifacts: [("commit_sha".to_owned(), "abc".to_owned())].into(),
        ..Handed::default()
    }
}

fn words() -> Handed {
    Handed {
        feedback: "the error path has no test".to_owned(),
        ..Handed::default()
    }
}

#[test]
fn an_approval_without_claim_records_both_hops_and_clears_the_feedback() {
    let (mut world, id) = fresh();
    act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::ClaimTask,
        Handed::default(),
    )
    .unwrap();
    act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::CommitCode,
        sha(),
    )
    .unwrap();
    act(
        &mut world,
        &id,
        Role::Architect,
        1,
        Action::RejectDesign,
        words(),
    )
    .unwrap();
    let run = &world.runs[&id];
    assert_eq!(run.at(&world.machine).name, "arch_rejected");
    assert_eq!(
        (run.feedback.as_deref(), run.rejections),
        (Some("the error path has no test"), 1)
    );
    act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::ReviseCode,
        Handed::default(),
    )
    .unwrap();
    act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::CommitCode,
        sha(),
    )
    .unwrap();
    let own = act(
        &mut world,
        &id,
        Role::Architect,
        0,
        Action::ApproveDesign,
        Handed::default(),
    );
    assert!(matches!(own, Err(Rejection::OwnWork { .. })), "{own:?}");
    act(
        &mut world,
        &id,
        Role::Architect,
        1,
        Action::ApproveDesign,
        Handed::default(),
    )
    .unwrap();
    let run = &world.runs[&id];
    assert_eq!(
        (run.at(&world.machine).name.as_str(), &run.feedback),
        ("pending_qa", &None)
    );
    let hops: Vec<String> = world.histories[&id]
        .iter()
        .map(|hop| {
            format!(
                "{} {} {}",
                hop.seq,
                hop.action,
                world.machine.name_of(hop.to)
            )
        })
        .collect();
    insta::assert_snapshot!("history_of_one_rework", hops.join("\n"));
}

#[test]
fn the_last_rejection_escalates_and_a_retry_returns_to_the_rework() {
    let (mut world, id) = fresh();
    act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::ClaimTask,
        Handed::default(),
    )
    .unwrap();
    for round in 0..3 {
        if round > 0 {
            act(
                &mut world,
                &id,
                Role::Developer,
                0,
                Action::ReviseCode,
                Handed::default(),
            )
            .unwrap();
        }
        act(
            &mut world,
            &id,
            Role::Developer,
            0,
            Action::CommitCode,
            sha(),
        )
        .unwrap();
        act(
            &mut world,
            &id,
            Role::Architect,
            1,
            Action::RejectDesign,
            words(),
        )
        .unwrap();
    }
    assert_eq!(world.runs[&id].at(&world.machine).name, "escalated");
    act(
        &mut world,
        &id,
        Role::Po,
        2,
        Action::Retry,
        Handed::default(),
    )
    .unwrap();
    let run = &world.runs[&id];
    assert_eq!(run.at(&world.machine).name, "arch_rejected");
    assert_eq!((run.retries, run.strikes, run.rejections), (1, 0, 3));
}

#[test]
fn an_expired_lease_holds_until_somebody_takes_over_and_then_fences_the_old_holder() {
    let (mut world, id) = fresh();
    act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::ClaimTask,
        Handed::default(),
    )
    .unwrap();
    let early = act(
        &mut world,
        &id,
        Role::Developer,
        1,
        Action::ClaimTask,
        Handed::default(),
    );
    assert!(
        matches!(early, Err(Rejection::HeldByOther { .. })),
        "{early:?}"
    );
    world.now = world.now.plus(Duration::from_secs(3_600));
    // Nobody took it over: the holder's word still counts.
    let mut other = World {
        runs: world.runs.clone(),
        histories: world.histories.clone(),
        ..World::new()
    };
    other.now = world.now;
    act(
        &mut other,
        &id,
        Role::Developer,
        0,
        Action::CommitCode,
        sha(),
    )
    .unwrap();

    act(
        &mut world,
        &id,
        Role::Developer,
        1,
        Action::ClaimTask,
        Handed::default(),
    )
    .unwrap();
    assert_eq!(world.runs[&id].claim_epoch, 2);
    let late = act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::CommitCode,
        sha(),
    );
    assert!(
        matches!(late, Err(Rejection::HeldByOther { epoch: 2, .. })),
        "{late:?}"
    );
    let actions: Vec<Action> = world.histories[&id].iter().map(|hop| hop.action).collect();
    assert_eq!(
        actions[1..],
        [Action::ClaimTask, Action::ExpireClaim, Action::ClaimTask]
    );
}

#[test]
fn a_cancelled_dependency_escalates_what_builds_on_it_and_a_done_one_frees_it() {
    let (mut world, id) = fresh();
    let blocked = act(
        &mut world,
        &task(1),
        Role::Developer,
        0,
        Action::ClaimTask,
        Handed::default(),
    );
    assert_eq!(
        blocked,
        Err(Rejection::Blocked {
            by: vec![id.clone()]
        })
    );
    act(
        &mut world,
        &id,
        Role::Po,
        2,
        Action::DiscardTask,
        Handed::default(),
    )
    .unwrap();
    for dependent in [1, 2] {
        assert_eq!(
            world.runs[&task(dependent)].at(&world.machine).name,
            "escalated"
        );
    }
    let guards = world.machine.input_guards(Action::RejectTests);
    assert!(guards.contains(&Guard::Feedback));
    act(
        &mut world,
        &task(1),
        Role::Po,
        2,
        Action::Retry,
        Handed::default(),
    )
    .unwrap();
    assert_eq!(
        world.runs[&task(1)].waiting_for(&world.machine),
        Some(Role::Developer)
    );
    // T-2 also waits for T-1.
    act(
        &mut world,
        &task(2),
        Role::Po,
        2,
        Action::Retry,
        Handed::default(),
    )
    .unwrap();
    assert_eq!(world.runs[&task(2)].waiting_for(&world.machine), None);
}

/// A task with a worker of its own is that worker's, from the first claim to the rework.
#[test]
fn a_worker_stands_in_for_the_developer() {
    let (mut world, _) = fresh();
    let id = task(3);
    assert_eq!(
        world.runs[&id].waiting_for(&world.machine),
        Some(Role::Devops)
    );
    let other = act(
        &mut world,
        &id,
        Role::Developer,
        0,
        Action::ClaimTask,
        Handed::default(),
    );
    assert!(matches!(other, Err(Rejection::Role { .. })), "{other:?}");
    act(
        &mut world,
        &id,
        Role::Devops,
        0,
        Action::ClaimTask,
        Handed::default(),
    )
    .unwrap();
    act(&mut world, &id, Role::Devops, 0, Action::CommitCode, sha()).unwrap();
    act(
        &mut world,
        &id,
        Role::Architect,
        1,
        Action::RejectDesign,
        words(),
    )
    .unwrap();
    assert_eq!(
        world.runs[&id].waiting_for(&world.machine),
        Some(Role::Devops)
    );
}
