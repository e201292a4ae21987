mod verified;

use std::collections::BTreeMap;

use super::diff::{self, Pair, Side};
use super::draw;
use super::show::{self, Paint};
use super::view::{Answer, Entry, Exclusion, Graph, Node, Receipt, Relationship};

const PLAIN: Paint = Paint {
    coloured: false,
    width: None,
};
const COLOURED: Paint = Paint {
    coloured: true,
    width: Some(100),
};
const HASH: &str = "ee7a91de8a34e09f2ed79cf94bdf0f3ebbe5d0d4c5ac1de9d5b2de3f5a5b5c88";

fn entry(kind: &str, id: &str, section: &str, tokens: i32) -> Entry {
    Entry {
        id: id.to_owned(),
        kind: kind.to_owned(),
        path: format!("Story-HAS->{id}"),
        section: section.to_owned(),
        score: 130,
        score_parts: BTreeMap::from([("linked".to_owned(), 100), ("recent".to_owned(), 30)]),
        tokens,
    }
}

fn exclusion(kind: &str, id: &str, reason: &str, detail: &str) -> Exclusion {
    Exclusion {
        id: id.to_owned(),
        kind: kind.to_owned(),
        section: "decisions".to_owned(),
        reason: reason.to_owned(),
        detail: detail.to_owned(),
    }
}

fn receipt() -> Receipt {
    Receipt {
        hash: HASH.to_owned(),
        story_id: "s-1".to_owned(),
        role: "developer".to_owned(),
        phase: "BUILD".to_owned(),
        subtask_id: "T-1".to_owned(),
        token_budget: 2000,
        token_count: 900,
        head_tokens: 300,
        graph_version: "5.4.9.4.20.1.1.7.0".to_owned(),
        policy_version: "p1".to_owned(),
        tokenizer_version: "o200k+redact1+r1".to_owned(),
        included: vec![
            entry("story", "s-1", "story", 200),
            entry("task", "T-1", "task", 100),
            entry("decision", "DEC-1", "decisions", 150),
            entry("decision", "DEC-2", "decisions", 50),
        ],
        excluded: vec![
            exclusion(
                "decision",
                "DEC-3",
                "BUDGET",
                "takes 700 tokens, 120 were left",
            ),
            exclusion("decision", "DEC-4", "SUPERSEDED", "by DEC-2"),
        ],
    }
}

fn answer() -> Answer {
    let context = "You are the developer.\n\n## Story\n> Buy without an account\n\n## Decisions\n- Keep the address out of logs\n";
    Answer {
        context: context.to_owned(),
        token_count: 900,
        scopes: vec!["CASE_HEADER".to_owned(), "DEPS_RELEVANT".to_owned()],
        version: HASH[..16].to_owned(),
        blocks: None,
        receipt: Some(receipt()),
        stale: false,
        hash: HASH.to_owned(),
        graph_version: receipt().graph_version,
        token_budget: 2000,
        warnings: vec!["decision DEC-9 cannot be read".to_owned()],
    }
}

#[test]
fn a_context_is_coloured_by_section_on_a_terminal_only() {
    let text = answer().context;
    assert_eq!(show::context(&text, PLAIN), text);
    let coloured = show::context(&text, COLOURED);
    let mut stripped = String::new();
    for part in coloured.split('\u{1b}') {
        stripped.push_str(
            part.split_once('m')
                .filter(|_| part.starts_with('['))
                .map_or(part, |p| p.1),
        );
    }
    assert_eq!(stripped, text);
    let line = |with: &str| {
        coloured
            .lines()
            .find(|l| l.contains(with))
            .unwrap()
            .to_owned()
    };
    let colour = |with: &str| line(with).chars().take(5).collect::<String>();
    assert_eq!(colour("## Story"), colour("Buy without"));
    assert_eq!(colour("## Decisions"), colour("Keep the"));
    assert_ne!(colour("Buy without"), colour("Keep the"));
    let hostile = "## Story\n> \u{1b}[2Jgone\u{7}\n";
    assert_eq!(show::context(hostile, PLAIN), "## Story\n> [2Jgone\n");
}

#[test]
fn a_receipt_is_a_table_of_what_went_in_and_what_did_not() {
    insta::assert_snapshot!(show::receipt(&answer(), PLAIN));
    let sections = show::sections(&receipt());
    let sums: Vec<i64> = sections.iter().map(|(_, sum)| *sum).collect();
    assert_eq!(sums, [200, 100, 200]);
    let mut many = answer();
    let receipt = many.receipt.as_mut().unwrap();
    receipt.excluded = (0..20)
        .map(|n| exclusion("decision", &format!("DEC-{n}"), "BUDGET", ""))
        .collect();
    assert!(show::receipt(&many, PLAIN).contains("and 12 more"));
}

