//! Listings: order, cursors, offsets, totals.

use serde_json::{Value, json};

use super::world::{Place, World, assert_is, object, soon, title};
use crate::{Index, Label, MAX_PAGE, NodeKey, ReadError, Scan, Total};

/// Stories in a state of this case's own, with the given orders.
async fn stories(world: &World, state: &str, ords: impl Iterator<Item = usize>) -> Vec<NodeKey> {
    let mut commit = world.commit();
    let mut keys = Vec::new();
    for ord in ords {
        let key = world.key(Label::Story);
        commit.create(
            key.clone(),
            format!("{ord:012}"),
            object(json!({ "state": state })),
        );
        keys.push(key);
    }
    world.must(&commit).await;
    keys
}

fn ords(page: &crate::Page) -> Vec<usize> {
    page.nodes
        .iter()
        .map(|node| node.ord.parse().unwrap())
        .collect()
}

/// Whoever pages by cursor sees every row that was there all the time exactly once and in
/// order, whatever arrives before and behind his place.
pub async fn pages_are_stable_while_rows_arrive(place: &dyn Place) {
    let world = World::open(place).await;
    let state = world.word("state");
    stories(&world, &state, (1_000..1_250).rev()).await;
    for descending in [false, true] {
        let mut scan = Scan::new(Index::StoriesByState, vec![json!(state)], 40);
        scan.descending = descending;
        let mut seen = Vec::new();
        for round in 0.. {
            let page = world.b.scan(&scan, soon()).await.unwrap();
            seen.extend(ords(&page));
            let last = page.nodes.last().map(|node| node.ord.clone());
            if descending {
                scan.before = last;
            } else {
                scan.after = last;
            }
            if !page.more {
                break;
            }
            assert_eq!(page.nodes.len(), 40, "a page before the last is full");
            let salt = round + if descending { 100 } else { 0 };
            stories(&world, &state, [salt, 5_000 + salt].into_iter()).await;
        }
        let old: Vec<_> = seen
            .iter()
            .copied()
            .filter(|n| (1_000..1_250).contains(n))
            .collect();
        let mut expected: Vec<_> = (1_000..1_250).collect();
        if descending {
            expected.reverse();
        }
        assert_eq!(old, expected);
        let mut sorted = seen.clone();
        sorted.sort_unstable();
        if descending {
            sorted.reverse();
        }
        assert_eq!(seen, sorted, "in order, new rows included");
    }
}

/// Offsets, both bounds, both directions; a changed order or filter moves the row.
pub async fn pages_by_offset_and_bounds(place: &dyn Place) {
    let world = World::open(place).await;
    let state = world.word("state");
    let keys = stories(&world, &state, 0..10).await;
    stories(&world, &format!("{state}x"), 0..10).await;
    let scan = |limit| Scan::new(Index::StoriesByState, vec![json!(state)], limit);
    let at = |n: usize| Some(format!("{n:012}"));
    let page = async |scan: Scan| world.b.scan(&scan, soon()).await.unwrap();

    let all = page(scan(MAX_PAGE)).await;
    assert_eq!(
        (ords(&all), all.more, all.total),
        ((0..10).collect(), false, None)
    );
    assert_eq!(
        all.nodes.iter().map(|n| n.key.clone()).collect::<Vec<_>>(),
        keys
    );
    let exact = page(scan(10)).await;
    assert!(
        !exact.more,
        "a page that holds the last row has no more behind it"
    );
    assert!(page(scan(9)).await.more);
    let skipped = page(Scan {
        offset: 4,
        ..scan(3)
    })
    .await;
    assert_eq!((ords(&skipped), skipped.more), (vec![4, 5, 6], true));
    let beyond = page(Scan {
        offset: 10,
        ..scan(3)
    })
    .await;
    assert_eq!((ords(&beyond), beyond.more), (vec![], false));
    let down = page(Scan {
        descending: true,
        offset: 1,
        ..scan(3)
    })
    .await;
    assert_eq!((ords(&down), down.more), (vec![8, 7, 6], true));
    let within = page(Scan {
        after: at(2),
        before: at(6),
        ..scan(9)
    })
    .await;
    assert_eq!((ords(&within), within.more), (vec![3, 4, 5], false));
    let within = Scan {
        after: at(2),
        before: at(6),
        descending: true,
        offset: 1,
        ..scan(1)
    };
    let within = page(within).await;
    assert_eq!((ords(&within), within.more), (vec![4], true));
    assert_eq!(
        ords(
            &page(Scan {
                after: at(9),
                ..scan(1)
            })
            .await
        ),
        Vec::<usize>::new()
    );
    assert_eq!(
        ords(
            &page(Scan {
                before: at(0),
                ..scan(1)
            })
            .await
        ),
        Vec::<usize>::new()
    );

    let mut commit = world.commit();
    commit.update(
        keys[0].clone(),
        1,
        format!("{:012}", 50),
        object(json!({ "state": state })),
    );
    commit.update(
        keys[1].clone(),
        1,
        format!("{:012}", 1),
        title("no state at all"),
    );
    commit.delete(keys[2].clone(), 1);
    world.must(&commit).await;
    assert_eq!(ords(&page(scan(MAX_PAGE)).await), [3, 4, 5, 6, 7, 8, 9, 50]);
}

