//! What a commit does when nothing is wrong, and how it reads back.

use std::time::Duration;

use serde_json::json;

use super::world::{Place, World, assert_is, object, soon, title};
use crate::{CommitError, Deadline, Label, ReadError};

/// Bringing the schema up to date twice, and from two replicas at once, is safe.
pub async fn migrations_can_race_and_repeat(place: &dyn Place) {
    let world = World::open(place).await;
    let (a, b) = tokio::join!(world.a.migrate(soon()), world.b.migrate(soon()));
    a.unwrap();
    b.unwrap();
    world.a.ping(soon()).await.unwrap();
    world.created(Label::Story).await;
}

/// Versions start at 1, grow by one, and start again after a deletion; the receipt says them.
pub async fn create_update_and_delete_move_the_version(place: &dyn Place) {
    let world = World::open(place).await;
    let (story, task) = (world.key(Label::Story), world.key(Label::Task));

    let mut commit = world.commit();
    commit
        .create(story.clone(), "a", title("one"))
        .create(task.clone(), "b", title("two"));
    let receipt = world.must(&commit).await;
    assert_eq!(
        receipt.versions,
        vec![(story.clone(), 1), (task.clone(), 1)]
    );
    let node = world.node(&story).await.unwrap();
    assert_eq!(
        (node.key, node.version, node.ord.as_str()),
        (story.clone(), 1, "a")
    );
    assert_eq!(node.props, title("one"));

    let mut commit = world.commit();
    commit
        .update(story.clone(), 1, "c", object(json!({ "other": true })))
        .delete(task.clone(), 1);
    let receipt = world.must(&commit).await;
    assert_eq!(
        receipt.versions,
        vec![(story.clone(), 2)],
        "a deleted node has no version"
    );
    let node = world.node(&story).await.unwrap();
    assert_eq!((node.version, node.ord.as_str()), (2, "c"));
    assert_eq!(
        node.props,
        object(json!({ "other": true })),
        "an update replaces all properties"
    );
    assert_eq!(world.node(&task).await, None);

    let mut commit = world.commit();
    commit.create(task.clone(), "b", title("again"));
    assert_eq!(world.must(&commit).await.versions, vec![(task.clone(), 1)]);
    assert_eq!(world.version(&task).await, 1);

    let empty = world.commit();
    assert_eq!(
        world.must(&empty).await.versions,
        vec![],
        "an empty commit is a commit"
    );
}

/// Reads by key: in the order asked, repeated keys repeated, missing ones `None`.
pub async fn get_answers_in_the_order_asked(place: &dyn Place) {
    let world = World::open(place).await;
    let (one, two) = (
        world.created(Label::Story).await,
        world.created(Label::Task).await,
    );
    let none = world.key(Label::Story);
    let same_id_other_label = crate::NodeKey::new(Label::Task, one.id());
    let asked = [
        two.clone(),
        none,
        one.clone(),
        two.clone(),
        same_id_other_label,
    ];
    let found = world.b.get(&asked, soon()).await.unwrap();
    let keys: Vec<_> = found
        .iter()
        .map(|n| n.as_ref().map(|n| n.key.clone()))
        .collect();
    assert_eq!(
        keys,
        vec![Some(two.clone()), None, Some(one), Some(two), None]
    );
    assert_eq!(world.b.get(&[], soon()).await.unwrap(), vec![]);
}

/// Scalars and lists of every kind, from one end of their range to the other.
pub async fn values_come_back_as_they_were(place: &dyn Place) {
    let world = World::open(place).await;
    let key = world.key(Label::Story);
    let mut props = object(json!({
        "empty": "",
        "unicode": "Ünïcödé – 漢字 – עברית – 🦀👩‍👩‍👧 – e\u{301} – \u{10FFFF}",
        "white": " \t\r\n ",
        "nul": "a\0b",
        "key": "a property may be called key",
        "id": "or id",
        "version": 77,
        "ord": "or ord",
        "zero": 0,
        "min": i64::MIN,
        "max": i64::MAX,
        "whole": 1.0,
        "tenth": 0.1,
        "huge": 1.7e308,
        "tiny": 5e-324,
        "negative": -2.5,
        "yes": true,
        "no": false,
        "nothing": [],
        "words": ["", "b", "a", "b", "🦀"],
        "numbers": [i64::MIN, -1, 0, i64::MAX],
        "floats": [1.0, -0.5],
        "flags": [true, false],
        "deep_json": "{\"a\":[1,{\"b\":null}]}",
    }));
    let expected = props.clone();
    props.insert("absent".into(), serde_json::Value::Null);
    let mut commit = world.commit();
    commit.create(key.clone(), "ord-é-🦀", props.clone());
    world.must(&commit).await;
    let node = world.node(&key).await.unwrap();
    assert_eq!(node.props, expected, "a null property is no property");
    assert_eq!(node.ord, "ord-é-🦀");

    let mut commit = world.commit();
    commit.update(key.clone(), 1, "o", expected.clone());
    world.must(&commit).await;
    assert_eq!(world.node(&key).await.unwrap().props, expected);

    let mut commit = world.commit();
    commit.update(key.clone(), 2, "o", crate::Props::new());
    world.must(&commit).await;
    assert_eq!(world.node(&key).await.unwrap().props, crate::Props::new());
}

/// Whoever asks after his deadline is told so, or is answered; he never waits.
pub async fn a_passed_deadline_is_an_answer(place: &dyn Place) {
    let world = World::open(place).await;
    let key = world.created(Label::Story).await;
    let mut commit = world.commit();
    commit.update(key.clone(), 1, "late", title("late"));
    let passed = Deadline::after(Duration::ZERO);
    let calls = async {
        let written = world.a.commit(&commit, passed).await;
        let read = world.a.get(std::slice::from_ref(&key), passed).await;
        (written, read)
    };
    let (written, read) = tokio::time::timeout(Duration::from_secs(30), calls)
        .await
        .unwrap();
    assert_is!(&written, Ok(_) | Err(CommitError::Unavailable(_)));
    assert_is!(&read, Ok(_) | Err(ReadError::Unavailable(_)));
    // The same commit with time to spare finds out, whatever became of the first attempt.
    world.must(&commit).await;
    assert_eq!(world.version(&key).await, 2);
}
