//! Searches: words, what changes them, stories, ranks, bounds, hostile words.

use serde_json::{Value, json};

use super::world::{Place, World, assert_is, object, soon, title};
use crate::{
    EdgeType, Hits, Label, MAX_HITS, MAX_NODE_TERMS, MAX_TERM, MAX_TERMS, Node, NodeKey, Props,
    ReadError, Search, SearchIndex, terms,
};

fn words(index: SearchIndex, text: &str) -> Search {
    Search {
        index,
        terms: terms(text).collect(),
        story_id: None,
        limit: 50,
    }
}

/// What a search finds among these nodes, by reading each.
fn expected(search: &Search, nodes: &[Node]) -> Hits {
    let story = search.story_id.clone().map(Value::String);
    let mut found: Vec<Node> = nodes
        .iter()
        .filter(|node| node.key.label() == search.index.label())
        .filter(|node| {
            let there = search.index.terms_of(&node.props);
            search.terms.iter().all(|term| there.contains(term))
        })
        .filter(|node| story.is_none() || node.props.get("story_id") == story.as_ref())
        .cloned()
        .collect();
    found.sort_by(|x, y| x.key.cmp(&y.key));
    let more = found.len() > MAX_HITS;
    found.truncate(MAX_HITS);
    search.rank(found, more)
}

impl World {
    async fn hits(&self, search: &Search) -> Hits {
        self.b.search(search, soon()).await.unwrap()
    }

    /// The keys found, in the order of their rank.
    async fn found(&self, index: SearchIndex, text: &str) -> Vec<NodeKey> {
        let hits = self.hits(&words(index, text)).await;
        hits.nodes.into_iter().map(|node| node.key).collect()
    }

    /// Creates nodes with these properties, each in the name of its owner; the nodes.
    async fn filled(&self, rows: Vec<(Label, Value)>) -> Vec<Node> {
        let mut nodes = Vec::new();
        for (label, props) in rows {
            let (key, props) = (self.key(label), object(props));
            let mut commit = self.commit_of(label.owner());
            commit.create(key.clone(), "o", props.clone());
            self.must(&commit).await;
            let ord = "o".to_owned();
            nodes.push(Node {
                key,
                version: 1,
                ord,
                props,
            });
        }
        nodes
    }
}

/// Every word must be there, in whatever field, case and script; whole words of the declared
/// fields of the declared label. The most weight comes first, and the limit cuts.
pub async fn a_search_finds_what_has_every_word(place: &dyn Place) {
    let world = World::open(place).await;
    let run = &world.term("r");
    let nodes = world
        .filled(vec![
            (Label::Decision, json!({ "title": format!("Use Redis {run}"), "rationale": "a cache must be fast" })),
            (Label::Decision, json!({ "title": format!("Cache the cache's CACHE {run}"), "rationale": "cache" })),
            (Label::Decision, json!({ "title": run, "rationale": "Redis? No. A caché, ça va", "decision_type": "cache" })),
            (Label::Decision, json!({ "title": run, "alternatives": ["Memcached", "redis-cluster, fast!"] })),
            (Label::Decision, json!({ "title": run, "notes": "redis", "rationale": 7, "alternatives": [1, 2] })),
            (Label::Decision, json!({ "title": format!("ΑΘΗΝΑ Übergröße STRASSE straße İstanbul 漢字かな עברית {run}") })),
            (Label::Decision, json!({ "title": format!("nai\u{308}ve x2 2x ½ ٣ foo_bar 🦀crab🦀 a\0b {run}") })),
            (Label::Decision, json!({ "rationale": run })),
            (Label::Task, json!({ "title": format!("Redis cache {run}"), "description": "fast" })),
            (Label::Task, json!({ "title": run, "acceptance_criteria": ["Redis is fast", "a Cache"] })),
            (Label::Task, json!({ "description": run, "rationale": "redis" })),
            (Label::Story, json!({ "title": format!("Redis cache {run}") })),
        ])
        .await;
    let texts = [
        "",
        "redis",
        "REDIS",
        "cache",
        "cache redis",
        "redis fast cache",
        "redis redis",
        "caché",
        "cach",
        "caches",
        "memcached",
        "cluster",
        "redis-cluster",
        "7",
        "1",
        "notes",
        "αθηνα",
        "übergröße",
        "ubergrosse",
        "strasse",
        "straße",
        "STRASSE straße",
        "istanbul",
        "İstanbul",
        "漢字かな",
        "漢字",
        "עברית",
        "naive",
        "nai",
        "ve",
        "x2",
        "2x",
        "x",
        "2",
        "½",
        "٣",
        "3",
        "foo",
        "foo_bar",
        "crab",
        "🦀crab",
        "a b",
        "ab",
        "absent",
    ];
    let mut found = 0;
    for index in SearchIndex::ALL {
        for text in texts {
            let mut search = words(*index, &format!("{text} {run}"));
            for limit in [50, 2, 1] {
                search.limit = limit;
                let hits = world.hits(&search).await;
                assert_eq!(hits, expected(&search, &nodes), "{search:?}");
                found += hits.nodes.len();
            }
        }
    }
    assert!(found > 100, "the cases find something: {found}");
    // Said once in full, so that the case does not rest on the code it shares with adapters.
    let (d, found) = (
        |n: usize| nodes[n].key.clone(),
        world
            .found(SearchIndex::Decisions, &format!("{run} CACHE"))
            .await,
    );
    assert_eq!(found, [d(1), d(0), d(2)], "by weight: titles before texts");
    let mut search = words(SearchIndex::Decisions, run);
    search.limit = 8;
    assert_eq!(
        (
            world.hits(&search).await.nodes.len(),
            world.hits(&search).await.more
        ),
        (8, false)
    );
    search.limit = 7;
    assert_eq!(
        (
            world.hits(&search).await.nodes.len(),
            world.hits(&search).await.more
        ),
        (7, true)
    );
}

