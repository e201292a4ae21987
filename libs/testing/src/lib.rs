//! What the tests of several services stand on: one set of backends for a test, embedded or on
//! real servers, and processes on them.
//!
//! Only tests are built on this; it fails as a test fails, by a panic that says what happened.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "only tests are built on this, and a test fails by it"
)]

mod gone;
mod place;
mod process;

pub use gone::Gone;
pub use place::{Place, pulled_plug};
pub use process::{PATIENCE, eventually, process, ready, serve, soon, stop};

/// Runs the same tests on every backend that there is: `async fn(&World)`, each named once.
/// The world has `embedded()`, `real()`, which gives `None` where there are no servers, and an
/// async `close()`.
#[macro_export]
macro_rules! on_every_backend {
    ($world:ty: $($name:ident),+ $(,)?) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let world = <$world>::embedded();
                super::$name(&world).await;
                world.close().await;
            })+
        }

        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(world) = <$world>::real() {
                    super::$name(&world).await;
                    world.close().await;
                }
            })+
        }
    };
}
