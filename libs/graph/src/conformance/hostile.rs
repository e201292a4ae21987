//! Strings that mean harm are data like any other, and names are not free text.

use serde_json::json;

use super::world::{Place, World, assert_is, at, object, soon, title};
use crate::{
    Answer, CommitError, Direction, EdgeType, Index, Label, NodeKey, RequestKey, Scan, Step, Walk,
};

/// Fragments that end strings, identifiers and statements in some query language.
const HOSTILE: &[&str] = &[
    "'",
    "\"",
    "`",
    "\\",
    "\\'",
    "';DROP/**/TABLE/**/nodes;--",
    "'})MATCH(n)DETACH/**/DELETE/**/n//",
    "`})-[:X]->()//",
    "\"}}RETURN/**/1//",
    "$key",
    "${key}",
    "{{key}}",
    "%s%n",
    "?1",
    ":key",
    "../../etc/passwd",
    "a/b/c",
    "a|b,c;d",
    "*.>",
    "NULL",
    "%",
    "_",
];

/// Hostile strings as ids, values, filters, orders, consumers, request ids and payloads.
pub async fn hostile_strings_are_data(place: &dyn Place) {
    let world = World::open(place).await;
    let victim = world.created(Label::Story).await;
    let hostile: Vec<String> = HOSTILE
        .iter()
        .map(|text| (*text).to_owned())
        .chain([HOSTILE.concat()])
        .collect();
    let mut keys = Vec::new();
    let mut commit = world.commit();
    for (n, text) in hostile.iter().enumerate() {
        let key = NodeKey::new(Label::Story, format!("{}{text}", world.word("x")));
        let state = format!("{text}{}", world.word("state"));
        let props = object(json!({ "state": state, "title": text, "list": [text, "\u{202e}🦀"] }));
        commit.create(key.clone(), format!("{text}|{n:03}"), props);
        commit.relate(victim.clone(), EdgeType::Contains, key.clone());
        commit.event(world.event(&format!("{{\"text\":{}}}", json!(text))));
        keys.push(key);
    }
    world.must(&commit).await;

    let found = world.b.get(&keys, soon()).await.unwrap();
    for ((text, key), node) in hostile.iter().zip(&keys).zip(found) {
        let node = node.unwrap_or_else(|| panic!("{key} is there"));
        assert_eq!(node.key, *key);
        assert_eq!(node.props["title"], json!(text));
        assert_eq!(node.props["list"], json!([text, "\u{202e}🦀"]));
        let state = json!(format!("{text}{}", world.word("state")));
        let mut scan = Scan::new(Index::StoriesByState, vec![state.clone()], 10);
        scan.total = true;
        let page = world.b.scan(&scan, soon()).await.unwrap();
        assert_eq!(page.nodes.len(), 1, "a filter is compared, not run: {text}");
        assert_eq!(page.nodes[0].key, *key);
        assert_eq!(page.total.unwrap().count, 1);
        scan.after = Some(node.ord.clone());
        assert_eq!(world.b.scan(&scan, soon()).await.unwrap().nodes, vec![]);
        (scan.after, scan.before) = (None, Some(node.ord));
        assert_eq!(world.b.scan(&scan, soon()).await.unwrap().nodes, vec![]);
        let count = world
            .b
            .counts(&[(Index::StoriesByState, vec![state])], soon())
            .await
            .unwrap();
        assert_eq!(count[0].count, 1);
    }
    let walk = Walk {
        roots: vec![victim.clone()],
        steps: vec![Step {
            edge: EdgeType::Contains,
            direction: Direction::Out,
            hops: 1,
        }],
        max_nodes: 100,
    };
    let seen = world.b.walk(&walk, soon()).await.unwrap();
    assert_eq!(seen.nodes.len(), hostile.len() + 1);
    let events: Vec<_> = world
        .pending()
        .await
        .into_iter()
        .map(|e| e.payload)
        .collect();
    let sent: Vec<_> = commit.events.iter().map(|e| e.payload.clone()).collect();
    assert_eq!(events, sent);

    for text in &hostile {
        let mut commit = world.commit();
        commit.answers = Some(Answer {
            consumer: text.clone(),
            event: world.event_id(),
        });
        let mut request = world.request(text, text, text.as_bytes());
        request.key.principal = format!("{}{text}", world.word("p"));
        commit.request = Some(request.clone());
        world.must(&commit).await;
        let past = world
            .b
            .past_request(&request.key, soon())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (past.fingerprint.as_str(), past.response.as_slice()),
            (&**text, text.as_bytes())
        );
    }
    // Keys of requests do not run into each other where their parts touch.
    let part = |method: &str, principal: &str, id: &str| RequestKey {
        method: method.into(),
        principal: format!("{}{principal}", world.word("q")),
        request_id: id.into(),
    };
    let mut commit = world.commit();
    commit.request = Some(crate::Request {
        key: part("m", "a/b", "c"),
        ..world.request("", "f", b"")
    });
    world.must(&commit).await;
    for other in [
        part("m", "a", "b/c"),
        part("m/a", "b", "c"),
        part("m", "a|b", "c"),
    ] {
        assert_eq!(
            world.b.past_request(&other, soon()).await.unwrap(),
            None,
            "{other:?}"
        );
    }
    assert_eq!(world.node(&victim).await.unwrap().props, title("first"));
    let before = world.b.pending(at(-1), 10, soon()).await.unwrap();
    assert_eq!(before, vec![]);
}

/// Property names are words of a program, not text of a user.
pub async fn property_names_are_plain_words(place: &dyn Place) {
    let world = World::open(place).await;
    let node = world.created(Label::Story).await;
    for name in [
        "",
        "_version",
        "_key",
        "a b",
        "a-b",
        "a`b",
        "a.b",
        "é",
        "a\0",
        "1a",
        &"x".repeat(65),
    ] {
        let mut props = crate::Props::new();
        props.insert(name.to_owned(), json!(1));
        let mut commit = world.commit();
        commit.update(node.clone(), 1, "o", props.clone());
        assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
        let mut commit = world.commit();
        commit.edges.push(crate::EdgeWrite::Relate(crate::Edge {
            from: node.clone(),
            kind: EdgeType::DependsOn,
            to: node.clone(),
            props,
        }));
        assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    }
    let mut props = crate::Props::new();
    props.insert("x".repeat(64), json!(1));
    props.insert("camelCase_9".into(), json!(1));
    let mut commit = world.commit();
    commit.update(node.clone(), 1, "o", props.clone());
    world.must(&commit).await;
    assert_eq!(world.node(&node).await.unwrap().props, props);
}
