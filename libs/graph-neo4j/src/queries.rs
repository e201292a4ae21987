//! Every query text. They are constants, or built from the closed lists of the port alone
//! (labels, relationship types, listings, directions, hops); no value ever gets in.
//!
//! All parameters come in one map, `$c`: the server makes another plan for each combination
//! of the sizes of its text and list parameters, and planning a commit takes it 0.3 to 0.8 s.
//!
//! [`all`] names them, so that a test can have the server explain each.

use std::{collections::BTreeSet, fmt::Write, sync::LazyLock};

use fleet_graph::{Direction, EXACT_TOTAL, EdgeType, Index, Label, Owner, Scan, SearchIndex, Step};

mod around;

use around::SHOWN;
pub(crate) use around::{BY_KEY, SET_TERMS, make_search_index, search_index, story_word};
pub use around::{digest, search, search_words, sketch};

/// Label of the rows that say which commits happened.
pub(crate) const MARKER: &str = "CommitMarker";
/// Label of the rows that say which events were answered.
pub(crate) const INBOX: &str = "Inbox";
/// Label of the rows that keep requests with their responses.
pub(crate) const REQUEST: &str = "Request";
/// Label of the events that the bus does not surely have yet.
pub(crate) const OUTBOX: &str = "Outbox";

/// Locks what a commit is about and finds what is there. `$c.rows`, in the order of their
/// keys: `{i, key, expected}`.
///
/// * MERGE of a unique key locks the key even while nothing is there, so two creators of one
///   node, or a creator and somebody who relies on its absence, come one after the other. What
///   it makes has no version yet: found = 0.
/// * Writing a property takes the node's lock; taking it away again leaves no trace. (Only
///   taking away what is not there takes no lock: seen as two winners.)
/// * Only then the version is read. (Sorting in between keeps the planner from fetching it
///   together with the key, before the lock.)
const LOCK: &str = "\
UNWIND $c.rows AS e
MERGE (n:Entity {_key: e.key})
SET n._lock = 1
REMOVE n._lock
WITH e, n, coalesce(n['_version'], 0) AS found
ORDER BY e.i
";

/// What a rejected commit found, and the stored request if it was about one.
pub(crate) static DIAGNOSE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "{LOCK}RETURN collect(found) AS found,
       head(collect(n['_fingerprint'])) AS fingerprint,
       head(collect(n['_response'])) AS response"
    )
});

/// A whole commit; divides by zero if a condition does not hold (expected: 0 = absent,
/// −1 = present at any version).
fn commit_text(writer: Owner, unrelates: bool) -> String {
    let mut text = format!(
        "{LOCK}WITH collect(n) AS ns,
     sum(CASE WHEN found = e.expected OR (e.expected = -1 AND found > 0)
              THEN 0 ELSE 1 END) AS failed
WHERE 1 / CASE WHEN failed = 0 THEN 1 ELSE 0 END = 1
CALL (ns) {{
  UNWIND $c.puts AS p
  WITH p, ns[p.i] AS n
  SET n = p.props
  SET n:$(p.label)
}}
"
    );
    for kind in edges_of(writer).map(EdgeType::as_str) {
        // Static types: the planner scans every relationship for a dynamic one.
        let _ = write!(
            text,
            "CALL (ns) {{
  UNWIND $c.relate_{kind} AS r
  WITH r, ns[r.from] AS a, ns[r.to] AS b
  MERGE (a)-[x:{kind}]->(b)
  SET x = r.props
}}
"
        );
        if unrelates {
            let _ = write!(
                text,
                "CALL (ns) {{
  UNWIND $c.unrelate_{kind} AS r
  OPTIONAL MATCH (a:Entity {{_key: r.from}})
  OPTIONAL MATCH (b:Entity {{_key: r.to}})
  MATCH (a)-[x:{kind}]->(b)
  DELETE x
}}
"
            );
        }
    }
    let _ = write!(
        text,
        "CALL (ns) {{
  UNWIND $c.drops AS i
  WITH ns[i] AS n
  DETACH DELETE n
}}
CALL (ns) {{
  {EVENTS_BODY}
}}
FINISH"
    );
    text
}

