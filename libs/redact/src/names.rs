//! Which names call their value a secret.

use crate::{
    bytes::{ends_with, listed},
    looked::looked,
};

/// How sure a name makes us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strength {
    /// The value is the secret, unless it plainly is something else.
    Strong(Family),
    /// The value is a secret only if it looks drawn by lot.
    Weak,
}

/// What the name says the secret is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Password,
    Secret,
    Token,
    Key,
}

/// Endings of the last word of a name that mean a password.
static PASSWORDS: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passcode",
    "passwort",
    "kennwort",
    "parola",
    "contraseña",
    "contrasena",
    "motdepasse",
    "masterauth",
    "requirepass",
];

/// What `pass` belongs to when it means a password: `DB_PASS`, `smtp-pass`.
static PASS_OWNERS: &[&str] = &[
    "db",
    "database",
    "user",
    "usr",
    "smtp",
    "mail",
    "email",
    "imap",
    "admin",
    "root",
    "ftp",
    "sftp",
    "mysql",
    "pg",
    "postgres",
    "redis",
    "mongo",
    "neo4j",
    "nats",
    "rabbitmq",
    "ssh",
    "http",
    "proxy",
    "sudo",
    "login",
    "my",
    "vpn",
    "wifi",
    "ldap",
    "bind",
    "account",
    "auth",
    "keystore",
    "truststore",
    "key",
    "db2",
    "sql",
    "app",
    "service",
    "registry",
    "basic",
];

/// What `key` belongs to when it is a secret one.
static KEY_OWNERS: &[&str] = &[
    "api",
    "secret",
    "access",
    "private",
    "account",
    "shared",
    "master",
    "encryption",
    "encrypt",
    "decryption",
    "signing",
    "sign",
    "auth",
    "authorization",
    "ssh",
    "service",
    "hmac",
    "aes",
    "rsa",
    "deploy",
    "license",
    "admin",
    "root",
    "app",
    "application",
    "storage",
    "cosmos",
    "subscription",
    "functions",
    "webhook",
    "bot",
    "integration",
    "write",
    "ingest",
    "ingestion",
    "openai",
    "anthropic",
    "stripe",
    "aws",
    "azure",
    "gcp",
    "google",
    "sendgrid",
    "twilio",
    "datadog",
    "dd",
    "pagerduty",
    "cookie",
    "session",
    "jwt",
    "crypto",
    "tls",
    "ssl",
    "pgp",
    "gpg",
    "wg",
    "server",
    "bearer",
    "recovery",
    "seed",
    "vault",
    "unseal",
];

/// Whole words that are such a key.
static KEYS: &[&str] = &[
    "apikey",
    "secretkey",
    "accesskey",
    "privatekey",
    "authkey",
    "accountkey",
    "masterkey",
    "encryptionkey",
    "signingkey",
    "sharedkey",
    "sharedaccesskey",
    "sshkey",
    "psk",
    "phpsessid",
    "jsessionid",
    "mnemonic",
    "seedphrase",
];

/// Words behind the decisive one that change nothing: `PASSWORD_2`, `token_value`,
/// `secret_key_base`, `password_confirmation`.
static NEUTRAL: &[&str] = &[
    "value",
    "val",
    "text",
    "plain",
    "plaintext",
    "clear",
    "cleartext",
    "raw",
    "string",
    "str",
    "b64",
    "base64",
    "hex",
    "encoded",
    "enc",
    "prod",
    "production",
    "dev",
    "staging",
    "stage",
    "test",
    "testing",
    "live",
    "main",
    "primary",
    "secondary",
    "backup",
    "old",
    "new",
    "current",
    "previous",
    "prev",
    "default",
    "local",
    "confirmation",
    "confirm",
    "again",
    "repeat",
    "base",
    "env",
    "header",
    "a",
    "b",
];

