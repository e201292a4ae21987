//! What a value is: a reference, a word that says there is none, a remark, or drawn by lot.

use crate::{
    bytes,
    bytes::listed,
    looked::looked,
    words::{BENIGN, COMMON, REMARK, REMARK_FIRST, REQUIREMENT, STATE, STOOD_FOR, TECHNICAL, VERB},
};

/// By so much of its beginning a value is judged; one that is cut out goes whole.
pub(crate) const SAMPLE: usize = 256;

pub(crate) fn is_benign_word(value: &[u8]) -> bool {
    listed(value, BENIGN) || listed(value, TECHNICAL)
}

/// A name for a value rather than a value: placeholders, variables, templates, marks in its
/// stead, addresses of secret stores.
pub(crate) fn is_reference(value: &[u8]) -> bool {
    looked(value.len());
    let value = value.trim_ascii();
    if value.is_empty() || bytes::only_placeholders(value) {
        return true;
    }
    let marks = |b: &u8| matches!(b, b'*' | b'.' | b'-' | b'_' | b'#' | b'?' | b'~');
    if value.iter().all(marks)
        || (value.len() >= 3
            && value
                .iter()
                .all(|b| matches!(b, b'x' | b'X' | b'*' | b'-' | b'0')))
        || std::str::from_utf8(value).is_ok_and(|v| v.chars().all(|c| matches!(c, '…' | '•' | '●')))
    {
        return true;
    }
    is_variable(value)
        || is_angle(value)
        || is_stand_in(value)
        || [
            "vault:",
            "arn:",
            "env:",
            "file:",
            "!vault",
            "!ref",
            "!sub",
            "!getatt",
            "!secret",
            "enc[",
            "secrets.",
            "env.",
            "ref+",
            "sops:",
            "keyring:",
            "${{",
            "{{",
            "$(",
            "%(",
            "secretref:",
            "@microsoft.keyvault(",
            "ssm:",
            "op://",
            "awssm://",
            "gsm://",
        ]
        .iter()
        .any(|prefix| bytes::has_at(value, 0, prefix.as_bytes()))
        || is_address(value)
}

/// `$NAME`, `${NAME}`, `$this->x`, `%NAME%`, `{name}`, `%s`, `:name`, `@name`.
fn is_variable(value: &[u8]) -> bool {
    let name = |part: &[u8]| {
        !part.is_empty()
            && part
                .iter()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
            && !looks_random(part)
    };
    match value {
        [b'$', b'{', inner @ .., b'}'] => {
            // `${NAME:-default}` holds the default, `${NAME:?message}` does not.
            let end = bytes::run(inner, 0, |b| {
                b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')
            });
            end > 0
                && match &inner[end..] {
                    [] => true,
                    [b':', b'?', ..] | [b'?', ..] => true,
                    [b':', b'-', rest @ ..] | [b':', rest @ ..] | [b'-', rest @ ..] => {
                        rest.is_empty() || is_reference(rest) || is_benign_word(rest)
                    }
                    _ => false,
                }
        }
        [b'{', inner @ .., b'}'] => name(inner),
        [b'%', inner @ .., b'%'] => name(inner),
        [b'%', b's' | b'd' | b'v' | b'q'] => true,
        [b'$', rest @ ..] => {
            let end = bytes::run(rest, 0, |b| b.is_ascii_alphanumeric() || b == b'_');
            let word = &rest[..end];
            let upper = word.iter().all(|b| !b.is_ascii_lowercase());
            let lower = word.iter().all(|b| !b.is_ascii_digit());
            end > 0
                && !word[0].is_ascii_digit()
                && (upper || lower)
                && match rest.get(end) {
                    None => true,
                    Some(b'[' | b':') => true,
                    Some(b'-') => rest.get(end + 1) == Some(&b'>'),
                    Some(b'.') => rest[end..].iter().all(|b| bytes::is_name(*b)),
                    _ => false,
                }
        }
        _ => false,
    }
}

/// `<your password>`; not a token that somebody put in angle brackets.
pub(crate) fn is_angle(value: &[u8]) -> bool {
    let value = value.strip_prefix(b"&lt;").map_or(value, |rest| rest);
    match value {
        [b'<', inner @ .., b'>'] => {
            !inner.is_empty()
                && inner
                    .iter()
                    .all(|b| bytes::is_name(*b) || matches!(b, b' ' | b'/' | b'\'' | b'|' | b':'))
                && !inner.split(|b| *b == b' ').any(looks_random)
        }
        _ => false,
    }
}