/// Events of a commit. Their place says twice what it says: pending, and in which order.
const EVENTS_BODY: &str = "\
UNWIND $c.events AS event
  CREATE (o:Entity:Outbox)
  SET o = event
  SET o._pending = event._ord";

/// The events of a commit and the words of its nodes in a statement of their own, behind that
/// of the commit and in the same transaction.
pub(crate) static LATE: LazyLock<String> = LazyLock::new(|| {
    format!(
        "CALL () {{
  UNWIND $c.terms AS t
  MATCH (n:Entity {{_key: t.key}})
  SET n._terms = t.terms
}}
CALL () {{
  {EVENTS_BODY}
}}
FINISH"
    )
});

/// The relationship types that a service writes.
pub(crate) fn edges_of(writer: Owner) -> impl Iterator<Item = EdgeType> {
    let all = EdgeType::ALL.iter().copied();
    all.filter(move |kind| kind.owners().contains(&writer))
}

/// The text of a commit. Two for each service are enough: the blocks that a commit does not
/// need cost nothing measurable, a new text costs the server a plan. What other services
/// write is left out, for a short message (see [`crate::commit`]).
pub(crate) fn commit(writer: Owner, unrelates: bool) -> &'static str {
    type Texts = LazyLock<[String; 2]>;
    static PLANNING: Texts = LazyLock::new(|| texts(Owner::Planning));
    static WORKFLOW: Texts = LazyLock::new(|| texts(Owner::Workflow));
    static CONTEXT: Texts = LazyLock::new(|| texts(Owner::Context));
    fn texts(writer: Owner) -> [String; 2] {
        [false, true].map(|unrelates| commit_text(writer, unrelates))
    }
    let texts = match writer {
        Owner::Planning => &PLANNING,
        Owner::Workflow => &WORKFLOW,
        Owner::Context => &CONTEXT,
    };
    &texts[usize::from(unrelates)]
}

/// Nodes by key, in no particular order.
pub(crate) static GET: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UNWIND $c.keys AS key
MATCH (n:Entity {{_key: key}})
WITH properties(n) AS p
RETURN collect({SHOWN}) AS nodes"
    )
});

/// A stored request.
pub(crate) const PAST_REQUEST: &str = "\
MATCH (n:Entity {_key: $c.key})
RETURN n._fingerprint AS fingerprint, n._response AS response";

/// Whether the server answers.
pub(crate) const PING: &str = "RETURN 1 AS one";

/// `n.state = $c.v0 AND n.epic_id = $c.v1 AND ` for the filters of a listing.
fn filters(index: Index, node: &str, value: impl Fn(usize) -> String) -> String {
    let filters = index.filters().iter().enumerate();
    filters.fold(String::new(), |mut text, (n, name)| {
        let _ = write!(text, "{node}.{name} = {} AND ", value(n));
        text
    })
}

/// Names the index: among several that fit, the planner prefers what was cheapest when the
/// graph was small, and sorts.
fn hint(index: Index, node: &str) -> String {
    let fields = [index.filters(), &["_ord"]].concat().join(", ");
    format!("USING INDEX {node}:{}({fields})", index.label().as_str())
}

/// The total of a listing as a sub-query that gives `total`. Without filters it comes from the
/// count store; with them it costs its matches, up to the bound.
fn total(index: Index, imports: &str, value: impl Fn(usize) -> String) -> String {
    let label = index.label().as_str();
    if index.filters().is_empty() {
        return format!("CALL ({imports}) {{ MATCH (m:{label}) RETURN count(m) AS total }}");
    }
    let filters = filters(index, "m", value);
    let (bound, hint) = (EXACT_TOTAL + 1, hint(index, "m"));
    format!(
        "CALL ({imports}) {{
  MATCH (m:{label}) {hint}
  WHERE {filters}m._ord > ''
  WITH m LIMIT {bound}
  RETURN count(m) AS total
}}"
    )
}

