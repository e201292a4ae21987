//! The domain without anything round it.
#![allow(clippy::unwrap_used, reason = "part of tests only")]

mod cases;
mod generated;
mod purity;
mod world;
