//! The corpus: what must go, what must stay.

use std::collections::BTreeMap;

use fleet_redact::{Kind, redact, redact_counting};

/// Name and text of each case of a corpus file.
fn cases(file: &str) -> Vec<(String, String)> {
    let mut cases: Vec<(String, String)> = Vec::new();
    for line in file.replace("⟦⟧", "").lines() {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push((name.to_owned(), String::new()));
        } else {
            let (_, text) = cases.last_mut().expect("a corpus begins with a case");
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(line);
        }
    }
    cases
}

fn kind(word: &str) -> Kind {
    ALL.into_iter()
        .find(|kind| format!("{kind:?}").eq_ignore_ascii_case(word))
        .unwrap_or_else(|| panic!("no kind {word:?}"))
}

const ALL: [Kind; 16] = [
    Kind::Keyword,
    Kind::Authorization,
    Kind::Jwt,
    Kind::Pem,
    Kind::Aws,
    Kind::Google,
    Kind::Azure,
    Kind::Git,
    Kind::Chat,
    Kind::Payment,
    Kind::Registry,
    Kind::Model,
    Kind::Service,
    Kind::Seed,
    Kind::Url,
    Kind::Cookie,
];

/// The text without marks, and the text as it should come out.
fn expected(marked: &str, kinds: &[Kind]) -> (String, String) {
    let (mut text, mut out) = (String::new(), String::new());
    let mut rest = marked;
    let mut kinds = kinds.iter();
    while let Some((before, after)) = rest.split_once('⟪') {
        let (secret, next) = after.split_once('⟫').expect("marks come in pairs");
        text.push_str(before);
        out.push_str(before);
        text.push_str(secret);
        let kind = kinds.next().expect("a kind for every mark");
        let bare_number = before.ends_with("\": ") && secret.parse::<u64>().is_ok();
        let quote = if bare_number { "\"" } else { "" };
        out.push_str(&format!("{quote}{}{quote}", kind.placeholder()));
        rest = next;
    }
    assert!(kinds.next().is_none(), "more kinds than marks: {marked}");
    text.push_str(rest);
    out.push_str(rest);
    (text, out)
}

#[test]
fn every_positive_loses_its_secrets_and_nothing_else() {
    let cases = cases(include_str!("corpus/positives.txt"));
    assert!(cases.len() >= 150, "{} positives", cases.len());
    let mut seen: BTreeMap<Kind, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    for (name, marked) in &cases {
        let words = name.split(' ').next().unwrap_or_default();
        let kinds: Vec<_> = words.split('+').map(kind).collect();
        let (text, out) = expected(marked, &kinds);
        let got = redact_counting(&text);
        if got.text != out || got.hits != kinds {
            failures.push(format!(
                "{name}\n  in   {text:?}\n  got  {:?}\n  want {out:?}\n  hits {:?}",
                got.text, got.hits
            ));
        }
        // In the middle of a page, and with the line ends of another system.
        let page = format!("First line.\n{text}\nLast line.");
        let got = redact(&page);
        if !marked.contains("text stops") && got != format!("First line.\n{out}\nLast line.") {
            failures.push(format!("{name} on a page\n  got  {got:?}"));
        }
        let again = redact(&out).into_owned();
        if again != out {
            failures.push(format!("{name} again\n  from {out:?}\n  got  {again:?}"));
        }
        for kind in kinds {
            *seen.entry(kind).or_default() += 1;
        }
    }
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.join("\n")
    );
    for kind in ALL {
        assert!(seen.contains_key(&kind), "no case of {kind:?}");
    }
}

#[test]
fn every_negative_stays_as_it_is() {
    let cases = cases(include_str!("corpus/negatives.txt"));
    assert!(cases.len() >= 150, "{} negatives", cases.len());
    let failures: Vec<_> = cases
        .iter()
        .filter_map(|(_, text)| {
            let got = redact_counting(text);
            (!got.hits.is_empty() || matches!(got.text, std::borrow::Cow::Owned(_)))
                .then(|| format!("in  {text:?}\ngot {:?}", got.text))
        })
        .collect();
    assert!(
        failures.is_empty(),
        "{} failures\n{}",
        failures.len(),
        failures.join("\n")
    );
    // All of them in one text: no case may reach into its neighbours.
    let all: Vec<_> = cases.iter().map(|(_, text)| text.as_str()).collect();
    let all = all.join("\n\n");
    assert_eq!(redact(&all), all);
}
