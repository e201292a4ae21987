//! The suites of both ports.

mod common;

mod graph {
    use std::sync::Arc;

    use fleet_embedded::Embedded;
    use fleet_graph::{Store, conformance::Place};

    struct Directory {
        embedded: Embedded,
        _dir: tempfile::TempDir,
    }

    #[async_trait::async_trait]
    impl Place for Directory {
        async fn open(&self, deployment: &str) -> Arc<dyn Store> {
            self.embedded.store_of(deployment)
        }
    }

    async fn place() -> Option<Directory> {
        let dir = tempfile::tempdir().unwrap();
        Some(Directory {
            embedded: super::common::open(dir.path()),
            _dir: dir,
        })
    }

    fleet_graph::conformance_tests!(place);
}

mod bus {
    use std::sync::Arc;

    use fleet_embedded::Embedded;
    use fleet_events::{Bus, conformance::Place};

    struct Directory {
        embedded: Embedded,
        dir: tempfile::TempDir,
    }

    #[async_trait::async_trait]
    impl Place for Directory {
        fn bus(&self) -> Arc<dyn Bus> {
            self.embedded.bus()
        }

        /// What the case left must be a whole database.
        async fn close(&self) {
            self.embedded.close().await;
            super::common::open(self.dir.path());
        }
    }

    async fn place() -> Option<Directory> {
        let dir = tempfile::tempdir().unwrap();
        Some(Directory {
            embedded: super::common::open(dir.path()),
            dir,
        })
    }

    fleet_events::conformance_tests!(place);
}
