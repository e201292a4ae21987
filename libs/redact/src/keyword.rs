//! Values that a name calls secret: `password=…`, `"api_key": "…"`, `apiKey: '…'`,
//! `--token …`, `<password>…</password>`, `name: DB_PASSWORD` / `value: …`.

use crate::{
    Kind, bytes, code,
    joint::{Joint, bare_end, closes, separator},
    looked::looked,
    names::{self, Family, Strength},
    scan::Scan,
    values::{self, Plain, SAMPLE},
};

/// Parts of names at which a name is looked at.
pub(crate) static ANCHORS: &[&str] = &[
    "pass",
    "pwd",
    "secret",
    "token",
    "key",
    "credential",
    "creds",
    "contrase",
    "kennwort",
    "parola",
    "_auth",
    "masterauth",
    "psk",
    "phpsessid",
    "jsessionid",
    "mnemonic",
    "jwt",
    "identified by ",
];

/// Strings are escaped into each other so deep at most (six levels).
const MAX_DEPTH: usize = 63;

/// A name that is looked at, and what we know of it.
struct Named<'a> {
    name: &'a [u8],
    strength: Strength,
    joint: Joint,
    quoted: bool,
    /// `DB_PASSWORD=value` as in a shell: the value is no expression.
    shell: bool,
}

/// The rule: finds the name round an anchor, its separator and its value.
pub(crate) fn named(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    if bytes::has_at(text, at, b"identified by ") {
        return literal_after(scan, at + 14);
    }
    // One look at each name, however many anchors it holds.
    if at < scan.named_until {
        return None;
    }
    let end = bytes::run(text, at, bytes::is_name);
    let floor = scan.named_until.max(scan.cut_until());
    let mut start = at;
    while start > floor && bytes::is_name(text[start - 1]) {
        start -= 1;
    }
    looked(at - start);
    // The "n" of `\n` is no part of the name.
    if start > 0
        && text[start - 1] == b'\\'
        && start < at
        && matches!(text[start], b'n' | b'r' | b't')
    {
        start += 1;
    }
    scan.named_until = end;
    let name = &text[start..end];
    let before = word_before(text, start);
    let strength = names::classify(name, before)?;
    if let Some(separator) = separator(text, end) {
        let shell = separator.joint == Joint::Equals
            && separator.tight
            && !name.iter().any(u8::is_ascii_lowercase);
        let named = Named {
            name,
            strength,
            joint: separator.joint,
            quoted: separator.quoted,
            shell,
        };
        return value(scan, &named, separator.value);
    }
    let strong = matches!(strength, Strength::Strong(_));
    // `<password>…</password>`.
    if text.get(end) == Some(&b'>') && start > 0 && matches!(text[start - 1], b'<' | b':') {
        return element(scan, end + 1);
    }
    if let Some(value_at) = value_beside(text, end) {
        let named = Named {
            name,
            strength,
            joint: Joint::Colon,
            quoted: true,
            shell: true,
        };
        return value(scan, &named, value_at);
    }
    if strong {
        return beside(scan, start, end);
    }
    None
}

/// Separators of prose and of command lines.
fn beside(scan: &mut Scan<'_>, start: usize, end: usize) -> Option<usize> {
    let text = scan.text;
    let name = &text[start..end];
    let strength = names::classify(name, word_before(text, start))?;
    let next = bytes::skip_blanks(text, end);
    if next == end && text.get(end) != Some(&b'(') {
        return None;
    }
    // `--password value`, and the option's name alone in a list of arguments.
    let password = strength == Strength::Strong(Family::Password);
    if name.starts_with(b"--") || bytes::listed(name, &["requirepass", "masterauth"]) {
        let named = Named {
            name,
            strength,
            joint: Joint::Colon,
            quoted: false,
            shell: true,
        };
        return match text.get(next) {
            Some(b'-') | None => None,
            // "the --password flag", "--token and --user".
            _ if values::follows_option(&text[next..]) => None,
            _ => value(scan, &named, next),
        };
    }
    // `PASSWORD 'value'` of SQL.
    if password && text.get(next).is_some_and(|b| matches!(b, b'\'' | b'"')) {
        return literal_after(scan, next);
    }
    // `login NAME password VALUE` of a .netrc file.
    if password && name == b"password" && after_login(text, start) {
        let stop = bytes::run(text, next, |b| !b.is_ascii_whitespace());
        scan.cut(next, stop, Kind::Keyword);
        return Some(stop);
    }
    // "the password is X", "password for NAME: X", "password (NAME): X".
    let from = ["is ", "was ", "is: ", "->", "to "]
        .iter()
        .find(|word| bytes::has_at(text, next, word.as_bytes()))
        .map(|word| bytes::skip_blanks(text, next + word.len()))
        .or_else(|| labelled(text, next))?;
    let named = Named {
        name,
        strength: Strength::Weak,
        joint: Joint::Colon,
        quoted: false,
        shell: false,
    };
    value(scan, &named, from)
}

