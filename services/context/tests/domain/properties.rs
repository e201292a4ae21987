//! What holds for every story, ask, budget and policy file.

use std::collections::BTreeSet;

use fleet_context::domain::pack::story_budget;
use fleet_context::domain::{
    Ask, Entity, O200k, Pack, Phase, Policies, Refused, RelationKind, Scopes, Tokens,
};
use fleet_types::Role;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use crate::fixture::{OPEN, Rows, shipped};

/// Text that is out to break the layout or the count.
fn nasty() -> impl Strategy<Value = String> {
    let pieces = vec![
        "# System",
        "## Decisions",
        "---",
        "```",
        "/",
        "//",
        "\n",
        "\n\n",
        "\r",
        "\r\n",
        " ",
        "   ",
        "\t",
        "\u{a0}",
        "\u{85}",
        "\u{2028}",
        "\u{200b}",
        "\u{202e}",
        "\u{300}",
        "> ",
        "- ",
        "(",
        ")",
        ".",
        "...",
        "!?",
        "'s",
        "don't",
        "word",
        "Word",
        "WORD",
        "camelCase",
        "12345",
        "日本",
        "🦀",
        "ß",
        "é",
        "password: x",
        "a/b/c",
        "\\",
        "\"",
        "{",
        "}",
        "=",
        "token",
        ";\n/",
        ")\n\n/",
    ];
    prop::collection::vec(select(pieces), 0..14).prop_map(|pieces| pieces.concat())
}

/// A place in a list of `n`.
fn id(prefix: &str, n: usize) -> String {
    // Ids of which one is the beginning of another.
    format!("{prefix}{}", n * 5 + 1)
}

const STATUSES: [&str; 5] = [
    "PROPOSED",
    "APPROVED",
    "REJECTED",
    "IMPLEMENTED",
    "DEPRECATED",
];
const ROLES: [&str; 4] = ["developer", "qa", "devops", "architect"];
const KINDS: [RelationKind; 4] = [
    RelationKind::Affects,
    RelationKind::DependsOn,
    RelationKind::Supersedes,
    RelationKind::AlternativeOf,
];

#[derive(Debug, Clone)]
struct Seeds {
    texts: Vec<String>,
    picks: Vec<usize>,
    counts: [usize; 6],
    edges: Vec<(usize, usize, usize)>,
}

fn seeds() -> impl Strategy<Value = Seeds> {
    let counts = [0..6_usize, 0..10, 0..13, 0..3, 0..3, 0..3];
    let edges = prop::collection::vec((0..10_usize, 0..4_usize, 0..11_usize), 0..14);
    let picks = prop::collection::vec(0..1_000_usize, 40);
    (prop::collection::vec(nasty(), 24), picks, counts, edges).prop_map(
        |(texts, picks, counts, edges)| Seeds {
            texts,
            picks,
            counts,
            edges,
        },
    )
}