/// Totals are of the filters, not of the cursor; counts come in the order asked; without a
/// filter they are exact.
pub async fn totals_and_counts(place: &dyn Place) {
    let world = World::open(place).await;
    let (epic, state) = (world.word("epic"), world.word("state"));
    let mut commit = world.commit();
    for n in 0..5 {
        let state = if n < 2 {
            format!("{state}-a")
        } else {
            format!("{state}-b")
        };
        let props = object(json!({ "epic_id": epic, "state": state }));
        commit.create(world.key(Label::Story), format!("{n:012}"), props);
    }
    world.must(&commit).await;
    let mut scan = Scan::new(Index::StoriesByEpic, vec![json!(epic)], 2);
    scan.total = true;
    scan.after = Some(format!("{:012}", 3));
    let page = world.b.scan(&scan, soon()).await.unwrap();
    assert_eq!(page.nodes.len(), 1);
    assert_eq!(
        page.total,
        Some(Total {
            count: 5,
            is_lower_bound: false
        })
    );
    scan.offset = 100;
    assert_eq!(
        world
            .b
            .scan(&scan, soon())
            .await
            .unwrap()
            .total
            .unwrap()
            .count,
        5
    );

    let of = |index: Index, values: &[&str]| {
        (
            index,
            values.iter().map(|v| json!(v)).collect::<Vec<Value>>(),
        )
    };
    let asked = [
        of(Index::StoriesByState, &[&format!("{state}-b")]),
        of(Index::StoriesByEpic, &[&epic]),
        of(Index::StoriesByState, &[&format!("{state}-a")]),
        of(Index::StoriesByState, &[&state]),
        of(Index::StoriesByEpicState, &[&epic, &format!("{state}-b")]),
        of(Index::StoriesByEpicState, &[&format!("{state}-b"), &epic]),
        of(Index::TasksByStory, &[&epic]),
        of(Index::StoriesByState, &[&format!("{state}-b")]),
    ];
    let counts = world.b.counts(&asked, soon()).await.unwrap();
    assert_eq!(
        counts.iter().map(|t| t.count).collect::<Vec<_>>(),
        [3, 5, 2, 0, 3, 0, 0, 3]
    );
    assert!(counts.iter().all(|t| !t.is_lower_bound));
    assert_eq!(world.b.counts(&[], soon()).await.unwrap(), vec![]);

    let all = world
        .b
        .counts(&[of(Index::Stories, &[])], soon())
        .await
        .unwrap()[0];
    assert!(
        all.count >= 5 && !all.is_lower_bound,
        "an unfiltered total is exact: {all:?}"
    );
    let mut scan = Scan::new(Index::Stories, vec![], 3);
    scan.total = true;
    let page = world.b.scan(&scan, soon()).await.unwrap();
    assert_eq!(page.nodes.len(), 3);
    assert!(page.nodes.is_sorted_by(|x, y| x.ord <= y.ord));
    assert!(page.total.unwrap().count >= 5);
    assert!(
        page.nodes
            .iter()
            .all(|node| node.key.label() == Label::Story)
    );
}

/// Limits and filters are checked before anything is asked.
pub async fn listings_that_break_a_rule_are_refused(place: &dyn Place) {
    let world = World::open(place).await;
    let refused = [
        Scan::new(Index::StoriesByState, vec![json!("x")], 0),
        Scan::new(Index::StoriesByState, vec![json!("x")], MAX_PAGE + 1),
        Scan::new(Index::StoriesByState, vec![], 1),
        Scan::new(Index::StoriesByState, vec![json!("x"), json!("y")], 1),
        Scan::new(Index::Stories, vec![json!("x")], 1),
        Scan::new(Index::StoriesByState, vec![json!(["x"])], 1),
        Scan::new(Index::StoriesByState, vec![Value::Null], 1),
        Scan::new(Index::StoriesByState, vec![json!(1.5)], 1),
    ];
    for scan in refused {
        assert_is!(
            world.a.scan(&scan, soon()).await,
            Err(ReadError::Invalid(_))
        );
    }
    let counts = world
        .a
        .counts(&[(Index::StoriesByState, vec![])], soon())
        .await;
    assert_is!(counts, Err(ReadError::Invalid(_)));
}
