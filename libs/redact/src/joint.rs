//! What joins a name to its value, and where a value without quotes ends.

use crate::{bytes, looked::looked};

/// How a name and its value are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joint {
    /// `=`, `:=`, `%3D`.
    Equals,
    /// `:`.
    Colon,
    /// `==`, `!=`, `=>`: only a literal after it is a value.
    Literal,
}

/// What stands between a name and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Separator {
    pub(crate) joint: Joint,
    /// Where the value begins.
    pub(crate) value: usize,
    /// The name is quoted, as in JSON.
    pub(crate) quoted: bool,
    /// No blank on either side: `A=b`.
    pub(crate) tight: bool,
}

/// Reads the separator that begins right after a name.
pub(crate) fn separator(text: &[u8], after: usize) -> Option<Separator> {
    let mut at = after;
    let (slashes, _) = bytes::backslashes(text, at);
    let quoted = text.get(slashes).is_some_and(|b| bytes::is_quote(*b));
    if quoted {
        at = slashes + 1;
    }
    if text.get(at) == Some(&b']') && quoted {
        at += 1;
    }
    let joint_at = if quoted {
        bytes::skip_space(text, at)
    } else {
        bytes::skip_blanks(text, at)
    };
    let rest = &text[joint_at..];
    let (joint, len) = match rest {
        [b'=', b'=', b'=', ..] | [b'!', b'=', b'=', ..] => (Joint::Literal, 3),
        [b'=', b'=' | b'>', ..] | [b'!', b'=', ..] => (Joint::Literal, 2),
        [b':' | b'?' | b'+', b'=', ..] => (Joint::Equals, 2),
        [b'=', b'~', ..] => return None,
        [b'=', ..] => (Joint::Equals, 1),
        [b':', b':', ..] => return None,
        [b':', ..] => (Joint::Colon, 1),
        [b'?' | b'!', b':', ..] => (Joint::Colon, 2),
        [b'%', b'3', b'D' | b'd', ..] => (Joint::Equals, 3),
        [b'%', b'3', b'A' | b'a', ..] => (Joint::Colon, 3),
        _ => return None,
    };
    let end = joint_at + len;
    let value = if quoted {
        bytes::skip_space(text, end)
    } else {
        bytes::skip_blanks(text, end)
    };
    Some(Separator {
        joint,
        value,
        quoted,
        tight: joint_at == at && value == end,
    })
}

/// Where a value without quotes ends: at a blank, or at a mark after which something else
/// begins.
pub(crate) fn bare_end(text: &[u8], from: usize) -> usize {
    let mut at = from;
    let mut open = 0_usize;
    while at < text.len() {
        looked(1);
        if let Some(len) = bytes::placeholder(text, at) {
            at += len;
            continue;
        }
        match text[at] {
            b if b.is_ascii_whitespace() || b.is_ascii_control() => break,
            b';' | b'&' | b',' | b'|' if at > from && another(text, at + 1) => break,
            b'<' if at > from && text.get(at + 1) == Some(&b'/') => break,
            b'\\' => {
                let (next, _) = bytes::backslashes(text, at);
                match text.get(next) {
                    Some(b) if bytes::is_quote(*b) => break,
                    Some(b'n' | b'r' | b't')
                        if another(text, next + 1) || text.get(next + 1) == Some(&b'\\') =>
                    {
                        break;
                    }
                    _ => at = next - 1,
                }
            }
            b if bytes::is_quote(b) && at > from && closes(text, at + 1) => break,
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' | b'>' => {
                if open == 0 && at > from && closes(text, at + 1) {
                    break;
                }
                open = open.saturating_sub(1);
            }
            _ => {}
        }
        at += 1;
    }
    // The marks of the sentence or of the list.
    while at > from + 1 && matches!(text[at - 1], b'.' | b',' | b';' | b':') {
        at -= 1;
    }
    at
}

/// Whether what follows a closing mark is outside of the value.
pub(crate) fn closes(text: &[u8], at: usize) -> bool {
    text.get(at).is_none_or(|b| {
        b.is_ascii_whitespace()
            || bytes::is_quote(*b)
            || matches!(
                b,
                b',' | b';' | b')' | b']' | b'}' | b'>' | b'.' | b':' | b'\\' | b'&' | b'|'
            )
    })
}

/// Whether another `name=`, or nothing, follows a separator; names may have blanks in them
/// (`;User Id=sa`).
pub(crate) fn another(text: &[u8], at: usize) -> bool {
    let near = &text[..text.len().min(at + 64)];
    let start = bytes::skip_blanks(near, at);
    if text.get(start).is_none_or(|b| {
        b.is_ascii_whitespace() || bytes::is_quote(*b) || matches!(b, b'\\' | b')' | b'}' | b']')
    }) {
        return true;
    }
    let end = bytes::run(near, start, |b| {
        bytes::is_name(b) || matches!(b, b' ' | b'"' | b'\'')
    });
    end > start && matches!(text.get(end), Some(b'=' | b':'))
}
