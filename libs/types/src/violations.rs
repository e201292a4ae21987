//! Checks at the edge: collect every violation of a request, report them all at once.

use std::str::FromStr;

/// Largest text field that any RPC accepts, in bytes of UTF-8.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// One field that is wrong, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field as the proto names it, e.g. `acceptance_criteria[2]`.
    pub field: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

/// Everything that is wrong with one request. Empty means valid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// No violations yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records one.
    pub fn add(&mut self, field: impl Into<String>, problem: impl std::fmt::Display) {
        self.0.push(Violation {
            field: field.into(),
            problem: problem.to_string(),
        });
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What was recorded, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.0.iter()
    }

    /// `Ok` if nothing is wrong.
    pub fn into_result(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// Parses a required word or id; records a violation and gives `None` if it is not one.
    pub fn parse<T>(&mut self, field: &str, value: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        let value = value.trim();
        if value.is_empty() {
            self.add(field, "is required");
            return None;
        }
        value.parse().map_err(|e| self.add(field, e)).ok()
    }

    /// Parses an optional word or id: blank is `None` without a violation.
    pub fn parse_optional<T>(&mut self, field: &str, value: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: std::fmt::Display,
    {
        if value.trim().is_empty() {
            None
        } else {
            self.parse(field, value)
        }
    }

    /// A required single- or multi-line text: trimmed, not blank, bounded, no control characters.
    pub fn text(&mut self, field: &str, value: &str) -> String {
        let trimmed = self.optional_text(field, value);
        if trimmed.is_empty() && value.trim().is_empty() {
            self.add(field, "is required");
        }
        trimmed
    }

    /// As [`Self::text`], but may be blank.
    pub fn optional_text(&mut self, field: &str, value: &str) -> String {
        match text(value) {
            Ok(trimmed) => trimmed.to_owned(),
            Err(problem) => {
                self.add(field, problem);
                String::new()
            }
        }
    }

    /// A list of texts, each as [`Self::text`], at most `max` of them.
    pub fn texts(&mut self, field: &str, values: &[String], max: usize) -> Vec<String> {
        if values.len() > max {
            self.add(field, format!("has {} items; at most {max}", values.len()));
            return Vec::new();
        }
        values
            .iter()
            .enumerate()
            .map(|(i, value)| self.text(&format!("{field}[{i}]"), value))
            .collect()
    }
}

impl std::fmt::Display for Violations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, v) in self.0.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", v.field, v.problem)?;
        }
        Ok(())
    }
}

/// Trims and checks one text: at most [`MAX_TEXT_BYTES`], no control characters but line
/// feed, carriage return and tab. The error says what is wrong without echoing the text.
pub fn text(value: &str) -> Result<&str, String> {
    if value.len() > MAX_TEXT_BYTES {
        return Err(format!(
            "is {} bytes long; at most {MAX_TEXT_BYTES}",
            value.len()
        ));
    }
    let forbidden = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t');
    if let Some(at) = value.find(forbidden) {
        return Err(format!("has a control character at byte {at}"));
    }
    Ok(value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    #[test]
    fn reports_all_violations_at_once() {
        let mut v = Violations::new();
        v.text("title", "  ");
        v.text("brief", &"x".repeat(MAX_TEXT_BYTES + 1));
        v.texts("acceptance_criteria", &["ok".into(), "a\u{0}b".into()], 10);
        let role: Option<Role> = v.parse("role", "boss");
        assert_eq!(role, None);
        let said = v.to_string();
        for part in [
            "title: is required",
            "brief: is 65537 bytes long",
            "acceptance_criteria[1]: has a control character at byte 1",
            "role: unknown role \"boss\"; one of: developer, architect",
        ] {
            assert!(said.contains(part), "{part} in {said}");
        }
        assert_eq!(v.iter().count(), 4);
    }

    #[test]
    fn trims_and_keeps_lines() {
        let mut v = Violations::new();
        assert_eq!(v.text("brief", " a\n\tb "), "a\n\tb");
        assert_eq!(v.parse_optional::<Role>("role", ""), None);
        assert_eq!(v.parse::<Role>("role", " PRODUCT_OWNER "), Some(Role::Po));
        assert!(v.is_empty());
    }
}
