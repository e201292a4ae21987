//! The suite of the cache port, against a real server.

mod common;

fleet_cache::conformance_tests!(common::Shared::from_env);
