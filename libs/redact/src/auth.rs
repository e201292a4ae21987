//! Credentials of requests: the `Authorization` header, `Bearer` and `Basic` without it, and
//! JSON web tokens wherever they stand.

use crate::{
    Kind, bytes,
    joint::{self, Separator},
    looked::looked,
    scan::Scan,
    values::{SAMPLE, is_benign_word, is_mixed, is_random, is_reference},
};

/// Schemes after which the credentials follow as one run of characters.
static SCHEMES: &[&str] = &[
    "bearer",
    "basic",
    "token",
    "digest",
    "negotiate",
    "ntlm",
    "apikey",
    "api-key",
    "key",
    "jwt",
    "dpop",
    "hawk",
    "ssws",
    "sso-key",
    "genie-key",
    "aws4-hmac-sha256",
    "sharedkey",
    "sharedaccesssignature",
    "oauth",
    "bot",
];

/// Characters of credentials: those of token68, the `%` of an escaped one and the `:` of some.
fn is_credential(b: u8) -> bool {
    bytes::is_base64(b) || matches!(b, b'-' | b'.' | b'_' | b'~' | b'%' | b':')
}

/// `Authorization: …`, `"Authorization": "…"`, `Proxy-Authorization=…`.
pub(crate) fn header(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let separator = joint::separator(text, at + b"authorization".len())?;
    let mut start = bytes::skip_string_prefix(text, separator.value);
    let (slashes, _) = bytes::backslashes(text, start);
    if text.get(slashes).is_some_and(|b| bytes::is_quote(*b)) {
        start = slashes + 1;
    }
    let word = bytes::run(text, start, bytes::is_name);
    if bytes::listed(&text[start..word], SCHEMES) {
        let from = bytes::skip_blanks(text, escaped_blank(text, word));
        if from == word {
            return None;
        }
        let value = sample(text, from);
        if is_reference(value) || is_benign_word(value) || bytes::listed(value, SCHEMES) {
            return None;
        }
        // Schemes with parameters (`Digest username="…"`) go to the end of the line.
        let end = bytes::run(text, from, is_credential);
        let parameters = text.get(end).is_some_and(|b| matches!(b, b'"' | b','))
            && end > from
            && text[from..end].contains(&b'=')
            && bytes::listed(
                &text[start..word],
                &["digest", "hawk", "aws4-hmac-sha256", "oauth"],
            );
        let end = if parameters {
            bytes::line_end(text, end)
        } else {
            trimmed(text, from, end)
        };
        scan.cut(from, end, Kind::Authorization);
        return Some(end);
    }
    // No scheme: the bare token some services take, or a remark on who may do what.
    let value = sample(text, start);
    if value.len() >= 8 && is_random(value) && !is_reference(value) {
        let end = credentials_end(text, start);
        scan.cut(start, end, Kind::Authorization);
        return Some(end);
    }
    None
}

/// Skips a blank that is escaped, `%20` or `+`.
fn escaped_blank(text: &[u8], at: usize) -> usize {
    if text[at..].starts_with(b"%20") {
        at + 3
    } else {
        at
    }
}

/// The credentials that begin at `from`, as far as they are looked at to be judged: the run of
/// them ends at no other anchor, so only what goes is looked at whole.
fn sample(text: &[u8], from: usize) -> &[u8] {
    let near = &text[..text.len().min(from + SAMPLE)];
    &near[from..credentials_end(near, from)]
}

fn credentials_end(text: &[u8], from: usize) -> usize {
    trimmed(text, from, bytes::run(text, from, is_credential))
}

/// Without the full stops and colons of the sentence around it.
fn trimmed(text: &[u8], from: usize, mut end: usize) -> usize {
    while end > from && matches!(text[end - 1], b'.' | b':') {
        end -= 1;
    }
    end
}

/// `Bearer …` and `Basic …` anywhere in a text, prose included.
pub(crate) fn scheme(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let basic = bytes::has_at(text, at, b"basic");
    let word = at + if basic { 5 } else { 6 };
    if !bytes::starts_fresh(text, at) {
        return None;
    }
    let mut from = bytes::skip_blanks(text, escaped_blank(text, word));
    if from == word {
        // `bearer=…`, `Bearer: …`.
        from = match joint::separator(text, word) {
            Some(Separator { value, .. }) if !basic => value,
            _ => return None,
        };
    }
    let (slashes, _) = bytes::backslashes(text, from);
    if text.get(slashes).is_some_and(|b| bytes::is_quote(*b)) {
        from = slashes + 1;
    }
    let value = sample(text, from);
    if value.is_empty() || is_reference(value) {
        return None;
    }
    let secret = if basic {
        decodes_to_pair(value) || (value.len() >= 16 && is_random(value))
    } else {
        // "bearer of bad news", "Bearer tokens", "bearer authentication-scheme".
        (value.len() >= 8 && is_random(value)) || (value.len() >= 20 && is_mixed(value))
    };
    if !secret {
        return None;
    }
    let end = credentials_end(text, from);
    scan.cut(from, end, Kind::Authorization);
    Some(end)
}

/// Whether base64 holds `user:password`: valid text with a colon in it. Words of prose decode
/// to something that is not text. A sample may end within a character.
fn decodes_to_pair(value: &[u8]) -> bool {
    let digits = value.iter().rposition(|b| *b != b'=').map_or(0, |i| i + 1);
    if digits < 6
        || !value[..digits]
            .iter()
            .all(|b| bytes::is_base64(*b) && *b != b'=')
    {
        return false;
    }
    looked(digits);
    let mut bits: u32 = 0;
    let mut have = 0;
    let mut out = Vec::with_capacity(digits * 3 / 4);
    for b in &value[..digits] {
        let digit = match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' => 62,
            _ => 63,
        };
        bits = (bits << 6) | u32::from(digit);
        have += 6;
        if have >= 8 {
            have -= 8;
            out.push((bits >> have) as u8);
            bits &= (1 << have) - 1;
        }
    }
    let text = match std::str::from_utf8(&out) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() && value.len() >= SAMPLE => {
            std::str::from_utf8(&out[..error.valid_up_to()]).expect("valid up to there")
        }
        Err(_) => return false,
    };
    text.contains(':') && !text.chars().any(char::is_control)
}

/// A JSON web token: two parts or more joined by dots, the first of them an object.
pub(crate) fn jwt(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    if &text[at..at + 3] != b"eyJ" || at < scan.no_jwt_until || !bytes::starts_fresh(text, at) {
        return None;
    }
    let class = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=');
    let first = bytes::run(text, at, class);
    if text.get(first) != Some(&b'.') {
        scan.no_jwt_until = first;
        return None;
    }
    let mut end = first;
    let mut parts = 1;
    while parts < 5 && text.get(end) == Some(&b'.') {
        let next = bytes::run(text, end + 1, class);
        // `eyJ….` at the end of a sentence has no second part; the signature may be empty.
        if next == end + 1 && parts == 1 {
            break;
        }
        end = next;
        parts += 1;
    }
    let payload = end - first;
    if first - at < 8 || parts < 2 || payload < 8 {
        // What begins later in the first part is shorter and has the same parts behind it.
        scan.no_jwt_until = first;
        return None;
    }
    if text[end - 1] == b'.' {
        end -= 1;
    }
    scan.cut(at, end, Kind::Jwt);
    Some(end)
}
