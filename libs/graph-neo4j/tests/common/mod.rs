//! The server that the tests use, if there is one.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;

use async_trait::async_trait;
use fleet_graph::{Store, conformance::Place};
use fleet_graph_neo4j::{Neo4j, Settings};

/// A real server.
#[derive(Clone)]
pub struct Server {
    pub uri: String,
    pub user: String,
    pub password: String,
}

impl Server {
    /// The server that the environment names; `None` says why nothing is exercised, or fails
    /// if the environment demands it.
    pub async fn from_env() -> Option<Self> {
        let var = |name: &str| std::env::var(format!("FLEET_TEST_NEO4J_{name}")).ok();
        let uri = fleet_graph::conformance::test_server("neo4j", "FLEET_TEST_NEO4J_URI")?;
        let user = var("USER").unwrap_or_else(|| "neo4j".into());
        Some(Self {
            uri,
            user,
            password: var("PASSWORD").unwrap_or_default(),
        })
    }

    /// Settings for a deployment of its own.
    pub fn settings(&self, deployment: &str) -> Settings {
        let password = self.password.clone().into();
        let mut settings = Settings::new(&self.uri, &self.user, password);
        settings.deployment = deployment.into();
        settings
    }

    /// A handle.
    pub fn store(&self, deployment: &str) -> Neo4j {
        Neo4j::connect(self.settings(deployment)).expect("settings that can work")
    }
}

#[async_trait]
impl Place for Server {
    async fn open(&self, deployment: &str) -> Arc<dyn Store> {
        Arc::new(self.store(deployment))
    }
}
