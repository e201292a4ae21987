//! `fleet context` from outside: on the data of a demo, and on a running `fleet up`.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::Write as _;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::{Up, err, fleet, out, run};
use fleet_proto::context::v1::AddProjectDecisionRequest;
use fleet_proto::context::v1::context_service_client::ContextServiceClient;
use serde_json::Value;

/// Story and first task of a demo played into `data`.
pub struct Played {
    pub data: String,
    pub summary: Value,
    pub story: String,
    pub task: String,
}

impl Played {
    pub fn new(data: &Path) -> Self {
        let data = data.to_str().unwrap().to_owned();
        let output = run(&["demo", "--json", "--data", &data]);
        assert!(output.status.success(), "{}", err(&output));
        let summary: Value = serde_json::from_str(&out(&output)).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self {
            data,
            story: text(&summary["story_id"]),
            task: text(&summary["contexts"][0]["task_id"]),
            summary,
        }
    }

    /// Runs `fleet context …` on the data.
    pub fn context(&self, arguments: &[&str]) -> Output {
        run(&[&["context"], arguments, &["--data", &self.data]].concat())
    }

    fn get(&self, role: &str, phase: &str, more: &[&str]) -> Output {
        let of = [
            "get",
            "--story",
            &self.story,
            "--role",
            role,
            "--phase",
            phase,
        ];
        self.context(&[&of, more].concat())
    }

    /// The answer for the developer of the first task.
    pub fn answer(&self) -> Value {
        let output = self.get("developer", "BUILD", &["--task", &self.task, "--json"]);
        assert!(output.status.success(), "{}", err(&output));
        serde_json::from_str(&out(&output)).unwrap()
    }

    pub fn verify(&self, receipt: &Value) -> Output {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("receipt.json");
        std::fs::write(&file, serde_json::to_string_pretty(receipt).unwrap()).unwrap();
        self.context(&["verify", file.to_str().unwrap()])
    }
}

pub fn succeeded(output: &Output) -> String {
    assert!(output.status.success(), "{}", err(output));
    out(output)
}

#[test]
fn the_demo_tells_each_agent_and_the_decision_of_the_architect_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let played = Played::new(&dir.path().join("data"));
    let contexts = played.summary["contexts"].as_array().unwrap();
    // Each of four tasks: developer, architect, tester; and the rework of the first.
    assert_eq!(contexts.len(), 14, "{contexts:#?}");
    for given in contexts {
        assert!(given["token_count"].as_i64() <= given["token_budget"].as_i64());
        assert!(given["token_count"].as_i64() > Some(100), "{given}");
        assert_eq!(given["sections"][0]["section"], "story");
    }
    let decision = &played.summary["decision"];
    assert_eq!(decision["told"], contexts[2]["agent"]);
    let spent = |given: &Value| {
        let sections = given["sections"].as_array().unwrap();
        let of = sections.iter().find(|s| s["section"] == "decisions");
        of.and_then(|s| s["tokens"].as_i64()).unwrap_or(0)
    };
    assert_eq!(spent(&contexts[0]), 0);
    assert_eq!(Some(spent(&contexts[2])), decision["tokens"].as_i64());

    // What the demo prints as the next thing to try works as it is.
    let other = dir.path().join("other data");
    let told = run(&["demo", "--data", other.to_str().unwrap()]);
    let told = succeeded(&told);
    for part in [
        "is given",
        // What the first developer is told, in full.
        "    ## Story",
        "    ## Your task",
        "decides: Log lines carry no address",
        "the architect's decision is in it",
        "what each agent was told, with its receipt, is in",
    ] {
        assert!(told.contains(part), "{part:?} in:\n{told}");
    }
    let dir = Path::new(played.summary["contexts_in"].as_str().unwrap());
    for (given, number) in contexts.iter().zip(1..) {
        let of = |name: &str| given[name].as_str().unwrap().to_owned();
        let name = format!("{number:02}-{}-{}", of("role"), of("phase"));
        let text = std::fs::read_to_string(dir.join(format!("{name}.md"))).unwrap();
        let kept = std::fs::read_to_string(dir.join(format!("{name}.json"))).unwrap();
        let kept: Value = serde_json::from_str(&kept).unwrap();
        assert_eq!(
            (&kept["hash"], &kept["context"]),
            (&given["hash"], &text.into())
        );
    }
    let last = dir.join("14-qa-TEST.json");
    let verified = played.context(&["verify", last.to_str().unwrap()]);
    // The graph moved on with the task; the receipt was true.
    assert!(
        matches!(verified.status.code(), Some(0 | 2)),
        "{}",
        out(&verified)
    );
    for command in ["get", "diff", "graph"] {
        let start = format!("fleet context {command} ");
        let line = told.lines().find(|line| line.trim().starts_with(&start));
        let line = line.unwrap_or_else(|| panic!("{start} in:\n{told}")).trim();
        let said = std::process::Command::new("sh")
            .args(["-c", &line.replacen("fleet", "\"$FLEET\"", 1)])
            .env("FLEET", env!("CARGO_BIN_EXE_fleet"))
            .output()
            .unwrap();
        assert!(!succeeded(&said).is_empty());
    }
}