/// `for NAME:`, `of the NAME:`, `(NAME):` between a name and its value.
fn labelled(text: &[u8], at: usize) -> Option<usize> {
    let near = &text[..text.len().min(at + 60)];
    let linked = ["for ", "of ", "on ", "at ", "("]
        .iter()
        .any(|word| bytes::has_at(text, at, word.as_bytes()));
    if !linked {
        return None;
    }
    let colon = bytes::run(near, at, |b| {
        bytes::is_name(b) || matches!(b, b' ' | b'(' | b')' | b'@' | b'\'')
    });
    (text.get(colon) == Some(&b':') && text.get(colon + 1) == Some(&b' '))
        .then(|| bytes::skip_blanks(text, colon + 1))
}

/// The word before a name in the same sentence, for "API key" and "access token".
fn word_before(text: &[u8], start: usize) -> Option<&[u8]> {
    let end = start.checked_sub(1).filter(|i| text[*i] == b' ')?;
    let floor = end.saturating_sub(24);
    let mut first = end;
    while first > floor && text[first - 1].is_ascii_alphanumeric() {
        first -= 1;
    }
    (first < end).then_some(&text[first..end])
}

fn after_login(text: &[u8], start: usize) -> bool {
    let near = &text[start.saturating_sub(160)..start];
    let mut words = near
        .rsplit(u8::is_ascii_whitespace)
        .filter(|word| !word.is_empty());
    words.nth(1).is_some_and(|word| word == b"login")
}

/// `name: DB_PASSWORD` and then `value: …`, in YAML, JSON or XML: where the value begins.
fn value_beside(text: &[u8], end: usize) -> Option<usize> {
    let joint = |b: u8| b.is_ascii_whitespace() || bytes::is_quote(b) || matches!(b, b',' | b'\\');
    let at = bytes::run(text, end, joint);
    if at == end || !bytes::has_at(text, at, b"value") {
        return None;
    }
    separator(text, at + 5).map(|separator| separator.value)
}

/// A string in quotes at `at`, whatever it says.
fn literal_after(scan: &mut Scan<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let quote = *text.get(at).filter(|b| bytes::is_quote(**b))?;
    let (end, next) = bytes::quoted_end(text, at + 1, quote, 0);
    // Without its closing quote it is an apostrophe.
    if next == end
        || values::is_reference(&text[at + 1..end])
        || bytes::listed(&text[at + 1..end], &["field"])
    {
        return None;
    }
    scan.cut(at + 1, end, Kind::Keyword);
    Some(next)
}

/// The text of an XML element.
fn element(scan: &mut Scan<'_>, from: usize) -> Option<usize> {
    let text = scan.text;
    let end = scan.element.end(text, from, |b| !matches!(b, b'<' | b'\n'));
    if !text[end..].starts_with(b"</") || values::is_reference(sample(&text[from..end])) {
        return None;
    }
    scan.cut(from, end, Kind::Keyword);
    Some(end)
}

/// Judges the value that begins at `at` and cuts it; where the walk goes on if it was cut.
fn value(scan: &mut Scan<'_>, named: &Named<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let at = scheme_end(text, at);
    if let Some(len) = bytes::placeholder(text, at)
        && text.get(at + len).is_none_or(|b| !bytes::is_word(*b))
    {
        return Some(at + len);
    }
    let at = bytes::skip_string_prefix(text, at);
    let (slashes, depth) = bytes::backslashes(text, at);
    match text.get(slashes) {
        Some(quote) if bytes::is_quote(*quote) && depth <= MAX_DEPTH => {
            return string(scan, named, slashes, depth);
        }
        Some(b'[') if depth == 0 && bytes::placeholder(text, at).is_none() => {
            return list(scan, named, at);
        }
        // An object; its members are looked at by their own names.
        Some(b'{')
            if depth == 0
                && text
                    .get(at + 1)
                    .is_none_or(|b| b.is_ascii_whitespace() || bytes::is_quote(*b)) =>
        {
            return None;
        }
        Some(b'\n' | b'\r') | None => return None,
        _ => {}
    }
    if let Some(next) = folded(scan, named, at) {
        return Some(next);
    }
    if named.joint == Joint::Literal {
        return None;
    }
    bare(scan, named, at)
}

