//! The suite of the bus against a real server.

mod support;

use support::Deployed;

async fn place() -> Option<Deployed> {
    Deployed::on_shared_server().await
}

fleet_events::conformance_tests!(place);