/// One page of a listing: parameters `v0`…, `after` (empty: from the start), `before` if
/// bounded, `offset`, `limit`. An ord is never empty, so `_ord > ''` is no condition but the
/// word that lets the planner read the index in order.
pub fn scan(index: Index, bounded: bool, descending: bool, with_total: bool) -> String {
    let label = index.label().as_str();
    let value = |n| format!("$c.v{n}");
    let filters = filters(index, "n", value);
    let before = if bounded {
        " AND n._ord < $c.before"
    } else {
        ""
    };
    let direction = if descending { " DESC" } else { "" };
    let order = index.filters().iter().chain(&["_ord"]);
    let order: Vec<_> = order.map(|name| format!("n.{name}{direction}")).collect();
    let order = order.join(", ");
    let hint = hint(index, "n");
    let nodes = match SearchIndex::of(index.label()) {
        Some(_) => format!("WITH properties(n) AS p\nWITH collect({SHOWN}) AS nodes"),
        None => "WITH collect(properties(n)) AS nodes".to_owned(),
    };
    let mut text = format!(
        "MATCH (n:{label}) {hint}
WHERE {filters}n._ord > $c.after{before}
WITH n ORDER BY {order} SKIP $c.offset LIMIT $c.limit
{nodes}
"
    );
    if with_total {
        text.push_str(&total(index, "nodes", value));
        text.push_str("\nRETURN nodes, total");
    } else {
        text.push_str("RETURN nodes");
    }
    text
}

/// The text for a page.
pub(crate) fn scan_of(scan_asked: &Scan) -> String {
    let Scan {
        index,
        before,
        descending,
        total,
        ..
    } = scan_asked;
    scan(*index, before.is_some(), *descending, *total)
}

/// Counts of several listings; parameter `q_<listing>` is a list of lists of filter values,
/// column `c_<listing>` the list of counts.
pub fn counts(indexes: &BTreeSet<Index>) -> String {
    let mut text = String::from("WITH 1 AS one\n");
    let mut columns = Vec::new();
    for index in indexes {
        let name = index.as_str();
        let total = total(*index, "q", |n| format!("q[{n}]"));
        let _ = write!(
            text,
            "CALL (one) {{
  UNWIND $c.q_{name} AS q
  {total}
  RETURN collect(total) AS c_{name}
}}
"
        );
        columns.push(format!("c_{name}"));
    }
    let _ = write!(text, "RETURN {}", columns.join(", "));
    text
}

/// A walk, hop by hop. What a hop reaches is made distinct before the next one starts, so the
/// work is bounded by hops × relationships however many paths there are. `$c.edges` bounds the
/// relationships of one hop, `$c.nodes` the nodes given back, nearest first.
pub(crate) fn walk(steps: &[Step]) -> String {
    let mut text = String::from(
        "UNWIND $c.roots AS key
MATCH (n:Entity {_key: key})
WITH collect(DISTINCT n) AS f0
",
    );
    let mut hop = 0;
    let mut frontier = "f0".to_owned();
    for step in steps {
        let kind = step.edge.as_str();
        let pattern = match step.direction {
            Direction::Out => format!("(a)-[r:{kind}]->(b)"),
            Direction::In => format!("(a)<-[r:{kind}]-(b)"),
        };
        let first = hop + 1;
        for _ in 0..step.hops {
            hop += 1;
            let imports = frontier.replace(" + ", ", ");
            let _ = write!(
                text,
                "CALL ({imports}) {{
  UNWIND {frontier} AS a
  WITH DISTINCT a
  MATCH {pattern}
  WITH r, b LIMIT $c.edges
  RETURN collect(r) AS r{hop}, collect(DISTINCT b) AS f{hop}
}}
"
            );
            frontier = format!("f{hop}");
        }
        let reached: Vec<_> = (first..=hop).map(|hop| format!("f{hop}")).collect();
        frontier = reached.join(" + ");
    }
    let list = |letter: char, from: usize, glue: &str| {
        let names: Vec<_> = (from..=hop).map(|n| format!("{letter}{n}")).collect();
        names.join(glue)
    };
    let _ = write!(
        text,
        "CALL ({}) {{
  UNWIND {} AS n
  WITH DISTINCT n LIMIT $c.nodes
  WITH properties(n) AS p
  RETURN collect({SHOWN}) AS nodes
}}
",
        list('f', 0, ", "),
        list('f', 0, " + "),
    );
    if hop == 0 {
        text.push_str("RETURN nodes, [] AS edges, false AS cut");
        return text;
    }
    let sizes: Vec<_> = (1..=hop)
        .map(|n| format!("size(r{n}) = $c.edges"))
        .collect();
    let _ = write!(
        text,
        "CALL ({}) {{
  UNWIND {} AS r
  WITH DISTINCT r
  RETURN collect([startNode(r)._key, type(r), endNode(r)._key, properties(r)]) AS edges
}}
RETURN nodes, edges, {} AS cut",
        list('r', 1, ", "),
        list('r', 1, " + "),
        sizes.join(" OR "),
    );
    text
}