/// New words are found and old ones are not, from the commit on: after updates, deletions and
/// rejected commits, by every replica, the next one included.
pub async fn a_search_follows_its_nodes(place: &dyn Place) {
    let world = World::open(place).await;
    let run = world.term("r");
    let text = |words: &str| format!("{words} {run}");
    let (key, twin) = (world.key(Label::Task), world.key(Label::Task));
    let found = async |text: &str| {
        world
            .found(SearchIndex::Tasks, &format!("{text} {run}"))
            .await
    };
    let mut commit = world.commit();
    commit
        .create(key.clone(), "o", title(&text("alpha beta")))
        .create(twin.clone(), "o", title(&text("beta")));
    world.must(&commit).await;
    assert_eq!(found("alpha").await, std::slice::from_ref(&key));
    assert_eq!(found("beta").await, [key.clone(), twin.clone()]);

    let mut commit = world.commit();
    let props = object(json!({ "title": text("beta"), "description": "gamma" }));
    commit.update(key.clone(), 1, "o", props.clone());
    world.must(&commit).await;
    assert_eq!(found("alpha").await, []);
    assert_eq!(found("gamma").await, std::slice::from_ref(&key));
    // The same words, another property and place: found, as it is now.
    let mut with_status = props.clone();
    with_status.insert("status".into(), json!("todo"));
    let mut commit = world.commit();
    commit.update(key.clone(), 2, "moved", with_status.clone());
    world.must(&commit).await;
    let hit = world
        .hits(&words(SearchIndex::Tasks, &text("gamma")))
        .await
        .nodes;
    assert_eq!(
        (hit.len(), hit[0].version, &hit[0].props),
        (1, 3, &with_status)
    );
    assert_eq!(hit[0].ord, "moved");

    // Of a commit that fails, nothing is found: refused at once, or at its very end.
    let made = world.key(Label::Task);
    let mut late = world.commit();
    late.create(made.clone(), "o", title(&text("delta")))
        .update(key.clone(), 3, "o", title(&text("delta")))
        .relate(made.clone(), EdgeType::DependsOn, world.key(Label::Task));
    world.must_not(&late).await;
    let mut stale = world.commit();
    stale.create(made.clone(), "o", title(&text("delta")));
    stale.update(key.clone(), 1, "o", title(&text("delta")));
    world.must_not(&stale).await;
    assert_eq!(found("delta").await, []);
    assert_eq!(found("gamma").await, std::slice::from_ref(&key));
    // Committed twice is found once.
    let mut commit = world.commit();
    commit.create(made.clone(), "o", title(&text("delta")));
    world.must(&commit).await;
    world.must(&commit).await;
    assert_eq!(found("delta").await, std::slice::from_ref(&made));

    let mut commit = world.commit();
    commit.update(key.clone(), 3, "o", Props::new());
    commit.delete(twin.clone(), 1).delete(made.clone(), 1);
    world.must(&commit).await;
    assert_eq!(found("").await, []);
    let mut commit = world.commit();
    commit
        .create(twin.clone(), "o", title(&text("epsilon")))
        .update(key.clone(), 4, "o", title(&text("epsilon")));
    world.must(&commit).await;
    assert_eq!(found("beta").await, []);
    let next = place.open(&world.deployment).await;
    let hits = next
        .search(&words(SearchIndex::Tasks, &text("epsilon")), soon())
        .await
        .unwrap();
    assert_eq!(
        hits.nodes.iter().map(|n| &n.key).collect::<Vec<_>>(),
        [&key, &twin]
    );
}