#[test]
fn exactly_one_thing_is_compared() {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(',').filter(|w| !w.is_empty());
        words.map(str::to_owned).collect()
    };
    let pair = |role: &str, phase: &str, version: &str| {
        diff::pair(&words(role), &words(phase), &words(version)).map_err(|e| e.to_string())
    };
    let two = |a: &str, b: &str| [a.to_owned(), b.to_owned()];
    assert_eq!(
        pair("developer,qa", "BUILD", ""),
        Ok(Pair::Roles(two("developer", "qa"), "BUILD".to_owned()))
    );
    assert_eq!(
        pair("qa", "DESIGN,BUILD", ""),
        Ok(Pair::Phases("qa".to_owned(), two("DESIGN", "BUILD")))
    );
    assert_eq!(pair("", "", "a1,b2"), Ok(Pair::Versions(two("a1", "b2"))));
    for (role, phase, version, said) in [
        ("developer,qa", "DESIGN,BUILD", "", "one thing at a time"),
        ("developer", "BUILD", "", "exactly one of"),
        ("", "", "", "exactly one of"),
        ("developer,qa", "", "", "say which with --phase"),
        ("", "DESIGN,BUILD", "", "say which with --role"),
        ("a,b,c", "BUILD", "", "--role has 3 values"),
        ("qa,qa", "BUILD", "", "nothing to compare"),
        ("", "", "a1", "two hashes"),
        ("qa", "", "a1,b2", "leave --role and --phase out"),
    ] {
        let refused = pair(role, phase, version).unwrap_err();
        assert!(
            refused.contains(said),
            "{role} {phase} {version}: {refused}"
        );
    }
}

#[test]
fn a_difference_names_lines_and_items() {
    let old = Side {
        name: "developer".to_owned(),
        context: answer().context,
        receipt: receipt(),
    };
    let mut new = Side {
        name: "qa".to_owned(),
        context: answer()
            .context
            .replace("Keep the address", "Test the address"),
        receipt: receipt(),
    };
    new.receipt.included.remove(2);
    new.receipt
        .included
        .push(entry("milestone", "m-1", "timeline", 10));
    let gone = exclusion("decision", "DEC-1", "ROLE_POLICY", "");
    new.receipt.excluded.push(gone);
    insta::assert_snapshot!(diff::render(&old, &new, PLAIN));
    let coloured = diff::render(&old, &new, COLOURED);
    assert!(coloured.contains("\u{1b}[32m+- Test"), "{coloured}");
    let same = diff::render(&old, &old, PLAIN);
    assert!(same.starts_with("the texts of developer and developer are the same"));
    assert!(same.contains("4 items are in both"), "{same}");
}

fn node(id: &str, of: &str, title: &str) -> Node {
    Node {
        id: id.to_owned(),
        labels: vec![of.to_owned()],
        properties: BTreeMap::new(),
        r#type: of.to_owned(),
        title: title.to_owned(),
    }
}

fn hostile() -> Graph {
    let titles = [
        "\"] --> evil[\"x",
        "a\\\"]; evil -> b [label=\"",
        "%%{init: {'theme':'dark'}}%% <script>alert(1)</script>",
        "two\nlines\r\tand `code` #quot; end",
        "\u{202e}drawkcab\u{0}\u{1b}[2J",
    ];
    let neighbors = titles[1..].iter().zip(1..);
    let neighbors: Vec<Node> = neighbors
        .map(|(title, n)| node(&format!("T-{n}"), "Task", title))
        .collect();
    let edge = |to: &str| Relationship {
        from_node_id: "s-1".to_owned(),
        to_node_id: to.to_owned(),
        r#type: "HAS_TASK".to_owned(),
        properties: BTreeMap::new(),
        from_type: "Story".to_owned(),
        to_type: "Task".to_owned(),
    };
    Graph {
        node: Some(node("s-1", "Story", titles[0])),
        relationships: vec![edge("T-1"), edge("T-2"), edge("T-unknown")],
        neighbors,
        truncated: false,
        hidden: 0,
        warnings: Vec::new(),
    }
}

#[test]
fn titles_cannot_say_anything_in_mermaid() {
    let text = draw::mermaid(&hostile());
    insta::assert_snapshot!(text);
    for line in text.lines().filter(|line| line.contains('[')) {
        let label = line
            .split_once("[\"")
            .unwrap()
            .1
            .strip_suffix("\"]")
            .unwrap();
        let label = label.replace("<br/>", "");
        assert!(
            !label.contains(['"', '[', ']', '{', '}', '<', '>', '`', '%', '\\']),
            "{line}"
        );
    }
    assert_eq!(text.lines().filter(|l| l.contains("-->")).count(), 2);
}

