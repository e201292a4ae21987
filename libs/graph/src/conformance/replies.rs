//! Said twice, done once: lost replies, repeated events, repeated requests.

use super::{
    races::{at_once, only_winner},
    world::{Place, World, assert_is, soon, title},
};
use crate::{Answer, CommitError, EdgeType, Label, PastRequest};

/// The same commit again, from another replica, is the success it was, whatever happened to
/// its nodes since; it is never done twice.
pub async fn a_lost_reply_is_still_a_success(place: &dyn Place) {
    let world = World::open(place).await;
    let (made, gone) = (world.key(Label::Story), world.created(Label::Task).await);
    let updated = world.created(Label::Story).await;
    let mut commit = world.commit();
    commit.create(made.clone(), "o", title("made"));
    commit.update(updated.clone(), 1, "o", title("updated"));
    commit.delete(gone.clone(), 1);
    commit.relate(updated.clone(), EdgeType::Contains, made.clone());
    commit.event(world.event("{}"));
    commit.answers = Some(Answer {
        consumer: world.word("c"),
        event: world.event_id(),
    });
    commit.request = Some(world.request("r-1", "print", b"answer"));
    let receipt = world.must(&commit).await;
    assert_eq!(receipt, commit.receipt());
    let retried = world.b.commit(&commit, soon()).await.unwrap();
    assert_eq!(
        retried, receipt,
        "not AlreadyExists, AlreadyApplied or Replayed"
    );

    world.moved(&made, 1).await;
    world.moved(&made, 2).await;
    let mut delete = world.commit();
    delete.delete(updated.clone(), 2);
    world.must(&delete).await;
    let mut again = world.commit();
    again.create(gone.clone(), "o", title("again"));
    world.must(&again).await;
    let retried = world.b.commit(&commit, soon()).await.unwrap();
    assert_eq!(retried, receipt, "also when others moved on in between");
    assert_eq!(
        (world.version(&made).await, world.version(&gone).await),
        (3, 1)
    );
    assert_eq!(world.node(&updated).await, None);
    assert_eq!(
        world.pending().await,
        commit.events,
        "the event is there once"
    );
}

/// One commit sent by two replicas at once (a retry that overtakes): both hear of the one
/// success.
pub async fn a_commit_sent_twice_at_once_happens_once(place: &dyn Place) {
    let world = World::open(place).await;
    for round in 1..=10 {
        let key = world.key(Label::Story);
        let mut commit = world.commit();
        commit
            .create(key.clone(), "o", title("once"))
            .event(world.event("{}"));
        commit.answers = Some(Answer {
            consumer: world.word("c"),
            event: world.event_id(),
        });
        let outcomes = at_once(&world, vec![commit.clone(); 6]).await;
        for outcome in outcomes {
            assert_eq!(outcome.unwrap(), commit.receipt());
        }
        assert_eq!(world.version(&key).await, 1);
        assert_eq!(world.pending().await.len(), round);
    }
}

/// The second answer to an event by one consumer writes nothing; another consumer answers
/// for itself.
pub async fn an_event_is_answered_once(place: &dyn Place) {
    let world = World::open(place).await;
    let key = world.created(Label::Story).await;
    let answer = Answer {
        consumer: world.word("one"),
        event: world.event_id(),
    };
    let answering = |answer: &Answer, expected: i64| {
        let mut commit = world.commit();
        commit.answers = Some(answer.clone());
        commit
            .update(key.clone(), expected, "o", title("answered"))
            .event(world.event("{}"));
        commit
    };
    world.must(&answering(&answer, 1)).await;
    for expected in [2, 1, 9] {
        let again = world.b.commit(&answering(&answer, expected), soon()).await;
        assert_is!(again, Err(CommitError::AlreadyApplied));
    }
    assert_eq!(
        (world.version(&key).await, world.pending().await.len()),
        (2, 1)
    );
    let other = Answer {
        consumer: world.word("two"),
        ..answer.clone()
    };
    world.must(&answering(&other, 2)).await;
    let another = Answer {
        event: world.event_id(),
        ..answer
    };
    world.must(&answering(&another, 3)).await;
    assert_eq!(
        (world.version(&key).await, world.pending().await.len()),
        (4, 3)
    );
}

