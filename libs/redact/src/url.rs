//! Credentials in URLs: before the `@`, in signatures, and in the options of curl.

use crate::{
    Kind, bytes,
    looked::looked,
    scan::Scan,
    values::{is_random, is_reference, looks_random},
};

/// What cannot stand in a URL: the end of it, raw passwords included.
fn ends_url(b: u8) -> bool {
    b.is_ascii_whitespace() || b.is_ascii_control() || matches!(b, b'"' | b'<' | b'>' | b'`')
}

/// `scheme://user:password@host`, `scheme://:password@host`, `scheme://token@host`.
pub(crate) fn userinfo(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let from = at + 3;
    // References such as `${USER}` and `<password>` may hold what ends a URL elsewhere.
    let mut end = from;
    let mut last_at = None;
    let mut colon = None;
    let mut authority_end = None;
    while end < text.len() {
        looked(1);
        if let Some(len) = bytes::placeholder(text, end).or_else(|| reference(text, end)) {
            end += len;
            continue;
        }
        match text[end] {
            b if ends_url(b) => break,
            b'\\' if matches!(text.get(end + 1), Some(b'n' | b'r' | b't' | b'"')) => break,
            b':' if text[end..].starts_with(b"://") => break,
            b':' if colon.is_none() && last_at.is_none() => colon = Some(end),
            b'@' if authority_end.is_none() => last_at = Some(end),
            b'/' | b'?' | b'#' if authority_end.is_none() => {
                authority_end = Some(end);
                // With an "@" behind us the authority is complete. Without one this may be a
                // raw slash in a password, unless what precedes it is a port or there is
                // nothing to be a password.
                let port =
                    text[from] == b'[' || colon.is_none_or(|colon| is_port(&text[colon + 1..end]));
                if last_at.is_some() || port {
                    break;
                }
            }
            b'@' if last_at.is_none() => {
                // An "@" in the path, after a raw slash in what must be a password.
                last_at = Some(end);
                break;
            }
            _ => {}
        }
        end += 1;
    }
    let at_sign = last_at?;
    let user_end = colon.filter(|colon| *colon < at_sign).unwrap_or(at_sign);
    let user = &text[from..user_end];
    // A long random user is a token by itself.
    if is_random(user) && user.len() >= 20 && !is_reference(user) {
        scan.cut(from, user_end, Kind::Url);
    }
    if user_end < at_sign {
        let password = &text[user_end + 1..at_sign];
        if !password.is_empty() && !is_reference(password) {
            scan.cut(user_end + 1, at_sign, Kind::Url);
        }
    }
    Some(at_sign)
}

/// A port, or the word that stands for one in documentation.
fn is_port(text: &[u8]) -> bool {
    text.iter().all(u8::is_ascii_digit) || bytes::listed(text, &["port", "$port"])
}

/// Length of `${…}`, `{{…}}` or `<…>` that begins at `at`; a short one.
fn reference(text: &[u8], at: usize) -> Option<usize> {
    let near = &text[at..text.len().min(at + 80)];
    let (open, close): (&[u8], &[u8]) = if near.starts_with(b"${{") {
        (b"${{", b"}}")
    } else if near.starts_with(b"${") {
        (b"${", b"}")
    } else if near.starts_with(b"{{") {
        (b"{{", b"}}")
    } else if near.starts_with(b"<") {
        (b"<", b">")
    } else {
        return None;
    };
    let inner = &near[open.len()..];
    let len = bytes::run(inner, 0, |b| {
        bytes::is_name(b) || matches!(b, b' ' | b'$' | b'(' | b')' | b'|' | b':')
    });
    inner[len..]
        .starts_with(close)
        .then_some(open.len() + len + close.len())
}

/// `sig=…` and `…Signature=…` among the parameters of a URL or a connection string.
pub(crate) fn signature(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let before = at.checked_sub(1).map(|i| text[i]);
    if !matches!(before, Some(b'&' | b'?' | b';' | b'-' | b'\'' | b'"')) {
        return None;
    }
    let start = bytes::run(text, at, |b| b != b'=') + 1;
    let class = |b: u8| {
        b.is_ascii_alphanumeric()
            || matches!(b, b'%' | b'+' | b'/' | b'=' | b'-' | b'_' | b'.' | b'~')
    };
    let sample = &text[start..text.len().min(start + 256)];
    let sample = &sample[..bytes::run(sample, 0, class)];
    if sample.len() < 16 || !looks_random(sample) {
        return None;
    }
    let end = bytes::run(text, start, class);
    scan.cut(start, end, Kind::Azure);
    Some(end)
}

/// `-u user:password`, `--user user:password`.
pub(crate) fn user_option(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    if at > 0 && !text[at - 1].is_ascii_whitespace() && !bytes::is_quote(text[at - 1]) {
        return None;
    }
    let mut start = bytes::skip_blanks(text, bytes::run(text, at, |b| b != b' '));
    let quote = text
        .get(start)
        .copied()
        .filter(|b| matches!(b, b'"' | b'\''));
    start += usize::from(quote.is_some());
    let user_end = bytes::run(text, start, |b| bytes::is_name(b) || b == b'@');
    if user_end == start || text.get(user_end) != Some(&b':') {
        return None;
    }
    let from = user_end + 1;
    let end = match quote {
        Some(quote) => bytes::quoted_end(text, from, quote, 0).0,
        None => bytes::run(text, from, |b| {
            !b.is_ascii_whitespace() && !bytes::is_quote(b)
        }),
    };
    let password = &text[from..end];
    // Users and groups of containers, `-u 1000:1000`, `-u app:staff`.
    let plain = password.iter().all(u8::is_ascii_digit)
        || (password.iter().all(u8::is_ascii_lowercase) && !after_curl(text, at));
    if password.is_empty() || plain || is_reference(password) {
        return None;
    }
    scan.cut(from, end, Kind::Url);
    Some(end)
}

/// Whether the option belongs to curl, as far as the text right before it shows.
fn after_curl(text: &[u8], at: usize) -> bool {
    text[at.saturating_sub(200)..at]
        .rsplit(|b| *b == b'\n')
        .next()
        .is_some_and(|line| line.windows(4).any(|word| word == b"curl"))
}
