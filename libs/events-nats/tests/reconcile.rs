//! Plans for streams and consumers against a server on which somebody else had his hands.

#![allow(clippy::unwrap_used, reason = "part of tests only")]

mod support;

use std::time::Duration;

use async_nats::jetstream::{consumer, stream};
use fleet_events::{Bus, Drift, PublishError, conformance::Place};
use fleet_events_nats::{ConnectError, NatsBus, Settings};
use fleet_graph::OutboxEvent;
use fleet_types::{EventId, Timestamp};
use support::{Deployed, settings, soon};

fn named(drift: &[Drift]) -> Vec<(&'static str, &str, &str)> {
    drift
        .iter()
        .map(|drift| match drift {
            Drift::Missing { kind, name } => ("missing", *kind, name.as_str()),
            Drift::Different { kind, name, .. } => ("different", *kind, name.as_str()),
            Drift::Immutable { kind, name, .. } => ("immutable", *kind, name.as_str()),
        })
        .collect()
}

#[tokio::test]
async fn what_is_missing_is_created_what_differs_is_updated_what_cannot_be_is_said() {
    let Some(deployed) = Deployed::on_shared_server().await else {
        return;
    };
    let (bus, jetstream) = (&deployed.bus, deployed.jetstream().await);

    // Somebody made one stream by hand, with another storage, and narrowed a second one.
    jetstream
        .delete_stream(deployed.stream("AGENT_RESPONSES"))
        .await
        .unwrap();
    let by_hand = stream::Config {
        name: deployed.stream("AGENT_RESPONSES"),
        subjects: vec![deployed.subject("agent.response.>")],
        storage: stream::StorageType::Memory,
        ..Default::default()
    };
    jetstream.create_stream(by_hand).await.unwrap();
    let mut narrowed = jetstream
        .get_stream(deployed.stream("AGENT_WORK"))
        .await
        .unwrap();
    let mut config = narrowed.info().await.unwrap().config.clone();
    config.max_age = Duration::from_secs(7_200);
    config.discard = stream::DiscardPolicy::Old;
    config.description = Some("not ours to touch".to_owned());
    jetstream.update_stream(config).await.unwrap();
    // A consumer that gives up, one with another filter, one that is gone, one pushed.
    let give_up = |config: &mut consumer::pull::Config| {
        config.max_deliver = 5;
        config.backoff = vec![Duration::from_secs(1)];
        config.ack_wait = Duration::from_secs(1);
    };
    let planning = jetstream
        .get_stream(deployed.stream("PLANNING_EVENTS"))
        .await
        .unwrap();
    let there: consumer::PullConsumer = planning
        .get_consumer("workflow-planning-events")
        .await
        .unwrap();
    let info = there.cached_info().config.clone();
    let mut config = consumer::pull::Config {
        durable_name: info.durable_name,
        filter_subject: deployed.subject("planning.story.created"),
        ..Default::default()
    };
    give_up(&mut config);
    planning.create_consumer(config).await.unwrap();
    narrowed
        .delete_consumer("workflow-agent-work")
        .await
        .unwrap();
    let workflow = jetstream
        .get_stream(deployed.stream("WORKFLOW_EVENTS"))
        .await
        .unwrap();
    workflow
        .delete_consumer("planning-workflow-events")
        .await
        .unwrap();
    let eager = consumer::pull::Config {
        durable_name: Some("planning-workflow-events".to_owned()),
        ack_policy: consumer::AckPolicy::None,
        ..Default::default()
    };
    workflow.create_consumer(eager).await.unwrap();

    let drift = bus.drift(soon()).await.unwrap();
    let mut found = named(&drift);
    found.sort_unstable();
    assert_eq!(
        found,
        [
            ("different", "consumer", "workflow-planning-events"),
            ("different", "stream", "AGENT_WORK"),
            ("immutable", "consumer", "planning-workflow-events"),
            ("immutable", "stream", "AGENT_RESPONSES"),
            ("missing", "consumer", "workflow-agent-work"),
        ]
    );
    let text = format!("{drift:?}");
    for change in [
        "max_age: 7200s, wanted 604800s",
        "discard: Old, wanted New",
        "max_deliver: 5",
    ] {
        assert!(text.contains(change), "{change} is not in {text}");
    }
    let left = bus.apply(soon()).await.unwrap();
    let mut left = named(&left);
    left.sort_unstable();
    assert_eq!(
        left,
        [
            ("immutable", "consumer", "planning-workflow-events"),
            ("immutable", "stream", "AGENT_RESPONSES")
        ]
    );
    assert_eq!(named(&bus.drift(soon()).await.unwrap()).len(), 2);
    let work = narrowed.info().await.unwrap().config.clone();
    assert_eq!(work.description.as_deref(), Some("not ours to touch"));
    assert_eq!(work.duplicate_window, Duration::from_secs(600));
    let repaired: consumer::PullConsumer = planning
        .get_consumer("workflow-planning-events")
        .await
        .unwrap();
    let config = &repaired.cached_info().config;
    assert_eq!((config.max_deliver, config.backoff.len()), (-1, 0));
    assert_eq!(config.ack_wait, Duration::from_secs(30));
    deployed.close().await;
}

