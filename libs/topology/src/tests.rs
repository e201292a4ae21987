use super::*;

const FILE: &str = include_str!("../../../topology.toml");

#[test]
fn services_have_their_ports_and_names() {
    assert_eq!(services::PLANNING.grpc_port, 50054);
    assert_eq!(services::PLANNING.admin_port, 20054);
    assert_eq!(services::PLANNING.package, "fleet-planning");
    assert_eq!(services::PLANNING.image, "swe-ai-fleet/planning");
    assert_eq!(services::RAY_EXECUTOR.name, "ray-executor");
    let ports: Vec<_> = SERVICES.iter().map(|s| (s.name, s.grpc_port)).collect();
    assert_eq!(
        ports,
        [
            ("context", 50051),
            ("planning", 50054),
            ("orchestrator", 50055),
            ("workflow", 50056),
            ("ray-executor", 50057),
        ]
    );
    assert_eq!(POD_ADMIN_PORT, 8080);
    assert_eq!(service("workflow"), Some(&services::WORKFLOW));
    assert_eq!(service("Workflow"), None);
}

#[test]
fn only_passwords_are_secret_and_secrets_have_no_value() {
    let secrets: Vec<_> = ENV_KEYS.iter().filter(|key| key.secret).collect();
    assert_eq!(secrets.len(), 1);
    assert_eq!(secrets[0].name, env_keys::NEO4J_PASSWORD);
    assert_eq!(secrets[0].in_cluster, None);
}

#[test]
fn every_listed_subject_has_the_one_stream_it_says() {
    assert_eq!(SUBJECTS.len(), 35);
    for subject in SUBJECTS {
        let homes: Vec<_> = STREAMS.iter().filter(|s| s.stores(subject.name)).collect();
        assert_eq!(homes.len(), 1, "{}", subject.name);
        assert_eq!(homes[0].name, subject.stream);
        assert_eq!(stream_of(subject.name), Some(homes[0]));
    }
    assert_eq!(
        stream_of("parked.AGENT_WORK.workflow-agent-work"),
        stream("FLEET_PARKED")
    );
    assert_eq!(stream_of("agent.cmd.run"), Some(&streams::AGENT_COMMANDS));
    assert_eq!(stream_of("agent.other"), None);
    assert_eq!(stream_of("planning"), None);
    assert_eq!(stream_of("planningx.story"), None);
}

#[test]
fn streams_refuse_when_full_and_fit_a_laptop() {
    assert_eq!(STREAMS.len(), 8);
    for stream in STREAMS {
        assert_eq!(
            (stream.storage, stream.discard),
            (Storage::File, Discard::New)
        );
        assert!(stream.max_age_secs >= 7 * 86_400, "{}", stream.name);
    }
    assert_eq!(streams::FLEET_PARKED.max_age_secs, 90 * 86_400);
    assert_eq!(STREAMS.iter().map(|s| s.max_bytes).sum::<u64>(), 4 << 30);
    assert_eq!(STREAM_ALARM_PERCENT, 70);
}

#[test]
fn consumers_and_subjects_know_each_other() {
    assert_eq!(CONSUMERS.len(), 8);
    for consumer in CONSUMERS {
        assert!(consumer.max_ack_pending >= 1000);
        for name in consumer.filter_subjects {
            let subject = subject(name).expect("a listed subject");
            assert_eq!(subject.stream, consumer.stream);
            assert!(subject.consumers.contains(&consumer.name));
        }
    }
    let workflow: Vec<_> = consumers_of("workflow").map(|c| c.name).collect();
    assert_eq!(
        workflow,
        ["workflow-planning-events", "workflow-agent-work"]
    );
    assert_eq!(
        consumer("planning-workflow-events")
            .expect("it is listed")
            .filter_subjects,
        [
            subjects::WORKFLOW_STATE_CHANGED,
            subjects::WORKFLOW_STORY_COMPLETED
        ]
    );
}

