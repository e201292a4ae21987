//! Page tokens: where a listing goes on, bound to the filters it was made with.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet_types::Violations;

/// Longest token that is looked at.
const MAX_TOKEN: usize = 4_096;

/// A token for what comes behind `ord` in the listing that `filters` describe.
pub(super) fn token(filters: &str, ord: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{filters}\n{ord}"))
}

/// The place that a token names; empty = from the beginning.
pub(super) fn after(v: &mut Violations, filters: &str, token: &str) -> Option<String> {
    if token.is_empty() {
        return None;
    }
    let decoded = (token.len() <= MAX_TOKEN)
        .then(|| URL_SAFE_NO_PAD.decode(token).ok())
        .flatten()
        .and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded.as_deref().and_then(|text| text.split_once('\n')) {
        Some((made_with, ord)) if made_with == filters => Some(ord.to_owned()),
        Some(_) => {
            v.add("page_token", "belongs to a listing with other filters");
            None
        }
        None => {
            v.add("page_token", "is not a token of this service");
            None
        }
    }
}

/// Entries on a page: `default` if none or nonsense is asked for, cut to the largest page.
pub(super) fn limit(asked: i32, default: usize) -> usize {
    match usize::try_from(asked) {
        Ok(asked) if asked > 0 => asked.min(fleet_graph::MAX_PAGE),
        _ => default,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_goes_on_with_its_own_filters_only() {
        let mut v = Violations::new();
        let made = token("pending:qa", "a|b");
        assert_eq!(after(&mut v, "pending:qa", &made), Some("a|b".to_owned()));
        assert_eq!(after(&mut v, "pending:qa", ""), None);
        assert!(v.is_empty());
        for (filters, token) in [
            ("pending:po", made.as_str()),
            ("pending:qa", "!"),
            ("x", "YQ"),
        ] {
            let mut v = Violations::new();
            assert_eq!(after(&mut v, filters, token), None);
            assert_eq!(v.iter().count(), 1);
        }
        assert_eq!(
            [limit(0, 10), limit(-1, 10), limit(7, 10), limit(5_000, 10)],
            [10, 10, 7, 1_000]
        );
    }
}