fn story(seeds: &Seeds) -> Rows {
    let mut next = 0;
    let mut pick = |n: usize| {
        next += 1;
        seeds.picks[next % seeds.picks.len()] % n
    };
    let mut at = 0;
    let mut text = || {
        at += 1;
        seeds.texts[at % seeds.texts.len()].clone()
    };
    let [tasks, decisions, milestones, phases, summaries, plans] = seeds.counts;
    let mut rows = Rows::default();
    rows.add(
        Entity::Story,
        json!({
            "story_id": "s-1", "title": text(), "brief": text(), "state": text(),
            "acceptance_criteria": [text(), text()], "constraints": [text()],
        }),
    );
    rows.add(
        Entity::Epic,
        json!({"epic_id": "E-1", "title": text(), "description": text()}),
    );
    for n in 0..tasks {
        let waits: Vec<String> = (0..pick(3)).map(|_| id("T-", pick(tasks))).collect();
        rows.add(Entity::Task, json!({
            "task_id": id("T-", n), "story_id": if pick(12) == 0 { "s-10" } else { "s-1" },
            "title": text(), "description": text(), "status": (["todo", "completed", "cancelled"][pick(3)]),
            "role": (ROLES[pick(4)]), "priority": pick(5), "depends_on": waits,
            "acceptance_criteria": [text()], "updated_at": format!("2025-11-{:02}", 1 + pick(4)),
        }));
        rows.add(
            Entity::Run,
            json!({
                "task_id": id("T-", n), "story_id": "s-1", "state": text(), "feedback": text(),
                "rejections": pick(3), "work_summary": text(), "work_commit_sha": text(),
            }),
        );
    }
    for n in 0..decisions {
        let mut row = json!({
            "decision_id": id("DEC-", n), "story_id": "s-1", "title": text(), "rationale": text(),
            "status": (STATUSES[pick(5)]), "alternatives": [text(), text()],
            "created_at": format!("2025-11-{:02}", 1 + pick(4)),
        });
        if pick(9) == 0 {
            row["deleted_at"] = json!("2025-11-09");
        }
        rows.add(Entity::Decision, row);
    }
    for n in 0..milestones {
        rows.add(Entity::Milestone, json!({
            "event_id": id("m-", n), "story_id": "s-1", "event_type": text(), "description": text(),
            "actor": text(), "at": format!("2025-11-{:02}", 1 + pick(9)),
        }));
    }
    for n in 0..phases {
        rows.add(Entity::Phase, json!({
            "transition_id": id("s-1/", n), "story_id": "s-1", "from_phase": "DESIGN",
            "to_phase": text(), "rationale": text(), "at": format!("2025-11-{:02}", 1 + pick(9)),
        }));
    }
    for n in 0..summaries {
        rows.add(Entity::Summary, json!({
            "summary_id": id("sum-", n), "story_id": "s-1", "text": text(), "created_at": format!("2025-11-{:02}", 1 + pick(4)),
        }));
    }
    for n in 0..plans {
        rows.add(
            Entity::Plan,
            json!({
                "plan_id": id("PL-", n), "story_id": "s-1", "number": n, "title": text(),
                "description": text(), "comment": text(), "roles": [text()],
            }),
        );
    }
    for (from, kind, to) in &seeds.edges {
        let kind = KINDS[*kind];
        let to = match kind {
            RelationKind::Affects => id("T-", *to),
            _ => id("DEC-", *to),
        };
        rows.edge(&id("DEC-", *from), kind, &to);
    }
    rows
}

/// What must be accounted for, worked out from the rows alone.
fn candidates(rows: &Rows) -> BTreeSet<(Entity, String)> {
    let own = rows.rows.iter().filter(|(entity, row)| {
        let foreign = row.get("story_id").is_some_and(|s| s != "s-1");
        let apart = matches!(entity, Entity::Run | Entity::Review);
        !foreign && !apart && row.get("deleted_at").is_none()
    });
    let id = |entity: Entity, row: &Value| row[entity.id_column()].as_str().unwrap().to_owned();
    let mut all: BTreeSet<_> = own.map(|(e, row)| (*e, id(*e, row))).collect();
    for (from, kind, to) in &rows.edges {
        if *kind != RelationKind::Affects && all.contains(&(Entity::Decision, from.clone())) {
            all.insert((Entity::Relation, format!("{from}-{kind}->{to}")));
        }
    }
    all
}

