//! Search by words. What a word is, which fields hold words and which order hits come in is
//! decided here, once, so that every adapter finds the same.

use crate::{CorruptRow, Label, Node, Props};

/// Most words of one search; more are refused.
pub const MAX_TERMS: usize = 16;
/// Most hits of one search.
pub const MAX_HITS: usize = 1_000;
/// Longest word that is told apart, in characters; longer ones are cut there.
pub const MAX_TERM: usize = 64;
/// Most different words of one node that can be searched for.
pub const MAX_NODE_TERMS: usize = 2_000;

/// Declares the closed list of what can be searched.
macro_rules! searches {
    ($($(#[$meta:meta])* $name:ident: $label:ident [$($field:literal),+]),+ $(,)?) => {
        /// Nodes of one label, searched by the words of some of their properties.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum SearchIndex { $($(#[$meta])* $name),+ }

        impl SearchIndex {
            /// Every one.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The label that is searched.
            pub const fn label(self) -> Label {
                match self { $(Self::$name => Label::$label),+ }
            }

            /// The properties (texts or lists of texts) whose words count, the weightiest first.
            pub const fn fields(self) -> &'static [&'static str] {
                match self { $(Self::$name => &[$($field),+]),+ }
            }

            /// A name for the index in a store, stable and unique.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => stringify!($name)),+ }
            }
        }
    };
}

searches! {
    /// Decisions of all stories.
    Decisions: Decision ["title", "rationale", "alternatives", "decision_type"],
    /// Tasks of all stories.
    Tasks: Task ["title", "description", "acceptance_criteria"],
}

impl SearchIndex {
    /// The index that nodes of this label are in.
    pub fn of(label: Label) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|index| index.label() == label)
    }

    /// The words of a node by which it is found: each once, in order, at most
    /// [`MAX_NODE_TERMS`].
    pub fn terms_of(self, props: &Props) -> Vec<String> {
        let mut found = std::collections::BTreeSet::new();
        for field in self.fields() {
            match props.get(*field) {
                Some(serde_json::Value::String(text)) => found.extend(terms(text)),
                Some(serde_json::Value::Array(items)) => {
                    let texts = items.iter().filter_map(serde_json::Value::as_str);
                    found.extend(texts.flat_map(terms));
                }
                _ => {}
            }
        }
        found.into_iter().take(MAX_NODE_TERMS).collect()
    }
}

/// The words of a text, in its order, as they are compared: letters and digits, lower case.
pub fn terms(text: &str) -> impl Iterator<Item = String> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| {
            let lower = word.chars().flat_map(char::to_lowercase);
            // Lower case of some letters brings marks that are no letters.
            lower
                .filter(|c| c.is_alphanumeric())
                .take(MAX_TERM)
                .collect()
        })
}

/// A search: nodes that have every one of these words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// What is searched.
    pub index: SearchIndex,
    /// The words, as [`terms`] gives them; 1 to [`MAX_TERMS`].
    pub terms: Vec<String>,
    /// Only nodes whose `story_id` is this.
    pub story_id: Option<String>,
    /// At most so many; 1 to [`MAX_HITS`].
    pub limit: usize,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Hits {
    /// The nodes with the most weight first, see [`weight`]; ties in order of their key.
    pub nodes: Vec<Node>,
    /// Whether there are more than were wanted. Which [`MAX_HITS`] are weighed is decided by
    /// the order of keys, so a search that is too broad gives the same answer everywhere, too.
    pub more: bool,
    /// Rows that have the words and cannot be read as nodes, in order of their key; they are not
    /// among `nodes`. Whether their `story_id` is the one asked for, only the index says.
    pub corrupt: Vec<CorruptRow>,
}

impl Search {
    /// Checks the bounds, and that the words are words.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=MAX_TERMS).contains(&self.terms.len()) {
            return Err(format!("{} words; 1 to {MAX_TERMS}", self.terms.len()));
        }
        if !(1..=MAX_HITS).contains(&self.limit) {
            return Err(format!("{} hits; 1 to {MAX_HITS}", self.limit));
        }
        let word = |term: &String| terms(term).eq([term.clone()]);
        match self.terms.iter().find(|term| !word(term)) {
            Some(term) => Err(format!("{term:?} is no word")),
            None => Ok(()),
        }
    }

    /// Puts candidates (at most [`MAX_HITS`], the first in order of their keys) into the order
    /// of [`Hits::nodes`] and cuts to the limit.
    pub fn rank(&self, candidates: Vec<Node>, more: bool) -> Hits {
        let mut weighed: Vec<_> = candidates
            .into_iter()
            .map(|node| (weight(self, &node), node))
            .collect();
        weighed.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.key.cmp(&y.key)));
        let more = more || weighed.len() > self.limit;
        weighed.truncate(self.limit);
        Hits {
            nodes: weighed.into_iter().map(|(_, node)| node).collect(),
            more,
            corrupt: Vec::new(),
        }
    }
}