/// `your-api-key`, `YOUR_TOKEN_HERE`, `my_password_here`, `insert-token`; with blanks in it
/// only if it says what is to stand there (`enter your password`): passphrases begin so too.
fn is_stand_in(value: &[u8]) -> bool {
    let starts = ["your", "insert", "enter", "replace", "change", "put", "add"]
        .iter()
        .any(|word| {
            bytes::has_at(value, 0, word.as_bytes())
                && value
                    .get(word.len())
                    .is_some_and(|b| matches!(b, b'-' | b'_' | b' ' | b'A'..=b'Z'))
        });
    let joined = value
        .iter()
        .all(|b| b.is_ascii_alphabetic() || matches!(b, b'-' | b'_' | b' ' | b'.'));
    let says = |word: &[u8]| STOOD_FOR.iter().any(|end| bytes::ends_with(word, end));
    let starts = starts && (!value.contains(&b' ') || value.split(|b| *b == b' ').any(says));
    joined && (starts || bytes::ends_with(value, "_here") || bytes::ends_with(value, "-here"))
}

/// A URL: its own rules look at what it holds.
fn is_address(value: &[u8]) -> bool {
    let scheme = bytes::run(value, 0, |b| {
        b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')
    });
    (2..=24).contains(&scheme) && value[scheme..].starts_with(b"://")
}

/// A path of plain segments: `/run/secrets/db_password`, `./token.txt`, `C:\keys`.
pub(crate) fn is_path(value: &[u8]) -> bool {
    looked(value.len());
    let rooted = value.starts_with(b"/")
        || value.starts_with(b"./")
        || value.starts_with(b"~/")
        || value.starts_with(b"../");
    rooted
        && value.len() > 2
        && value
            .iter()
            .all(|b| bytes::is_name(*b) || matches!(b, b'/' | b'~'))
        && !value.iter().any(u8::is_ascii_uppercase)
        && !value.split(|b| *b == b'/').any(looks_random)
}

/// A plain word of prose: letters, perhaps with an apostrophe or a hyphen, no capitals inside.
pub(crate) fn is_plain_word(word: &[u8]) -> bool {
    looked(word.len());
    let word = word.trim_ascii_end();
    let mut letters = 0;
    for (i, b) in word.iter().enumerate() {
        match b {
            b'a'..=b'z' => letters += 1,
            b'A'..=b'Z' if i == 0 => letters += 1,
            0x80.. => letters += 1,
            b'\'' | b'-' if i > 0 && i + 1 < word.len() => {}
            _ => return false,
        }
    }
    (1..=24).contains(&letters)
}

/// Whether what follows the name of an option is the sentence round it, not its value.
pub(crate) fn follows_option(text: &[u8]) -> bool {
    let near = &text[..text.len().min(32)];
    let word = bare(&near[..bytes::run(near, 0, |b| !b.is_ascii_whitespace())]);
    listed(word, REMARK)
        || listed(word, REMARK_FIRST)
        || listed(
            word,
            &[
                "option",
                "options",
                "flag",
                "flags",
                "argument",
                "arguments",
                "parameter",
                "switch",
                "value",
                "stdin",
            ],
        )
}

/// A word with the marks of the sentence taken off.
fn bare(word: &[u8]) -> &[u8] {
    let end = word
        .iter()
        .rposition(|b| !matches!(b, b',' | b'.' | b';' | b':' | b'!' | b'?' | b')' | b'"'))
        .map_or(0, |i| i + 1);
    &word[..end]
}

/// What an unquoted value that begins with a plain word is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plain {
    /// A remark: it stays.
    Remark,
    /// Words, and nothing but words, up to here (an offset in the line): a passphrase.
    Phrase(usize),
    /// One word that is the value, before something else.
    Word,
}

/// More plain words than this are no passphrase.
const PHRASE: usize = 40;

/// A token longer than this is no plain word with the marks of a sentence round it.
const TOKEN: usize = 64;

/// Looks at the rest of a line that begins with a plain word. At most the first words are
/// looked at, unless they all are plain.
pub(crate) fn plain(line: &[u8]) -> Plain {
    let mut end = 0;
    let mut count = 0;
    let mut linked = false;
    let mut at = 0;
    while at < line.len() && count < PHRASE {
        let near = &line[..line.len().min(at + TOKEN)];
        let stop = bytes::run(near, at, |b| !b.is_ascii_whitespace());
        let token = &line[at..stop];
        let word = bare(token);
        if token.len() == TOKEN || !is_plain_word(word) {
            linked |= count > 0;
            break;
        }
        count += 1;
        if count <= 3 && listed(word, REMARK) && (count > 1 || line.get(stop) == Some(&b' ')) {
            return Plain::Remark;
        }
        if count == 1 && listed(word, REMARK_FIRST) && line.get(stop) == Some(&b' ') {
            return Plain::Remark;
        }
        linked |=
            count > 1 && (listed(word, REMARK_FIRST) || listed(word, REMARK) || is_thanks(word));
        end = at + word.len();
        if word.len() < token.len() {
            break;
        }
        at = bytes::skip_blanks(line, stop);
        if line.get(at).is_some_and(u8::is_ascii_whitespace) {
            break;
        }
    }
    if linked || count <= 1 || count == PHRASE {
        Plain::Word
    } else {
        Plain::Phrase(end)
    }
}

