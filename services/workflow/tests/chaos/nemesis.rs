//! Two replicas on real servers, one of which is always about to die.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use fleet_events::fault;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;

use super::crew::Doors;
use super::dice::Dice;
use super::process::Program;
use super::verdict::judge;
use super::world::{Acknowledged, Story, World, count};

/// Rounds after the ones in which each fault point has its turn.
const ROUNDS: u64 = 4;
/// Stories that are worked on at once.
const AT_WORK: usize = 6;
/// Stories that are released and not done.
const AT_MOST: usize = 60;
/// A new story so often.
const PACE: Duration = Duration::from_millis(300);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_replicas_lose_nothing_and_do_nothing_twice() {
    let Some(world) = World::given() else { return };
    let dice = Dice::thrown("nemesis");
    let bus = world.applied().await;
    let (mut one, port_one) = world.replica("one", "0s");
    let (mut two, port_two) = world.replica("two", "0s");
    tokio::join!(one.up(), two.up());
    let doors = Doors::to(&[port_one, port_two]);

    let over = AtomicBool::new(false);
    let walking = Semaphore::new(AT_WORK);
    let done = AtomicUsize::new(0);
    let walk = async |number: u64| {
        let story = Story::new(&world.deployment, number);
        story.release(&*bus).await;
        // Whoever fetched the release may be dead; others do not wait for that.
        let (first, _) = &story.tasks[0];
        doors.until(first, "released", |_| true).await;
        let _room = walking.acquire().await.unwrap();
        let walked = story
            .walk(&doors, &dice.fork(1_000 + number), Some(&bus))
            .await;
        done.fetch_add(1, Ordering::Relaxed);
        (story.id, walked)
    };
    let stories = async {
        let mut under_way = FuturesUnordered::new();
        let mut all = Acknowledged::new();
        let mut tick = tokio::time::interval(PACE);
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            tokio::select! {
                _ = tick.tick(), if under_way.len() < AT_MOST => {
                    under_way.push(walk(number));
                    number += 1;
                }
                Some(walked) = under_way.next() => all.extend([walked]),
            }
        }
        all.extend(under_way.collect::<Vec<_>>().await);
        all
    };
    let mut nemesis_dice = dice.fork(0);
    let nemesis = async {
        let replicas = [&mut one, &mut two];
        for (round, point) in (0..).zip(fault::POINTS) {
            kill_at(replicas[round % 2], point, &mut nemesis_dice).await;
        }
        for round in 0..rounds() {
            let victim = usize::from(nemesis_dice.once_in(2));
            if nemesis_dice.once_in(2) {
                let many = u64::try_from(fault::POINTS.len()).unwrap();
                let point = usize::try_from(nemesis_dice.below(many)).unwrap();
                kill_at(replicas[victim], fault::POINTS[point], &mut nemesis_dice).await;
            } else {
                let life = Duration::from_millis(nemesis_dice.below(500));
                tokio::time::sleep(life).await;
                replicas[victim].kill();
                if round % 2 == 0 {
                    // Both at once: for a while nobody is there at all.
                    replicas[1 - victim].kill();
                    replicas[1 - victim].up().await;
                }
                replicas[victim].up().await;
            }
        }
        println!(
            "{} stories were completed meanwhile",
            done.load(Ordering::Relaxed)
        );
        over.store(true, Ordering::Relaxed);
    };
    let (acknowledged, ()) = tokio::join!(stories, nemesis);

    let mut heard = world.heard().await;
    let hops = judge(&doors, &mut heard, &acknowledged, || world.until_consumed()).await;
    world.check_parked(&*bus).await;
    println!(
        "{} stories, {} acknowledged changes, {hops} hops, each said once",
        acknowledged.len(),
        count(&acknowledged)
    );
    for replica in [&mut one, &mut two] {
        replica.stop().await;
        replica.check_log();
    }
    world.close().await;
}

fn rounds() -> u64 {
    match std::env::var("FLEET_TEST_CHAOS_ROUNDS") {
        Ok(rounds) => rounds.parse().expect("FLEET_TEST_CHAOS_ROUNDS is a number"),
        Err(_) => ROUNDS,
    }
}

/// SIGKILL now, then one life that ends by itself at `point`, then a good one. A release
/// build has no such points: there it ends at any moment.
async fn kill_at(replica: &mut Program, point: &str, dice: &mut Dice) {
    let mut nth = 1 + dice.below(3);
    let mut died = cfg!(not(debug_assertions));
    if died {
        tokio::time::sleep(Duration::from_millis(dice.below(500))).await;
        replica.kill();
    }
    // The other replica may take all of the work; then it has to come here first.
    for patience in [10, 60] {
        if died {
            break;
        }
        replica.kill();
        replica.start(Some(&format!("{point}:{nth}")));
        died = replica.died(Duration::from_secs(patience)).await;
        println!(
            "{point}:{nth} {}",
            if died { "killed it" } else { "was not reached" }
        );
        nth = 1;
    }
    assert!(died, "{point} is never reached");
    replica.up().await;
}
