//! Many callers, one load.

use std::any::Any;
use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared, WeakShared};

/// What comes out of a load; `None`: it panicked.
type Load<V> = BoxFuture<'static, Option<V>>;

/// Loads of values by key, each at most once at a time.
///
/// Whoever asks for a key that is being loaded waits for that load and gets the same outcome;
/// so `V` is cheap to clone, and where loads fail it is a `Result`: the error goes to all that
/// waited. Nothing is remembered after a load has ended.
///
/// The load runs in whichever of its callers is polled. A caller that goes away leaves it to the
/// others; when the last one goes away it is dropped, since nobody wants it any more.
///
/// The load outlives the patience of whoever began it: it has a time limit of its own, not its
/// first caller's. Callers that wait less put their own round [`run`](Self::run).
///
/// A caller may get a value whose load began before the caller came: what the value depends on
/// belongs into the key.
pub struct SingleFlight<K, V> {
    flights: Flights<K, V>,
}

type Flights<K, V> = Arc<Mutex<Flying<K, V>>>;

struct Flying<K, V> {
    by_key: HashMap<K, Flight<V>>,
    next: u64,
}

struct Flight<V> {
    number: u64,
    load: WeakShared<Load<V>>,
}

/// Lives inside a load: when that is over or dropped, the key is free again.
struct Landing<K: Hash + Eq, V> {
    flights: Flights<K, V>,
    key: K,
    number: u64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<K: Hash + Eq, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut flying = lock(&self.flights);
        let ours = |flight: &Flight<V>| flight.number == self.number;
        if flying.by_key.get(&self.key).is_some_and(ours) {
            flying.by_key.remove(&self.key);
        }
    }
}

impl<K, V> Default for SingleFlight<K, V> {
    fn default() -> Self {
        Self {
            flights: Arc::new(Mutex::new(Flying {
                by_key: HashMap::new(),
                next: 0,
            })),
        }
    }
}

impl<K, V> Clone for SingleFlight<K, V> {
    /// The same flights.
    fn clone(&self) -> Self {
        Self {
            flights: self.flights.clone(),
        }
    }
}

impl<K, V> std::fmt::Debug for SingleFlight<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SingleFlight")
            .field("in_flight", &self.in_flight())
            .finish()
    }
}

impl<K, V> SingleFlight<K, V> {
    /// No flights yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many loads are on their way.
    pub fn in_flight(&self) -> usize {
        lock(&self.flights).by_key.len()
    }
}

impl<K, V> SingleFlight<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// The outcome of the load of `key` that is on its way, or of `load`. `load` only makes the
    /// future; it must not call this flight.
    ///
    /// # Panics
    /// If the load does, in all that wait for it.
    pub async fn run<F>(&self, key: K, load: impl FnOnce() -> F) -> V
    where
        F: Future<Output = V> + Send + 'static,
    {
        let flight = self.board(key, load);
        flight.await.expect("the load of a shared value panicked")
    }

    fn board<F>(&self, key: K, load: impl FnOnce() -> F) -> Shared<Load<V>>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut flying = lock(&self.flights);
        let on_its_way = flying.by_key.get(&key).and_then(|f| f.load.upgrade());
        if let Some(flight) = on_its_way {
            return flight;
        }
        flying.next += 1;
        let number = flying.next;
        let landing = Landing {
            flights: self.flights.clone(),
            key: key.clone(),
            number,
        };
        let load = AssertUnwindSafe(load()).catch_unwind();
        let flight = async move {
            let _landing = landing;
            load.await.map_err(|panic| told(&*panic)).ok()
        }
        .boxed()
        .shared();
        let load = flight.downgrade().expect("it was not polled yet");
        flying.by_key.insert(key, Flight { number, load });
        flight
    }
}

