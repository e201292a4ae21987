//! A commit as one statement, and what a rejected one is told.
//!
//! The driver leaves Nagle's algorithm on, and sends a message that does not fit into its
//! buffer in pieces: the first is two bytes long, and the others wait until the server
//! acknowledges those, which it puts off for 40 ms. So the statement is kept short, and when
//! it would be too long all the same, the events, and if need be the words by which nodes are
//! found, follow in a second one: one round trip more instead of 40 ms.

use std::collections::{BTreeMap, HashMap};

use fleet_graph::{
    Commit, CommitError, Deadline, Edge, EdgeType, EdgeWrite, Guard, NodeKey, NodeWrite,
    OutboxEvent, Props, Receipt, RequestKey, SearchIndex,
};
use neo4rs::{BoltBytes, BoltMap, BoltString, BoltType, Query};
use tokio::time::timeout;

use crate::{
    Neo4j,
    fault::{Fault, Stage},
    graph::{Retries, begin, only_row, share},
    pool::Lease,
    queries::{self, INBOX, MARKER, REQUEST},
    search::words_of,
    value::{Params, integer, list, map, map_size, number, properties, seal, size, text},
};

/// Expected of a row: not there.
const ABSENT: i64 = 0;
/// Expected of a row: there, at whatever version.
const PRESENT: i64 = -1;

/// What became of one attempt.
enum Outcome {
    Done,
    Refused(CommitError),
}

/// Applies a commit.
pub(crate) async fn run(
    store: &Neo4j,
    commit: &Commit,
    deadline: Deadline,
) -> Result<Receipt, CommitError> {
    commit.check().map_err(CommitError::Invalid)?;
    let plan = Plan::of(commit, store.deployment());
    let mut retries = Retries::new(deadline);
    let outcome = loop {
        match once(store, &plan, deadline).await {
            Ok(outcome) => break outcome,
            Err(fault) => retries.after(fault).await?,
        }
    };
    match outcome {
        Outcome::Done => Ok(commit.receipt()),
        Outcome::Refused(error) => Err(error),
    }
}

async fn once(store: &Neo4j, plan: &Plan<'_>, deadline: Deadline) -> Result<Outcome, Fault> {
    let lease = store.lease(deadline).await?;
    let share = share(deadline);
    let result = timeout(share, attempt(plan, &lease)).await;
    store.settle(lease, share, result)
}

/// One attempt: the statement, and if it refuses, why. Both on one connection, whose reset in
/// between ends the first transaction.
async fn attempt(plan: &Plan<'_>, lease: &Lease) -> Result<Outcome, Fault> {
    if plan.impossible.is_none() {
        match apply(plan, lease).await {
            Ok(()) => return Ok(Outcome::Done),
            Err(Fault::Rejected) => {}
            Err(fault) => return Err(fault),
        }
    }
    let mut txn = begin(lease).await?;
    let query = Params::new()
        .with("rows", plan.rows())
        .query(queries::DIAGNOSE.as_str());
    let row = only_row(&mut txn, query).await?;
    // What the diagnosis locked and made goes with its transaction.
    txn.rollback()
        .await
        .map_err(|e| Fault::of(&e, Stage::Begin))?;
    let row = row.ok_or_else(|| Fault::Broken("a diagnosis without a row".into()))?;
    let unreadable = |e: neo4rs::DeError| Fault::Broken(e.to_string());
    let found = Found {
        versions: row.get("found").map_err(unreadable)?,
        fingerprint: row.get("fingerprint").map_err(unreadable)?,
        response: row.get("response").map_err(unreadable)?,
    };
    match plan.verdict(&found) {
        Verdict::DoneBefore => Ok(Outcome::Done),
        Verdict::Refused(error) => Ok(Outcome::Refused(error)),
        Verdict::Fine => Err(Fault::Raced("a condition that failed holds now".into())),
    }
}

/// Longest message that the driver sends in one piece, less what surrounds text and
/// parameters in it.
pub(crate) const ONE_PIECE: usize = 8 * 1024 - 128;

async fn apply(plan: &Plan<'_>, lease: &Lease) -> Result<(), Fault> {
    let (first, second) = plan.statements();
    let mut txn = begin(lease).await?;
    for query in std::iter::once(first).chain(second) {
        txn.run(query)
            .await
            .map_err(|e| Fault::of(&e, Stage::Sent))?;
    }
    txn.commit().await.map_err(|e| Fault::of(&e, Stage::Sent))?;
    Ok(())
}

