//! No sequence of commands does harm.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::world::{Command, World};
use super::*;

fn commands() -> impl Strategy<Value = Vec<(Command, i64)>> {
    use Command as C;
    let state = prop::sample::select(StoryState::ALL);
    let execution = 0i64..4;
    let command = prop_oneof![
        8 => (state, prop::bool::weighted(0.8), any::<bool>())
            .prop_map(|(to, reason, overridden)| C::Move { to, reason, overridden }),
        2 => (0usize..4).prop_map(|criteria| C::Edit { criteria }),
        2 => execution.clone().prop_map(|execution| C::Began { execution }),
        2 => execution.clone().prop_map(|execution| C::Completed { execution }),
        1 => Just(C::Plan),
        4 => prop::collection::vec(0u8..8, 0..3).prop_map(|depends_on| C::Task { depends_on }),
        1 => (0u8..8, 1i32..9).prop_map(|(task, priority)| C::EditTask { task, priority }),
        4 => (0u8..8, 0u8..8).prop_map(|(task, on)| C::Depend { task, on }),
        1 => (0u8..8, 0u8..8).prop_map(|(task, on)| C::Undepend { task, on }),
        1 => (0u8..8, execution, 1i64..6, any::<bool>())
            .prop_map(|(task, execution, seq, done)| C::Step { task, execution, seq, done }),
    ];
    // Walks straight to a release are rare by chance alone: half of the runs begin with one.
    let forward = [
        StoryState::PoReview,
        StoryState::ReadyForPlanning,
        StoryState::Planned,
        StoryState::ReadyForExecution,
    ];
    let prefix = prop::bool::ANY.prop_map(move |go| {
        let mut start = vec![];
        if go {
            start.push((C::Task { depends_on: vec![] }, 0));
            start.extend(forward.map(|to| {
                (
                    C::Move {
                        to,
                        reason: false,
                        overridden: true,
                    },
                    0,
                )
            }));
        }
        start
    });
    (
        prefix,
        prop::collection::vec((command, -50i64..1_000), 0..120),
    )
        .prop_map(|(start, rest)| start.into_iter().chain(rest).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_reaches_an_illegal_state(
        criteria in 0usize..3,
        commands in commands(),
    ) {
        let mut world = World::new(criteria);
        for (command, elapsed) in commands {
            world.now += elapsed;
            let (story, version, tasks) = (world.story.clone(), world.version, world.tasks.clone());
            match world.apply(&command) {
                // One write of the story's node is one version, however many hops it holds.
                Ok(()) => prop_assert_eq!(world.version > version, world.story != story),
                Err(rejection) => {
                    prop_assert_eq!(&world.story, &story, "{}", rejection);
                    prop_assert_eq!(&world.tasks, &tasks);
                    prop_assert_eq!(world.version, version);
                }
            }
            prop_assert!(world.version - version <= 1);
            if frozen(story.state) && frozen(world.story.state) {
                let content = |tasks: &BTreeMap<TaskId, Task>| -> Vec<_> {
                    tasks.values().map(|t| (t.task_id.clone(), t.priority, t.depends_on.clone())).collect()
                };
                prop_assert_eq!(content(&world.tasks), content(&tasks), "frozen tasks changed");
            }
            world.check();
        }
    }

    #[test]
    fn the_news_of_a_run_commute(
        steps in prop::collection::vec((0i64..3, 1i64..6), 1..12).prop_shuffle(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..24),
    ) {
        let (_, task) = {
            let (story, _) = Story::create(story_id(), None, new_story(2), at(0)).unwrap();
            create_task(&story, task_id(0), new_task(), &[], at(0)).unwrap()
        };
        let status = |execution: i64, seq: i64| match (execution + seq) % 3 {
            0 => TaskStatus::Todo,
            1 => TaskStatus::Completed,
            _ => TaskStatus::Cancelled,
        };
        let follow = |news: &mut dyn Iterator<Item = (i64, i64)>| {
            let mut task = task.clone();
            for (execution, seq) in news {
                let step = RunStep { execution, seq, status: status(execution, seq) };
                task = task.follow(step, at(0)).unwrap_or(task);
            }
            task
        };
        let sorted = { let mut s = steps.clone(); s.sort_unstable(); s };
        let doubled: Vec<_> = order.iter().map(|i| *i.get(&steps)).chain(steps.iter().copied()).collect();
        prop_assert_eq!(follow(&mut sorted.into_iter()), follow(&mut doubled.into_iter()));
    }
}
