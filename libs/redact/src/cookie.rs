//! Session values of `Cookie` and `Set-Cookie` headers.

use crate::{
    Kind, bytes, joint,
    looked::looked,
    names,
    scan::Scan,
    values::{SAMPLE, is_random, is_reference},
};

/// Attributes of a cookie: never its value.
static ATTRIBUTES: &[&str] = &[
    "path", "domain", "expires", "max-age", "samesite", "secure", "httponly", "priority",
];

/// Parts of names that sessions go by.
static SESSIONS: &[&str] = &[
    "sess", "sid", "auth", "token", "jwt", "csrf", "xsrf", "remember", "login", "user_id", "ticket",
];

/// `Cookie: a=b; c=d`, `Set-Cookie: sid=…; Path=/`, the same in JSON, `--cookie 'sid=…'`.
pub(crate) fn header(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    if at < scan.cookies_until {
        return None;
    }
    let end = at + b"cookie".len();
    let mut value = match joint::separator(text, end) {
        Some(separator) => separator.value,
        None if at >= 2 && &text[at - 2..at] == b"--" => bytes::skip_blanks(text, end),
        None => return None,
    };
    if value == end {
        return None;
    }
    if text.get(value) == Some(&b'[') && bytes::placeholder(text, value).is_none() {
        value = bytes::skip_space(text, value + 1);
    }
    let (slashes, _) = bytes::backslashes(text, value);
    if text.get(slashes).is_some_and(|b| bytes::is_quote(*b)) {
        value = slashes + 1;
    }
    let mut at = value;
    let mut found = None;
    loop {
        let name_end = scan.cookie_name.end(text, at, |b| {
            bytes::is_name(b) || matches!(b, b'%' | b'!' | b'#' | b'$')
        });
        if name_end == at || text.get(name_end) != Some(&b'=') {
            break;
        }
        let from = name_end + 1;
        let to = scan.cookie_value.end(text, from, |b| {
            !b.is_ascii_whitespace() && !matches!(b, b';' | b',' | b'"' | b'\'' | b'\\')
        });
        let name = &text[at.max(name_end.saturating_sub(NAME))..name_end];
        if is_session(name, &text[from..to.min(from + SAMPLE)]) {
            scan.cut(from, to, Kind::Cookie);
            found = Some(to);
        }
        // On to the next pair.
        if text.get(to) != Some(&b';') {
            break;
        }
        at = bytes::skip_blanks(text, to + 1);
        let flag = bytes::run(text, at, |b| b.is_ascii_alphabetic());
        if text.get(flag) == Some(&b';') {
            at = bytes::skip_blanks(text, flag + 1);
        }
    }
    scan.cookies_until = at;
    found
}

/// So much of the end of a name is looked at.
const NAME: usize = 128;

/// By the end of the name and the beginning of the value.
fn is_session(name: &[u8], value: &[u8]) -> bool {
    if bytes::listed(name, ATTRIBUTES) || value.is_empty() || is_reference(value) {
        return false;
    }
    looked(name.len() * SESSIONS.len());
    let lower = name.to_ascii_lowercase();
    let named = SESSIONS
        .iter()
        .any(|part| lower.windows(part.len()).any(|at| at == part.as_bytes()));
    named || names::classify(name, None).is_some() || is_random(value)
}
