//! The binary from outside: the demo, `up` and the operator's commands.

#[path = "cli/context.rs"]
mod context;
#[path = "cli/local.rs"]
mod local;
mod support;
#[path = "cli/tls.rs"]
mod tls;

use std::path::Path;

use fleet_graph::conformance::test_server;
use fleet_proto::planning::v2::GetStoryRequest;
use fleet_proto::planning::v2::planning_service_client::PlanningServiceClient;
use support::{Up, err, out, run};

fn examples() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/stories"
    ))
}

fn demo(arguments: &[&str]) -> serde_json::Value {
    let output = run(&[&["demo", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    assert_eq!(
        text.lines().count(),
        1,
        "one object and nothing else: {text}"
    );
    serde_json::from_str(&text).expect("JSON")
}

async fn story_state(uri: &str, story_id: &str) -> String {
    let mut planning = PlanningServiceClient::connect(uri.to_owned())
        .await
        .expect("it serves");
    let request = GetStoryRequest {
        story_id: story_id.to_owned(),
    };
    planning
        .get_story(request)
        .await
        .expect("it is there")
        .into_inner()
        .state
}

#[tokio::test]
async fn the_demo_ends_at_ready_to_review_and_its_data_opens_with_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let summary = demo(&["--data", data.to_str().unwrap()]);
    assert_eq!(summary["story_state"], "READY_TO_REVIEW");
    assert_eq!(summary["tasks"], 4);
    assert_eq!(summary["reworks"], 1);
    assert_eq!(summary["lease_takeovers"], 1);
    assert_eq!(summary["events_parked"], 0);
    assert!(summary["hops"].as_u64() > Some(40), "{summary}");
    assert!(summary["events_published"].as_u64() > Some(80), "{summary}");

    let up = Up::start(&data, |_| {}).await;
    let story_id = summary["story_id"].as_str().unwrap();
    assert_eq!(story_state(&up.planning, story_id).await, "READY_TO_REVIEW");

    // A second one on the same data is told who has it.
    let second = run(&[
        "up",
        "--data",
        data.to_str().unwrap(),
        "--port-offset",
        "9500",
    ]);
    assert_eq!(second.status.code(), Some(1));
    let said = err(&second);
    let pid = up.child.id().to_string();
    assert!(said.contains(&pid) && said.contains("--data"), "{said}");

    // A demo may run beside it, and parked messages are listed through it.
    demo(&["--data", dir.path().join("other").to_str().unwrap()]);
    let listed = run(&["parked", "list", "--data", data.to_str().unwrap()]);
    assert_eq!(out(&listed).trim(), "nothing is parked", "{}", err(&listed));
    let missing = run(&["parked", "replay", "7", "--data", data.to_str().unwrap()]);
    assert!(
        err(&missing).contains("there is no parked message 7"),
        "{}",
        err(&missing)
    );
}

#[test]
fn the_demo_takes_every_example_and_refuses_what_it_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let file = examples().join("health-endpoint.md");
    let summary = demo(&[file.to_str().unwrap(), "--data", data.to_str().unwrap()]);
    assert_eq!(summary["story_state"], "READY_TO_REVIEW");
    assert_eq!(
        (&summary["tasks"], &summary["lease_takeovers"]),
        (&1.into(), &1.into())
    );

    let bad = dir.path().join("bad.md");
    let text = std::fs::read_to_string(&file)
        .unwrap()
        .replace("size: S", "size: tiny");
    std::fs::write(&bad, text).unwrap();
    let refused = run(&["demo", bad.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    let said = err(&refused);
    assert!(
        said.contains("bad.md:5: size \"tiny\" is unknown"),
        "{said}"
    );
    assert!(said.contains("cure: use XS, S, M, L or XL"), "{said}");
}

#[test]
fn the_demo_tells_its_story_in_plain_lines_when_piped() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let output = run(&["demo", "--data", data.to_str().unwrap()]);
    assert!(output.status.success(), "{}", err(&output));
    let text = out(&output);
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    for part in [
        "Definition of Ready: 100 of 100",
        "wins (epoch 1)",
        "whose lease runs until",
        "tokens for BUILD: story ",
        "commit_code → pending_arch_review",
        "decides: Log lines carry no address  DEC-",
        "the architect's decision is in it",
        "    > Logs are kept longer, and read by more people, than orders.",
        "hands the task back to the developer with that feedback",
        "takes over (epoch",
        "the story is READY_TO_REVIEW",
        "expire_claim",
        "fleet context get --story s-",
        "fleet up --data",
    ] {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
}

#[test]
fn machines_are_checked_and_drawn() {
    let shipped = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../deploy/k8s/00-foundation/config/workflow.fsm.yaml"
    );
    let checked = run(&["fsm", "check", shipped]);
    assert!(checked.status.success(), "{}", err(&checked));
    assert!(out(&checked).contains("sound"));
    assert!(out(&run(&["fsm", "graph", shipped])).starts_with("stateDiagram-v2"));
    assert!(out(&run(&["fsm", "graph", shipped, "--format", "dot"])).starts_with("digraph"));

    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.yaml");
    let text =
        std::fs::read_to_string(shipped)
            .unwrap()
            .replacen("to: pending_qa", "to: pending_qx", 1);
    std::fs::write(&broken, text).unwrap();
    let refused = run(&["fsm", "check", broken.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("pending_qx"), "{}", err(&refused));
}

#[test]
fn a_data_directory_that_cannot_be_one_is_refused_with_a_cure() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    for (data, sentence) in [
        (&file, "file is not a directory: choose another with --data"),
        (
            &below,
            "cannot hold the data: choose another directory with --data",
        ),
    ] {
        for command in ["up", "demo"] {
            let output = run(&[command, "--data", data.to_str().unwrap()]);
            assert!(!output.status.success());
            assert!(err(&output).contains(sentence), "{}", err(&output));
        }
    }
}

#[test]
fn wrong_settings_are_refused_with_a_sentence() {
    type Case<'a> = (&'a [&'a str], Option<(&'a str, &'a str)>, &'a str);
    let cases: [Case<'_>; 4] = [
        (
            &["up", "--neo4j", "bolt://127.0.0.1:7687"],
            None,
            "--neo4j needs --nats",
        ),
        (
            &[
                "up",
                "--neo4j",
                "bolt://127.0.0.1:7687",
                "--nats",
                "nats://127.0.0.1:4222",
            ],
            None,
            "NEO4J_PASSWORD",
        ),
        (
            &["up"],
            Some(("FLEET_PORT_OFSET", "1")),
            "did you mean FLEET_PORT_OFFSET?",
        ),
        (
            &["up", "--port-offset", "many"],
            None,
            "--port-offset must be a whole number",
        ),
    ];
    for (arguments, environment, sentence) in cases {
        let mut command = support::fleet();
        let output = command.args(arguments).envs(environment).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(64),
            "{arguments:?}: {}",
            err(&output)
        );
        assert!(
            err(&output).contains(sentence),
            "{arguments:?}: {}",
            err(&output)
        );
    }
    let schema = out(&run(&["up", "config-schema"]));
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert!(schema["properties"]["planning_dor_threshold"].is_object());
}

#[test]
fn the_commands_of_operators_reach_a_server_as_the_services_do() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("fleet.creds");
    let absent = absent.to_str().unwrap();
    for command in [["streams", "check"], ["parked", "list"]] {
        for (name, value, sentence) in [
            ("FLEET_NATS_CREDENTIALS_FILE", absent, absent),
            ("FLEET_NATS_TOKN", "x", "did you mean FLEET_NATS_TOKEN?"),
        ] {
            let output = support::fleet()
                .args(command)
                .args(["--nats", "nats://127.0.0.1:1"])
                .env(name, value)
                .output()
                .unwrap();
            assert!(!output.status.success());
            assert!(err(&output).contains(sentence), "{}", err(&output));
        }
    }
}