#[tokio::test]
async fn a_full_stream_refuses_its_publisher_and_keeps_what_it_has() {
    let Some(deployed) = Deployed::on_shared_server().await else {
        return;
    };
    let jetstream = deployed.jetstream().await;
    let mut stream = jetstream
        .get_stream(deployed.stream("PLANNING_EVENTS"))
        .await
        .unwrap();
    let mut config = stream.info().await.unwrap().config.clone();
    config.max_messages = 3;
    jetstream.update_stream(config).await.unwrap();
    let event = |subject: &str, number: u64| OutboxEvent {
        id: EventId::parse(&format!("ev-{number}")).unwrap(),
        subject: subject.to_owned(),
        source: "fleet-planning".to_owned(),
        aggregate: "s-1".to_owned(),
        aggregate_version: 1,
        time: Timestamp::from_millis(0),
        payload: "{}".to_owned(),
        correlation: "c".to_owned(),
        causation: String::new(),
        traceparent: String::new(),
    };
    let events: Vec<_> = (0..5)
        .map(|number| event("planning.story.created", number))
        .collect();
    let outcomes = deployed.bus.publish(&events, soon()).await;
    let full = outcomes
        .iter()
        .filter(|outcome| matches!(outcome, Err(PublishError::StreamFull { subject }) if subject == "planning.story.created"))
        .count();
    assert_eq!(
        (
            full,
            outcomes.iter().filter(|outcome| outcome.is_ok()).count()
        ),
        (2, 3)
    );
    let other = deployed
        .bus
        .publish(&[event("workflow.state.changed", 9)], soon())
        .await
        .remove(0);
    assert!(other.is_ok());
    assert_eq!(stream.info().await.unwrap().state.messages, 3);
    let fill = deployed.bus.fill(soon()).await.unwrap();
    assert!(fill.contains(&("PLANNING_EVENTS", 100)), "{fill:?}");
    assert!(fill.contains(&("CONTEXT", 0)), "{fill:?}");
    deployed.close().await;
}

#[tokio::test]
async fn settings_that_can_never_work_are_refused_at_once() {
    for (url, deployment, text) in [
        (
            "nats://127.0.0.1:4222",
            "Not A Name",
            "deployment \"Not A Name\"",
        ),
        ("http://:::::", "default", "not a NATS address"),
    ] {
        let refused = NatsBus::connect(settings(url, deployment))
            .await
            .err()
            .unwrap();
        assert!(refused.to_string().contains(text), "{refused}");
    }
    let auth = fleet_events_nats::Auth::CredentialsFile("/nonexistent.creds".into());
    let refused = NatsBus::connect(Settings {
        auth,
        ..Settings::new("nats://127.0.0.1:1")
    })
    .await;
    assert!(matches!(
        refused.err().unwrap(),
        ConnectError::Credentials { .. }
    ));
    let secret = Settings::new("nats://user:hunter2@127.0.0.1:1");
    assert!(!format!("{secret:?}").contains("hunter2"));
}
