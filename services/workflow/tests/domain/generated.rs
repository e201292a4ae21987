//! Generated command sequences against the shipped machine: whatever callers, timers and the
//! story do, in whatever order, no task ends up where it must not be.

use std::collections::BTreeSet;

use fleet_workflow::fsm;
use proptest::prelude::*;

use crate::world::{ACTIONS, AGENTS, Epoch, Op, ROLES, TASKS, World};

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (task, role, agent) = (0..TASKS, 0..ROLES.len(), 0..AGENTS);
    let epoch =
        || prop_oneof![3 => Just(Epoch::None), 3 => Just(Epoch::Current), 1 => Just(Epoch::Older)];
    let op = prop_oneof![
        4 => (task.clone(), role.clone(), agent.clone(), 0..ACTIONS.len(), any::<bool>(), any::<bool>(), epoch())
            .prop_map(|(task, role, agent, action, words, sha, epoch)|
                Op::Act { task, role, agent, action, words, sha, epoch }),
        100 => (task.clone(), agent.clone(), prop_oneof![8 => Just(0), 1 => 0..4_usize])
            .prop_map(|(task, agent, pick)| Op::Forward { task, agent, pick }),
        3 => (task.clone(), role.clone(), agent.clone())
            .prop_map(|(task, role, agent)| Op::Claim { task, role, agent }),
        1 => (task.clone(), role.clone(), agent.clone(), epoch())
            .prop_map(|(task, role, agent, epoch)| Op::Renew { task, role, agent, epoch }),
        1 => (task, role, agent).prop_map(|(task, role, agent)| Op::GiveBack { task, role, agent }),
        1 => (1..120_u64).prop_map(|minutes| Op::Wait { minutes }),
        1 => Just(Op::Timers),
        1 => Just(Op::CarryOver),
        1 => Just(Op::Reset),
        2 => Just(Op::ReleaseAgain),
    ];
    prop::collection::vec(op, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_commands_leads_to_an_illegal_state(ops in ops()) {
        let mut world = World::new();
        for op in &ops {
            world.run_op(op);
            world.check();
        }
    }
}

/// The generated sequences are of use only if they get somewhere.
#[test]
fn generated_sequences_reach_every_state_and_many_ends() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeSet::new();
    let mut completed = 0;
    for _ in 0..150 {
        let ops = ops().new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        for op in &ops {
            world.run_op(op);
        }
        completed += world.completed.len();
        for hop in world.histories.values().flatten() {
            seen.insert(world.machine.name_of(hop.to).to_owned());
        }
    }
    let machine = fsm::shipped();
    let all: BTreeSet<String> = machine
        .states()
        .map(|(_, state)| state.name.clone())
        .collect();
    assert_eq!(seen, all);
    assert!(completed > 0, "some story was completed");
}
