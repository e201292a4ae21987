//! What callers of a server meet: errors, deadlines, limits, health, reflection, and its end.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod common;

use std::time::Duration;

use common::{Fixture, beside, reason, state_of, within};
use fleet_proto::workflow::v1 as pb;
use fleet_service::{CORRELATION_HEADER, Need, ServerSettings};
use futures::StreamExt as _;
use tokio::time::Instant;
use tonic::codec::CompressionEncoding;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

#[tokio::test]
async fn a_handler_sees_its_call_and_a_caller_sees_why_it_failed() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut client = fixture.client().await;
    let mut request = state_of("T-1");
    request
        .metadata_mut()
        .insert(CORRELATION_HEADER, "c-7".parse().unwrap());
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    request
        .metadata_mut()
        .insert("traceparent", traceparent.parse().unwrap());
    let response = client.get_workflow_state(request).await.unwrap();
    assert_eq!(response.metadata().get(CORRELATION_HEADER).unwrap(), "c-7");
    let call = fixture.controls.last.lock().unwrap().clone().unwrap();
    assert_eq!(
        call.method,
        "fleet.workflow.v1.WorkflowOrchestrationService/GetWorkflowState"
    );
    assert_eq!(
        (call.correlation.as_str(), call.traceparent.as_str()),
        ("c-7", traceparent)
    );
    assert_eq!(call.principal.id.as_str(), "anonymous");
    assert_eq!(call.principal.roles, None);
    assert!(call.deadline.left() > Duration::from_secs(5));

    let status = client
        .get_workflow_state(state_of("missing"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::NotFound, "NOT_FOUND")
    );
    for task in ["broken", "panic"] {
        let status = client.get_workflow_state(state_of(task)).await.unwrap_err();
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::Internal, "INTERNAL")
        );
        let correlation = status
            .metadata()
            .get(CORRELATION_HEADER)
            .unwrap()
            .to_str()
            .unwrap();
        assert!(status.message().contains(correlation), "{status:?}");
        assert!(!format!("{status:?}").contains("hunter2"));
    }
    assert!(
        client.get_workflow_state(state_of("T-1")).await.is_ok(),
        "a panic hurts nobody else"
    );

    let (_, metrics) = fixture.page("/metrics").await;
    let calls = "fleet_rpc_calls_total{method=\"fleet.workflow.v1.WorkflowOrchestrationService/GetWorkflowState\"";
    assert!(
        metrics.contains(&format!("{calls},code=\"INTERNAL\"}} 2")),
        "{metrics}"
    );
    assert!(
        metrics.contains(&format!("{calls},code=\"OK\"}} 2")),
        "{metrics}"
    );
    assert!(metrics.contains("fleet_rpc_in_flight 0"), "{metrics}");
}

#[tokio::test]
async fn every_deadline_is_kept_and_the_shortest_wins() {
    let short = ServerSettings {
        deadline_default: Duration::from_millis(50),
        ..ServerSettings::default()
    };
    let fixture = Fixture::start(short).await;
    let mut client = fixture.client().await;
    let status = client
        .get_workflow_state(state_of("for-ever"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::DeadlineExceeded, "DEADLINE_EXCEEDED")
    );

    // The caller's own deadline beats the default.
    let mut request = state_of("T-1");
    request
        .metadata_mut()
        .insert("grpc-timeout", "20S".parse().unwrap());
    client.get_workflow_state(request).await.unwrap();
    let call = fixture.controls.last.lock().unwrap().clone().unwrap();
    let left = call.deadline.left();
    assert!(
        left > Duration::from_secs(10) && left < Duration::from_secs(20),
        "{left:?}"
    );

    let limited = ServerSettings {
        deadline_default: Duration::from_secs(60),
        deadline_max: Duration::from_millis(50),
        ..ServerSettings::default()
    };
    let fixture = Fixture::start(limited).await;
    let mut client = fixture.client().await;
    let mut request = Request::new(pb::ClaimTaskRequest::default());
    request
        .metadata_mut()
        .insert("grpc-timeout", "1H".parse().unwrap());
    let status = client.claim_task(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    // The write goes on all the same.
    fixture.controls.release.notify_one();
    within(fixture.controls.finished.notified()).await;

    // A method may have a limit of its own.
    let mut request = state_of("T-1");
    request
        .metadata_mut()
        .insert("grpc-timeout", "1H".parse().unwrap());
    client.get_workflow_state(request).await.unwrap();
    let left = fixture
        .controls
        .last
        .lock()
        .unwrap()
        .clone()
        .unwrap()
        .deadline
        .left();
    assert!(
        left > Duration::from_secs(20) && left < Duration::from_secs(30),
        "{left:?}"
    );

    // Streams have no deadline of ours.
    let mut stream = client
        .watch_tasks(pb::WatchTasksRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());
    let next = tokio::time::timeout(Duration::from_millis(200), stream.message()).await;
    assert!(next.is_err(), "open, and silent");
}

#[tokio::test]
async fn a_caller_that_hangs_up_does_not_cut_a_write_in_half() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut client = fixture.client().await;
    let call = tokio::time::timeout(Duration::from_millis(100), async {
        client.claim_task(pb::ClaimTaskRequest::default()).await
    });
    let (gave_up, ()) = futures::join!(call, fixture.controls.entered.notified());
    assert!(gave_up.is_err());
    drop(client);
    fixture.controls.release.notify_one();
    within(fixture.controls.finished.notified()).await;
}

