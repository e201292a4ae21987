//! GetStats: counts from indexes, durations as they were recorded when tasks ended.

use std::collections::BTreeMap;

use fleet_graph::{Index, MAX_PAGE, Scan};
use fleet_proto::workflow::v1 as pb;
use fleet_service::{Call, Fault};
use fleet_types::{Role, StoryId, Violations};

use super::render::int32;
use crate::domain::Judged;
use crate::engine::Engine;
use crate::fsm::{Kind, Outcome, State};
use crate::rows::StoryRunRow;

/// Two reads: the counts of all states, and the recorded figures (of one story's tasks, or
/// of the latest 1,000 executions).
pub(super) async fn stats(
    engine: &Engine,
    call: &Call,
    message: pb::GetStatsRequest,
) -> Result<pb::GetStatsResponse, Fault> {
    let mut v = Violations::new();
    let story: Option<StoryId> = v.parse_optional("story_id", &message.story_id);
    let role: Option<Role> = v.parse_optional("role", &message.role);
    v.into_result()?;
    let machine = &engine.machine;
    let states: Vec<&State> = machine
        .states()
        .map(|(_, state)| state)
        .filter(|state| state.kind != Kind::Automatic)
        .filter(|state| role.is_none() || state.role == role)
        .collect();
    let listings: Vec<_> = states
        .iter()
        .map(|state| match &story {
            None => (Index::TaskRunsByState, vec![state.name.as_str().into()]),
            Some(story) => (
                Index::TaskRunsByStoryState,
                vec![story.as_str().into(), state.name.as_str().into()],
            ),
        })
        .collect();
    let store = engine.committer.store();
    let (counts, recorded) = tokio::join!(
        store.counts(&listings, call.deadline),
        recorded(engine, call, story.as_ref())
    );
    let (counts, recorded) = (counts?, recorded?);
    let counted: Vec<(&State, u64)> = states
        .iter()
        .copied()
        .zip(counts.iter().map(|c| c.count))
        .collect();
    let sum = |wanted: &dyn Fn(&State) -> bool| {
        int32(
            counted
                .iter()
                .filter(|(state, _)| wanted(state))
                .map(|(_, n)| n)
                .sum::<u64>(),
        )
    };
    let escalation = machine.escalation().map(|id| machine.name_of(id));
    let waits_for = |role: Role| {
        move |state: &State| {
            state.kind == Kind::Waiting && state.role == Some(role) && state.artifact.is_some()
        }
    };
    let mean = |ms: i64, n: i64| {
        if n == 0 {
            0.0
        } else {
            ms as f64 / n as f64 / 1_000.0
        }
    };
    Ok(pb::GetStatsResponse {
        total_tasks: sum(&|_| true),
        tasks_in_progress: sum(&|state| state.kind == Kind::Active),
        tasks_completed: sum(&|state| state.outcome == Some(Outcome::Done)),
        tasks_waiting_architect: sum(&waits_for(Role::Architect)),
        tasks_waiting_qa: sum(&waits_for(Role::Qa)),
        tasks_waiting_po: sum(&waits_for(Role::Po)),
        tasks_by_state: counted
            .iter()
            .filter(|(_, n)| *n > 0)
            .map(|(state, n)| (state.name.clone(), int32(*n)))
            .collect::<BTreeMap<_, _>>(),
        avg_time_in_arch_review_seconds: mean(
            recorded.judged.architect_ms,
            recorded.judged.architect,
        ),
        avg_time_in_qa_seconds: mean(recorded.judged.qa_ms, recorded.judged.qa),
        total_rejections: int32(recorded.rejections),
        approval_rate: if recorded.done == 0 {
            0.0
        } else {
            100.0 * recorded.first_try as f64 / recorded.done as f64
        },
        total_is_lower_bound: counts.iter().any(|total| total.is_lower_bound) || recorded.more,
        tasks_cancelled: sum(&|state| state.outcome == Some(Outcome::Cancelled)),
        tasks_escalated: sum(&|state| Some(state.name.as_str()) == escalation),
    })
}

#[derive(Default)]
struct Recorded {
    judged: Judged,
    rejections: i64,
    done: i64,
    first_try: i64,
    more: bool,
}

async fn recorded(
    engine: &Engine,
    call: &Call,
    story: Option<&StoryId>,
) -> Result<Recorded, Fault> {
    let mut all = Recorded::default();
    let store = engine.committer.store();
    match story {
        Some(story) => {
            let scan = Scan::new(
                Index::TaskRunsByStory,
                vec![story.as_str().into()],
                MAX_PAGE,
            );
            let page = store.scan(&scan, call.deadline).await?;
            all.more = page.more;
            for node in &page.nodes {
                let run = engine.stored(node).map_err(Fault::internal)?.run;
                all.judged = all.judged.plus(run.judged);
                all.rejections += run.rejections;
                if run.outcome(&engine.machine) == Some(Outcome::Done) {
                    all.done += 1;
                    all.first_try += i64::from(run.rejections == 0);
                }
            }
        }
        None => {
            let mut scan = Scan::new(Index::StoryRuns, Vec::new(), MAX_PAGE);
            scan.descending = true;
            let page = store.scan(&scan, call.deadline).await?;
            all.more = page.more;
            for node in &page.nodes {
                let run = StoryRunRow::read(node).map_err(Fault::internal)?;
                all.judged = all.judged.plus(run.judged);
                all.rejections += run.rejections;
                all.done += run.done_here;
                all.first_try += run.first_try;
            }
        }
    }
    Ok(all)
}
