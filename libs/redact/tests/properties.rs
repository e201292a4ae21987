//! What holds for every text.

use fleet_redact::{redact, redact_counting};
use proptest::{collection::vec, prelude::*, sample::select};

const HOSTILE: &[&str] = &include!("corpus/hostile.in");

/// Words of which no order may be taken for a secret.
const WORDS: &[&str] = &[
    "story",
    "planner",
    "reads",
    "basic",
    "bearer",
    "token",
    "tokens",
    "secret",
    "password",
    "the",
    "of",
    "and",
    "gate",
    "review",
    "key",
    "keys",
    "author",
    "cookie",
    "authorization",
    "passes",
    "budget",
    "when",
    "graph",
    "every",
    "criterion",
    "Decision",
    "Épica",
    "naïve",
    "日本",
    "rate",
];

/// How a planted token is put together: what stands before it, its alphabet, its length.
const PLANTS: &[(&str, &str, usize)] = &[
    ("ghp_", ALNUM, 36),
    ("github_pat_", ALNUM, 60),
    ("glpat-", ALNUM, 20),
    ("xoxb-", ALNUM, 40),
    ("AKIA", UPPER, 16),
    ("AIza", ALNUM, 35),
    ("sk-ant-api03-", ALNUM, 40),
    ("sk-proj-", ALNUM, 40),
    ("sk_live_", ALNUM, 24),
    ("hvs.", ALNUM, 30),
    ("dop_v1_", HEX, 64),
    ("SK", HEX, 32),
    ("SUA", UPPER, 55),
    ("password=", ALNUM, 12),
    ("DB_PASSWORD=", ALNUM, 8),
    ("password: \"", ALNUM, 12),
    ("{\"password\": \"", ALNUM, 12),
    ("{\\\"apiKey\\\": \\\"", ALNUM, 12),
    ("client_secret = '", ALNUM, 12),
    ("Authorization: Bearer ", ALNUM, 24),
    ("postgres://bob:", ALNUM, 12),
    ("Cookie: sessionid=", ALNUM, 24),
    ("-----BEGIN PRIVATE KEY-----\\n", ALNUM, 64),
];
const ALNUM: &str = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const HEX: &str = "0123456789abcdef";

/// What follows a plant, so that what was opened is closed.
fn close(before: &str) -> &'static str {
    match before {
        _ if before.ends_with("\\\"") => "\\\"} ",
        _ if before.starts_with('{') => "\"} ",
        _ if before.ends_with('"') => "\" ",
        _ if before.ends_with('\'') => "' ",
        _ if before.contains("://") => "@db/app ",
        _ => " ",
    }
}

fn prose() -> impl Strategy<Value = String> {
    vec(select(WORDS), 0..40).prop_map(|words| words.join(" "))
}

fn plant() -> impl Strategy<Value = (String, String)> {
    (select(PLANTS), vec(any::<prop::sample::Index>(), 64)).prop_map(
        |((before, alphabet, len), picks)| {
            let alphabet = alphabet.as_bytes();
            let body: String = picks[..len.min(64)]
                .iter()
                .map(|pick| char::from(alphabet[pick.index(alphabet.len())]))
                .collect();
            (format!("{before}{body}{}", close(before)), body)
        },
    )
}

/// Text made of what the rules look for, in any order.
fn scraps() -> impl Strategy<Value = String> {
    let scrap = prop_oneof![
        4 => select(HOSTILE).prop_map(str::to_owned),
        2 => select(WORDS).prop_map(str::to_owned),
        2 => "[ -~]{0,12}",
        1 => "[a-zA-Z0-9+/=_.-]{0,48}",
        1 => "\\PC{0,6}",
        2 => select(vec![" ", "\n", "\"", "'", "\\", "\\n", "@", ":", "=", ";", "[REDACTED]", "[REDACTED:url]", "{", "}", "<", ">", "$", "é"])
            .prop_map(str::to_owned),
    ];
    vec(scrap, 0..24).prop_map(|scraps| scraps.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn redacting_twice_changes_nothing(text in scraps()) {
        let once = redact_counting(&text);
        let twice = redact_counting(&once.text);
        prop_assert_eq!(&twice.text, &once.text);
        prop_assert!(twice.hits.is_empty());
        prop_assert_eq!(once.hits.is_empty(), once.text == text);
    }

    #[test]
    fn any_text_is_taken(text in any::<String>()) {
        let once = redact(&text).into_owned();
        prop_assert_eq!(redact(&once), once.as_str());
    }

    #[test]
    fn no_planted_secret_is_left(before in prose(), (planted, secret) in plant(), after in prose()) {
        let text = format!("{before}\n{planted}{after}");
        let out = redact(&text);
        prop_assert!(!out.contains(&secret), "{out}");
        prop_assert!(out.starts_with(&before), "{out}");
        prop_assert!(out.ends_with(&after), "{out}");
    }

    #[test]
    fn words_stay(words in vec(select(WORDS), 0..200), joint in select(vec![" ", "\n", ", ", ". ", " - "])) {
        let text = words.join(joint);
        prop_assert_eq!(redact(&text), text.as_str());
    }
}

#[test]
fn a_secret_longer_than_any_window_goes_whole() {
    let body = "q8Zt3LmP0xVb7NcR".repeat(8_000);
    for before in [
        "password=",
        "ghp_",
        "tokens: ",
        "Authorization: Bearer ",
        "https://bob:",
        "\"secret\": \"",
    ] {
        let end = if before.contains("://") { "@host" } else { " " };
        let out = redact(&format!("{before}{body}{end}")).into_owned();
        assert!(!out.contains("q8Zt"), "{before}: {} bytes left", out.len());
    }
}

#[test]
fn hostile_texts_come_to_an_end() {
    for unit in HOSTILE {
        let text = unit.repeat((1 << 18) / unit.len());
        let out = redact(&text).into_owned();
        assert!(
            out.len() <= text.len() * 12,
            "{unit:?} grew to {}",
            out.len()
        );
    }
}
