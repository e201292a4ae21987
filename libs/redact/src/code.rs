//! Unquoted values that are code: types, calls, paths to a value.

use crate::{
    bytes::{self, ends_with, listed},
    looked::looked,
    names::{self, Strength},
    values::looks_random,
};

/// What a path to a value begins with in code and templates.
static ROOTS: &[&str] = &[
    "self",
    "this",
    "config",
    "cfg",
    "conf",
    "settings",
    "env",
    "environ",
    "process",
    "os",
    "sys",
    "args",
    "argv",
    "opts",
    "options",
    "params",
    "props",
    "req",
    "request",
    "res",
    "response",
    "ctx",
    "context",
    "state",
    "app",
    "user",
    "input",
    "data",
    "body",
    "form",
    "vault",
    "secrets",
    "crate",
    "super",
    "var",
    "vars",
    "local",
    "module",
    "std",
    "values",
    "event",
    "session",
    "payload",
    "headers",
    "client",
    "creds",
    "credentials",
    "auth",
    "db",
    "account",
    "github",
    "import",
    "account",
    "item",
    "row",
    "record",
    "cli",
    "flags",
];

/// Endings of type names.
static TYPES: &[&str] = &[
    "String",
    "Str",
    "Token",
    "Secret",
    "Key",
    "Password",
    "Option",
    "Config",
    "Credentials",
    "Credential",
    "Bytes",
    "Vec",
    "Value",
    "Ref",
    "Field",
    "Type",
    "Text",
    "Provider",
    "Source",
    "Id",
    "Box",
    "Cow",
    "Optional",
    "Any",
    "None",
    "Some",
    "Default",
    "Box",
    "Rc",
    "Arc",
];

/// Functions that only wrap the string they are given: the string is the value.
static WRAPPERS: &[&str] = &[
    "some",
    "new",
    "from",
    "of",
    "string",
    "secretstring",
    "secret",
    "quote",
    "str",
    "password",
    "ok",
    "value",
    "just",
    "bytes",
    "b64decode",
    "securestring",
    "literal",
    "token",
    "to_string",
];

/// Where the name (a path with `.`, `::`, `->`) at the head of a value ends.
fn head(value: &[u8]) -> usize {
    let mut at = 0;
    while at < value.len() {
        let b = value[at];
        if b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.') {
            at += 1;
        } else if value[at..].starts_with(b"::")
            || value[at..].starts_with(b"->")
            || value[at..].starts_with(b"?.")
        {
            at += 2;
        } else {
            break;
        }
    }
    at
}

/// The literal inside `Some("…")`, `Secret::new("…")`: where its quote stands in the value.
pub(crate) fn wrapped_literal(value: &[u8]) -> Option<usize> {
    let end = head(value);
    let name = value[..end]
        .rsplit(|b| matches!(b, b'.' | b':' | b'>'))
        .next()?;
    if end == 0 || value.get(end) != Some(&b'(') || !listed(name, WRAPPERS) {
        return None;
    }
    let inner = end + 1;
    let (slashes, _) = bytes::backslashes(value, inner);
    value
        .get(slashes)
        .is_some_and(|b| bytes::is_quote(*b))
        .then_some(inner)
}

/// Whether an unquoted value is an expression: what it evaluates to is not in the text.
/// `name` is the name it is given to.
pub(crate) fn is_expression(value: &[u8], name: &[u8]) -> bool {
    looked(value.len());
    if let [b'&', rest @ ..] = value {
        return rest
            .first()
            .is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'\'' | b'['))
            && !rest.iter().any(|b| b.is_ascii_digit())
            || rest == b"[u8]";
    }
    let end = head(value);
    let path = &value[..end];
    if end == 0
        || !(path[0].is_ascii_alphabetic() || path[0] == b'_' || path[0] == b'.')
        || looks_random(path)
    {
        return false;
    }
    match value.get(end) {
        // A call, an index, generics, a macro.
        Some(b'(' | b'[') => true,
        Some(b'!') => value.get(end + 1) == Some(&b'('),
        Some(b'<') => {
            path[0].is_ascii_uppercase()
                && value[end + 1..].iter().all(|b| {
                    b.is_ascii_alphanumeric()
                        || matches!(b, b'<' | b'>' | b'_' | b',' | b':' | b'&' | b'\'')
                })
        }
        Some(b'?') if end + 1 == value.len() => true,
        None => is_type(path) || is_path_to_value(path) || is_same_name(path, name),
        _ => false,
    }
}

fn is_type(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_alphabetic)
        && name[0].is_ascii_uppercase()
        && name.iter().any(u8::is_ascii_lowercase)
        && TYPES.iter().any(|ending| {
            ends_with(name, ending) && {
                let at = name.len() - ending.len();
                name[at].is_ascii_uppercase()
            }
        })
}

/// `config.password`, `self.token`, `Kind::Secret`, `secrets.DEPLOY_TOKEN`.
fn is_path_to_value(path: &[u8]) -> bool {
    if path.windows(2).any(|pair| pair == b"::" || pair == b"->") {
        return true;
    }
    let mut parts = path.split(|b| *b == b'.').filter(|part| !part.is_empty());
    let Some(first) = parts.next() else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return false;
    };
    (listed(first, ROOTS) || matches!(names::classify(last, None), Some(Strength::Strong(_))))
        && !path.iter().any(u8::is_ascii_digit)
}

/// `password=password`, `token: access_token`: a variable handed on under its own name.
fn is_same_name(path: &[u8], name: &[u8]) -> bool {
    if path.eq_ignore_ascii_case(name) {
        return true;
    }
    let joined = path.contains(&b'_')
        || path
            .windows(2)
            .any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase());
    joined
        && !path.iter().any(u8::is_ascii_digit)
        && matches!(names::classify(path, None), Some(Strength::Strong(_)))
}