#[test]
fn the_demo_makes_room_for_a_long_story() {
    let dir = tempfile::tempdir().unwrap();
    let example = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../examples/stories/health-endpoint.md"
    );
    let text = std::fs::read_to_string(example).unwrap();
    let long = "The service has been hard to look after for a long time. ".repeat(600);
    let text = text.replacen("\n---\n", &format!("\n---\n\n{long}\n"), 1);
    let file = dir.path().join("long.md");
    std::fs::write(&file, text).unwrap();
    let data = dir.path().join("data");
    let told = run(&[
        "demo",
        file.to_str().unwrap(),
        "--data",
        data.to_str().unwrap(),
    ]);
    let told = succeeded(&told);
    for part in ["needs more room: ", "the architect's decision is in it"] {
        assert!(told.contains(part), "{part:?} in:\n{told}");
    }
}

#[test]
fn a_context_is_printed_compared_and_drawn() {
    let dir = tempfile::tempdir().unwrap();
    let played = Played::new(&dir.path().join("data"));
    let (story, task) = (played.story.as_str(), played.task.as_str());

    let text = succeeded(&played.get("developer", "BUILD", &["--task", task]));
    assert!(!text.contains('\u{1b}'), "no colours in a pipe");
    for part in [
        "## Story",
        "## Your task",
        "## Decisions",
        "Log lines carry no address",
        "│ section",
        "│ excluded for",
        "budget ",
        "hash ",
    ] {
        assert!(text.contains(part), "{part:?} in:\n{text}");
    }
    let coloured = fleet()
        .args([
            "context", "get", "--story", story, "--role", "qa", "--phase", "TEST",
        ])
        .args(["--data", &played.data])
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(succeeded(&coloured).contains("\u{1b}[36m"));

    let answer = played.answer();
    let names: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 11, "{names:?}");
    assert!(answer["token_count"].as_i64() <= answer["token_budget"].as_i64());
    assert_eq!(answer["hash"], answer["receipt"]["hash"]);
    assert!(text.starts_with(answer["context"].as_str().unwrap()));
    let small = played.get("developer", "BUILD", &["--budget", "10"]);
    assert!(err(&small).contains("InvalidArgument"), "{}", err(&small));

    let of = ["diff", "--story", story, "--task", task];
    let roles = [&of[..], &["--role", "developer,qa", "--phase", "BUILD"]].concat();
    let roles = succeeded(&played.context(&roles));
    for part in ["--- developer", "+++ qa", "items are in both"] {
        assert!(roles.contains(part), "{part:?} in:\n{roles}");
    }
    let phases = [&of[..], &["--role", "architect", "--phase", "DESIGN,BUILD"]].concat();
    let phases = succeeded(&played.context(&phases));
    assert!(phases.contains("+++ BUILD"), "{phases}");
    let both = [
        &of[..],
        &["--role", "developer,qa", "--phase", "DESIGN,BUILD"],
    ]
    .concat();
    let refused = played.context(&both);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        err(&refused).contains("one thing at a time"),
        "{}",
        err(&refused)
    );

    let decision = played.summary["decision"]["decision_id"].as_str().unwrap();
    for node in [story, task, decision] {
        let graph = |format: &str| {
            let of = [
                "graph",
                "--node",
                node,
                "--role",
                "architect",
                "--format",
                format,
            ];
            succeeded(&played.context(&of))
        };
        let mermaid = graph("mermaid");
        assert!(mermaid.starts_with("flowchart LR\n    n0["), "{mermaid}");
        assert!(graph("dot").starts_with("digraph"));
        let json: Value = serde_json::from_str(&graph("json")).unwrap();
        assert_eq!(json["node"]["id"], node);
        let relationships = json["relationships"].as_array().unwrap();
        assert!(
            relationships.iter().any(|r| r["type"] == "AFFECTS"),
            "{json:#}"
        );
    }
}