fn is_thanks(word: &[u8]) -> bool {
    listed(
        word,
        &["thanks", "ok", "user", "username", "login", "host", "email"],
    )
}

/// Whether a quoted value is a requirement in words (`"must be at least 8 characters"`):
/// nothing but words, of which the first is one that requirements begin with. Passphrases
/// begin with some of those words too; behind them a verb has to follow soon.
pub(crate) fn is_requirement(value: &[u8]) -> bool {
    looked(value.len());
    let mut words = value
        .split(|b| *b == b' ')
        .map(|word| bare(word.strip_prefix(b"(").unwrap_or(word)))
        .filter(|word| !word.is_empty());
    let Some(first) = words.next() else {
        return false;
    };
    if !listed(first, REQUIREMENT) || words.clone().next().is_none() {
        return false;
    }
    words
        .clone()
        .all(|word| is_plain_word(word) || is_count(word))
        && (!listed(first, COMMON) || has_verb(words))
}

/// Whether a verb of requirements is among the next words; "is" is one only before the word
/// that says what is wrong ("this is required", not "this is my passphrase").
fn has_verb<'a>(words: impl Iterator<Item = &'a [u8]> + Clone) -> bool {
    let next = words.clone().skip(1);
    words
        .zip(next.map(Some).chain([None]))
        .take(5)
        .any(|(word, next)| {
            listed(word, VERB)
                || (listed(word, &["is", "are", "was", "were"])
                    && next.is_some_and(|next| listed(next, STATE)))
        })
}

/// `8`, `12-64`: a number of characters or of days.
fn is_count(word: &[u8]) -> bool {
    word.len() <= 7
        && word
            .split(|b| *b == b'-')
            .all(|part| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit))
}

/// Whether a value has capitals inside, or digits among letters: no word of prose has.
pub(crate) fn is_mixed(value: &[u8]) -> bool {
    looked(value.len());
    let digit = value.iter().any(u8::is_ascii_digit);
    let letter = value.iter().any(u8::is_ascii_alphabetic);
    let lower = value.iter().any(u8::is_ascii_lowercase);
    let inner_upper = value.iter().skip(1).any(u8::is_ascii_uppercase);
    (digit && letter) || (lower && inner_upper) || value.ends_with(b"=")
}

/// Whether a value looks drawn by lot: letters and digits change places often. Names put
/// together of words and numbers (`gpt-4o-mini`, `2025-11-08T10:00`) do not.
pub(crate) fn looks_random(value: &[u8]) -> bool {
    let value = &value[..value.len().min(SAMPLE)];
    looked(value.len());
    if value.len() < 8 {
        return false;
    }
    let longest = value
        .split(|b| matches!(b, b'-' | b'_' | b'.' | b'/' | b':' | b' ' | b'%'))
        .map(changes)
        .max()
        .unwrap_or(0);
    longest >= 4 && !is_uuid(value)
}

/// As [`looks_random`], and short ones count too if they mix letters, digits and marks.
pub(crate) fn is_random(value: &[u8]) -> bool {
    if looks_random(value) {
        return true;
    }
    if listed(value, TECHNICAL) || is_uuid(value) || value.len() < 6 {
        return false;
    }
    looked(value.len());
    let digit = value.iter().any(u8::is_ascii_digit);
    let letter = value.iter().any(u8::is_ascii_alphabetic);
    let mark = value.iter().any(|b| {
        matches!(
            b,
            b'!' | b'@' | b'#' | b'$' | b'%' | b'^' | b'&' | b'*' | b'+' | b'=' | b'~'
        )
    });
    digit && letter && (mark || changes(value) >= 3) && !is_measure(value)
}

/// `30days`, `v2.1`, `2025-11-08`, `10:30h`: a number with a unit.
fn is_measure(value: &[u8]) -> bool {
    let digits_first = bytes::run(value, 0, |b| {
        b.is_ascii_digit() || matches!(b, b'.' | b',' | b'-' | b':' | b'/' | b'T')
    });
    let rest = &value[digits_first..];
    (digits_first > 0 && rest.iter().all(u8::is_ascii_alphabetic) && rest.len() <= 8)
        || value
            .split(|b| matches!(b, b'-' | b'_' | b'.' | b'/'))
            .all(|part| changes(part) <= 1)
}

/// How often letters and digits, or small letters and capitals not at the head of a hump,
/// change places; 0 without a digit unless the capitals alone are wild.
fn changes(part: &[u8]) -> usize {
    let class = |b: &u8| match b {
        b'a'..=b'z' => 0,
        b'A'..=b'Z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let all = part
        .windows(2)
        .filter(|pair| class(&pair[0]) != class(&pair[1]))
        .count();
    if part.iter().any(u8::is_ascii_digit) {
        all
    } else if all * 5 >= part.len() * 2 && part.len() >= 12 {
        // Words in humps change about twice in seven letters.
        all
    } else {
        0
    }
}

fn is_uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}