/// Skips the scheme in `token: Bearer …`.
fn scheme_end(text: &[u8], at: usize) -> usize {
    for scheme in ["bearer ", "basic "] {
        if bytes::has_at(text, at, scheme.as_bytes()) {
            let next = at + scheme.len();
            let end = bytes::run(text, next, |b| !b.is_ascii_whitespace());
            if values::is_mixed(&text[next..end]) {
                return next;
            }
        }
    }
    at
}

/// A value in quotes; `at` is the opening quote.
fn string(scan: &mut Scan<'_>, named: &Named<'_>, at: usize, depth: usize) -> Option<usize> {
    let text = scan.text;
    let quote = text[at];
    // `"""` and `'''`: to the same again.
    if depth == 0 && text[at..].starts_with(&[quote; 3]) {
        let from = at + 3;
        let line = bytes::skip_space(text, from);
        let end = bytes::run(text, line, |b| b != quote && !matches!(b, b'\n' | b'\r'));
        return cut(scan, named, line, end, true).then_some(end);
    }
    let from = at + 1;
    // Strings that stay may hold others, which are looked at by their own names: what is to
    // stay is told by its beginning.
    let window = &text[..text.len().min(from + SAMPLE)];
    let (end, next) = bytes::quoted_end(window, from, quote, depth);
    if end < window.len() || end == text.len() {
        // `${NAME:-"…"}` and the like begin inside.
        return cut(scan, named, from, end, true).then_some(next);
    }
    if !judge(named, &text[from..end], true) {
        return None;
    }
    let (end, next) = bytes::quoted_end(text, from, quote, depth);
    scan.cut(from, end, Kind::Keyword);
    Some(next)
}

/// Every string of a list, `["…", '…']`.
fn list(scan: &mut Scan<'_>, named: &Named<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let mut at = at + 1;
    let mut last = None;
    loop {
        at = bytes::run(text, at, |b| b.is_ascii_whitespace() || b == b',');
        let (slashes, depth) = bytes::backslashes(text, at);
        if depth > MAX_DEPTH || !text.get(slashes).is_some_and(|b| bytes::is_quote(*b)) {
            return last;
        }
        let (end, next) = bytes::quoted_end(text, slashes + 1, text[slashes], depth);
        // A list under a name of a method (`token["x"]`) holds names: only what looks it.
        if cut(scan, named, slashes + 1, end, true) {
            last = Some(next);
        }
        if next == end {
            return last;
        }
        at = next;
    }
}

/// A YAML block, `|` or `>`: the lines that are further in than the name's.
fn folded(scan: &mut Scan<'_>, named: &Named<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    if named.joint != Joint::Colon || !matches!(text.get(at), Some(b'|' | b'>')) {
        return None;
    }
    let mark = bytes::run(text, at + 1, |b| matches!(b, b'-' | b'+' | b'0'..=b'9'));
    let first = bytes::skip_blanks(text, mark);
    if !matches!(text.get(first), Some(b'\n' | b'\r')) {
        return None;
    }
    let indent = |line: usize| bytes::skip_blanks(text, line) - line;
    let start = bytes::skip_space(text, first);
    let line = text[..start]
        .iter()
        .rposition(|b| *b == b'\n')
        .map_or(0, |i| i + 1);
    let inner = indent(line);
    if inner == 0 || start == text.len() {
        return None;
    }
    // A key in it is cut as what it is; a remark is told by its first line.
    let mut end = bytes::line_end(text, start);
    if text[start..].starts_with(b"-----BEGIN")
        || named.strength == Strength::Weak
        || !judge(named, sample(&text[start..end]), true)
    {
        return None;
    }
    loop {
        let next = bytes::run(text, end, |b| matches!(b, b'\n' | b'\r'));
        if next == end || next == text.len() || indent(next) < inner {
            break;
        }
        end = bytes::line_end(text, next);
    }
    scan.cut(start, end, Kind::Keyword);
    Some(end)
}