/// With a story, only what says that it belongs to that very story; a move is followed.
pub async fn a_search_stays_in_its_story(place: &dyn Place) {
    let world = World::open(place).await;
    let (run, stem) = (world.term("r"), world.word("s"));
    let ids: Vec<_> = ["1", "10", "1.", "1'", "1\"", "1*", "A", "a", "1 OR 1", "é"]
        .iter()
        .map(|tail| format!("{stem}-{tail}"))
        .collect();
    let mut rows: Vec<_> = ids
        .iter()
        .map(|id| {
            (
                Label::Task,
                json!({ "title": format!("word {run}"), "story_id": id }),
            )
        })
        .collect();
    // These say it in their words alone, say nothing, or say something that is no id.
    rows.push((
        Label::Task,
        json!({ "title": format!("word {run} {stem} 1") }),
    ));
    rows.push((
        Label::Task,
        json!({ "title": format!("word {run}"), "story_id": 1 }),
    ));
    rows.push((
        Label::Decision,
        json!({ "title": format!("word {run}"), "story_id": ids[0] }),
    ));
    let mut nodes = world.filled(rows).await;
    for (n, id) in ids.iter().enumerate() {
        let mut search = words(SearchIndex::Tasks, &run);
        search.story_id = Some(id.clone());
        let hits = world.hits(&search).await;
        assert_eq!(hits.nodes, [nodes[n].clone()], "{id}");
        assert_eq!(hits, expected(&search, &nodes));
    }
    for id in [&stem, "", "1", "word", &format!("{}0", ids[1])] {
        let mut search = words(SearchIndex::Tasks, &run);
        search.story_id = Some(id.to_owned());
        assert_eq!(world.hits(&search).await, Hits::default(), "{id}");
    }
    assert_eq!(
        world.found(SearchIndex::Tasks, &run).await.len(),
        ids.len() + 2
    );

    let moved = object(json!({ "title": format!("word {run}"), "story_id": ids[1] }));
    let mut commit = world.commit();
    commit.update(nodes[0].key.clone(), 1, "o", moved.clone());
    world.must(&commit).await;
    (nodes[0].version, nodes[0].props) = (2, moved);
    for id in &ids[..2] {
        let mut search = words(SearchIndex::Tasks, &run);
        search.story_id = Some(id.clone());
        assert_eq!(world.hits(&search).await, expected(&search, &nodes), "{id}");
    }
}

/// Of more nodes than are weighed, the first in the order of their keys are, whatever was
/// written first and whatever weighs most; of more words than are kept, the first in theirs.
pub async fn a_search_that_is_too_broad_is_the_same_everywhere(place: &dyn Place) {
    let world = World::open(place).await;
    let run = world.term("r");
    let mut commit = world.commit();
    let mut nodes = Vec::new();
    for n in 0..MAX_HITS + 50 {
        let key = world.key(Label::Task);
        // The last weigh most; some of the first a little more than the rest.
        let text = if n >= MAX_HITS || n % 100 == 7 {
            format!("{run} {run}")
        } else {
            run.clone()
        };
        let props = object(json!({ "title": text, "story_id": format!("{run}{}", n % 2) }));
        commit.create(key.clone(), "o", props.clone());
        let ord = "o".to_owned();
        nodes.push(Node {
            key,
            version: 1,
            ord,
            props,
        });
    }
    commit.nodes.reverse();
    world.must(&commit).await;
    for limit in [1, 30, MAX_HITS] {
        let mut search = words(SearchIndex::Tasks, &run);
        search.limit = limit;
        let hits = world.hits(&search).await;
        assert!(hits.more);
        assert_eq!(hits.nodes.len(), limit);
        assert!(
            hits.nodes
                .iter()
                .all(|hit| hit.key <= nodes[MAX_HITS - 1].key)
        );
        assert!(
            hits == expected(&search, &nodes),
            "the hits of the first, weighed"
        );
        search.story_id = Some(format!("{run}1"));
        assert!(world.hits(&search).await == expected(&search, &nodes));
    }
    // As many as are weighed are all there are.
    let mut commit = world.commit();
    for node in nodes.split_off(MAX_HITS) {
        commit.delete(node.key, 1);
    }
    world.must(&commit).await;
    let mut search = words(SearchIndex::Tasks, &run);
    search.limit = MAX_HITS;
    let hits = world.hits(&search).await;
    assert_eq!((hits.nodes.len(), hits.more), (MAX_HITS, false));
    assert!(hits == expected(&search, &nodes));

    let many: Vec<_> = (0..MAX_NODE_TERMS + 100)
        .map(|n| format!("{run}x{n:05}"))
        .collect();
    let wordy = world
        .filled(vec![(
            Label::Decision,
            json!({ "rationale": many.join(" ") }),
        )])
        .await;
    for n in [0, MAX_NODE_TERMS - 1, MAX_NODE_TERMS, MAX_NODE_TERMS + 99] {
        let found = world.found(SearchIndex::Decisions, &many[n]).await;
        assert_eq!(found.contains(&wordy[0].key), n < MAX_NODE_TERMS, "{n}");
    }
}

