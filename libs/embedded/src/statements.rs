//! Every statement goes through one place, so that tests can see how each is carried out.

use rusqlite::{CachedStatement, Connection, config::DbConfig};

/// Prepared once for each connection.
pub(crate) trait Cached {
    /// The statement of this text.
    fn cached(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>>;
}

/// Lets the plan of a statement depend on its text alone. Without it, the engine compares each
/// value with the conditions of partial indexes and prepares the statement again for the next
/// value, which costs several times what a read by key does.
pub(crate) fn keep_plans(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

impl Cached for Connection {
    fn cached(&self, sql: &str) -> rusqlite::Result<CachedStatement<'_>> {
        #[cfg(test)]
        plans::check(self, sql);
        self.prepare_cached(sql)
    }
}

/// The suites of both ports run once more inside the crate, where each statement shows its
/// plan before it runs for the first time: a scan of a table or a sort ends the test.
#[cfg(test)]
mod plans {
    use std::{
        collections::BTreeSet,
        sync::{Arc, Mutex, PoisonError},
        time::Instant,
    };

    use fleet_graph::Store;
    use fleet_types::{Clock, Timestamp};
    use rusqlite::Connection;

    use crate::{Embedded, Options, ledger::Table};

    static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

    pub(super) fn check(conn: &Connection, sql: &str) {
        if !SEEN
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(sql.to_owned())
        {
            return;
        }
        let control = ["BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE"];
        if control.iter().any(|word| sql.starts_with(word)) {
            return;
        }
        let plan = plan(conn, sql);
        if let Some(step) = plan.iter().find(|step| is_bad(step, sql)) {
            // The writing thread turns a panic into a refusal; this is seen all the same.
            eprintln!("BAD PLAN {step:?} of {sql}\n{plan:#?}");
            panic!("{step} in {sql}");
        }
    }

    fn plan(conn: &Connection, sql: &str) -> Vec<String> {
        let mut statement = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let mut rows = statement.raw_query();
        let mut steps = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            steps.push(row.get(3).unwrap());
        }
        steps
    }

    fn is_bad(step: &str, sql: &str) -> bool {
        if step.contains("TEMP B-TREE") {
            return true;
        }
        let scans = |table: &str| step.split_whitespace().take(2).eq(["SCAN", table]);
        let table = Table::ALL.iter().any(|table| scans(table.name()));
        // A listing without filters is the whole of its own index, a page at a time.
        let page = step.contains("USING INDEX list_") && sql.contains("LIMIT");
        table && !page
    }

    #[test]
    fn a_scan_is_seen() {
        let conn = Connection::open_in_memory().unwrap();
        crate::schema::create(&conn).unwrap();
        for bad in [
            "SELECT * FROM nodes WHERE version = 1",
            "SELECT * FROM nodes WHERE label = 'Story' ORDER BY version",
            "SELECT * FROM outbox WHERE published IS NULL AND committed < 1",
        ] {
            assert!(
                plan(&conn, bad).iter().any(|step| is_bad(step, bad)),
                "{bad}"
            );
        }
        for (at, &index) in fleet_graph::Index::ALL.iter().enumerate() {
            let values = vec!["x".into(); index.filters().len()];
            let mut scan = fleet_graph::Scan::new(index, values, 10);
            for (after, before, descending) in [
                (false, false, false),
                (true, false, false),
                (false, true, true),
                (true, true, true),
            ] {
                scan.after = after.then(|| "a".to_owned());
                scan.before = before.then(|| "z".to_owned());
                scan.descending = descending;
                check(&conn, &crate::graph::page_sql(&scan));
            }
            if !index.filters().is_empty() {
                check(&conn, &crate::graph::count_sql(index));
            }
            let name = crate::listings::name(index);
            let steps = plan(&conn, &crate::graph::page_sql(&scan));
            assert!(
                steps.iter().any(|step| step.contains(&name)),
                "{at} {steps:?}"
            );
        }
    }

    #[test]
    fn what_is_reached_is_found_by_an_index() {
        let conn = Connection::open_in_memory().unwrap();
        crate::schema::create(&conn).unwrap();
        for &index in fleet_graph::SearchIndex::ALL {
            let sql = crate::search::match_sql(index);
            check(&conn, &sql);
            let steps = plan(&conn, &sql);
            // The words first (by them, not one by one), then the nodes they lead to.
            assert!(steps[0].contains("VIRTUAL TABLE INDEX 0:M"), "{steps:?}");
            assert!(steps[1].starts_with("SEARCH nodes"), "{steps:?}");
        }
    }

    #[derive(Debug)]
    struct TestClock(Instant);

    impl Clock for TestClock {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_762_603_200_000).plus(self.0.elapsed())
        }
    }

    struct Place {
        embedded: Embedded,
        dir: tempfile::TempDir,
    }

    async fn place() -> Option<Place> {
        let dir = tempfile::tempdir().unwrap();
        let options = Options::new(Arc::new(TestClock(Instant::now())));
        Some(Place {
            embedded: Embedded::open(dir.path(), options).unwrap(),
            dir,
        })
    }

    #[async_trait::async_trait]
    impl fleet_graph::conformance::Place for Place {
        async fn open(&self, deployment: &str) -> Arc<dyn Store> {
            self.embedded.store_of(deployment)
        }
    }

    #[async_trait::async_trait]
    impl fleet_events::conformance::Place for Place {
        fn bus(&self) -> Arc<dyn fleet_events::Bus> {
            self.embedded.bus()
        }

        /// What the case left must be a whole database.
        async fn close(&self) {
            self.embedded.close().await;
            let options = Options::new(Arc::new(TestClock(Instant::now())));
            Embedded::open(self.dir.path(), options).unwrap();
        }
    }

    mod graph {
        fleet_graph::conformance_tests!(super::place);
    }

    mod bus {
        fleet_events::conformance_tests!(super::place);
    }
}
