//! Search: one full-text table for each index of the port, fed with words that are normalised
//! already, so that the engine splits them where we did and nowhere else. All of it can be made
//! again from the nodes; whatever differs from what this program would make is.

use std::collections::BinaryHeap;

use fleet_graph::{Hits, Label, MAX_HITS, MAX_NODE_ID, MAX_NODE_TERMS, MAX_TERM, Node, Props};
use fleet_graph::{Search, SearchIndex};
use rusqlite::{Connection, OptionalExtension};
use serde_json::Value;

use crate::{
    checksum::Sum,
    error::ReadFailure,
    rows::{NODE_COLUMNS, node, props},
    schema::stored_sql,
    statements::Cached,
};

/// Raised when the same properties give other words than before.
const FORM: u32 = 1;
const PREFIX: &str = "words_";
/// What begins the word that stands for a node's story; no other word holds it.
const STORY_MARK: char = '=';

/// The words of a node as its table takes them.
pub(crate) struct Words {
    index: SearchIndex,
    text: String,
    sum: i64,
}

impl Words {
    /// Those of a node; `None` if nodes of its kind are not searched.
    pub(crate) fn of(label: Label, props: &Props) -> Option<Self> {
        let index = SearchIndex::of(label)?;
        let mut words = index.terms_of(props);
        if let Some(Value::String(story)) = props.get("story_id") {
            words.push(story_word(story));
        }
        let text = words.join(" ");
        let sum = Sum::new().text(&text).done();
        Some(Self { index, text, sum })
    }

    /// Makes a new node findable.
    pub(crate) fn add(&self, conn: &Connection, n: i64) -> rusqlite::Result<()> {
        conn.cached("INSERT INTO word_sums(n, sum) VALUES (?1, ?2)")?
            .execute((n, self.sum))?;
        conn.cached(&format!(
            "INSERT INTO {}(rowid, words) VALUES (?1, ?2)",
            table(self.index)
        ))?
        .execute((n, &self.text))?;
        Ok(())
    }

    /// Makes a changed node findable by these words alone. Most changes leave them as they were.
    pub(crate) fn replace(&self, conn: &Connection, n: i64) -> rusqlite::Result<()> {
        let changed = conn
            .cached("UPDATE word_sums SET sum = ?2 WHERE n = ?1 AND sum <> ?2")?
            .execute((n, self.sum))?;
        if changed > 0 {
            conn.cached(&format!(
                "REPLACE INTO {}(rowid, words) VALUES (?1, ?2)",
                table(self.index)
            ))?
            .execute((n, &self.text))?;
        }
        Ok(())
    }
}

/// Lets a deleted node be found no more.
pub(crate) fn remove(conn: &Connection, label: Label, n: i64) -> rusqlite::Result<()> {
    let Some(index) = SearchIndex::of(label) else {
        return Ok(());
    };
    conn.cached("DELETE FROM word_sums WHERE n = ?1")?
        .execute([n])?;
    conn.cached(&format!("DELETE FROM {} WHERE rowid = ?1", table(index)))?
        .execute([n])?;
    Ok(())
}

/// A story as a word of its own: ids may hold what ends a word.
fn story_word(story: &str) -> String {
    use std::fmt::Write as _;
    let mut word = String::from(STORY_MARK);
    // No id is longer; what else is in there is compared when the node is read.
    for byte in story.bytes().take(MAX_NODE_ID) {
        // Writing to a text does not fail.
        let _ = write!(word, "{byte:02x}");
    }
    word
}

/// The name of the table behind an index.
fn table(index: SearchIndex) -> String {
    format!("{PREFIX}{}", index.as_str())
}

/// Its text. The tokenizer takes ASCII letters and digits, the mark of stories and everything
/// that is not ASCII as parts of a word: between our words there are but spaces.
fn table_sql(index: SearchIndex) -> String {
    format!(
        "CREATE VIRTUAL TABLE {} USING fts5(words, content='', contentless_delete=1, \
         detail=none, tokenize=\"ascii tokenchars '{STORY_MARK}'\")",
        table(index)
    )
}

/// The table of what is findable by which words. Where words come from is told in its text, so
/// that it differs when that does.
fn sums_sql() -> String {
    let sources: Vec<String> = SearchIndex::ALL
        .iter()
        .map(|index| {
            let fields = index.fields().join(" ");
            format!("{} of {}: {fields}", index.as_str(), index.label())
        })
        .collect();
    format!(
        "CREATE TABLE word_sums(n INTEGER PRIMARY KEY, sum INTEGER NOT NULL \
         /* form {FORM}, {MAX_NODE_TERMS} words of {MAX_TERM}; {} */)",
        sources.join("; ")
    )
}

/// Creates all of it, empty.
pub(crate) fn create(conn: &Connection) -> rusqlite::Result<()> {
    conn.execute_batch(&sums_sql())?;
    SearchIndex::ALL
        .iter()
        .try_for_each(|&index| conn.execute_batch(&table_sql(index)))
}

/// Whether the database has exactly ours.
pub(crate) fn is_current(conn: &Connection) -> rusqlite::Result<bool> {
    let mut current = stored_sql(conn, "word_sums")?.as_deref() == Some(&sums_sql());
    for &index in SearchIndex::ALL {
        current &= stored_sql(conn, &table(index))?.as_deref() == Some(&table_sql(index));
    }
    Ok(current && tables(conn)?.len() == SearchIndex::ALL.len())
}

/// The full-text tables that are there.
fn tables(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    conn.prepare(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB ?1 \
         AND sql GLOB 'CREATE VIRTUAL TABLE *'",
    )?
    .query_map([format!("{PREFIX}*")], |row| row.get(0))?
    .collect()
}