/// What is an operator, a field or a stop word to some search engine is a word to us.
pub async fn words_of_a_query_language_are_words(place: &dyn Place) {
    const OPERATORS: &[&str] = &[
        "AND",
        "OR",
        "NOT",
        "NEAR",
        "TO",
        "title",
        "rationale",
        "terms",
        "rowid",
        "rank",
        "the",
        "a",
        "is",
        "null",
        "true",
        "0",
        "1e9",
        "select",
        "match",
        "body",
        "words",
        "story_id",
    ];
    let world = World::open(place).await;
    let run = world.term("r");
    let hostile = "title:x OR * \"y\" near(z, 2) -w +v ^u ~t /s.*/ [p TO q] {o} \\ ' ; -- %_ $n ?1";
    let mut rows: Vec<_> = OPERATORS
        .iter()
        .map(|word| (Label::Decision, json!({ "title": format!("{run} {word}") })))
        .collect();
    rows.push((
        Label::Decision,
        json!({ "title": run, "rationale": hostile }),
    ));
    rows.push((
        Label::Decision,
        json!({ "title": format!("{run} {}", "long".repeat(MAX_TERM)) }),
    ));
    let nodes = world.filled(rows).await;
    let mut texts: Vec<String> = OPERATORS.iter().map(|word| (*word).to_owned()).collect();
    texts.extend(terms(hostile));
    texts.extend(
        [
            "and or",
            "not",
            "title x y near",
            "or or or",
            "x or absent",
            "near z 2",
        ]
        .map(str::to_owned),
    );
    texts.push("long".repeat(MAX_TERM));
    texts.push("long".repeat(MAX_TERM / 4));
    texts.push("long".repeat(MAX_TERM / 4 - 1));
    for text in texts {
        let search = words(SearchIndex::Decisions, &format!("{text} {run}"));
        let hits = world.hits(&search).await;
        assert_eq!(hits, expected(&search, &nodes), "{text}");
    }
    for (n, word) in OPERATORS.iter().enumerate() {
        let found = world
            .found(SearchIndex::Decisions, &format!("{word} {run}"))
            .await;
        assert!(found.contains(&nodes[n].key), "{word} is a word");
    }
    let most: Vec<_> = (0..MAX_TERMS).map(|n| format!("{run}{n}")).collect();
    let one = world
        .filled(vec![(
            Label::Decision,
            json!({ "title": most.join(" - ") }),
        )])
        .await;
    let found = world.found(SearchIndex::Decisions, &most.join(" ")).await;
    assert_eq!(found, [one[0].key.clone()]);
}

/// What is no word, or out of bounds, is refused by every adapter in the same way.
pub async fn searches_that_break_a_rule_are_refused(place: &dyn Place) {
    let world = World::open(place).await;
    let good = words(SearchIndex::Tasks, &world.term("r"));
    let with = |terms: Vec<&str>| Search {
        terms: terms.into_iter().map(str::to_owned).collect(),
        ..good.clone()
    };
    let limited = |limit| Search {
        limit,
        ..good.clone()
    };
    let long = "x".repeat(MAX_TERM + 1);
    for search in [
        with(vec![]),
        with(vec!["a"; MAX_TERMS + 1]),
        with(vec![""]),
        with(vec!["a", "AND"]),
        with(vec!["a b"]),
        with(vec!["*"]),
        with(vec!["\""]),
        with(vec!["near("]),
        with(vec!["ca*"]),
        with(vec!["title:a"]),
        with(vec!["É"]),
        with(vec![&long]),
        limited(0),
        limited(MAX_HITS + 1),
    ] {
        let refused = world.a.search(&search, soon()).await;
        assert_is!(refused, Err(ReadError::Invalid(_)));
    }
    let most = Search {
        limit: MAX_HITS,
        ..with(vec![&long[1..]; MAX_TERMS])
    };
    world.a.search(&most, soon()).await.unwrap();
}