#[tokio::test]
async fn a_full_server_sheds_calls_but_still_answers_health() {
    let small = ServerSettings {
        max_concurrent_calls: 1,
        max_concurrent_streams: 1,
        ..ServerSettings::default()
    };
    let fixture = Fixture::start(small).await;
    let mut client = fixture.client().await;
    let mut held = client.clone();
    let first = beside(async move { held.get_workflow_state(state_of("held")).await });
    within(fixture.controls.entered.notified()).await;
    let status = client
        .get_workflow_state(state_of("T-1"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "OVERLOADED")
    );
    let stream = client
        .watch_tasks(pb::WatchTasksRequest::default())
        .await
        .unwrap();
    let status = client
        .watch_tasks(pb::WatchTasksRequest::default())
        .await
        .unwrap_err();
    assert_eq!(reason(&status), "OVERLOADED");
    let health = fixture
        .health()
        .await
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(health.into_inner().status(), ServingStatus::Serving);
    fixture.controls.release.notify_one();
    first.await.unwrap().unwrap();
    assert!(
        client.get_workflow_state(state_of("T-1")).await.is_ok(),
        "room again"
    );
    drop(stream);
}

#[tokio::test]
async fn messages_are_bounded_and_may_be_compressed() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut client = fixture
        .client()
        .await
        .max_encoding_message_size(64 * 1024 * 1024);
    let fits = state_of(&"x".repeat(2 * 1024 * 1024));
    let mut compressing = client
        .clone()
        .send_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Gzip);
    let answer = compressing.get_workflow_state(fits).await.unwrap();
    assert_eq!(answer.get_ref().task_id.len(), 2 * 1024 * 1024);
    let status = client
        .get_workflow_state(state_of(&"x".repeat(5 * 1024 * 1024)))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
        "{status:?}"
    );
    assert!(
        client.get_workflow_state(state_of("T-1")).await.is_ok(),
        "the connection survives"
    );
}

/// What GetWorkflowState says to a message of another type.
async fn send<M: prost::Message + Default + 'static>(fixture: &Fixture, message: M) -> Status {
    let mut grpc = tonic::client::Grpc::new(fixture.channel().await);
    grpc.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<M, pb::GetWorkflowStateResponse>::default();
    let path = "/fleet.workflow.v1.WorkflowOrchestrationService/GetWorkflowState";
    let path = http::uri::PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(message), path, codec);
    answer.await.expect_err("it is not of that type")
}

/// A message that is not one is the caller's mistake, and says so in our words.
#[tokio::test]
async fn bytes_that_are_no_message_are_refused_by_field() {
    use tonic_types::StatusExt as _;

    let fixture = Fixture::start(ServerSettings::default()).await;
    // Field 1 as bytes and as a number, where the method has a string.
    let not_text = send(&fixture, b"T-\xff".to_vec()).await;
    let a_number = send(&fixture, 7_i32).await;
    for status in [not_text, a_number] {
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "VALIDATION_FAILED"),
            "{status:?}"
        );
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, "task_id");
        assert!(!status.message().contains("Protobuf"), "{status:?}");
    }
}

