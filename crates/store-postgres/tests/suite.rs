//! The contract of the store port, on PostgreSQL. `TEST_POSTGRES_URL` names a server where schemas may be made;
//! `cargo xtask test` starts one. With `TEST_POSTGRES_POOLER=true` it names a PgBouncer in transaction mode.

use std::sync::Arc;
use std::time::Duration;

use towpath_runtime::SystemClock;
use towpath_store::suite::Fixture;
use towpath_store::{EventStore, store_suite};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

/// A schema of its own, dropped at the end.
struct Postgres {
    config: Config,
    store: Option<PostgresStore>,
}

#[expect(clippy::disallowed_methods, reason = "a test's own setting, no part of the configuration")]
fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn url() -> String {
    setting("TEST_POSTGRES_URL").expect("TEST_POSTGRES_URL names a server; `cargo xtask test` starts one")
}

fn open(config: &Config) -> PostgresStore {
    PostgresStore::open(config.clone(), Arc::new(SystemClock), Metrics::default()).expect("the database opens")
}

impl Fixture for Postgres {
    fn open() -> Self {
        let schema = format!("test_{:032x}", rand::random::<u128>());
        let pooler = setting("TEST_POSTGRES_POOLER").is_some_and(|pooler| pooler == "true");
        let config = Config { schema, readers: Some(2), lease: Duration::from_secs(60), pooler, ..Config::new(url()) };
        let store = Some(open(&config));
        Self { config, store }
    }

    fn store(&self) -> &dyn EventStore {
        self.store.as_ref().expect("it is open")
    }

    fn reopen(&mut self) -> bool {
        self.store = None;
        self.store = Some(open(&self.config));
        true
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.store = None;
        let client = postgres::Client::connect(&url(), postgres::NoTls);
        let sql = format!("drop schema if exists {} cascade", self.config.schema);
        client.expect("the server answers").batch_execute(&sql).expect("the schema is dropped");
    }
}

store_suite!(Postgres);