/// One row that the commit is about.
struct Row {
    key: String,
    expected: i64,
}

/// A commit in the terms of the statement.
struct Plan<'a> {
    deployment: &'a str,
    commit: &'a Commit,
    /// Sorted by key: the order in which locks are taken.
    rows: Vec<Row>,
    /// Where each key stands in `rows`.
    place: HashMap<String, usize>,
    /// The last word on each relationship.
    edges: BTreeMap<(EdgeType, &'a NodeKey, &'a NodeKey), Option<&'a Props>>,
    /// An end that this very commit takes away, or wants absent.
    impossible: Option<&'a NodeKey>,
}

/// A node or row of our own as it is written.
struct Put {
    i: BoltType,
    label: &'static str,
    props: BoltMap,
    /// Its key and the words by which it is found, if it can be searched for.
    words: Option<(String, String)>,
}

impl Put {
    /// How many bytes it takes in a message without its words, never too few.
    fn size(&self) -> usize {
        const REST: usize = 64;
        REST + map_size(&self.props)
    }

    fn row(mut self, with_words: bool) -> BoltType {
        if with_words && let Some((_, words)) = &self.words {
            self.props.put(BoltString::new("_terms"), text(words));
        }
        map([
            ("i", self.i),
            ("label", text(self.label)),
            ("props", BoltType::Map(self.props)),
        ])
    }
}

/// The words of nodes apart from the nodes.
fn terms(puts: &[Put]) -> BoltType {
    list(puts.iter().filter_map(|put| {
        let (key, words) = put.words.as_ref()?;
        Some(map([("key", text(key)), ("terms", text(words))]))
    }))
}

/// What the diagnosis saw under its locks.
struct Found {
    versions: Vec<i64>,
    fingerprint: Option<String>,
    response: Option<Vec<u8>>,
}

enum Verdict {
    DoneBefore,
    Refused(CommitError),
    Fine,
}

/// The key of a commit's marker.
fn marker_key(commit: &Commit) -> String {
    format!("{MARKER}/{}", commit.id)
}

/// The key of a stored request: quoted parts, so that no two requests share one.
pub(crate) fn request_key(deployment: &str, key: &RequestKey) -> String {
    let RequestKey {
        method,
        principal,
        request_id,
    } = key;
    format!("{REQUEST}/{deployment:?}{method:?}{principal:?}{request_id:?}")
}

/// The key of an outbox row.
pub(crate) fn event_key(event: &fleet_types::EventId) -> String {
    format!("{}/{event}", queries::OUTBOX)
}

impl<'a> Plan<'a> {
    fn of(commit: &'a Commit, deployment: &'a str) -> Self {
        let mut expected = BTreeMap::new();
        expected.insert(marker_key(commit), ABSENT);
        if let Some(request) = &commit.request {
            expected.insert(request_key(deployment, &request.key), ABSENT);
        }
        if let Some(key) = answer_key(commit, deployment) {
            expected.insert(key, ABSENT);
        }
        for guard in &commit.guards {
            let version = match guard {
                Guard::Present(_) => PRESENT,
                Guard::Absent(_) => ABSENT,
                Guard::Version(_, version) => *version,
            };
            expected.insert(guard.key().path(), version);
        }
        for write in &commit.nodes {
            expected.insert(write.key().path(), write.expected());
        }
        let gone: Vec<&NodeKey> = commit
            .nodes
            .iter()
            .filter(|write| matches!(write, NodeWrite::Delete { .. }))
            .map(NodeWrite::key)
            .chain(commit.guards.iter().filter_map(|guard| match guard {
                Guard::Absent(key) => Some(key),
                Guard::Present(_) | Guard::Version(..) => None,
            }))
            .collect();
        let mut impossible = None;
        let mut edges = BTreeMap::new();
        for edge in &commit.edges {
            match edge {
                EdgeWrite::Relate(Edge {
                    from,
                    kind,
                    to,
                    props,
                }) => {
                    for end in [from, to] {
                        expected.entry(end.path()).or_insert(PRESENT);
                        if impossible.is_none() && gone.contains(&end) {
                            impossible = Some(end);
                        }
                    }
                    edges.insert((*kind, from, to), Some(props));
                }
                EdgeWrite::Unrelate { from, kind, to } => {
                    edges.insert((*kind, from, to), None);
                }
            }
        }
        let rows: Vec<_> = expected
            .into_iter()
            .map(|(key, expected)| Row { key, expected })
            .collect();
        let place = rows
            .iter()
            .enumerate()
            .map(|(i, row)| (row.key.clone(), i))
            .collect();
        Self {
            deployment,
            commit,
            rows,
            place,
            edges,
            impossible,
        }
    }