/// Pending events, oldest first.
pub(crate) const PENDING: &str = "\
MATCH (o:Outbox) USING INDEX o:Outbox(_deployment, _pending)
WHERE o._deployment = $c.deployment AND o._pending > '' AND o._pending < $c.before
WITH o ORDER BY o._deployment, o._pending LIMIT $c.limit
RETURN collect(properties(o)) AS events";

/// Events go from pending to published.
pub(crate) const MARK_PUBLISHED: &str = "\
UNWIND $c.keys AS key
MATCH (o:Entity {_key: key}) WHERE o._deployment = $c.deployment
SET o._published = $c.at
REMOVE o._pending
RETURN count(o) AS count";

/// And back, so many at a time.
pub(crate) const UNPUBLISH: &str = "\
MATCH (o:Outbox) USING INDEX o:Outbox(_deployment, _published)
WHERE o._deployment = $c.deployment AND o._published >= $c.since
WITH o LIMIT $c.limit
SET o._pending = o._ord
REMOVE o._published
RETURN count(o) AS count";

/// Events by key, for good.
pub(crate) const REMOVE: &str = "\
UNWIND $c.keys AS key
MATCH (o:Entity {_key: key}) WHERE o._deployment = $c.deployment
DELETE o
RETURN count(o) AS count";

/// Events published long ago.
pub(crate) const REMOVE_PUBLISHED: &str = "\
MATCH (o:Outbox) USING INDEX o:Outbox(_deployment, _published)
WHERE o._deployment = $c.deployment AND o._published < $c.before
WITH o LIMIT $c.limit
DELETE o
RETURN count(o) AS count";

/// How many events are pending, and the place of the first.
pub(crate) const BACKLOG: &str = "\
MATCH (o:Outbox) USING INDEX o:Outbox(_deployment, _pending)
WHERE o._deployment = $c.deployment AND o._pending > ''
RETURN count(o) AS count, min(o._pending) AS oldest";

/// Old rows of one kind.
pub(crate) fn prune(label: &'static str) -> String {
    format!(
        "MATCH (n:{label}) USING INDEX n:{label}(_deployment, _at)
WHERE n._deployment = $c.deployment AND n._at < $c.before
WITH n LIMIT $c.limit
DELETE n
RETURN count(n) AS count"
    )
}

/// Names of the indexes that exist and are ready; a constraint has one of its own name.
pub(crate) const INDEXES: &str = "\
SHOW INDEXES YIELD name, state WHERE name STARTS WITH 'fleet_' AND state = 'ONLINE'
RETURN collect(name) AS names";

/// Waits for indexes that are still being filled, at most so many seconds.
pub(crate) const AWAIT_INDEXES: &str = "CALL db.awaitIndexes($c.seconds)";

