//! Stored text as it is shown: quoted line by line, so that nothing in it can look like a part
//! of our own layout, and so that token counts of lines add up.
//!
//! The encoding never joins two of our lines into one token: every line ends with a line feed,
//! and the next one begins with a visible character that is no `/`. (Only white space up to a
//! further line feed, and slashes behind punctuation, stick to a line feed.) So the count of a
//! text is the sum of the counts of its lines, whatever lines surround them.

use std::borrow::Cow;

/// Changes when the same columns would be rendered to other lines.
pub const RENDER_VERSION: &str = "r1";

/// What ends a line in any program that might show the text.
fn ends_line(c: char) -> bool {
    matches!(
        c,
        '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}'
    )
}

/// Characters that show nothing, or change how others show.
fn hidden(c: char) -> bool {
    (c.is_control() && c != '\t')
        || matches!(c, '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
        || matches!(c, '\u{e0000}'..='\u{e007f}')
}

/// The text without hidden characters. It is what redaction must look at: taken out later, they
/// could join the parts of a secret that hid behind them.
pub(super) fn visible(text: &str) -> Cow<'_, str> {
    // Most texts are nothing else, and bytes are looked through many at a time.
    let plain = |b: u8| matches!(b, b' '..=b'~' | b'\n' | b'\r' | b'\t');
    if text.bytes().all(plain) {
        return Cow::Borrowed(text);
    }
    if text.contains(|c| hidden(c) && !ends_line(c)) {
        let shown = text.chars().filter(|c| !hidden(*c) || ends_line(*c));
        return Cow::Owned(shown.collect());
    }
    Cow::Borrowed(text)
}

/// The lines of a text: without hidden characters and trailing white space, without blank ones
/// at both ends, and never two blank ones in a row.
fn lines(text: &str) -> Vec<String> {
    let text = text.replace("\r\n", "\n");
    let mut lines: Vec<String> = Vec::new();
    for line in visible(&text).split(ends_line).map(str::trim_end) {
        let after_blank = lines.last().is_none_or(String::is_empty);
        if !(line.is_empty() && after_blank) {
            lines.push(line.to_owned());
        }
    }
    if lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// A text in one line, words separated by single blanks.
pub fn one_line(text: &str) -> String {
    if is_one_line(text) {
        return text.to_owned();
    }
    let visible = visible(text);
    let words = visible.split(|c: char| c.is_whitespace() || ends_line(c));
    words
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

/// Whether a text is words of plain characters, separated by single blanks.
fn is_one_line(text: &str) -> bool {
    let mut after_blank = true;
    for b in text.bytes() {
        match b {
            b' ' if after_blank => return false,
            b' ' | b'!'..=b'~' => after_blank = b == b' ',
            _ => return false,
        }
    }
    !after_blank || text.is_empty()
}

/// A text as a quotation with a blank line behind it; nothing if there is nothing to see.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for line in lines(text) {
        push_quoted(&mut out, "", &line);
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// One entry of a list, beginning with `first`; further lines of the text are quoted under it.
pub fn bullet(first: &str, text: &str) -> String {
    let mut lines = lines(text).into_iter();
    let mut out = format!("- {first}{}", lines.next().unwrap_or_default().trim_start());
    out.truncate(out.trim_end().len());
    out.push('\n');
    lines.for_each(|line| push_quoted(&mut out, "  ", &line));
    out
}

/// Texts as a list, further lines of an entry quoted under it, with a blank line behind it;
/// nothing if there is nothing to see.
pub fn bullets<S: AsRef<str>>(texts: &[S]) -> String {
    let shown = |text: &&S| lines(text.as_ref()).iter().any(|line| !line.is_empty());
    let entries = texts.iter().filter(shown);
    let mut out: String = entries.map(|text| bullet("", text.as_ref())).collect();
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

fn push_quoted(out: &mut String, indent: &str, line: &str) {
    out.push_str(indent);
    out.push('>');
    if !line.is_empty() {
        out.push(' ');
        out.push_str(line);
    }
    out.push('\n');
}

/// Whether nothing but marks of redaction is left of a text that said something.
pub(super) fn nothing_left(before: &str, redacted: &str) -> bool {
    let says = |text: &str| text.chars().any(char::is_alphanumeric);
    if before == redacted || !says(before) {
        return false;
    }
    let mut rest = redacted;
    while let Some(at) = rest.find("[REDACTED") {
        if says(&rest[..at]) {
            return false;
        }
        match rest[at..].find(']') {
            Some(end) => rest = &rest[at + end + 1..],
            None => break,
        }
    }
    !says(rest)
}