    fn rows(&self) -> BoltType {
        list(self.rows.iter().enumerate().map(|(i, row)| {
            map([
                ("i", number(i)),
                ("key", text(&row.key)),
                ("expected", integer(row.expected)),
            ])
        }))
    }

    fn place(&self, key: &str) -> BoltType {
        number(self.place[key])
    }

    /// The store's own row, written under `key`.
    fn own_row<const N: usize>(
        &self,
        key: &str,
        label: &'static str,
        more: [(&'static str, BoltType); N],
    ) -> Put {
        let mut props = BoltMap::with_capacity(N + 4);
        let common = [
            ("_key", text(key)),
            ("_version", integer(1)),
            ("_deployment", text(self.deployment)),
            ("_at", integer(self.commit.time.millis())),
        ];
        for (name, value) in common.into_iter().chain(more) {
            props.put(BoltString::new(name), value);
        }
        Put {
            i: self.place(key),
            label,
            props,
            words: None,
        }
    }

    /// The statement of the commit, and that of what follows it if both are too long for one.
    fn statements(&self) -> (Query, Option<Query>) {
        let commit = self.commit;
        let mut puts = vec![self.own_row(&marker_key(commit), MARKER, [])];
        if let Some(request) = &commit.request {
            let key = request_key(self.deployment, &request.key);
            let response = BoltBytes::new(request.response.clone().into());
            let more = [
                ("_fingerprint", text(&request.fingerprint)),
                ("_response", BoltType::Bytes(response)),
            ];
            puts.push(self.own_row(&key, REQUEST, more));
        }
        if let Some(key) = answer_key(commit, self.deployment) {
            puts.push(self.own_row(&key, INBOX, []));
        }
        let mut drops = Vec::new();
        for write in &commit.nodes {
            let path = write.key().path();
            match write {
                NodeWrite::Create { ord, props, .. } | NodeWrite::Update { ord, props, .. } => {
                    let given = props;
                    let version = write.expected() + 1;
                    let sum = seal(&path, version, ord, given);
                    let mut props = properties(given);
                    props.put(BoltString::new("_ord"), text(ord));
                    props.put(BoltString::new("_version"), integer(version));
                    props.put(BoltString::new("_sum"), integer(sum));
                    let label = write.key().label();
                    let words = SearchIndex::of(label);
                    let words = words.map(|index| (path.clone(), words_of(index, given)));
                    props.put(BoltString::new("_key"), text(&path));
                    puts.push(Put {
                        i: self.place(&path),
                        label: label.as_str(),
                        props,
                        words,
                    });
                }
                NodeWrite::Delete { .. } => drops.push(self.place(&path)),
            }
        }
        for guard in &commit.guards {
            // What held the place of the absent node must not stay.
            if let Guard::Absent(key) = guard {
                drops.push(self.place(&key.path()));
            }
        }
        let unrelates = self.edges.values().any(Option::is_none);
        let mut params = Params::new()
            .with("rows", self.rows())
            .with("drops", list(drops));
        for kind in queries::edges_of(commit.writer) {
            let of_kind = || self.edges.iter().filter(move |((k, ..), _)| *k == kind);
            let relate = of_kind().filter_map(|((_, from, to), props)| {
                let props = BoltType::Map(properties((*props)?));
                let (from, to) = (self.place(&from.path()), self.place(&to.path()));
                Some(map([("from", from), ("to", to), ("props", props)]))
            });
            params = params.with(&format!("relate_{}", kind.as_str()), list(relate));
            if unrelates {
                let unrelate = of_kind().filter(|(_, props)| props.is_none());
                let unrelate = unrelate.map(|((_, from, to), _)| {
                    map([("from", text(&from.path())), ("to", text(&to.path()))])
                });
                params = params.with(&format!("unrelate_{}", kind.as_str()), list(unrelate));
            }
        }
        let text = queries::commit(commit.writer, unrelates);
        let (events, terms) = (self.events(), terms(&puts));
        let puts_size: usize = puts.iter().map(Put::size).sum();
        let own = text.len() + params.size() + puts_size;
        let (with_terms, with_all) = (own + size(&terms), own + size(&terms) + size(&events));
        let none = || list(std::iter::empty::<BoltType>());
        let rows = |with_words| list(puts.into_iter().map(|put| put.row(with_words)));
        // What is too long by itself would only wait a second time.
        if own > ONE_PIECE || with_all <= ONE_PIECE {
            let params = params.with("puts", rows(true)).with("events", events);
            return (params.query(text), None);
        }
        let here = with_terms <= ONE_PIECE;
        let late = Params::new()
            .with("terms", if here { none() } else { terms })
            .with("events", events)
            .query(queries::LATE.as_str());
        let params = params.with("puts", rows(here)).with("events", none());
        (params.query(text), Some(late))
    }

    fn events(&self) -> BoltType {
        list(self.commit.events.iter().enumerate().map(|(n, event)| {
            let OutboxEvent {
                id,
                subject,
                source,
                aggregate,
                aggregate_version,
                time,
                payload,
                correlation,
                causation,
                traceparent,
            } = event;
            // Sorts by time, then by commit, then as in the commit.
            let ord = format!(
                "{}|{}|{n:05}",
                outbox_time(self.commit.time),
                self.commit.id
            );
            map([
                ("_key", text(&event_key(id))),
                ("_deployment", text(self.deployment)),
                ("_ord", text(&ord)),
                ("id", text(id.as_str())),
                ("subject", text(subject)),
                ("source", text(source)),
                ("aggregate", text(aggregate)),
                ("aggregate_version", integer(*aggregate_version)),
                ("time", integer(time.millis())),
                ("payload", text(payload)),
                ("correlation", text(correlation)),
                ("causation", text(causation)),
                ("traceparent", text(traceparent)),
            ])
        }))
    }

    /// What is wrong first, in the order that the port documents.
    fn verdict(&self, found: &Found) -> Verdict {
        let commit = self.commit;
        let at = |path: &str| {
            found
                .versions
                .get(self.place[path])
                .copied()
                .unwrap_or(ABSENT)
        };
        if at(&marker_key(commit)) != ABSENT {
            return Verdict::DoneBefore;
        }
        if let Some(request) = &commit.request
            && at(&request_key(self.deployment, &request.key)) != ABSENT
        {
            let same = found.fingerprint.as_deref() == Some(&request.fingerprint);
            return Verdict::Refused(match &found.response {
                Some(response) if same => CommitError::Replayed {
                    response: response.clone(),
                },
                _ => CommitError::RequestMismatch,
            });
        }
        if let Some(key) = answer_key(commit, self.deployment)
            && at(&key) != ABSENT
        {
            return Verdict::Refused(CommitError::AlreadyApplied);
        }
        let guards = commit.guards.iter().map(Guard::key);
        let writes = commit.nodes.iter().map(NodeWrite::key);
        let ends = commit.edges.iter().filter_map(|edge| match edge {
            EdgeWrite::Relate(edge) => Some([&edge.from, &edge.to]),
            EdgeWrite::Unrelate { .. } => None,
        });
        for key in guards.chain(writes) {
            let path = key.path();
            let (expected, found) = (self.rows[self.place[&path]].expected, at(&path));
            if let Some(error) = mismatch(key, expected, found) {
                return Verdict::Refused(error);
            }
        }
        for key in ends.flatten() {
            let path = key.path();
            // An end that this commit creates has been checked above, as a write.
            let missing = self.rows[self.place[&path]].expected == PRESENT && at(&path) == ABSENT;
            if missing || self.impossible == Some(key) {
                return Verdict::Refused(CommitError::Missing { key: key.clone() });
            }
        }
        Verdict::Fine
    }
}

fn mismatch(key: &NodeKey, expected: i64, found: i64) -> Option<CommitError> {
    let key = key.clone();
    match (expected, found) {
        (expected, found) if expected == found => None,
        (PRESENT, ABSENT) => Some(CommitError::Missing { key }),
        (PRESENT, _) => None,
        (ABSENT, _) => Some(CommitError::AlreadyExists { key }),
        (_, ABSENT) => Some(CommitError::Missing { key }),
        (expected, found) => Some(CommitError::Conflict {
            key,
            expected,
            found,
        }),
    }
}

fn answer_key(commit: &Commit, deployment: &str) -> Option<String> {
    let answer = commit.answers.as_ref()?;
    Some(format!(
        "{INBOX}/{deployment:?}{:?}{:?}",
        answer.consumer,
        answer.event.as_str()
    ))
}

/// A time as the start of an outbox row's place: sorts like the time.
pub(crate) fn outbox_time(time: fleet_types::Timestamp) -> String {
    format!("{:015}", time.millis())
}