/// The schema, statement by statement with the name it makes. A new entry is a migration;
/// a changed one needs a new name. Order matters: keys first.
pub(crate) fn schema() -> Vec<(String, String)> {
    let mut schema = vec![(
        "fleet_v1_key".to_owned(),
        "CREATE CONSTRAINT fleet_v1_key IF NOT EXISTS \
         FOR (n:Entity) REQUIRE n._key IS UNIQUE"
            .to_owned(),
    )];
    let mut index = |name: String, label: &str, fields: &[&str]| {
        let fields: Vec<_> = fields.iter().map(|field| format!("n.{field}")).collect();
        let fields = fields.join(", ");
        let text = format!("CREATE INDEX {name} IF NOT EXISTS FOR (n:{label}) ON ({fields})");
        schema.push((name, text));
    };
    for label in [MARKER, INBOX, REQUEST] {
        index(
            format!("fleet_v1_{label}_age"),
            label,
            &["_deployment", "_at"],
        );
    }
    index(
        "fleet_v1_outbox_pending".into(),
        OUTBOX,
        &["_deployment", "_pending"],
    );
    index(
        "fleet_v1_outbox_published".into(),
        OUTBOX,
        &["_deployment", "_published"],
    );
    for listing in Index::ALL {
        let fields = [listing.filters(), &["_ord"]].concat();
        index(
            format!("fleet_v1_{}", listing.as_str()),
            listing.label().as_str(),
            &fields,
        );
    }
    schema
}

/// Every text that reads or writes data, with a name: what a test has the server explain.
/// Walks stand for all by each of their parts and by the longest.
pub fn all() -> Vec<(String, String)> {
    let mut texts: Vec<(String, String)> = [
        ("diagnose", DIAGNOSE.as_str()),
        ("commit of planning", commit(Owner::Planning, false)),
        ("commit of workflow", commit(Owner::Workflow, false)),
        ("commit of context", commit(Owner::Context, false)),
        (
            "commit of planning that unrelates",
            commit(Owner::Planning, true),
        ),
        (
            "commit of workflow that unrelates",
            commit(Owner::Workflow, true),
        ),
        (
            "commit of context that unrelates",
            commit(Owner::Context, true),
        ),
        ("late part of a commit", LATE.as_str()),
        ("get", GET.as_str()),
        ("past request", PAST_REQUEST),
        ("pending", PENDING),
        ("mark published", MARK_PUBLISHED),
        ("unpublish", UNPUBLISH),
        ("remove", REMOVE),
        ("remove published", REMOVE_PUBLISHED),
        ("backlog", BACKLOG),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    for label in [MARKER, INBOX, REQUEST] {
        texts.push((format!("prune {label}"), prune(label)));
    }
    for index in Index::ALL {
        let name = index.as_str();
        texts.push((format!("counts {name}"), counts(&BTreeSet::from([*index]))));
        for (bounded, descending) in [(false, false), (false, true), (true, false), (true, true)] {
            for total in [false, true] {
                let which = format!("scan {name} {bounded} {descending} {total}");
                texts.push((which, scan(*index, bounded, descending, total)));
            }
        }
    }
    texts.push((
        "counts of all".into(),
        counts(&Index::ALL.iter().copied().collect()),
    ));
    let step = |edge, direction, hops| Step {
        edge,
        direction,
        hops,
    };
    for edge in EdgeType::ALL {
        for direction in [Direction::Out, Direction::In] {
            let name = format!("walk {} {direction:?}", edge.as_str());
            texts.push((name, walk(&[step(*edge, direction, 2)])));
        }
    }
    let long: Vec<_> = [Direction::Out, Direction::In]
        .map(|direction| step(EdgeType::DependsOn, direction, 4))
        .into();
    texts.push(("walk nowhere".into(), walk(&[])));
    texts.push(("walk long".into(), walk(&long)));
    texts.extend(around::all());
    texts
}

/// Everything that may stand in a query text besides the words of Cypher; for tests.
pub fn closed_names() -> BTreeSet<&'static str> {
    let labels = Label::ALL.iter().map(|label| label.as_str());
    let kinds = EdgeType::ALL.iter().map(|kind| kind.as_str());
    let fields = Index::ALL
        .iter()
        .flat_map(|index| index.filters().iter().copied());
    labels.chain(kinds).chain(fields).collect()
}