/// How much a node has to do with a search: each occurrence of a word counts the weight of its
/// field (the first field most), at most three times for each word and field.
pub fn weight(search: &Search, node: &Node) -> u64 {
    const MOST: usize = 3;
    let fields = search.index.fields();
    let mut sum = 0;
    for (at, field) in fields.iter().enumerate() {
        let texts: Vec<&str> = match node.props.get(*field) {
            Some(serde_json::Value::String(text)) => vec![text],
            Some(serde_json::Value::Array(items)) => {
                items.iter().filter_map(serde_json::Value::as_str).collect()
            }
            _ => continue,
        };
        let words: Vec<String> = texts.into_iter().flat_map(terms).collect();
        for term in &search.terms {
            let times = words.iter().filter(|word| *word == term).count().min(MOST);
            sum += (times << (2 * (fields.len() - 1 - at))) as u64;
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{NodeKey, props};

    fn words(text: &str) -> Vec<String> {
        terms(text).collect()
    }

    fn decision(id: &str, content: &serde_json::Value) -> Node {
        Node {
            key: NodeKey::new(Label::Decision, id),
            version: 1,
            ord: "o".to_owned(),
            props: props(content),
        }
    }

    #[test]
    fn words_are_letters_and_digits_in_lower_case() {
        assert_eq!(
            words("Use Redis-7, not *caché*!"),
            ["use", "redis", "7", "not", "caché"]
        );
        assert_eq!(
            words("a_b\0c\u{308}d 🦀 漢字"),
            ["a", "b", "c", "d", "漢字"]
        );
        assert_eq!(words(" \"- "), [""; 0]);
        // Whatever comes out goes in again as it is.
        for text in ["İI ıß", "ΑΘΗΝΑΣ", "ǅ ŉ", "½ ٣ Ⅷ", &"É".repeat(100)] {
            for word in terms(text) {
                assert_eq!(words(&word), std::slice::from_ref(&word));
                assert!(!word.is_empty() && word.chars().count() <= MAX_TERM);
            }
        }
    }

    #[test]
    fn a_node_is_found_by_the_words_of_its_fields() {
        let node = decision(
            "DEC-1",
            &json!({ "title": "B a", "alternatives": ["A c", ""], "rationale": 7, "notes": "x" }),
        );
        assert_eq!(
            SearchIndex::Decisions.terms_of(&node.props),
            ["a", "b", "c"]
        );
        let long: Vec<_> = (0..MAX_NODE_TERMS + 1)
            .map(|n| format!("w{n:06}"))
            .collect();
        let node = decision("DEC-2", &json!({ "title": long.join(" ") }));
        assert_eq!(
            SearchIndex::Decisions.terms_of(&node.props),
            long[..MAX_NODE_TERMS]
        );
    }

    #[test]
    fn the_weightiest_comes_first_and_ties_go_by_key() {
        let search = Search {
            index: SearchIndex::Decisions,
            terms: words("redis cache"),
            story_id: None,
            limit: 3,
        };
        let nodes = || {
            vec![
                decision("DEC-4", &json!({ "rationale": "redis cache" })),
                decision(
                    "DEC-3",
                    &json!({ "title": "redis", "decision_type": "cache" }),
                ),
                decision(
                    "DEC-2",
                    &json!({ "rationale": "redis cache cache cache cache cache" }),
                ),
                decision("DEC-1", &json!({ "rationale": "cache redis" })),
            ]
        };
        let weights: Vec<_> = nodes().iter().map(|node| weight(&search, node)).collect();
        assert_eq!(weights, [32, 65, 64, 32], "three times at most");
        let hits = search.rank(nodes(), false);
        let ids: Vec<_> = hits.nodes.iter().map(|node| node.key.id()).collect();
        assert_eq!((ids, hits.more), (vec!["DEC-3", "DEC-2", "DEC-1"], true));
        let all = Search { limit: 4, ..search };
        assert!(!all.rank(nodes(), false).more);
        assert!(all.rank(nodes(), true).more);
    }
}