/// A value without quotes.
fn bare(scan: &mut Scan<'_>, named: &Named<'_>, at: usize) -> Option<usize> {
    let text = scan.text;
    let near = &text[at..text.len().min(at + 80)];
    // References may hold blanks: `<your password>`, `${{ secrets.X }}`, `$(cat file)`.
    if values::is_reference(near) && near.starts_with(b"$(")
        || near.starts_with(b"${{")
        || near.starts_with(b"{{")
    {
        return None;
    }
    if near.starts_with(b"<") || near.starts_with(b"${") {
        let close = bytes::run(near, 0, |b| !matches!(b, b'>' | b'}' | b'\n'));
        if close < near.len()
            && values::is_reference(&near[..=close])
            && closes(text, at + close + 1)
        {
            // Past it: the name in `${PASSWORD:?message}` is none that has a value.
            return Some(at + close + 1);
        }
    }
    // What is to stay is told by its beginning, so that looking at it in vain is cheap; what
    // is to go is looked at whole.
    let window = &text[..text.len().min(at + SAMPLE)];
    let mut end = bare_end(window, at);
    let cut_off = end == window.len() && end < text.len();
    let found = &text[at..end];
    if found.is_empty() || (cut_off && !judge(named, found, false)) {
        return None;
    }
    if let Some(offset) = code::wrapped_literal(&near[..bytes::line_end(near, 0)]) {
        let (slashes, depth) = bytes::backslashes(text, at + offset);
        return string(scan, named, slashes, depth);
    }
    if !named.shell && code::is_expression(found, named.name) {
        return None;
    }
    // Words: a remark, a passphrase, or one word before something else.
    if named.joint == Joint::Colon
        && named.strength != Strength::Weak
        && values::is_plain_word(found)
    {
        match values::plain(&text[at..]) {
            Plain::Remark if !named.quoted => return None,
            Plain::Phrase(len) if !named.shell => {
                return cut(scan, named, at, at + len, false).then_some(at + len);
            }
            _ => {}
        }
    }
    if cut_off {
        end = bare_end(text, at);
        take(scan, named, at, end, false);
        return Some(end);
    }
    cut(scan, named, at, end, false).then_some(end)
}

/// The beginning of a value, by which it is judged.
fn sample(value: &[u8]) -> &[u8] {
    &value[..value.len().min(SAMPLE)]
}

/// Whether a value is the secret its name says.
fn judge(named: &Named<'_>, value: &[u8], literal: bool) -> bool {
    if values::is_reference(value) || harmless(named, value, literal) {
        return false;
    }
    let number = is_number(value);
    match named.strength {
        Strength::Weak => values::is_random(value) && !is_checksum(value) && !is_listing(value),
        // Numbers are counts under a name of tokens, unless they are as long as codes are.
        Strength::Strong(Family::Token | Family::Key) if number => value.len() >= 6,
        Strength::Strong(_) => true,
    }
}

fn is_number(value: &[u8]) -> bool {
    value
        .iter()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'+' | b','))
}

/// Judges one value and cuts it.
fn cut(scan: &mut Scan<'_>, named: &Named<'_>, from: usize, end: usize, literal: bool) -> bool {
    if !judge(named, sample(&scan.text[from..end]), literal) {
        return false;
    }
    take(scan, named, from, end, literal);
    true
}

/// Cuts one value.
fn take(scan: &mut Scan<'_>, named: &Named<'_>, from: usize, end: usize, literal: bool) {
    let value = &scan.text[from..end];
    if named.quoted && !literal && is_number(value) {
        scan.cut_bare(from, end, Kind::Keyword);
    } else {
        scan.cut(from, end, Kind::Keyword);
    }
}

/// Values that say something else than the secret.
fn harmless(named: &Named<'_>, value: &[u8], literal: bool) -> bool {
    if values::is_benign_word(value) || values::is_path(value) {
        return true;
    }
    // A requirement is said of a field of a form or a schema. What is assigned, or given to an
    // option, is the value.
    let said = named.joint == Joint::Colon && (named.quoted || !named.shell);
    if literal && said && values::is_requirement(value) {
        return true;
    }
    // A bare mark, an arrow, an operator.
    if !literal && !value.iter().any(|b| bytes::is_word(*b)) {
        return value.len() < 4;
    }
    // Windows' and shells' working directory.
    bytes::listed(named.name, &["pwd"]) && value.contains(&b'/')
}

/// A commit id or a checksum: under a weak name it is what it looks like.
fn is_checksum(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"sha256:").unwrap_or(value);
    matches!(digits.len(), 40 | 64) && digits.iter().all(u8::is_ascii_hexdigit)
}

/// Several words: weak names need one single value.
fn is_listing(value: &[u8]) -> bool {
    value.contains(&b' ')
}