#[test]
fn what_cannot_be_answered_is_refused_with_a_cure() {
    let dir = tempfile::tempdir().unwrap();
    let played = Played::new(&dir.path().join("data"));
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let empty = dir.path().to_str().unwrap();
    let (story, data) = (played.story.as_str(), played.data.as_str());
    let get = |story: &str, role: &str, phase: &str, place: [&str; 2]| {
        let of = [
            "context", "get", "--story", story, "--role", role, "--phase", phase,
        ];
        run(&[&of[..], &place].concat())
    };
    for (output, said) in [
        (get("s-unknown", "qa", "TEST", ["--data", data]), "NotFound"),
        (
            get(story, "nobody", "TEST", ["--data", data]),
            "InvalidArgument",
        ),
        (
            get(story, "qa", "LUNCH", ["--data", data]),
            "InvalidArgument",
        ),
        (
            get(story, "data", "DOC", ["--data", data]),
            "PermissionDenied",
        ),
        (
            get(story, "qa", "TEST", ["--data", empty]),
            "holds no database",
        ),
        (
            get(story, "qa", "TEST", ["--server", &nobody]),
            "start one with `fleet up`",
        ),
        (
            get(story, "qa", "TEST", ["--server", "no where"]),
            "is no address",
        ),
        (
            played.context(&["graph", "--node", "X-1"]),
            "DEC- (decision)",
        ),
        (
            played.context(&["graph", "--node", "T-unknown"]),
            "NotFound",
        ),
        (
            played.context(&[
                "diff",
                "--version",
                "00112233445566778899aabbccddeeff,0123456789abcdef",
            ]),
            "InvalidArgument",
        ),
        (
            played.context(&["diff", "--version", "0011223344556677,0123456789abcdef"]),
            "kept for a time",
        ),
    ] {
        assert_eq!(output.status.code(), Some(1), "{said}: {}", out(&output));
        assert!(err(&output).contains(said), "{said}: {}", err(&output));
    }
}

#[test]
fn a_receipt_is_verified_against_the_graph() {
    let dir = tempfile::tempdir().unwrap();
    let played = Played::new(&dir.path().join("data"));
    let answer = played.answer();
    let equal = played.verify(&answer);
    assert_eq!(
        equal.status.code(),
        Some(0),
        "{}{}",
        out(&equal),
        err(&equal)
    );
    assert!(out(&equal).starts_with("equal"), "{}", out(&equal));

    let mut child = fleet()
        .args(["context", "verify", "-", "--data", &played.data])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let receipt = answer["receipt"].to_string();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(receipt.as_bytes()).unwrap();
    drop(stdin);
    let piped = child.wait_with_output().unwrap();
    assert!(out(&piped).starts_with("equal"), "{}", out(&piped));

    let mut forged = answer.clone();
    let item = &mut forged["receipt"]["included"][1];
    item["tokens"] = 1.into();
    let id = item["id"].as_str().unwrap().to_owned();
    forged["receipt"]["policy_version"] = "another".into();
    let differs = played.verify(&forged);
    assert_eq!(differs.status.code(), Some(1), "{}", err(&differs));
    for part in [id.as_str(), "policy_version: the receipt says another"] {
        assert!(out(&differs).contains(part), "{part}: {}", out(&differs));
    }

    let mut bad = answer;
    bad["receipt"]["included"][0]["tokens"] = "many".into();
    let refused = played.verify(&bad);
    assert_eq!(refused.status.code(), Some(3));
    let said = err(&refused);
    assert!(
        said.contains("receipt.json:") && said.contains("field receipt.included[0].tokens"),
        "{said}"
    );
}

#[tokio::test]
async fn whoever_has_the_data_open_answers_and_moves_the_graph_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let played = Played::new(&data);
    let up = Up::start(&data, |_| {}).await;
    for service in ["context", "planning", "workflow"] {
        let said = up.said.iter().any(|line| line.starts_with(service));
        assert!(said, "{service} in {:?}", up.said);
    }

    // The directory leads to the process that has it open; so does its address.
    let answer = played.answer();
    let of = [
        "--story",
        &played.story,
        "--role",
        "qa",
        "--phase",
        "TEST",
        "--json",
    ];
    let other = run(&[&["context", "get", "--server", &up.context], &of[..]].concat());
    let other: Value = serde_json::from_str(&succeeded(&other)).unwrap();

    // What it gave out it still has.
    let hash = |answer: &Value| answer["hash"].as_str().unwrap().to_owned();
    let (one, two) = (hash(&answer), hash(&other));
    let versions = format!("{one},{}", &two[..16]);
    let diff = succeeded(&played.context(&["diff", "--version", &versions]));
    assert!(diff.contains(&format!("--- {one}")), "{diff}");

    assert_eq!(played.verify(&answer).status.code(), Some(0));
    let decision = AddProjectDecisionRequest {
        story_id: played.story.clone(),
        decision_type: "ARCHITECTURE".to_owned(),
        title: "Orders are kept for ten years".to_owned(),
        rationale: "The law says so.".to_owned(),
        metadata: [("role".to_owned(), "architect".to_owned())].into(),
        affects: vec![played.task.clone()],
        ..AddProjectDecisionRequest::default()
    };
    let client = ContextServiceClient::connect(up.context.clone()).await;
    let added = client
        .unwrap()
        .add_project_decision(decision)
        .await
        .unwrap();
    let moved = played.verify(&answer);
    assert_eq!(moved.status.code(), Some(2), "{}", err(&moved));
    for part in [
        "the graph has moved on",
        "version of its context: ",
        &added.into_inner().decision_id,
    ] {
        assert!(out(&moved).contains(part), "{part}: {}", out(&moved));
    }
}
