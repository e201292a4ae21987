//! Texts of reads around one node, of searches, and of what makes old nodes searchable.

use std::fmt::Write;

use fleet_graph::{Columns, Digest, Direction, EdgeType, Path, Search, SearchIndex, Sketch};

/// Every property of `p`, which is `properties(n)`, but the words for the index: they are
/// about as long as the texts, and the port does not know them. (Taking them away from a map
/// costs the server 9 ms for 1,000 nodes where giving them back costs 7 ms, or 19 ms against
/// 33 with texts of 5 kB; taking them away from the node itself, 17 and 24 ms.)
pub(super) const SHOWN: &str = "p{.*, _terms: null}";

/// Step by step from `s` to distinct nodes `n`. What a step reaches is made distinct before
/// the next one starts; it may come back to where another came from.
fn path(steps: &Path) -> String {
    let mut text = String::new();
    let mut from = "s".to_owned();
    for (step, (kind, direction)) in steps.iter().enumerate() {
        let to = match step + 1 == steps.len() {
            true => "n".to_owned(),
            false => format!("a{step}"),
        };
        let kind = kind.as_str();
        let pattern = match direction {
            Direction::Out => format!("({from})-[:{kind}]->({to})"),
            Direction::In => format!("({from})<-[:{kind}]-({to})"),
        };
        let _ = write!(text, "  MATCH {pattern}\n  WITH DISTINCT {to}\n");
        from = to;
    }
    text
}

/// The relationships of `n`, as an expression.
fn edges(kinds: &[EdgeType]) -> String {
    if kinds.is_empty() {
        return "[]".to_owned();
    }
    let kinds: Vec<_> = kinds.iter().map(|kind| kind.as_str()).collect();
    let kinds = kinds.join("|");
    format!("[(n)-[r:{kinds}]->(m) | [type(r), m._key, properties(r)]]")
}

/// A sketch: `$c.root`, and for each branch `$c.max<i>` and perhaps `$c.above<i>`. Columns `root`
/// and `n<i>`: rows of `[properties, relationships]` or of `[key, version, value…, relationships]`,
/// the latter without relationships if none are wanted: there may be thousands, and each element
/// is work for the driver. The names of columns were checked: they stand in the text.
///
/// The branches are arms of a union and not sub-queries one after the other: there the rows of
/// each would carry, and the server would count as its memory, what those before have found.
pub fn sketch(sketch: &Sketch) -> String {
    const ROOT: &str = "OPTIONAL MATCH (s:Entity {_key: $c.root})";
    if sketch.branches.is_empty() {
        return format!("{ROOT}\nWITH properties(s) AS p\nRETURN {SHOWN} AS root");
    }
    // The number of an arm stays out of its aggregation, which would give no row for nothing.
    let (mut arms, mut columns) = (Vec::new(), String::new());
    for (i, branch) in sketch.branches.iter().enumerate() {
        let (steps, edges) = (path(&branch.path), edges(&branch.edges));
        let direction = if branch.newest_first { " DESC" } else { "" };
        let above = match branch.above {
            Some((name, _)) => format!("  WITH n WHERE n.{name} > $c.above{i}\n"),
            None => String::new(),
        };
        let rows = match branch.columns {
            Columns::All => format!(
                "WITH n, properties(n) AS p
  WITH collect([{SHOWN}, {edges}]) AS rows"
            ),
            Columns::Only(columns) => {
                let columns = columns.iter().map(|name| format!(", n.{name}"));
                let columns: String = columns.collect();
                let edges = match branch.edges.is_empty() {
                    true => String::new(),
                    false => format!(", {edges}"),
                };
                format!("WITH collect([n._key, n._version{columns}{edges}]) AS rows")
            }
        };
        arms.push(format!(
            "{steps}{above}  WITH n ORDER BY n._ord{direction}, n._key{direction} LIMIT $c.max{i}
  {rows}
  RETURN {i} AS i, rows
"
        ));
        let _ = write!(columns, ", found[{i}] AS n{i}");
    }
    let arms = arms.join("UNION ALL\n");
    format!(
        "{ROOT}
CALL (s) {{
{arms}}}
WITH s, i, rows ORDER BY i
WITH s, collect(rows) AS found
WITH properties(s) AS p, found
RETURN {SHOWN} AS root{columns}"
    )
}

/// A digest: `$c.root`, and `$c.keys` if nodes are wanted too. Columns `nodes`, `found`,
/// `version` and `paths`: `[nodes, sum of versions, nodes that have a version]` each. The
/// nodes are read first: whoever finds the digest unchanged knows that they are of that state.
pub fn digest(digest: &Digest, with_nodes: bool) -> String {
    let mut text = match with_nodes {
        true => format!(
            "CALL () {{
  UNWIND $c.keys AS key
  MATCH (n:Entity {{_key: key}})
  WITH properties(n) AS p
  RETURN collect({SHOWN}) AS nodes
}}
"
        ),
        false => "WITH [] AS nodes\n".to_owned(),
    };
    text.push_str("OPTIONAL MATCH (s:Entity {_key: $c.root})\n");
    for (i, steps) in digest.paths.iter().enumerate() {
        let steps = path(steps);
        let _ = write!(
            text,
            "CALL (s) {{
{steps}  RETURN [count(n), sum(n._version), count(n._version)] AS d{i}
}}
"
        );
    }
    let paths: Vec<_> = (0..digest.paths.len()).map(|i| format!("d{i}")).collect();
    let _ = write!(
        text,
        "RETURN nodes, s IS NOT NULL AS found, s._version AS version, [{}] AS paths",
        paths.join(", ")
    );
    text
}