/// Words behind the decisive one that make it something else: `token_budget`, `secret_name`.
static HARMLESS: &[&str] = &[
    "count",
    "counts",
    "budget",
    "limit",
    "limits",
    "type",
    "types",
    "url",
    "uri",
    "endpoint",
    "name",
    "names",
    "file",
    "filename",
    "path",
    "dir",
    "policy",
    "policies",
    "length",
    "len",
    "size",
    "min",
    "max",
    "expiry",
    "expires",
    "expiration",
    "expired",
    "exp",
    "ttl",
    "lifetime",
    "age",
    "id",
    "ids",
    "index",
    "ref",
    "refs",
    "usage",
    "used",
    "rate",
    "rates",
    "field",
    "column",
    "label",
    "hint",
    "prompt",
    "title",
    "version",
    "algorithm",
    "alg",
    "format",
    "pattern",
    "regex",
    "rule",
    "rules",
    "status",
    "state",
    "enabled",
    "required",
    "manager",
    "store",
    "provider",
    "service",
    "class",
    "kind",
    "scope",
    "scopes",
    "issuer",
    "audience",
    "rotation",
    "rotated",
    "at",
    "date",
    "time",
    "timeout",
    "window",
    "cost",
    "price",
    "rpm",
    "tpm",
    "per",
    "total",
    "position",
    "offset",
    "start",
    "end",
    "by",
    "strength",
    "score",
    "reset",
    "change",
    "check",
    "valid",
    "error",
    "errors",
    "message",
    "event",
    "handler",
    "set",
    "exists",
    "present",
    "source",
    "symbol",
    "address",
    "key",
];

/// Whether a name calls its value a secret. `before` is the word before it in prose
/// ("API key"). Only the end of a name decides; that of a very long one is looked at alone.
pub(crate) fn classify(name: &[u8], before: Option<&[u8]>) -> Option<Strength> {
    let tail = &name[name.len().saturating_sub(128)..];
    looked(tail.len());
    let mut words = words(tail);
    if words.len() == 1
        && let Some(before) = before
    {
        words.insert(0, before);
    }
    while words.len() > 1 && words.last().is_some_and(|word| is_neutral(word)) {
        words.pop();
    }
    let (last, owners) = words.split_last()?;
    let last = unnumbered(last);
    let owner = owners.last().copied().unwrap_or_default();
    if PASSWORDS.iter().any(|word| ends_with(last, word)) || is_pwd(last) {
        return Some(Strength::Strong(Family::Password));
    }
    if ends_with(last, "pass") {
        let glued = &last[..last.len() - 4];
        return if listed(owner, PASS_OWNERS) && glued.is_empty() || listed(glued, PASS_OWNERS) {
            Some(Strength::Strong(Family::Password))
        } else {
            glued.is_empty().then_some(Strength::Weak)
        };
    }
    if ends_with(last, "secret") {
        return Some(Strength::Strong(Family::Secret));
    }
    if ends_with(last, "token") {
        return Some(Strength::Strong(Family::Token));
    }
    if KEYS.iter().any(|word| ends_with(last, word))
        || (last.eq_ignore_ascii_case(b"key") && listed(unnumbered(owner), KEY_OWNERS))
    {
        return Some(Strength::Strong(Family::Key));
    }
    if listed(last, HARMLESS) {
        return None;
    }
    let decisive = |word: &&[u8]| {
        let word = unnumbered(word);
        PASSWORDS.iter().any(|known| ends_with(word, known))
            || listed(
                word,
                &[
                    "secret",
                    "secrets",
                    "token",
                    "tokens",
                    "credential",
                    "credentials",
                    "creds",
                    "apikey",
                    "apikeys",
                    "auth",
                    "jwt",
                    "cookie",
                    "pwd",
                ],
            )
    };
    let keys = last.eq_ignore_ascii_case(b"keys") && listed(owner, KEY_OWNERS);
    (keys || words.iter().any(decisive)).then_some(Strength::Weak)
}

/// `pwd` and what ends with it, but not the working directories of a shell.
fn is_pwd(word: &[u8]) -> bool {
    ends_with(word, "pwd") && !listed(word, &["oldpwd", "cwd"])
}

fn is_neutral(word: &[u8]) -> bool {
    listed(word, NEUTRAL) || word.iter().all(u8::is_ascii_digit)
}

fn unnumbered(word: &[u8]) -> &[u8] {
    let end = word
        .iter()
        .rposition(|b| !b.is_ascii_digit())
        .map_or(0, |i| i + 1);
    &word[..end]
}

/// The words of a name: `DB_PASSWORD`, `client-secret`, `apiKey`, `APIKey`, `my.token`.
fn words(name: &[u8]) -> Vec<&[u8]> {
    let mut words = Vec::new();
    let mut start = 0;
    for i in 0..=name.len() {
        let joint = name
            .get(i)
            .is_none_or(|b| matches!(b, b'_' | b'-' | b'.' | b' '));
        let hump = !joint && i > start && {
            let (before, here) = (name[i - 1], name[i]);
            let next_lower = name.get(i + 1).is_some_and(u8::is_ascii_lowercase);
            here.is_ascii_uppercase()
                && (before.is_ascii_lowercase() || (before.is_ascii_uppercase() && next_lower))
        };
        if joint || hump {
            if i > start {
                words.push(&name[start..i]);
            }
            start = i + usize::from(joint);
        }
    }
    words
}