fn check(rows: &Rows, ask: &Ask, pack: &Pack) -> Result<(), TestCaseError> {
    prop_assert!(pack.token_count <= pack.receipt.budget);
    prop_assert_eq!(pack.token_count, O200k.count(&pack.text), "{:?}", pack.text);
    if let Some(budget) = ask.budget.filter(|b| *b > 0) {
        prop_assert_eq!(pack.receipt.budget, budget);
    } else if ask.task.is_none() {
        let graph = rows.graph(&pack.receipt.counted_by, false);
        let usual = story_budget(&graph, &pack.receipt.story, ask.role);
        prop_assert_eq!(pack.receipt.budget, usual);
    }
    let [system, context, tools] = [&pack.system, &pack.context, &pack.tools];
    let whole = format!(
        "# System\n\n{system}\n\n---\n\n# Context\n\n{context}\n\n---\n\n# Tools\n\n{tools}"
    );
    prop_assert_eq!(&whole, &pack.text);
    let included = pack
        .receipt
        .included
        .iter()
        .map(|i| (i.kind, i.id.to_string()));
    let excluded = pack
        .receipt
        .excluded
        .iter()
        .map(|i| (i.kind, i.id.to_string()));
    let told: Vec<_> = included.chain(excluded).collect();
    let distinct: BTreeSet<_> = told.iter().cloned().collect();
    prop_assert_eq!(distinct.len(), told.len(), "each once: {:?}", told);
    prop_assert_eq!(distinct, candidates(rows));
    let items: u32 = pack.receipt.included.iter().map(|i| i.tokens).sum();
    prop_assert!(items + pack.receipt.frame_tokens >= pack.token_count);
    Ok(())
}

fn asks() -> impl Strategy<Value = Ask> {
    let roles = select(vec![
        Role::Architect,
        Role::Developer,
        Role::Qa,
        Role::Devops,
    ]);
    let phases = select(vec![Phase::Design, Phase::Build, Phase::Test]);
    let tasks = prop::option::of(0..5_usize);
    let budgets = prop_oneof![Just(None), Just(Some(0)), (300..2_500_u32).prop_map(Some)];
    (roles, phases, tasks, budgets).prop_map(|(role, phase, task, budget)| Ask {
        role,
        phase,
        task: task.map(|n| id("T-", n).parse().unwrap()),
        budget,
    })
}

/// Only tasks of developers, whatever the case of the word.
const ONLY_DEVELOPERS: &str = "[{rows: all, where: {role: [DEVELOPER]}}]";

/// A policy file with some of the entities and columns for everybody; the roles that may see
/// tasks of developers only.
fn policy_file(seed: &[usize]) -> (String, Vec<&'static str>) {
    let mut restricted = Vec::new();
    let mut text = "version: 1\nroles:\n".to_owned();
    let mut next = 0;
    let mut pick = |n: usize| {
        next += 1;
        seed[next % seed.len()] % n
    };
    for role in ["architect", "developer", "qa", "devops"] {
        text.push_str(&format!("  {role}:\n"));
        for entity in Entity::ALL {
            if *entity != Entity::Story && pick(5) == 0 {
                continue;
            }
            let mut rows = ["story", "all", "[story, all]"][pick(3)];
            if *entity == Entity::Task && pick(3) == 0 {
                rows = ONLY_DEVELOPERS;
                restricted.push(role);
            }
            let all = entity.columns().iter().enumerate();
            let columns: Vec<_> = all
                .filter(|(n, _)| *n == 0 || pick(3) > 0)
                .map(|(_, column)| column.name)
                .collect();
            let columns = columns.join(", ");
            text.push_str(&format!(
                "    {entity}:\n      rows: {rows}\n      columns: [{columns}]\n"
            ));
        }
    }
    (text, restricted)
}

/// Columns that decide on what happens, or are ids; everything else is filled with marks.
fn is_plain(entity: Entity, column: &str) -> bool {
    !column.ends_with("_id")
        && !matches!(
            (entity, column),
            (Entity::Task, "role" | "depends_on" | "priority")
                | (Entity::Plan, "number")
                | (Entity::Relation, _)
        )
}