/// An event delivered to two replicas at once is applied by one of them.
pub async fn an_event_answered_twice_at_once_is_applied_once(place: &dyn Place) {
    let world = World::open(place).await;
    for round in 1..=10 {
        let answer = Answer {
            consumer: world.word("c"),
            event: world.event_id(),
        };
        let commits = (0..8).map(|_| {
            let mut commit = world.commit();
            commit.answers = Some(answer.clone());
            commit
                .create(world.key(Label::Task), "o", title("x"))
                .event(world.event("{}"));
            commit
        });
        let outcomes = at_once(&world, commits.collect()).await;
        only_winner(&outcomes);
        for outcome in outcomes.into_iter().filter_map(Result::err) {
            assert_is!(outcome, CommitError::AlreadyApplied);
        }
        assert_eq!(world.pending().await.len(), round);
    }
}

/// The same request again is answered as before, bytes and all, whatever became of its
/// effect; another one under its id is refused; another caller's or method's is another.
pub async fn a_request_is_answered_once(place: &dyn Place) {
    let world = World::open(place).await;
    let key = world.key(Label::Story);
    let request = world.request("r-1", "print-1", &[0, 159, 146, 150, 255]);
    assert_eq!(
        world.b.past_request(&request.key, soon()).await.unwrap(),
        None
    );
    let asking = |request: &crate::Request| {
        let mut commit = world.commit();
        commit
            .create(key.clone(), "o", title("made"))
            .event(world.event("{}"));
        commit.request = Some(request.clone());
        commit
    };
    world.must(&asking(&request)).await;
    let past = world.b.past_request(&request.key, soon()).await.unwrap();
    let PastRequest {
        fingerprint,
        response,
    } = past.unwrap();
    assert_eq!(
        (fingerprint.as_str(), &response),
        ("print-1", &request.response)
    );

    let mut delete = world.commit();
    delete.delete(key.clone(), 1);
    world.must(&delete).await;
    let mut again = asking(&request);
    again.request.as_mut().unwrap().response = b"a newer answer".to_vec();
    let error = world.b.commit(&again, soon()).await.unwrap_err();
    assert_is!(error, CommitError::Replayed { response } if response == request.response);
    let mut other = request.clone();
    other.fingerprint = "print-2".into();
    assert_is!(
        world.must_not(&asking(&other)).await,
        CommitError::RequestMismatch
    );
    assert_eq!(
        (world.version(&key).await, world.pending().await.len()),
        (0, 1)
    );

    let mut somebody_else = request.clone();
    somebody_else.key.principal.push('x');
    world.must(&asking(&somebody_else)).await;
    let mut another_method = request.clone();
    another_method.key.method.push('x');
    let mut delete = world.commit();
    delete.delete(key.clone(), 1);
    world.must(&delete).await;
    world.must(&asking(&another_method)).await;
    // A response may be empty.
    let mut commit = world.commit();
    commit.request = Some(world.request("r-2", "f", b""));
    world.must(&commit).await;
    let mut again = world.commit();
    again.request = commit.request;
    assert_is!(
        world.must_not(&again).await,
        CommitError::Replayed { response } if response.is_empty()
    );
}

/// One request at two replicas at once: one effect, and the other hears the winner's answer.
pub async fn a_request_that_arrives_twice_at_once_has_one_effect(place: &dyn Place) {
    let world = World::open(place).await;
    for round in 0..10 {
        let id = format!("r-{round}");
        let commits: Vec<_> = (0..6)
            .map(|n| {
                let mut commit = world.commit();
                // The last two are another request under the same id.
                let print = if n < 4 { "print" } else { "other" };
                let key = world.key(Label::Story);
                commit.request = Some(world.request(&id, print, key.id().as_bytes()));
                commit.create(key, "o", title("made"));
                commit
            })
            .collect();
        let outcomes = at_once(&world, commits.clone()).await;
        let winner = only_winner(&outcomes);
        let print = |n: usize| &commits[n].request.as_ref().unwrap().fingerprint;
        let won = &commits[winner].request.as_ref().unwrap().response;
        for (n, outcome) in outcomes
            .into_iter()
            .enumerate()
            .filter(|(n, _)| *n != winner)
        {
            if print(n) == print(winner) {
                assert_is!(
                    outcome,
                    Err(CommitError::Replayed { ref response }) if response == won
                );
            } else {
                assert_is!(outcome, Err(CommitError::RequestMismatch));
            }
        }
        for (n, commit) in commits.iter().enumerate() {
            let made = world.version(commit.nodes[0].key()).await;
            assert_eq!(made, i64::from(n == winner));
        }
    }
}