/// Nodes with all words: `$c.index`, `$c.query`, `$c.limit`, `$c.story` if of one story.
pub fn search(of_story: bool) -> String {
    let filter = if of_story {
        "\nWHERE n.story_id = $c.story"
    } else {
        ""
    };
    format!(
        "CALL db.index.fulltext.queryNodes($c.index, $c.query) YIELD node AS n{filter}
WITH n ORDER BY n._key LIMIT $c.limit
WITH properties(n) AS p
RETURN collect({SHOWN}) AS nodes"
    )
}

/// What stands for a story among the words of a node. No word of a text: those have no `@`.
/// Two stories may share one, so it only narrows a search down.
pub(crate) fn story_word(story: &str) -> String {
    format!("@{:08x}", crc32fast::hash(story.as_bytes()))
}

/// The words of a search, all of them wanted, as the parameter that the index takes. Words are
/// letters and digits: in quotes there is nothing left that could mean something else.
pub fn search_words(search: &Search) -> String {
    let story = search.story_id.as_deref().map(story_word);
    let words = search.terms.iter().cloned().chain(story);
    let words: Vec<_> = words.map(|word| format!("\"{word}\"")).collect();
    words.join(" AND ")
}

/// Nodes of one label in order of their keys, which lie between `$c.after` and `$c.before`.
pub(crate) const BY_KEY: &str = "\
MATCH (n:Entity) USING INDEX n:Entity(_key)
WHERE n._key > $c.after AND n._key < $c.before
WITH n ORDER BY n._key LIMIT $c.limit
RETURN collect(properties(n)) AS nodes, max(n._key) AS last";

/// Gives nodes their words, unless somebody has changed them meanwhile. Locks before it looks,
/// like a commit, and in the same order.
pub(crate) const SET_TERMS: &str = "\
UNWIND $c.rows AS e
MATCH (n:Entity {_key: e.key})
SET n._lock = 1
REMOVE n._lock
WITH e, n, n['_version'] AS version
ORDER BY e.i
WHERE version = e.version
SET n._terms = e.terms
RETURN count(n) AS count";

/// Name of the index of a search.
pub(crate) fn search_index(index: SearchIndex) -> String {
    format!("fleet_v1_search_{}", index.as_str())
}

/// Makes the index of a search. Words come from the port; the server only splits at blanks.
/// What a commit wrote is found as soon as it is acknowledged.
pub(crate) fn make_search_index(index: SearchIndex) -> String {
    let (name, label) = (search_index(index), index.label().as_str());
    format!(
        "CREATE FULLTEXT INDEX {name} IF NOT EXISTS FOR (n:{label}) ON EACH [n._terms] \
         OPTIONS {{indexConfig: {{`fulltext.analyzer`: 'whitespace', \
         `fulltext.eventually_consistent`: false}}}}"
    )
}

/// What [`super::all`] lists of these: every kind of relationship in both directions, and the
/// shapes that differ.
pub(super) fn all() -> Vec<(String, String)> {
    use fleet_graph::{Branch, Label, NodeKey};
    let mut texts = vec![
        ("search".to_owned(), search(false)),
        ("search of a story".to_owned(), search(true)),
        ("nodes by key".to_owned(), BY_KEY.to_owned()),
        ("set terms".to_owned(), SET_TERMS.to_owned()),
    ];
    let root = NodeKey::new(Label::Story, "s-1");
    let of = |paths: Vec<Path>, edges: &[EdgeType]| {
        let branches = paths.iter().enumerate().map(|(i, path)| Branch {
            columns: match i % 2 {
                0 => Columns::Only(&["title", "status"]),
                _ => Columns::All,
            },
            above: (i % 4 == 1).then_some(("weight", 0)),
            edges: edges.to_vec(),
            newest_first: i % 3 == 0,
            ..Branch::new(path.clone())
        });
        let branches = branches.collect();
        let root = root.clone();
        (
            Sketch {
                root: root.clone(),
                branches,
            },
            Digest { root, paths },
        )
    };
    for kind in EdgeType::ALL {
        for direction in [Direction::Out, Direction::In] {
            let there = (*kind, direction);
            let paths = vec![vec![there], vec![there, there]];
            let (s, d) = of(paths, &[*kind]);
            let name = format!("{} {direction:?}", kind.as_str());
            texts.push((format!("sketch {name}"), sketch(&s)));
            texts.push((format!("digest {name}"), digest(&d, true)));
        }
    }
    let out = |kind: &EdgeType| (*kind, Direction::Out);
    let wide = EdgeType::ALL.iter().take(fleet_graph::MAX_BRANCHES);
    let long = vec![out(&EdgeType::HasTask); fleet_graph::MAX_PATH];
    for (name, paths, edges) in [
        (
            "wide",
            wide.map(|kind| vec![out(kind)]).collect(),
            EdgeType::ALL,
        ),
        ("long", vec![long], &[]),
        ("alone", vec![], &[]),
    ] {
        let (s, d) = of(paths, edges);
        texts.push((format!("sketch {name}"), sketch(&s)));
        texts.push((format!("digest {name}"), digest(&d, true)));
        texts.push((format!("digest {name} without nodes"), digest(&d, false)));
    }
    texts
}