#[tokio::test]
async fn headers_are_bounded_too() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut client = fixture.client().await;
    let mut request = state_of("T-1");
    request
        .metadata_mut()
        .insert("x-huge", "y".repeat(20_000).parse().unwrap());
    assert!(client.get_workflow_state(request).await.is_err());
    let mut another = fixture.client().await;
    assert!(another.get_workflow_state(state_of("T-1")).await.is_ok());
    // Calls that are dropped as soon as they are made leave nothing behind.
    for _ in 0..500 {
        let held = another.get_workflow_state(state_of("for-ever"));
        assert!(futures::FutureExt::now_or_never(held).is_none());
    }
    let settled = async {
        while !fixture
            .page("/metrics")
            .await
            .1
            .contains("fleet_rpc_in_flight 0")
        {}
    };
    within(settled).await;
    assert!(another.get_workflow_state(state_of("T-1")).await.is_ok());
}

#[tokio::test]
async fn what_is_not_served_is_unimplemented_by_the_standard() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut planning =
        fleet_proto::planning::v2::planning_service_client::PlanningServiceClient::new(
            fixture.channel().await,
        );
    let status = planning
        .get_story(fleet_proto::planning::v2::GetStoryRequest::default())
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unimplemented, "")
    );
}

#[tokio::test]
async fn reflection_lists_exactly_what_is_served_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let fixture = Fixture::start(ServerSettings::default()).await;
    let expected = [
        "fleet.workflow.v1.WorkflowOrchestrationService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ];

    let mut client =
        v1::server_reflection_client::ServerReflectionClient::new(fixture.channel().await);
    use v1::server_reflection_request::MessageRequest;
    use v1::server_reflection_response::MessageResponse;
    let requests = [
        MessageRequest::ListServices(String::new()),
        MessageRequest::FileContainingSymbol(
            "fleet.workflow.v1.WorkflowOrchestrationService".into(),
        ),
        MessageRequest::FileContainingSymbol("grpc.health.v1.Health".into()),
    ]
    .map(|message| v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(message),
    });
    let mut answers = client
        .server_reflection_info(tokio_stream::iter(requests))
        .await
        .unwrap()
        .into_inner();
    let MessageResponse::ListServicesResponse(list) = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap()
    else {
        panic!("a list");
    };
    let mut names: Vec<_> = list.service.into_iter().map(|s| s.name).collect();
    names.sort();
    assert_eq!(names, expected);
    for _ in 0..2 {
        let answer = answers
            .message()
            .await
            .unwrap()
            .unwrap()
            .message_response
            .unwrap();
        assert!(
            matches!(answer, MessageResponse::FileDescriptorResponse(_)),
            "{answer:?}"
        );
    }

    let mut client =
        v1alpha::server_reflection_client::ServerReflectionClient::new(fixture.channel().await);
    let request = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            v1alpha::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let v1alpha::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer
    else {
        panic!("a list");
    };
    assert_eq!(list.service.len(), expected.len());
}

