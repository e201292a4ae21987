//! Lines with their token counts, in pieces that can be put together in any order.

use serde_json::Value;

use crate::domain::text::{bullet, bullets, one_line, quote};
use crate::domain::{Tokens, View};

/// Whole lines and their tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment {
    pub text: String,
    pub tokens: u32,
    /// What a blank line behind it changes in the count; 0 if it ends with one already.
    pub closing: i64,
}

/// Lines while they are written.
pub(super) struct Lines<'t> {
    tokens: &'t dyn Tokens,
    text: String,
    counted: u32,
    /// How much of the text `counted` covers.
    covered: usize,
}

impl<'t> Lines<'t> {
    pub fn new(tokens: &'t dyn Tokens) -> Self {
        Self {
            tokens,
            text: String::new(),
            counted: 0,
            covered: 0,
        }
    }

    /// One line; it begins with a visible character of ours and holds no line feed.
    pub fn line(&mut self, line: &str) {
        debug_assert!(!line.contains(['\n', '\r']) && !line.starts_with(['/', ' ']));
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// A line of parts, if there are any.
    pub fn attributes(&mut self, parts: &[String]) {
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        let parts: Vec<&str> = parts.into_iter().filter(|p| !p.is_empty()).collect();
        if !parts.is_empty() {
            self.line(&parts.join(" · "));
        }
    }

    /// An entry of a list: `first`, and a text behind it.
    pub fn bullet(&mut self, first: &str, text: &str) {
        let first = match (first.is_empty(), one_line(text).is_empty()) {
            (false, false) => format!("{first}: "),
            _ => first.to_owned(),
        };
        self.text.push_str(&bullet(&first, text));
    }

    /// A blank line, unless there is one already.
    pub fn close(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// A column as a quotation or list under a label, with a blank line behind it. Nothing if
    /// there is nothing to see.
    pub fn column(&mut self, label: &str, view: &View, name: &'static str) {
        let Some((_, value)) = view.columns().find(|(column, _)| *column == name) else {
            return;
        };
        let shown = shown(value);
        if shown.is_empty() {
            return;
        }
        if !label.is_empty() {
            self.line(label);
        }
        // Only single texts are counted when they are written.
        match view.stored_tokens(name).filter(|_| value.is_string()) {
            Some(count) => {
                self.cover();
                self.text.push_str(&shown);
                self.counted += count;
                self.covered = self.text.len();
            }
            None => self.text.push_str(&shown),
        }
    }

    fn cover(&mut self) {
        let rest = &self.text[self.covered..];
        if !rest.is_empty() {
            self.counted += self.tokens.count(rest);
            self.covered = self.text.len();
        }
    }

    /// Closed by a blank line.
    pub fn closed(mut self) -> Fragment {
        self.close();
        self.cover();
        Fragment {
            text: self.text,
            tokens: self.counted,
            closing: 0,
        }
    }

    /// As it is, so that more lines can follow without a gap.
    pub fn open(mut self) -> Fragment {
        self.cover();
        let end = self.text.trim_end_matches('\n').len();
        let start = self.text[..end].rfind('\n').map_or(0, |at| at + 1);
        let last = &self.text[start..];
        let closing = if self.text.len() - end == 1 {
            let with_blank = self.tokens.count(&format!("{last}\n"));
            i64::from(with_blank) - i64::from(self.tokens.count(last))
        } else {
            0
        };
        Fragment {
            text: self.text,
            tokens: self.counted,
            closing,
        }
    }
}

/// A column as it is shown.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quote(text),
        Value::Array(items) => {
            let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            bullets(&texts)
        }
        _ => String::new(),
    }
}

/// The tokens of a text column (after redaction) as it is shown: what is stored beside it as
/// `tokens_<column>` so that nobody has to count it again.
pub fn column_tokens(tokens: &dyn Tokens, redacted: &str) -> u32 {
    match quote(redacted) {
        text if text.is_empty() => 0,
        text => tokens.count(&text),
    }
}