/// Makes it all anew from the nodes, inside a transaction.
pub(crate) fn rebuild(conn: &Connection) -> rusqlite::Result<()> {
    for name in tables(conn)? {
        // A name from the database may hold anything.
        conn.execute_batch(&format!("DROP TABLE \"{}\"", name.replace('"', "\"\"")))?;
    }
    conn.execute_batch("DROP TABLE IF EXISTS word_sums")?;
    create(conn)?;
    for index in SearchIndex::ALL {
        let mut read = conn.prepare("SELECT n, props FROM nodes WHERE label = ?1")?;
        let mut rows = read.query([index.label().as_str()])?;
        while let Some(row) = rows.next()? {
            let text = row.get_ref(1)?.as_str()?;
            // What does not read as properties is reported by whoever reads the node.
            if let Some(words) = Words::of(index.label(), &props(text).unwrap_or_default()) {
                words.add(conn, row.get(0)?)?;
            }
        }
    }
    Ok(())
}

/// What is wrong, in words: the tables must hold the words that the nodes have, and no other.
pub(crate) fn verify(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let mut nodes = 0;
    for &index in SearchIndex::ALL {
        let mut expected = 0_i64;
        let mut stored = conn.prepare("SELECT sum FROM word_sums WHERE n = ?1")?;
        let mut read = conn.prepare("SELECT n, props FROM nodes WHERE label = ?1")?;
        let mut rows = read.query([index.label().as_str()])?;
        while let Some(row) = rows.next()? {
            let n: i64 = row.get(0)?;
            let text = row.get_ref(1)?.as_str()?;
            let Some(words) = Words::of(index.label(), &props(text).unwrap_or_default()) else {
                continue;
            };
            nodes += 1;
            let sum: Option<i64> = stored.query_row([n], |row| row.get(0)).optional()?;
            if sum != Some(words.sum) {
                let problem = format!("node row {n} is searched by other words than it has");
                return Ok(Some(problem));
            }
            for word in words.text.split_ascii_whitespace() {
                expected = expected.wrapping_add(word_sum(word, n));
            }
        }
        if held(conn, index)? != expected {
            let problem = format!("{} does not hold the words of its nodes", table(index));
            return Ok(Some(problem));
        }
    }
    let sums: i64 = conn.query_row("SELECT count(*) FROM word_sums", (), |row| row.get(0))?;
    Ok((sums != nodes).then(|| "table word_sums tells of nodes that are not there".to_owned()))
}

fn word_sum(word: &str, n: i64) -> i64 {
    Sum::new().text(word).int(n).done()
}

/// The sum of all that a full-text table holds.
fn held(conn: &Connection, index: SearchIndex) -> rusqlite::Result<i64> {
    conn.execute_batch(&format!(
        "CREATE VIRTUAL TABLE temp.vocabulary USING fts5vocab('main', '{}', 'instance')",
        table(index)
    ))?;
    let sum = {
        let mut read = conn.prepare("SELECT term, doc FROM temp.vocabulary")?;
        let mut rows = read.query(())?;
        let mut sum = 0_i64;
        while let Some(row) = rows.next()? {
            sum = sum.wrapping_add(word_sum(row.get_ref(0)?.as_str()?, row.get(1)?));
        }
        sum
    };
    conn.execute_batch("DROP TABLE temp.vocabulary")?;
    Ok(sum)
}

/// The text that gives the rows and ids of the nodes that have some words.
pub(crate) fn match_sql(index: SearchIndex) -> String {
    let table = table(index);
    format!(
        "SELECT nodes.id, nodes.n FROM {table} CROSS JOIN nodes ON nodes.n = {table}.rowid \
         WHERE {table} MATCH ?1"
    )
}

pub(crate) fn search(conn: &Connection, search: &Search) -> Result<Hits, ReadFailure> {
    let story = search.story_id.as_deref().map(story_word);
    // Quoted, so that nothing in them is an operator; none holds a quote.
    let wanted: Vec<String> = search
        .terms
        .iter()
        .chain(&story)
        .map(|word| format!("\"{word}\""))
        .collect();
    let mut statement = conn.cached(&match_sql(search.index))?;
    let mut rows = statement.query([wanted.join(" AND ")])?;
    // The first by id; of one label, that is by key.
    let mut first: BinaryHeap<(String, i64)> = BinaryHeap::new();
    let mut more = false;
    while let Some(row) = rows.next()? {
        if first.len() == MAX_HITS {
            more = true;
            let id = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            if first.peek().is_some_and(|(last, _)| last.as_str() <= id) {
                continue;
            }
            first.pop();
        }
        first.push((row.get(0)?, row.get(1)?));
    }
    let sql = format!("SELECT {NODE_COLUMNS} FROM nodes WHERE n = ?1");
    let mut statement = conn.cached(&sql)?;
    let mut candidates = Vec::with_capacity(first.len());
    // In order of keys, as the candidates.
    let mut corrupt = Vec::new();
    for (_, n) in first.into_sorted_vec() {
        let mut rows = statement.query([n])?;
        let Some(row) = rows.next()? else {
            let problem = format!("node row {n} is found by its words and not there");
            return Err(ReadFailure::Other(problem));
        };
        match node(row) {
            Ok((_, node)) if is_in(&node, search.story_id.as_deref()) => candidates.push(node),
            Ok(_) => {}
            Err(ReadFailure::Row(row)) => corrupt.push(row),
            Err(other) => return Err(other),
        }
    }
    Ok(Hits {
        corrupt,
        ..search.rank(candidates, more)
    })
}

fn is_in(node: &Node, story: Option<&str>) -> bool {
    let of = || node.props.get("story_id").and_then(Value::as_str);
    story.is_none_or(|story| of() == Some(story))
}