#[test]
fn the_operators_commands_find_a_server_at_once() {
    let Some(nats) = test_server("nats", "FLEET_TEST_NATS_URL") else {
        return;
    };
    let deployment = support::deployment();
    let on = |command: &[&str]| {
        run(&[command, &["--nats", &nats, "--deployment", &deployment]].concat())
    };
    let output = on(&["parked", "list"]);
    assert!(!output.status.success());
    assert!(
        err(&output).contains("has no streams on this server"),
        "{}",
        err(&output)
    );
    let output = on(&["streams", "check"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(out(&output).contains("+ stream"), "{}", err(&output));
    for (command, said) in [
        (["streams", "plan"], "`fleet streams apply` does this"),
        (["streams", "apply"], "applied"),
        (["streams", "apply"], "as the topology says"),
        (["streams", "check"], "as the topology says"),
        (["parked", "list"], "nothing is parked"),
    ] {
        let output = on(&command);
        assert!(output.status.success(), "{command:?}: {}", err(&output));
        assert!(out(&output).contains(said), "{command:?}: {}", out(&output));
    }
    let output = on(&["streams", "plan", "--replicas", "2"]);
    assert!(err(&output).contains("1, 3 or 5"), "{}", err(&output));
}

/// A developer is told of the story, and the receipt of that holds.
fn told(up: &Up, story: &str) {
    let of = ["--role", "developer", "--phase", "BUILD", "--json"];
    let get = ["context", "get", "--story", story, "--server", &up.context];
    let answer = run(&[&get[..], &of].concat());
    assert!(answer.status.success(), "{}", err(&answer));
    let text = out(&answer);
    assert!(text.contains("It answers within 100 ms"), "{text}");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("receipt.json");
    std::fs::write(&file, text).expect("it is written");
    let file = file.to_str().expect("UTF-8");
    let verified = run(&["context", "verify", file, "--server", &up.context]);
    let said = out(&verified);
    // What is heard late may move the graph, but never makes a receipt false.
    let code = verified.status.code();
    assert!(matches!(code, Some(0 | 2)), "{said}{}", err(&verified));
}

#[tokio::test]
async fn up_takes_a_real_bus_and_a_real_graph() {
    let Some(nats) = test_server("nats", "FLEET_TEST_NATS_URL") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let deployment = support::deployment();
    let up = Up::start(&dir.path().join("bus"), |command| {
        command.args(["--nats", &nats, "--deployment", &deployment]);
    })
    .await;
    let story = support::story_to_review(&up).await;
    told(&up, &story);
    drop(up);

    let Some(neo4j) = test_server("neo4j", "FLEET_TEST_NEO4J_URI") else {
        return;
    };
    let up = Up::start(&dir.path().join("unused"), |command| {
        command.args([
            "--nats",
            &nats,
            "--neo4j",
            &neo4j,
            "--deployment",
            &deployment,
        ]);
        command.env(
            "NEO4J_USER",
            std::env::var("FLEET_TEST_NEO4J_USER").unwrap(),
        );
        command.env(
            "NEO4J_PASSWORD",
            std::env::var("FLEET_TEST_NEO4J_PASSWORD").unwrap(),
        );
    })
    .await;
    let story = support::story_to_review(&up).await;
    told(&up, &story);
    assert!(
        !dir.path().join("unused").exists(),
        "nothing embedded is made"
    );
}

#[tokio::test]
async fn up_goes_on_without_its_cache_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let up = Up::start(&dir.path().join("lost"), |command| {
        command.args(["--valkey", &format!("redis://:s3cret@{nobody}")]);
    })
    .await;
    support::story_to_review(&up).await;
    let page = up.readiness();
    assert_eq!(
        (&page["ready"], &page["degraded"]),
        (&true.into(), &true.into())
    );
    let dependencies = page["dependencies"].as_array().unwrap();
    let cache = dependencies.iter().find(|d| d["name"] == "valkey").unwrap();
    assert_eq!(
        (&cache["up"], &cache["need"]),
        (&false.into(), &"never".into())
    );
    assert!(!page.to_string().contains("s3cret"), "{page}");
    drop(up);

    let Some(valkey) = test_server("valkey", "FLEET_TEST_VALKEY_URL") else {
        return;
    };
    let up = Up::start(&dir.path().join("found"), |command| {
        command.args(["--valkey", &valkey]);
    })
    .await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while up.readiness()["degraded"] != false {
        assert!(std::time::Instant::now() < deadline, "{}", up.readiness());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}