#[tokio::test]
async fn until_its_dependencies_are_there_a_server_says_for_whom_it_waits() {
    let process = fleet_service::Process::new(
        std::sync::Arc::new(fleet_service::SystemClock),
        std::sync::Arc::new(fleet_service::SystemIds),
    );
    let store = process.readiness.latch("neo4j", Need::Always);
    let fixture = Fixture::start_on(process, ServerSettings::default()).await;
    store.down("bolt://127.0.0.1:1: connection refused");
    let mut client = fixture.client().await;
    let status = client
        .get_workflow_state(state_of("T-1"))
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::Unavailable, "DEPENDENCY_UNAVAILABLE")
    );
    assert_eq!(status.message(), "neo4j is unavailable, try again");

    let mut health = fixture.health().await;
    let named = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    for service in ["", "fleet.workflow.v1.WorkflowOrchestrationService"] {
        let mut watch = health.watch(named(service)).await.unwrap().into_inner();
        let first = watch.message().await.unwrap().unwrap();
        assert_eq!(first.status(), ServingStatus::NotServing, "{service:?}");
    }
    let unknown = health
        .check(named("fleet.planning.v2.PlanningService"))
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let (status, body) = fixture.page("/readyz").await;
    assert!(
        status.contains("503") && body.contains("connection refused"),
        "{status} {body}"
    );
    assert!(
        fixture.page("/livez").await.0.contains("200"),
        "alive all the same"
    );
    let up = "fleet_dependency_up{dependency=\"neo4j\"}";
    let (_, metrics) = fixture.page("/metrics").await;
    assert!(metrics.contains(&format!("{up} 0")), "{metrics}");
    assert!(fixture.page("/config").await.1.contains("***"));

    let mut watch = health.watch(named("")).await.unwrap().into_inner();
    assert_eq!(
        watch.message().await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    store.up();
    let (_, metrics) = fixture.page("/metrics").await;
    assert!(metrics.contains(&format!("{up} 1")), "{metrics}");
    assert_eq!(
        within(watch.message()).await.unwrap().unwrap().status(),
        ServingStatus::Serving
    );
    assert!(client.get_workflow_state(state_of("T-1")).await.is_ok());
    assert!(fixture.page("/readyz").await.0.contains("200"));

    // Away later: not ready, but calls are let through and find out for themselves.
    store.down("bolt://127.0.0.1:1: connection reset");
    assert_eq!(
        within(watch.message()).await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
    assert!(client.get_workflow_state(state_of("T-1")).await.is_ok());
}

#[tokio::test]
async fn a_drain_waits_for_calls_but_not_for_idle_connections() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    // Never says a word, so it would never end by itself.
    let idle = tokio::net::TcpStream::connect(fixture.address)
        .await
        .unwrap();
    let mut client = fixture.client().await;
    let mut held = client.clone();
    let call = beside(async move { held.claim_task(pb::ClaimTaskRequest::default()).await });
    within(fixture.controls.entered.notified()).await;
    let mut stream = client
        .watch_tasks(pb::WatchTasksRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(stream.message().await.unwrap().is_some());

    let started = Instant::now();
    let process = fixture.process.clone();
    let stop = beside(async move { process.stop(Duration::from_secs(20)).await });
    let ended = within(stream.message()).await.unwrap_err();
    assert_eq!(
        ended.code(),
        Code::Unavailable,
        "open streams are told to come again"
    );
    let mut changes = fixture.process.readiness.changes();
    within(changes.wait_for(|state| state.stopping))
        .await
        .unwrap();
    assert!(!stop.is_finished(), "a call is still in hand");
    fixture.controls.release.notify_one();
    assert!(call.await.unwrap().is_ok(), "it gets its answer");
    let drained = within(stop).await.unwrap();
    assert!(drained.is_complete(), "{drained:?}");
    assert!(
        started.elapsed() < Duration::from_secs(10),
        "nobody waited for the idle connection"
    );
    assert!(
        tokio::net::TcpStream::connect(fixture.address)
            .await
            .is_err(),
        "nobody listens any more"
    );
    drop(idle);
}

#[tokio::test]
async fn a_drain_ends_at_its_deadline_and_says_what_was_left() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut client = fixture.client().await;
    let call = beside(async move { client.claim_task(pb::ClaimTaskRequest::default()).await });
    within(fixture.controls.entered.notified()).await;
    let drained = fixture.process.stop(Duration::from_secs(2)).await;
    assert_eq!(drained.left, ["claim", "workflow"]);
    call.abort();
}

#[tokio::test]
async fn health_watchers_hear_of_the_end() {
    let fixture = Fixture::start(ServerSettings::default()).await;
    let mut health = fixture.health().await;
    let mut watch = health
        .watch(HealthCheckRequest::default())
        .await
        .unwrap()
        .into_inner();
    let first = within(watch.message()).await.unwrap().unwrap().status();
    let last = if first == ServingStatus::Serving {
        first
    } else {
        within(watch.message()).await.unwrap().unwrap().status()
    };
    assert_eq!(last, ServingStatus::Serving);
    fixture.process.readiness.stop();
    assert_eq!(
        within(watch.next()).await.unwrap().unwrap().status(),
        ServingStatus::NotServing
    );
}
