//! The suite of the commit port, against a real server.

mod common;

fleet_graph::conformance_tests!(common::Server::from_env);
