//! The workflow when processes and servers die under it: what was acknowledged stays, what
//! happened is said once, and nobody waits for ever.
//!
//! Every choice follows from a seed that is printed; `FLEET_TEST_SEED` takes it again.
//! `FLEET_TEST_CHAOS_ROUNDS` lets the nemesis go on for longer.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "tests"
)]
#![allow(missing_docs, reason = "the names of helpers say it")]

mod crew;
mod dice;
mod hangups;
mod nemesis;
mod outages;
mod process;
mod proxy;
mod verdict;
mod world;
