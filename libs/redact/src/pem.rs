//! PEM blocks: whole, on one line with `\n` in it, quoted, and cut short at either end.

use crate::{Kind, bytes, looked::looked, scan::Scan, values::is_mixed};

/// Labels of what may be shown to anybody. A block under any other label is cut.
static PUBLIC: &[&str] = &[
    "CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "X509 CERTIFICATE",
    "CERTIFICATE REQUEST",
    "NEW CERTIFICATE REQUEST",
    "X509 CRL",
    "PUBLIC KEY",
    "RSA PUBLIC KEY",
    "SSH2 PUBLIC KEY",
    "PGP PUBLIC KEY BLOCK",
    "PGP SIGNATURE",
    "PGP SIGNED MESSAGE",
    "SSH SIGNATURE",
    "DH PARAMETERS",
    "EC PARAMETERS",
];

/// Longest label that is looked at.
const MAX_LABEL: usize = 64;

/// A line of base64 in the middle of a block has at least so many characters.
const LINE: usize = 40;

/// Where a label ends and where its closing dashes end.
fn label(text: &[u8], from: usize) -> Option<(usize, usize)> {
    let near = &text[..text.len().min(from + MAX_LABEL)];
    let end = bytes::run(near, from, |b| b.is_ascii_alphanumeric() || b == b' ');
    let dashes = bytes::run(text, end, |b| b == b'-');
    (end > from && dashes - end >= 4).then_some((end, dashes))
}

/// `-----BEGIN …-----` and what follows it.
pub(crate) fn block(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    // The anchors are "-----BEGIN " and "---- BEGIN ", both of eleven bytes.
    let from = at + 11;
    let (label_end, open_end) = label(text, from)?;
    let name = text[from..label_end].trim_ascii();
    if bytes::listed(name, PUBLIC) {
        return Some(open_end);
    }
    let start = at
        - text[..at]
            .iter()
            .rev()
            .take_while(|b| **b == b'-')
            .count()
            .min(2);
    // To the closing line, whatever stands between (line numbers, quotes, the marks of a
    // diff), provided that the next dashes are those of the closing line.
    let dashes = next_dashes(text, open_end);
    if let Some(end) = dashes {
        let word = bytes::skip_blanks(text, bytes::run(text, end, |b| b == b'-'));
        if bytes::has_at(text, word, b"END ")
            && let Some((_, close_end)) = label(text, word + 4)
        {
            scan.cut(start, close_end, Kind::Pem);
            return Some(close_end);
        }
    }
    let end = body(text, open_end, dashes.unwrap_or(text.len()));
    // A block cut short right after its label holds nothing, and neither does a remark on
    // how such blocks begin.
    if end == open_end {
        return Some(open_end);
    }
    scan.cut(start, end, Kind::Pem);
    Some(end)
}

/// The next run of four dashes or more.
fn next_dashes(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while at < text.len() {
        looked(1);
        if text[at] == b'-' {
            let end = bytes::run(text, at, |b| b == b'-');
            if end - at >= 4 {
                return Some(at);
            }
            at = end;
        } else {
            at += 1;
        }
    }
    None
}

/// Skips what separates the lines of a block: blanks, line ends, `\n`, quotes and plus signs
/// of strings put together.
fn separators(text: &[u8], from: usize) -> usize {
    let mut at = from;
    loop {
        let start = at;
        at = bytes::run(text, at, |b| {
            b.is_ascii_whitespace() || bytes::is_quote(b) || matches!(b, b',' | b'>' | b'|')
        });
        let (slashes, count) = bytes::backslashes(text, at);
        if count > 0 {
            at = slashes + usize::from(matches!(text.get(slashes), Some(b'n' | b'r' | b't')));
        }
        if text.get(at) == Some(&b'+') && text.get(at + 1).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        if at == start {
            return at;
        }
    }
}

/// Where the body of a block without its closing line ends: after its header fields and the
/// last line that is base64.
fn body(text: &[u8], from: usize, limit: usize) -> usize {
    let text = &text[..limit];
    let mut end = from;
    let mut at = separators(text, from);
    for field in [
        "Proc-Type:",
        "DEK-Info:",
        "Version:",
        "Comment:",
        "Proc-Type:",
        "DEK-Info:",
    ] {
        if bytes::has_at(text, at, field.as_bytes()) {
            // The field ends with its line, be that a real one or an escaped one.
            let stop = bytes::run(text, at, |b| !matches!(b, b'\n' | b'\r' | b'\\'));
            end = stop;
            at = separators(text, stop);
        }
    }
    let mut lines = 0;
    loop {
        let line = bytes::run(text, at, bytes::is_base64);
        let len = line - at;
        let cut_short = lines > 0 || line == text.len() || is_mixed(&text[at..line]);
        if len >= LINE || (len >= 4 && cut_short && is_mixed(&text[at..line])) {
            end = line;
            lines += 1;
        }
        if len < LINE {
            return end;
        }
        at = separators(text, line);
    }
}

/// `-----END …-----` without a beginning: the lines of base64 before it.
pub(crate) fn tail(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let (label_end, close_end) = label(text, at + 9)?;
    if bytes::listed(text[at + 9..label_end].trim_ascii(), PUBLIC) {
        return Some(close_end);
    }
    let floor = scan.cut_until();
    let mut start = at;
    let mut first = true;
    loop {
        let gap = floor + text[floor..start].len()
            - text[floor..start]
                .iter()
                .rev()
                .take_while(|b| b.is_ascii_whitespace() || bytes::is_quote(**b))
                .count();
        // `\n` written out.
        let gap = match text[floor..gap] {
            [.., b'\\', b'n'] => gap - 2,
            _ => gap,
        };
        let line = gap
            - text[floor..gap]
                .iter()
                .rev()
                .take_while(|b| bytes::is_base64(**b))
                .count();
        // The "n" of an escape before the line looks like a character of it.
        let line = if line > floor && text[line - 1] == b'\\' && text.get(line) == Some(&b'n') {
            line + 1
        } else {
            line
        };
        let len = gap - line.min(gap);
        looked(start - line.min(start));
        let fits = len >= LINE || (first && len >= 4 && is_mixed(&text[line..gap]));
        if !fits {
            break;
        }
        start = line;
        first = false;
    }
    if start == at {
        return Some(close_end);
    }
    scan.cut(start, close_end, Kind::Pem);
    Some(close_end)
}
