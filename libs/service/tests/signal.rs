//! SIGTERM ends a process; alone in its binary because signals go to all of it.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::pin::pin;
use std::process::Command;

use common::{Fixture, beside, state_of, within};
use fleet_service::ServerSettings;

#[tokio::test]
async fn sigterm_stops_the_process_after_what_is_in_hand() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut client = fixture.client().await;
    let call = beside(async move { client.get_workflow_state(state_of("held")).await });
    within(fixture.controls.entered.notified()).await;
    let mut end = pin!(
        fixture
            .process
            .run_to_the_end(std::time::Duration::from_secs(20))
    );
    assert!(
        futures::poll!(&mut end).is_pending(),
        "the signal handlers are there from now on"
    );
    let sent = Command::new("kill")
        .args(["-TERM", &std::process::id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
    let mut changes = fixture.process.readiness.changes();
    let stopping = async {
        changes.wait_for(|state| state.stopping).await.unwrap();
        fixture.controls.release.notify_one();
    };
    let (code, ()) = within(async { futures::join!(end, stopping) }).await;
    // `ExitCode` compares only as text.
    assert_eq!(
        format!("{code:?}"),
        format!("{:?}", std::process::ExitCode::SUCCESS)
    );
    assert!(call.await.unwrap().is_ok());
}