/// Says why a load panicked, since its callers only know that it did.
fn told(panic: &(dyn Any + Send)) {
    let why = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message");
    tracing::error!(why, "the load of a shared value panicked");
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::future::{join_all, poll_immediate};
    use tokio::sync::Notify;

    use super::*;

    type Outcome = Result<usize, Arc<str>>;

    struct World {
        flights: SingleFlight<String, Outcome>,
        loads: Arc<AtomicUsize>,
        go: Arc<Notify>,
    }

    impl World {
        fn new() -> Self {
            Self {
                flights: SingleFlight::new(),
                loads: Arc::default(),
                go: Arc::default(),
            }
        }

        /// A call whose load waits for `go`.
        async fn call(&self, key: &str) -> Outcome {
            let (loads, go) = (self.loads.clone(), self.go.clone());
            self.flights
                .run(key.to_owned(), move || async move {
                    let nth = loads.fetch_add(1, Ordering::SeqCst) + 1;
                    go.notified().await;
                    Ok(nth)
                })
                .await
        }

        fn loads(&self) -> usize {
            self.loads.load(Ordering::SeqCst)
        }
    }

    #[tokio::test]
    async fn all_who_come_meanwhile_get_one_load_and_nothing_is_remembered() {
        let world = World::new();
        let mut calls = join_all((0..64).map(|_| world.call("s-1")));
        assert!(poll_immediate(&mut calls).await.is_none());
        world.go.notify_waiters();
        let outcomes = calls.await;
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(1)));
        assert_eq!((world.loads(), world.flights.in_flight()), (1, 0));
        world.go.notify_one();
        assert_eq!(world.call("s-1").await, Ok(2), "loaded anew");
    }

    #[tokio::test]
    async fn keys_fly_side_by_side() {
        let world = World::new();
        let mut one = Box::pin(world.call("s-1"));
        let mut ten = Box::pin(world.call("s-10"));
        assert!(poll_immediate(&mut one).await.is_none());
        assert!(poll_immediate(&mut ten).await.is_none());
        assert_eq!((world.loads(), world.flights.in_flight()), (2, 2));
        world.go.notify_waiters();
        assert_eq!((ten.await, one.await), (Ok(2), Ok(1)));
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_the_load_to_the_others() {
        let world = World::new();
        let mut first = Box::pin(world.call("k"));
        let mut second = Box::pin(world.call("k"));
        assert!(poll_immediate(&mut first).await.is_none());
        assert!(poll_immediate(&mut second).await.is_none());
        drop(first);
        world.go.notify_waiters();
        assert_eq!(second.await, Ok(1));
        assert_eq!(world.loads(), 1);

        // The last one takes it along, and the next one begins anew.
        let mut alone = Box::pin(world.call("k"));
        assert!(poll_immediate(&mut alone).await.is_none());
        assert_eq!(world.flights.in_flight(), 1);
        drop(alone);
        assert_eq!(world.flights.in_flight(), 0);
        let mut next = Box::pin(world.call("k"));
        assert!(poll_immediate(&mut next).await.is_none());
        world.go.notify_waiters();
        assert_eq!(next.await, Ok(3));
    }

    #[tokio::test]
    async fn an_error_goes_to_all_that_waited_and_is_forgotten() {
        let flights: SingleFlight<u8, Outcome> = SingleFlight::new();
        let go = Arc::new(Notify::new());
        let fail = || {
            let go = go.clone();
            async move {
                go.notified().await;
                Err(Arc::from("away"))
            }
        };
        let mut calls = join_all((0..8).map(|_| flights.run(1, fail)));
        assert!(poll_immediate(&mut calls).await.is_none());
        go.notify_waiters();
        let outcomes = calls.await;
        let Err(first) = &outcomes[0] else {
            panic!("{outcomes:?}");
        };
        let same = |outcome: &Outcome| matches!(outcome, Err(e) if Arc::ptr_eq(e, first));
        assert!(outcomes.iter().all(same));
        assert_eq!(flights.run(1, || async { Ok(5) }).await, Ok(5));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_load_that_panics_does_not_block_its_key() {
        let flights: SingleFlight<u8, u8> = SingleFlight::new();
        let calls = (0..4).map(|_| {
            let flights = flights.clone();
            let mut set = tokio::task::JoinSet::new();
            set.spawn(async move {
                flights
                    .run(1, || async {
                        tokio::task::yield_now().await;
                        panic!("broken")
                    })
                    .await
            });
            async move { set.join_next().await.expect("one task") }
        });
        for outcome in join_all(calls).await {
            assert!(outcome.unwrap_err().is_panic());
        }
        assert_eq!(flights.run(1, || async { 9 }).await, 9);
        assert_eq!(flights.in_flight(), 0);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn impatient_callers_on_all_threads_leave_nothing_behind() {
        let flights: SingleFlight<usize, usize> = SingleFlight::new();
        let mut set = tokio::task::JoinSet::new();
        for caller in 0..400_usize {
            let flights = flights.clone();
            set.spawn(async move {
                for round in 0..50 {
                    let key = (caller + round) % 3;
                    let load = move || async move {
                        for _ in 0..(round % 7) {
                            tokio::task::yield_now().await;
                        }
                        key
                    };
                    let call = flights.run(key, load);
                    if (caller + round) % 2 == 0 {
                        // Polled once, then given up.
                        if let Some(value) = poll_immediate(call).await {
                            assert_eq!(value, key);
                        }
                    } else {
                        assert_eq!(call.await, key);
                    }
                }
            });
        }
        while let Some(done) = set.join_next().await {
            done.unwrap();
        }
        assert_eq!(flights.in_flight(), 0);
    }
}
