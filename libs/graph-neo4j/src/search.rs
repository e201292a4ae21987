//! Search by words, and the words of nodes that were written without.

use fleet_graph::{Deadline, Hits, MAX_HITS, Node, Props, ReadError, Search, SearchIndex};
use neo4rs::{Query, Row};
use serde_json::Value;

use crate::{
    Neo4j, queries,
    rows::{column, node, read_bounded, read_whole},
    value::{Params, integer, list, map, number, text},
};

/// Nodes that one transaction gives their words.
const BATCH: usize = 500;

/// What the index has of a node: its words with blanks between them, and one that stands for
/// its story, so that a search in one story costs nothing of the others.
pub(crate) fn words_of(index: SearchIndex, props: &Props) -> String {
    let mut words = index.terms_of(props);
    if let Some(Value::String(story)) = props.get("story_id") {
        words.push(queries::story_word(story));
    }
    words.join(" ")
}

pub(crate) async fn search(
    store: &Neo4j,
    search: &Search,
    deadline: Deadline,
) -> Result<Hits, ReadError> {
    search.check().map_err(ReadError::Invalid)?;
    let story = search.story_id.as_deref();
    let query = || {
        let mut params = Params::new()
            .with("index", queries::search_index(search.index))
            .with("query", queries::search_words(search))
            .with("limit", number(MAX_HITS + 1));
        if let Some(story) = story {
            params = params.with("story", story);
        }
        params.query(queries::search(story.is_some()))
    };
    let (_, mut found) = read_bounded(store, deadline, MAX_HITS, query).await?;
    // The index and the node are read one after the other.
    found.nodes.retain(|node| has_all(search, node));
    Ok(Hits {
        corrupt: found.corrupt,
        ..search.rank(found.nodes, found.more)
    })
}

fn has_all(search: &Search, node: &Node) -> bool {
    let words = search.index.terms_of(&node.props);
    let has = |term| words.binary_search(term).is_ok();
    search.terms.iter().all(has)
}

/// Gives every node of the index its words, batch by batch in order of keys; says how many
/// did not have them. May be cut off and run again, or run twice at a time: a node that has
/// its words is left alone, and one that somebody writes meanwhile gets them by that.
pub(crate) async fn backfill(
    store: &Neo4j,
    index: SearchIndex,
    deadline: Deadline,
) -> Result<u64, ReadError> {
    let label = index.label().as_str();
    let mut after = format!("{label}/");
    // What follows `/`: behind every key of this label.
    let before = format!("{label}0");
    let mut count = 0;
    loop {
        let query = || {
            Params::new()
                .with("after", after.as_str())
                .with("before", before.as_str())
                .with("limit", number(BATCH))
                .query(queries::BY_KEY)
        };
        let parse = |row: &Option<Row>| Batch::read(index, row);
        let (row, batch) = read_whole(store, deadline, query, parse).await?;
        let Some(last) = column::<Option<String>>(&row, "last")? else {
            break;
        };
        if !batch.stale.is_empty() {
            let row = store.write(deadline, || batch.fill()).await?;
            count += column::<u64>(&row, "count")?;
        }
        after = last;
    }
    if count > 0 {
        tracing::info!(label, count, "words of nodes written");
    }
    Ok(count)
}

/// A batch of nodes, as far as they can be read. What cannot be read cannot be found either.
struct Batch {
    /// Key, version and words of those that do not have them.
    stale: Vec<(String, i64, String)>,
    /// Keys and versions of those that are not whole.
    doubtful: Vec<(Value, Value)>,
}

/// Whether there is the same doubt. (Others may be busy giving the rest their words.)
impl PartialEq for Batch {
    fn eq(&self, other: &Self) -> bool {
        self.doubtful == other.doubtful
    }
}

impl Batch {
    fn read(index: SearchIndex, row: &Option<Row>) -> Result<(Self, bool), ReadError> {
        let rows: Vec<Props> = column(row, "nodes")?;
        let (mut stale, mut doubtful) = (Vec::new(), Vec::new());
        for props in rows {
            let of = |name: &str| props.get(name).cloned().unwrap_or_default();
            let (id, has) = ((of("_key"), of("_version")), of("_terms"));
            let read = node(props);
            if !matches!(read, Ok((_, true))) {
                doubtful.push(id);
            }
            if let Ok((node, _)) = read {
                let words = words_of(index, &node.props);
                if has.as_str() != Some(&words) {
                    stale.push((node.key.path(), node.version, words));
                }
            }
        }
        let whole = doubtful.is_empty();
        Ok((Self { stale, doubtful }, whole))
    }

    fn fill(&self) -> Query {
        let rows = self.stale.iter().enumerate();
        let rows = rows.map(|(i, (path, version, words))| {
            map([
                ("i", number(i)),
                ("key", text(path)),
                ("version", integer(*version)),
                ("terms", text(words)),
            ])
        });
        Params::new()
            .with("rows", list(rows))
            .query(queries::SET_TERMS)
    }
}