/// Each case breaks the real file in one place; the complaint must name that place.
#[test]
fn a_contradiction_is_refused_by_name() {
    model::load(FILE).expect("the real file is fine");
    for (from, to, complaint) in [
        (
            "grpc_port = 50055",
            "grpc_port = 50054",
            "service `orchestrator`: port 50054 belongs to `planning`",
        ),
        (
            "grpc_port = 50055",
            "grpc_port = 20054",
            "service `orchestrator`: port 20054 minus the admin shift 30000 is not a free port",
        ),
        (
            "grpc_port = 50055",
            "grpc_port = 20054\n#",
            "service `orchestrator`: port 20054 belongs to `planning`",
        ),
        (
            "subjects = [\"agent.cmd.>\"]",
            "subjects = [\"agent.>\"]",
            "stream `AGENT_COMMANDS`: `agent.>` overlaps `agent.work.>` of stream `AGENT_WORK`",
        ),
        (
            "subjects = [\"agent.cmd.>\"]",
            "subjects = [\"agent.>\"]",
            "subject `agent.work.completed`: is listed under stream `AGENT_WORK`, but the \
             streams that store it are: AGENT_COMMANDS, AGENT_WORK",
        ),
        (
            "subject = \"context.decision.added\"",
            "subject = \"contexts.decision.added\"",
            "subject `contexts.decision.added`: is listed under stream `CONTEXT`, but the \
             streams that store it are: none",
        ),
        (
            "subject = \"context.decision.added\"",
            "subject = \"context.events.updated\"",
            "subject `context.events.updated`: there is `context.events.updated` already",
        ),
        (
            "subject = \"context.decision.added\"",
            "subject = \"context.Decision\"",
            "subject `context.Decision`: is made of words",
        ),
        (
            "publisher = \"context\"",
            "publisher = \"contxt\"",
            "its publisher `contxt` is no service",
        ),
        (
            "filter_subjects = [\"agent.work.completed\"]",
            "filter_subjects = [\"agent.work.done\"]",
            "consumer `workflow-agent-work`: stream `AGENT_WORK` has no subject `agent.work.done`",
        ),
        (
            "filter_subjects = [\"agent.work.completed\"]",
            "filter_subjects = [\"planning.story.created\"]",
            "consumer `workflow-agent-work`: stream `AGENT_WORK` has no subject \
             `planning.story.created`",
        ),
        (
            "filter_subjects = [\"agent.work.completed\"]",
            "filter_subjects = [\"agent.work.completed\"]\nmax_ack_pending = 1",
            "consumer `workflow-agent-work`: max_ack_pending is at least 1000",
        ),
        (
            "stream = \"AGENT_WORK\"",
            "stream = \"AGENT_WORKS\"",
            "consumer `workflow-agent-work`: there is no stream `AGENT_WORKS`",
        ),
        (
            "name = \"workflow-agent-work\"\nservice = \"workflow\"",
            "name = \"workflow-agent-work\"\nservice = \"workflw\"",
            "consumer `workflow-agent-work`: there is no service `workflw`",
        ),
        (
            "secret = true",
            "secret = true\nin_cluster = \"x\"",
            "env `NEO4J_PASSWORD`: a secret has no value in this file",
        ),
        (
            "\"NATS_URL\", \"VALKEY_URL\"]",
            "\"NATS_URL\", \"VALKEY\"]",
            "service `context`: env key `VALKEY` is not listed",
        ),
        (
            "max_age_days = 90",
            "max_age_days = 0",
            "stream `FLEET_PARKED`: age, size and count have limits above 0",
        ),
        ("alarm_percent = 70", "alarm = 70", "unknown field `alarm`"),
    ] {
        let broken = FILE.replacen(from, to, 1);
        assert_ne!(broken, FILE, "`{from}` is in the file");
        let refusal = model::load(&broken).expect_err(complaint);
        assert!(
            refusal.contains(complaint),
            "expected: {complaint}\ngot: {refusal}"
        );
    }
}

#[test]
fn every_contradiction_is_told_at_once() {
    let broken = FILE
        .replace("grpc_port = 50055", "grpc_port = 50054")
        .replace("alarm_percent = 70", "alarm_percent = 0");
    let refusal = model::load(&broken).expect_err("it contradicts itself twice");
    assert!(
        refusal.contains("50054") && refusal.contains("alarm_percent"),
        "{refusal}"
    );
}
