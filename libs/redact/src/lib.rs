//! Takes secrets out of text before it leaves: one function, [`redact`].
//!
//! One keyword automaton runs over the text; where it finds an anchor (a keyword such as
//! `password`, the prefix of a provider's token, `://`, `-----BEGIN` …) the rule of that anchor
//! looks at the text from there on. It judges by the beginning, and what has to go goes whole:
//! there is no window a long secret could outgrow. Every rule either consumes what it looked
//! at, gives up after a bounded number of bytes, or remembers how far it looked, so the whole
//! is linear in the text; a test counts the bytes looked at.
//!
//! What is cut out is replaced by a placeholder that names the kind, `[REDACTED:jwt]`; the
//! value of a keyword by `[REDACTED]`, with the keyword, the separator and the quotes kept, so
//! that JSON stays JSON.
//!
//! # What stays
//! - Requirements and remarks in words: `password: must have at least 12 characters`,
//!   `secret: none`, `Token: rotated daily`. An unquoted value after a colon is prose when it
//!   begins with plain words of which one of the first three is a modal, a preposition, an
//!   article or a usual verb of such remarks. Plain words with nothing of that kind in them
//!   (`passphrase: correct horse battery staple`) are taken for the secret, and so is every
//!   quoted value, unless it is said after a colon and a requirement from its first word on:
//!   plain words throughout, with a verb soon where the first word may begin any sentence.
//! - Numbers under counting names (`tokens=4096`, `token_budget: 2000`), types
//!   (`password: String`), code that refers to a secret without holding it
//!   (`password = config.password`, `token = get_token()`).
//! - Placeholders and references: `<your password>`, `${DB_PASSWORD}`, `$TOKEN`,
//!   `{{ secret }}`, `****`, `changeme`, `vault:…`, `[REDACTED]` itself.
//! - Identifiers that no keyword calls secret: UUIDs, commit ids, checksums, public keys and
//!   certificates. PEM blocks are cut unless their label is on the list of public ones.
//!
//! This crate knows nothing of who asks, of roles or of where the text goes.

mod auth;
mod bytes;
mod code;
mod cookie;
mod joint;
mod keyword;
mod looked;
mod names;
mod pem;
mod scan;
mod tokens;
mod url;
mod values;
mod words;

use std::borrow::Cow;

/// Version of the rules. It changes with them, so that whatever was kept of redacted text
/// (token counts, hashes, rendered packs) can be told to be of older rules.
pub const VERSION: u32 = 2;

/// At most so many passes are made; the second one nearly always changes nothing.
const MAX_PASSES: usize = 6;

/// What kind of secret was cut out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// The value of a keyword: `password=…`, `"api_key": "…"`.
    Keyword,
    /// Credentials of an `Authorization` header or after `Bearer` or `Basic`.
    Authorization,
    /// A JSON web token, signed or encrypted.
    Jwt,
    /// A PEM block that is not public, or the body of one.
    Pem,
    /// AWS access key ids and secret access keys.
    Aws,
    /// Google API keys, OAuth tokens and client secrets.
    Google,
    /// Azure client secrets and signatures of shared access.
    Azure,
    /// Tokens of Git hosts.
    Git,
    /// Chat services: Slack, Discord, Telegram, Teams.
    Chat,
    /// Payment services: Stripe, Square and the like.
    Payment,
    /// Package registries: npm, PyPI, RubyGems, Docker Hub …
    Registry,
    /// Providers of models: OpenAI, Anthropic, Hugging Face …
    Model,
    /// Other cloud services.
    Service,
    /// Seeds of NATS and age keys.
    Seed,
    /// A password in a URL.
    Url,
    /// The value of a session cookie.
    Cookie,
}

impl Kind {
    /// What stands in the text instead of a secret of this kind.
    pub const fn placeholder(self) -> &'static str {
        match self {
            Self::Keyword => "[REDACTED]",
            Self::Authorization => "[REDACTED:authorization]",
            Self::Jwt => "[REDACTED:jwt]",
            Self::Pem => "[REDACTED:pem]",
            Self::Aws => "[REDACTED:aws]",
            Self::Google => "[REDACTED:google]",
            Self::Azure => "[REDACTED:azure]",
            Self::Git => "[REDACTED:git]",
            Self::Chat => "[REDACTED:chat]",
            Self::Payment => "[REDACTED:payment]",
            Self::Registry => "[REDACTED:registry]",
            Self::Model => "[REDACTED:model]",
            Self::Service => "[REDACTED:service]",
            Self::Seed => "[REDACTED:seed]",
            Self::Url => "[REDACTED:url]",
            Self::Cookie => "[REDACTED:cookie]",
        }
    }
}

/// A redacted text and what was cut out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redacted<'a> {
    /// The text as it may leave; borrowed when nothing had to go.
    pub text: Cow<'a, str>,
    /// One entry for each secret cut out, in the order of the text (those that only a later
    /// pass could see come last).
    pub hits: Vec<Kind>,
}

/// The text without its secrets; borrowed when it has none. Redacting twice changes nothing.
pub fn redact(text: &str) -> Cow<'_, str> {
    redact_counting(text).text
}

/// As [`redact`], and says what was cut out.
pub fn redact_counting(text: &str) -> Redacted<'_> {
    let mut hits = Vec::new();
    let mut out = Cow::Borrowed(text);
    // A cut can bring to light what a rule could not see before (the end of one value is the
    // beginning of another), so the passes go on until one changes nothing.
    for _ in 0..MAX_PASSES {
        let edits = scan::edits(&out);
        if edits.is_empty() {
            break;
        }
        hits.extend(edits.iter().map(|edit| edit.kind));
        out = Cow::Owned(scan::apply(&out, &edits));
    }
    Redacted { text: out, hits }
}
