//! Small questions about bytes. Every cut is made at an ASCII byte or at a place between two
//! whole characters: bytes of 0x80 and above are never a boundary.

use crate::looked::looked;

/// Longest label of a placeholder.
const MAX_LABEL: usize = 24;

/// Length of a placeholder of ours that begins at `at`.
pub(crate) fn placeholder(text: &[u8], at: usize) -> Option<usize> {
    looked(1);
    let rest = text.get(at..)?.strip_prefix(b"[REDACTED")?;
    let label = match rest.first()? {
        b']' => 0,
        b':' => {
            let near = &rest[..rest.len().min(MAX_LABEL + 2)];
            let len = run(near, 1, |b| b.is_ascii_lowercase() || b == b'-') - 1;
            if len == 0 || len > MAX_LABEL || rest.get(1 + len) != Some(&b']') {
                return None;
            }
            1 + len
        }
        _ => return None,
    };
    Some(b"[REDACTED".len() + label + 1)
}

/// Whether the text is one placeholder or several, and nothing else.
pub(crate) fn only_placeholders(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(len) = placeholder(text, at) {
        at += len;
    }
    at > 0 && at == text.len()
}

/// Where the run of bytes of a class that begins at `from` ends.
pub(crate) fn run(text: &[u8], from: usize, class: impl Fn(u8) -> bool) -> usize {
    let mut end = from;
    while end < text.len() && class(text[end]) {
        end += 1;
    }
    looked(end - from + 1);
    end
}

/// Skips blanks and tabs.
pub(crate) fn skip_blanks(text: &[u8], from: usize) -> usize {
    run(text, from, |b| matches!(b, b' ' | b'\t'))
}

/// Skips blanks, tabs and line ends.
pub(crate) fn skip_space(text: &[u8], from: usize) -> usize {
    run(text, from, |b| b.is_ascii_whitespace())
}

/// End of the line that holds `from`.
pub(crate) fn line_end(text: &[u8], from: usize) -> usize {
    run(text, from, |b| !matches!(b, b'\n' | b'\r'))
}

/// Letters, digits and whatever is not ASCII.
pub(crate) fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b >= 0x80
}

/// Bytes of a name: of a variable, a property, a header.
pub(crate) fn is_name(b: u8) -> bool {
    is_word(b) || matches!(b, b'_' | b'-' | b'.')
}

pub(crate) fn is_base64(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')
}

pub(crate) fn is_quote(b: u8) -> bool {
    matches!(b, b'"' | b'\'' | b'`')
}

/// Whether a token may begin at `at`: the start of the text, or after something that is not a
/// letter or digit. The letter of an escape (`\n`) and the digits of `%20` end nothing.
pub(crate) fn starts_fresh(text: &[u8], at: usize) -> bool {
    let Some(&before) = at.checked_sub(1).and_then(|i| text.get(i)) else {
        return true;
    };
    if !before.is_ascii_alphanumeric() {
        return true;
    }
    let back = |n: usize| at.checked_sub(n).and_then(|i| text.get(i)).copied();
    if matches!(before, b'n' | b'r' | b't' | b'b' | b'f') && back(2) == Some(b'\\') {
        return true;
    }
    let hex = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_hexdigit());
    if back(3) == Some(b'%') && hex(back(2)) && hex(back(1)) {
        return true;
    }
    back(6) == Some(b'\\') && back(5) == Some(b'u') && (1..=4).all(|n| hex(back(n)))
}

/// Whether `text` at `at` begins with `word`, whatever the case.
pub(crate) fn has_at(text: &[u8], at: usize, word: &[u8]) -> bool {
    text.get(at..at + word.len())
        .is_some_and(|found| found.eq_ignore_ascii_case(word))
}

/// Whether `text` ends with `word`, whatever the case.
pub(crate) fn ends_with(text: &[u8], word: &str) -> bool {
    text.len() >= word.len()
        && text[text.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
}

/// Whether `word` is on the list, whatever the case.
pub(crate) fn listed(word: &[u8], list: &[&str]) -> bool {
    list.iter()
        .any(|entry| entry.as_bytes().eq_ignore_ascii_case(word))
}

/// Where a run of backslashes that begins at `from` ends, and how long it is.
pub(crate) fn backslashes(text: &[u8], from: usize) -> (usize, usize) {
    let end = run(text, from, |b| b == b'\\');
    (end, end - from)
}

/// Skips the letters some languages put before a string: `b"…"`, `f'…'`, `@"…"`.
pub(crate) fn skip_string_prefix(text: &[u8], at: usize) -> usize {
    let near = &text[..text.len().min(at + 3)];
    let end = run(near, at, |b| {
        matches!(
            b.to_ascii_lowercase(),
            b'b' | b'r' | b'f' | b'u' | b'@' | b'$'
        )
    });
    if end > at && near.get(end).is_some_and(|b| is_quote(*b)) {
        end
    } else {
        at
    }
}

/// A string that opens at `from` (after `depth` backslashes and the quote): where its content
/// ends and where what follows it begins. The content ends at the closing quote of the same
/// depth of escaping, else at the end of the line.
pub(crate) fn quoted_end(text: &[u8], from: usize, quote: u8, depth: usize) -> (usize, usize) {
    let mut at = from;
    while at < text.len() {
        looked(1);
        match text[at] {
            b'\n' | b'\r' => break,
            b'\\' => {
                let (end, count) = backslashes(text, at);
                if text.get(end) == Some(&quote) {
                    // A closing quote has the backslashes of its depth, and before those an
                    // even number of escaped ones (which are the content's).
                    let closes = count < depth
                        || ((count - depth).is_multiple_of(depth + 1)
                            && ((count - depth) / (depth + 1)).is_multiple_of(2));
                    if closes {
                        let content = end - count.min(depth);
                        return (content, end + 1);
                    }
                    at = end + 1;
                } else {
                    at = end;
                }
            }
            b if b == quote => {
                // Without a backslash: the end of this string, or of the one around it.
                return (at, if depth == 0 { at + 1 } else { at });
            }
            _ => at += 1,
        }
    }
    (at, at)
}