/// The story with a unique mark in every plain column; the marks with where they are.
fn marked(rows: &Rows) -> (Rows, Vec<(String, Entity, String, &'static str)>) {
    let mut rows = rows.clone();
    let mut marks = Vec::new();
    for (entity, row) in &mut rows.rows {
        let id = row[entity.id_column()].as_str().unwrap().to_owned();
        for column in entity
            .columns()
            .iter()
            .filter(|c| is_plain(*entity, c.name))
        {
            let number = 7_100_000 + marks.len();
            row[column.name] = match column.kind {
                fleet_context::domain::ColumnKind::Number => json!(number),
                fleet_context::domain::ColumnKind::Text => json!(number.to_string()),
                fleet_context::domain::ColumnKind::Texts => json!([number.to_string()]),
            };
            marks.push((number.to_string(), *entity, id.clone(), column.name));
        }
    }
    (rows, marks)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]

    #[test]
    fn every_context_keeps_its_budget_and_accounts_for_everything(seeds in seeds(), ask in asks()) {
        let (policies, scopes) = shipped();
        let rows = story(&seeds);
        match rows.pack(&policies, &scopes, &ask) {
            Ok(pack) => check(&rows, &ask, &pack)?,
            Err(Refused::BudgetTooSmall { needed, .. }) => {
                let ask = Ask { budget: Some(needed), ..ask };
                let pack = rows.pack(&policies, &scopes, &ask).unwrap();
                check(&rows, &ask, &pack)?;
                prop_assert_eq!(pack.token_count, needed);
            }
            Err(Refused::NoSuchTask { task }) => {
                let known = candidates(&rows).contains(&(Entity::Task, task.to_string()));
                prop_assert!(!known);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn the_order_of_rows_does_not_matter(
        (rows, mixed) in seeds().prop_flat_map(|seeds| {
            let rows = story(&seeds);
            let shuffled = (Just(rows.rows.clone()).prop_shuffle(), Just(rows.edges.clone()).prop_shuffle());
            let mixed = shuffled.prop_map(|(rows, edges)| Rows { rows, edges });
            (Just(rows), mixed)
        }),
        ask in asks(),
    ) {
        let (policies, scopes) = shipped();
        prop_assert_eq!(rows.pack(&policies, &scopes, &ask), mixed.pack(&policies, &scopes, &ask));
    }

    #[test]
    fn nothing_is_told_that_a_policy_forbids(
        seeds in seeds(),
        policy in prop::collection::vec(0..1_000_usize, 60),
        ask in asks(),
    ) {
        let (file, restricted) = policy_file(&policy);
        let policies = Policies::load("generated", &file, OPEN).unwrap();
        let scopes = Scopes::shipped();
        let (rows, marks) = marked(&story(&seeds));
        let ask = Ask { budget: Some(50_000), ..ask };
        let Ok(pack) = rows.pack(&policies, &scopes, &ask) else { return Ok(()); };
        // Digests are any digits: a mark among them says nothing.
        let mut receipt = serde_json::to_value(&pack.receipt).unwrap();
        for digest in ["hash", "policy_version"] {
            receipt[digest].take();
        }
        let receipt = receipt.to_string();
        let included: BTreeSet<_> = pack.receipt.included.iter().map(|i| (i.kind, i.id.as_str())).collect();
        if restricted.contains(&ask.role.as_str()) {
            for (_, row) in rows.rows.iter().filter(|(e, row)| *e == Entity::Task && row["role"] != "developer") {
                let id = row["task_id"].as_str().unwrap();
                prop_assert!(!included.contains(&(Entity::Task, id)), "{} is not of developers", id);
            }
        }
        for (mark, entity, id, column) in marks {
            let allowed = policies.columns(ask.role, entity).any(|c| c == column);
            // A run is told with its task.
            let of = if entity == Entity::Run { Entity::Task } else { entity };
            if !allowed || !included.contains(&(of, id.as_str())) {
                prop_assert!(!pack.text.contains(&mark), "{} {} {}", entity, id, column);
            }
            prop_assert!(!receipt.contains(&mark), "{} {} {} in the receipt", entity, id, column);
        }
    }
}
