//! Time limits: stored, swept by whoever is there, acted on once.

use std::time::Duration;

use fleet_events::payload::TaskEscalated;
use fleet_service::ServerSettings;
use fleet_workflow::{Config, fsm};

use crate::support::{On, World, act, claim, commit};

/// The shipped machine with a limit of one second where an architect is waited for.
fn hasty(dir: &std::path::Path) -> Config {
    let text = fsm::DEFAULT.replacen(
        "timer: {after: 1h, then: escalate}",
        "timer: {after: 1s, then: escalate}",
        1,
    );
    let text = text.replace(
        "expects: retry\n    timer: {after: 24h, then: remind}",
        "expects: retry\n    timer: {after: 1s, then: remind}",
    );
    let file = dir.join("hasty.fsm.yaml");
    std::fs::write(&file, text).unwrap();
    Config {
        fsm_file: Some(file),
        sweep_every: Duration::from_millis(200),
        ..Config::default()
    }
}

async fn a_wait_beyond_its_limit_escalates_reminds_and_goes_on(on: On) {
    let dir = tempfile::tempdir().unwrap();
    let Some(world) = World::with(on, 2, hasty(dir.path()), ServerSettings::default).await else {
        return;
    };
    let story = world.released(&[&[]]).await;
    let task = &story.tasks[0];
    let mut api = world.client();
    api.claim_task(claim(task, "developer", "dev-1"))
        .await
        .unwrap();
    api.request_validation(commit(task, "dev-1", "abc"))
        .await
        .unwrap();
    let stuck = world.reaches(task, "escalated").await;
    assert_eq!(stuck.role_in_charge, "po");
    let said = world
        .hears(task.as_str(), "workflow.task.escalated", 2)
        .await;
    let reasons: Vec<TaskEscalated> = said.iter().map(|event| event.payload().unwrap()).collect();
    assert_eq!(
        (reasons[0].reason.as_str(), reasons[0].from_state.as_str()),
        ("sla", "pending_arch_review")
    );
    assert_eq!(reasons[1].reason, "reminder");
    // Two replicas swept, one acted.
    let escalations = stuck
        .history
        .iter()
        .filter(|hop| hop.action == "escalate")
        .count();
    assert_eq!(escalations, 1);
    api.request_validation(act(task, "po", "po-1", "retry"))
        .await
        .unwrap();
    let state = world.state(task).await;
    assert_eq!(
        (state.current_state.as_str(), state.retry_count),
        ("todo", 1)
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded() {
    a_wait_beyond_its_limit_escalates_reminds_and_goes_on(On::Embedded).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers() {
    a_wait_beyond_its_limit_escalates_reminds_and_goes_on(On::Servers).await;
}
