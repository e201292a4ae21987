use std::net::IpAddr;
use std::time::Duration;

use serde_json::{Value, json};

/// What a value may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number within bounds.
    Integer {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// `true` or `false`.
    Flag,
    /// A number with `ms`, `s`, `m` or `h`; without a unit: seconds.
    Duration,
    /// An IP address.
    Address,
    /// Path of a file.
    Path,
    /// One of these words.
    Choice(&'static [&'static str]),
}

/// The value of a key that nobody sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// There must be one.
    Required,
    /// There is none.
    Absent,
    /// This text.
    Text(&'static str),
    /// This number.
    Number(u16),
}

/// One entry of the table of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// Name in a configuration file; the flag is the same with `-` for `_`.
    pub name: &'static str,
    /// Name of the environment variable.
    pub env: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What it is if nobody sets it.
    pub preset: Preset,
    /// Never shown, and not a flag (command lines are visible to everybody).
    pub secret: bool,
    /// What it is for, with an example where the kind does not say enough.
    pub doc: &'static str,
}

impl Key {
    /// An optional key without a default.
    pub const fn new(name: &'static str, env: &'static str, kind: Kind, doc: &'static str) -> Self {
        Self {
            name,
            env,
            kind,
            preset: Preset::Absent,
            secret: false,
            doc,
        }
    }

    /// With a default.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.preset = Preset::Text(default);
        self
    }

    /// With a number as default.
    #[must_use]
    pub const fn or_number(mut self, default: u16) -> Self {
        self.preset = Preset::Number(default);
        self
    }

    /// Must be set.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.preset = Preset::Required;
        self
    }

    /// May be left out, whatever it was before; a default stays.
    #[must_use]
    pub const fn optional(mut self) -> Self {
        if matches!(self.preset, Preset::Required) {
            self.preset = Preset::Absent;
        }
        self
    }

    /// Never shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The default as text.
    pub fn default_text(&self) -> Option<String> {
        match self.preset {
            Preset::Required | Preset::Absent => None,
            Preset::Text(text) => Some(text.to_owned()),
            Preset::Number(number) => Some(number.to_string()),
        }
    }

    /// Whether `value` is of the kind; the error says what would be.
    pub fn check(&self, value: &str) -> Result<(), String> {
        match self.kind {
            Kind::Text | Kind::Path if value.trim().is_empty() => {
                Err("must not be empty".to_owned())
            }
            Kind::Text | Kind::Path => Ok(()),
            Kind::Integer { min, max } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(()),
                _ => Err(format!("must be a whole number from {min} to {max}")),
            },
            Kind::Flag => match value {
                "true" | "false" => Ok(()),
                _ => Err("must be true or false".to_owned()),
            },
            Kind::Duration => match parse_duration(value) {
                Some(_) => Ok(()),
                None => Err("must be a time such as 500ms, 10s, 5m or 1h".to_owned()),
            },
            Kind::Address => match value.parse::<IpAddr>() {
                Ok(_) => Ok(()),
                Err(_) => Err("must be an IP address such as 127.0.0.1".to_owned()),
            },
            Kind::Choice(words) if words.contains(&value) => Ok(()),
            Kind::Choice(words) => Err(format!("must be one of {}", words.join(", "))),
        }
    }

    /// Its part of the JSON schema.
    pub(super) fn schema(&self) -> Value {
        let mut schema = match self.kind {
            Kind::Text | Kind::Path => json!({ "type": "string", "minLength": 1 }),
            Kind::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Kind::Flag => json!({ "type": "boolean" }),
            Kind::Duration => json!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h)?$" }),
            Kind::Address => {
                json!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
            }
            Kind::Choice(words) => json!({ "enum": words }),
        };
        schema["description"] = self.doc.into();
        schema["x-env"] = self.env.into();
        if let Some(default) = self.default_text() {
            schema["default"] = typed(self.kind, &default);
        }
        if self.secret {
            schema["writeOnly"] = true.into();
        }
        schema
    }
}

/// A checked value in its JSON type.
pub(super) fn typed(kind: Kind, value: &str) -> Value {
    match kind {
        Kind::Integer { .. } => value
            .parse::<i64>()
            .map_or_else(|_| value.into(), Value::from),
        Kind::Flag => Value::Bool(value == "true"),
        Kind::Text | Kind::Duration | Kind::Address | Kind::Path | Kind::Choice(_) => value.into(),
    }
}

/// Reads `500ms`, `10s`, `5m`, `1h`, or a bare number of seconds.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let seconds = |factor: u64| number.checked_mul(factor).map(Duration::from_secs);
    match &text[digits..] {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        _ => None,
    }
}
