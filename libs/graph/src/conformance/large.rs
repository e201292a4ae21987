//! Size: what is refused, what is kept, and a graph of ten thousand nodes.

use serde_json::json;

use super::world::{Place, World, assert_is, object, soon, step};
use crate::{
    CommitError, Direction, EXACT_TOTAL, EdgeType, Index, Label, MAX_COMMIT_BYTES, MAX_PAGE,
    MAX_WRITES, Props, Scan, Total,
};

/// A commit above its bound is refused whole; one just below it is kept and reads back.
pub async fn huge_values_are_refused_and_large_ones_kept(place: &dyn Place) {
    let world = World::open(place).await;
    let key = world.key(Label::Story);
    let text = |bytes: usize| object(json!({ "text": "x".repeat(bytes) }));

    let mut commit = world.commit();
    commit.create(key.clone(), "o", text(MAX_COMMIT_BYTES));
    assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    let mut commit = world.commit();
    commit.create(key.clone(), "o", Props::new());
    commit.event(world.event(&"x".repeat(MAX_COMMIT_BYTES / 2)));
    commit.event(world.event(&"x".repeat(MAX_COMMIT_BYTES / 2 + 1)));
    assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    let mut commit = world.commit();
    commit.create(key.clone(), "o", Props::new());
    commit.request = Some(world.request("r", "f", &vec![0; MAX_COMMIT_BYTES + 1]));
    assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    let mut commit = world.commit();
    commit.create(
        key.clone(),
        "x".repeat(2 * crate::MAX_NODE_ID + 1),
        Props::new(),
    );
    assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    let filter = object(json!({ "state": "x".repeat(2 * crate::MAX_NODE_ID + 1) }));
    let mut commit = world.commit();
    commit.create(key.clone(), "o", filter);
    assert_is!(world.must_not(&commit).await, CommitError::Invalid(_));
    assert_eq!(world.node(&key).await, None);

    let mut commit = world.commit();
    let props = text(MAX_COMMIT_BYTES / 2);
    commit.create(
        key.clone(),
        "x".repeat(2 * crate::MAX_NODE_ID),
        props.clone(),
    );
    commit.event(world.event(&"é".repeat(MAX_COMMIT_BYTES / 8)));
    commit.request = Some(world.request("r", "f", &vec![255; MAX_COMMIT_BYTES / 8]));
    world.must(&commit).await;
    assert_eq!(world.node(&key).await.unwrap().props, props);
    assert_eq!(world.pending().await, commit.events);
    let request = commit.request.as_ref().unwrap();
    let past = world
        .b
        .past_request(&request.key, soon())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(past.response, request.response);
}

/// One story with more tasks than totals count exactly: full-size commits, totals, pages far
/// in, and walks with and without a bound that cuts.
pub async fn ten_thousand_nodes(place: &dyn Place) {
    let world = World::open(place).await;
    let story = world.created(Label::Story).await;
    let status = json!(world.word("status"));
    let filters = vec![json!(story.id())];
    let exact = usize::try_from(EXACT_TOTAL).unwrap();
    let total = async || {
        let both = [
            (Index::TasksByStory, filters.clone()),
            (
                Index::TasksByStoryStatus,
                vec![json!(story.id()), status.clone()],
            ),
        ];
        let counts = world.b.counts(&both, soon()).await.unwrap();
        assert_eq!(counts[0], counts[1]);
        let mut scan = Scan::new(Index::TasksByStory, filters.clone(), 1);
        scan.total = true;
        let page = world.b.scan(&scan, soon()).await.unwrap();
        assert_eq!(page.total, Some(counts[0]));
        counts[0]
    };

    let mut last = story.clone();
    let mut made = 0;
    while made < exact {
        let mut commit = world.commit();
        while made < exact && commit.nodes.len() + commit.edges.len() + 2 <= MAX_WRITES {
            let task = world.key(Label::Task);
            let props = object(json!({ "story_id": story.id(), "status": status, "n": made }));
            commit.create(task.clone(), format!("{made:012}"), props);
            // Mostly a chain, so that the graph is deep as well as wide.
            let kind = if made == 0 {
                EdgeType::HasTask
            } else {
                EdgeType::DependsOn
            };
            commit.relate(last, kind, task.clone());
            (last, made) = (task, made + 1);
        }
        assert_eq!(
            commit.nodes.len() + commit.edges.len(),
            MAX_WRITES,
            "commits of full size"
        );
        assert_eq!(world.must(&commit).await.versions.len(), MAX_WRITES / 2);
    }
    assert_eq!(
        total().await,
        Total {
            count: EXACT_TOTAL,
            is_lower_bound: false
        }
    );
    let mut commit = world.commit();
    let props = object(json!({ "story_id": story.id(), "status": status, "n": made }));
    commit.create(world.key(Label::Task), format!("{made:012}"), props);
    world.must(&commit).await;
    assert_eq!(
        total().await,
        Total {
            count: EXACT_TOTAL,
            is_lower_bound: true
        }
    );

    let mut scan = Scan::new(Index::TasksByStory, filters, MAX_PAGE);
    scan.offset = exact - 1;
    let page = world.b.scan(&scan, soon()).await.unwrap();
    assert_eq!(
        page.nodes
            .iter()
            .map(|n| n.props["n"].clone())
            .collect::<Vec<_>>(),
        [json!(exact - 1), json!(exact)]
    );
    assert!(!page.more);

    // Relate all of them to the story and walk there and on.
    let mut ord = None;
    let mut tasks = Vec::new();
    loop {
        scan.offset = 0;
        scan.after = ord;
        let page = world.b.scan(&scan, soon()).await.unwrap();
        ord = page.nodes.last().map(|n| n.ord.clone());
        tasks.extend(page.nodes.into_iter().map(|n| n.key));
        if !page.more {
            break;
        }
    }
    assert_eq!(tasks.len(), exact + 1);
    for chunk in tasks.chunks(MAX_WRITES) {
        let mut commit = world.commit();
        for task in chunk {
            commit.relate(story.clone(), EdgeType::HasTask, task.clone());
        }
        world.must(&commit).await;
    }
    let star = [step(EdgeType::HasTask, Direction::Out, 1)];
    let seen = world.walk(&[&story], &star, 20_000).await;
    assert_eq!(
        (seen.nodes.len(), seen.edges.len(), seen.truncated),
        (exact + 2, exact + 1, false)
    );
    let deep = [
        star[0].clone(),
        step(EdgeType::DependsOn, Direction::Out, 8),
    ];
    let seen = world.walk(&[&story], &deep, 20_000).await;
    assert_eq!((seen.nodes.len(), seen.edges.len()), (exact + 2, 2 * exact));
    assert!(!seen.truncated);
    let seen = world.walk(&[&story], &deep, 500).await;
    assert_eq!((seen.nodes.len(), seen.truncated), (500, true));
    let seen = world.walk(&[&story], &star, exact + 2).await;
    assert!(!seen.truncated, "a bound that just fits cuts nothing");
    let chain = [step(EdgeType::DependsOn, Direction::In, 8)];
    let seen = world.walk(&[&tasks[exact - 1]], &chain, 100).await;
    assert_eq!(
        (seen.nodes.len(), seen.edges.len(), seen.truncated),
        (9, 8, false)
    );
}
