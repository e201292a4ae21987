//! `fleet context verify`: files that are true, overtaken, forged, or no receipts.

use super::super::verify::{self, Kept, Verdict};
use super::super::view::{Answer, Blocks, Receipt};
use super::{answer, entry, receipt};

fn kept(text: &str) -> anyhow::Result<verify::Kept> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.json");
    std::fs::write(&file, text).unwrap();
    verify::read(&file)
}

fn true_answer() -> Answer {
    let mut answer = answer();
    answer.hash = verify::sha256(&answer.context);
    answer.version = answer.hash[..16].to_owned();
    answer.receipt.as_mut().unwrap().hash = answer.hash.clone();
    answer
}

/// Compares with the answer of now, of which only the receipt has changed.
fn compared(kept: &Kept, now: &Receipt) -> Verdict {
    let now = Answer {
        receipt: Some(now.clone()),
        ..kept.answer.clone().unwrap_or_else(true_answer)
    };
    verify::compare(kept, &now).unwrap()
}

#[test]
fn a_receipt_is_equal_differs_or_was_overtaken() {
    let text = serde_json::to_string_pretty(&true_answer()).unwrap();
    let kept = kept(&text).unwrap();
    assert_eq!(kept.contradictions, [""; 0]);
    let now = kept.receipt.clone();
    let same = compared(&kept, &now);
    assert_eq!(same, Verdict::Equal { moved: vec![] });
    assert_eq!(same.exit_code(), 0);

    let mut moved = now.clone();
    moved.graph_version = "5.4.9.4.21.1.1.8.0".to_owned();
    let untouched = compared(&kept, &moved);
    assert_eq!(untouched.exit_code(), 0);
    assert!(
        untouched
            .text()
            .contains("changes of its task runs: 20 → 21")
    );

    moved.hash = "f".repeat(64);
    moved
        .included
        .push(entry("decision", "DEC-5", "decisions", 20));
    let overtaken = compared(&kept, &moved);
    assert_eq!(overtaken.exit_code(), 2);
    let said = overtaken.text();
    for part in [
        "version of its context: 7 → 8",
        "+ included: decision DEC-5 (decisions)",
        "hash: ",
    ] {
        assert!(said.contains(part), "{said}");
    }

    let mut other = now.clone();
    other.excluded[0].reason = "STALE".to_owned();
    other.included[1].tokens = 99;
    let differs = compared(&kept, &other);
    assert_eq!(differs.exit_code(), 1);
    for part in [
        "~ excluded: decision DEC-3: BUDGET → STALE",
        "~ included: task T-1 (task): tokens 100 → 99",
    ] {
        assert!(differs.text().contains(part), "{}", differs.text());
    }

    let mut policy = moved;
    policy.policy_version = "p2".to_owned();
    let rules = compared(&kept, &policy);
    assert_eq!(rules.exit_code(), 1);
    assert!(
        rules
            .text()
            .contains("policy_version: the receipt says p1, now it is p2")
    );

    let mut order = now;
    order.included.swap(2, 3);
    let order = compared(&kept, &order).text();
    assert!(order.contains("another order"), "{order}");
}

#[test]
fn a_file_that_contradicts_itself_differs() {
    let mut forged = true_answer();
    forged.context = forged.context.replace("out of", "in the");
    let kept = kept(&serde_json::to_string(&forged).unwrap()).unwrap();
    let verdict = compared(&kept, &kept.receipt);
    assert_eq!(verdict.exit_code(), 1);
    assert!(
        verdict
            .text()
            .contains("in the file: the SHA-256 of context")
    );
}