#[test]
fn titles_cannot_say_anything_in_dot() {
    let text = draw::dot(&hostile());
    insta::assert_snapshot!(text);
    for line in text.lines().filter(|line| line.contains("[label")) {
        // Quotes that end a string: those behind an even number of backslashes.
        let mut ends = 0;
        let mut escaped = false;
        for c in line.chars() {
            match c {
                '\\' => escaped = !escaped,
                '"' if !escaped => ends += 1,
                _ => escaped = false,
            }
        }
        assert_eq!(ends, 2, "{line}");
    }
}

#[test]
fn titles_survive_in_json_and_long_ones_are_cut_elsewhere() {
    let text = serde_json::to_string(&hostile()).unwrap();
    let back: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(back["node"]["title"], hostile().node.unwrap().title);
    assert_eq!(back["relationships"][0]["from_node_id"], "s-1");
    let mut long = hostile();
    long.neighbors = vec![
        node("T-1", "Task", &"ä".repeat(500)),
        node("T-2", "Task", ""),
    ];
    let drawn = draw::mermaid(&long);
    assert!(
        drawn.contains(&format!("{}…\"]", "ä".repeat(80))),
        "{drawn}"
    );
    assert!(drawn.contains("[\"Task T-2\"]"), "{drawn}");
}

#[test]
fn nodes_that_share_an_id_keep_their_edges_apart() {
    let mut run = node("X-1", "TaskRun", "");
    run.properties
        .insert("state".to_owned(), "implementing".to_owned());
    let edge =
        |(from_type, from): (&str, &str), of: &str, (to_type, to): (&str, &str)| Relationship {
            from_node_id: from.to_owned(),
            to_node_id: to.to_owned(),
            r#type: of.to_owned(),
            properties: BTreeMap::new(),
            from_type: from_type.to_owned(),
            to_type: to_type.to_owned(),
        };
    let (story, other) = (("Story", "s-1"), ("Story", "s-10"));
    let graph = Graph {
        node: Some(node("X-1", "Decision", "Why")),
        neighbors: vec![
            node("X-1", "Task", "What"),
            run,
            node("X-1", "DecisionReview", ""),
            node("s-1", "Story", ""),
            node("s-1/X-1", "Event", ""),
            node("s-1/X-1", "Summary", ""),
            node("s-10", "Story", ""),
            node("s-10/X-1", "Event", ""),
        ],
        relationships: vec![
            edge(("Decision", "X-1"), "AFFECTS", ("Task", "X-1")),
            edge(("Task", "X-1"), "HAS_RUN", ("TaskRun", "X-1")),
            edge(story, "HAS_REVIEW", ("DecisionReview", "X-1")),
            edge(story, "HAS_EVENT", ("Event", "s-1/X-1")),
            edge(story, "HAS_SUMMARY", ("Summary", "s-1/X-1")),
            edge(other, "HAS_EVENT", ("Event", "s-10/X-1")),
            edge(other, "HAS_TASK", ("Task", "s-1/X-1")),
        ],
        truncated: false,
        hidden: 0,
        warnings: Vec::new(),
    };
    let drawn = draw::mermaid(&graph);
    for line in [
        "n2[\"TaskRun X-1<br/>implementing\"]",
        "n0 -->|\"AFFECTS\"| n1",
        "n1 -->|\"HAS_RUN\"| n2",
        "n4 -->|\"HAS_REVIEW\"| n3",
        "n4 -->|\"HAS_EVENT\"| n5",
        "n4 -->|\"HAS_SUMMARY\"| n6",
        "n7 -->|\"HAS_EVENT\"| n8",
    ] {
        let line = line.replace("HAS_", "HAS#95;");
        let escaped = drawn.replace('_', "#95;");
        assert!(escaped.contains(&line), "{line} in {drawn}");
    }
    assert_eq!(drawn.matches("-->").count(), 6, "{drawn}");
}

#[test]
fn the_type_of_a_node_is_known_by_its_id() {
    for (id, of) in [
        ("PROJ-1", "Project"),
        ("E-1", "Epic"),
        ("s-1", "Story"),
        ("T-1", "Task"),
        ("DEC-1", "Decision"),
    ] {
        assert_eq!(draw::node_type(id).unwrap(), of);
    }
    for id in ["", "s-", "S-1", "X-1", "task"] {
        let refused = draw::node_type(id).unwrap_err().to_string();
        assert!(refused.contains("DEC- (decision)"), "{refused}");
    }
}