#[test]
fn no_part_of_an_answer_can_be_forged() {
    let mut answer = true_answer();
    answer.blocks = Some(Blocks {
        system: "You are the developer.".to_owned(),
        context: "## Story".to_owned(),
        tools: "None.".to_owned(),
    });
    type Forge = fn(&mut Answer);
    let forgeries: [(Forge, &str); 6] = [
        (
            |file| file.blocks.as_mut().unwrap().system = "You are root.".to_owned(),
            "blocks.system: another text",
        ),
        (|file| file.blocks = None, "blocks.tools: another text"),
        (
            |file| file.scopes.push("SUBTASKS_ALL".to_owned()),
            "scopes: CASE_HEADER, DEPS_RELEVANT, SUBTASKS_ALL → CASE_HEADER, DEPS_RELEVANT",
        ),
        (
            |file| file.version = "0".repeat(16),
            "in the file: version is 0000000000000000, but the receipt says",
        ),
        (
            |file| {
                let receipt = file.receipt.as_mut().unwrap();
                receipt.included.push(receipt.included[1].clone());
            },
            "included: task T-1 is listed 2 times instead of 1",
        ),
        (
            |file| {
                let receipt = file.receipt.as_mut().unwrap();
                let mut other = receipt.included[1].clone();
                other.tokens = 1;
                receipt.included.insert(1, other);
            },
            "included: task T-1 is listed 2 times instead of 1",
        ),
    ];
    let mut moved = answer.clone();
    let version = "5.4.9.4.21.1.1.8.0".to_owned();
    moved.graph_version.clone_from(&version);
    moved.receipt.as_mut().unwrap().graph_version = version;
    for (forge, said) in forgeries {
        let mut file = answer.clone();
        forge(&mut file);
        let kept = kept(&serde_json::to_string(&file).unwrap()).unwrap();
        // Nor does a graph that has moved on excuse it.
        for now in [&answer, &moved] {
            let verdict = verify::compare(&kept, now).unwrap();
            assert_eq!(verdict.exit_code(), 1, "{said}: {}", verdict.text());
            assert!(verdict.text().contains(said), "{said}: {}", verdict.text());
        }
    }
}

#[test]
fn a_receipt_of_the_future_differs() {
    let (answer, mut changed) = (true_answer(), true_answer());
    changed.receipt.as_mut().unwrap().token_count += 1;
    for (version, said) in [
        ("6.4.9.4.20.1.1.7.0", "version of the story is 6"),
        ("5.4.9.4.20.1.1.99999999999999999999.0", "is no number"),
        (
            "5.4.9.4.20.1.1.8.0",
            "version of its context is 8 in the receipt, but only 7 now",
        ),
    ] {
        let mut kept = kept(&serde_json::to_string(&answer).unwrap()).unwrap();
        kept.receipt.graph_version = version.to_owned();
        for now in [&answer, &changed] {
            let verdict = verify::compare(&kept, now).unwrap();
            assert_eq!(verdict.exit_code(), 1, "{}", verdict.text());
            assert!(verdict.text().contains(said), "{said}: {}", verdict.text());
        }
        let refused = verify::outgrown(&kept, &answer, "it is refused now").unwrap();
        assert_eq!(refused.exit_code(), 1, "{}", refused.text());
    }
}

#[test]
fn a_file_that_is_no_receipt_is_refused_with_line_and_field() {
    let good = serde_json::to_string_pretty(&true_answer()).unwrap();
    let alone = serde_json::to_string(&receipt()).unwrap();
    assert!(kept(&alone).is_ok(), "the receipt alone will do");
    for (text, said) in [
        (
            good.replace("\"tokens\": 100", "\"tokens\": \"many\""),
            "field receipt.included[1].tokens: invalid type",
        ),
        (
            good.replace("\"reason\": \"BUDGET\",", ""),
            "field receipt.excluded[0]: missing field `reason`",
        ),
        (
            good.replace("\"scopes\"", "\"scoops\""),
            "unknown field `scoops`",
        ),
        (good[..good.len() / 2].to_owned(), "no JSON"),
        ("[]".to_owned(), "invalid"),
        ("{}".to_owned(), "missing field `hash`"),
        ("{\"receipt\": null}".to_owned(), "missing field"),
        (String::new(), "r.json:1:0: no JSON"),
    ] {
        let refused = kept(&text).unwrap_err().to_string();
        assert!(
            refused.contains(said) && refused.contains("r.json:"),
            "{said}: {refused}"
        );
    }
    let mut without = true_answer();
    without.receipt = None;
    let refused = kept(&serde_json::to_string(&without).unwrap()).unwrap_err();
    assert!(refused.to_string().contains("receipt is null"), "{refused}");
    let absent = verify::read("/nowhere/r.json".as_ref()).unwrap_err();
    assert!(
        absent
            .to_string()
            .contains("/nowhere/r.json cannot be read")
    );
}
