//! The way to a server that shows a certificate of a private authority and asks for a password.

use std::path::Path;
use std::sync::Arc;

use towpath_policy::{Policy, Source, plan};
use towpath_protocol::SecretKey;
use towpath_runtime::SystemClock;
use towpath_servers::{Authority, Postgres};
use towpath_store::{Batch, EventStore};
use towpath_store_postgres::{Config, Metrics, PostgresStore};

const HOST: &str = "localhost";

struct Server {
    postgres: Postgres,
    authority: Authority,
    home: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let authority = Authority::new().expect("an authority");
        let postgres = Postgres::with_tls(&authority, HOST).expect("a server");
        Self { postgres, authority, home: tempfile::tempdir().expect("a folder") }
    }

    /// As an operator writes it: the password is in a file, which ends with a line break.
    fn config(&self, host: &str, query: &str, password: &str) -> Config {
        let file = self.home.path().join("password");
        std::fs::write(&file, format!("{password}\n")).expect("the file is written");
        let url = format!("postgres://{}@{host}:{}/towpath?{query}", Postgres::GUARDED_USER, self.postgres.port());
        Config { password_file: Some(file), readers: Some(1), ..Config::new(url) }
    }

    fn trusting(&self, root: &Path) -> String {
        format!("sslmode=verify-full&sslrootcert={}", root.display())
    }
}

fn open(config: Config) -> Result<PostgresStore, String> {
    PostgresStore::open(config, Arc::new(SystemClock), Metrics::default()).map_err(|error| error.to_string())
}

#[test]
fn the_server_is_known_by_its_authority_and_its_name_and_knows_us_by_the_password_in_a_file() {
    let server = Server::start();
    let trusted = server.trusting(&server.authority.root());
    let stranger = Authority::new().unwrap();
    for (host, query, password, reason) in [
        (HOST, server.trusting(&stranger.root()), Postgres::GUARDED_PASSWORD, "UnknownIssuer"),
        // Without a file, the authorities that browsers trust.
        (HOST, "sslmode=verify-full".into(), Postgres::GUARDED_PASSWORD, "UnknownIssuer"),
        // Every mode with TLS verifies.
        (HOST, "sslmode=require".into(), Postgres::GUARDED_PASSWORD, "UnknownIssuer"),
        ("127.0.0.1", trusted.clone(), Postgres::GUARDED_PASSWORD, "not valid for name"),
        (HOST, trusted.clone(), "guessed", "password authentication failed"),
        (HOST, "sslmode=disable".into(), Postgres::GUARDED_PASSWORD, "no pg_hba.conf entry"),
    ] {
        let refusal = open(server.config(host, &query, password)).err().expect("it is refused");
        assert!(refusal.contains(reason), "{host} {query}: {refusal}");
    }

    let store = open(server.config(HOST, &trusted, Postgres::GUARDED_PASSWORD)).expect("it is trusted and let in");
    let key = SecretKey::from_bytes([1; 32]).unwrap();
    let write = plan(key.sign(1, 1, &[], "", &[0; 32]), Source::Client, &Policy::default());
    let committed = store.commit(Batch::of(vec![write], 1)).expect("the commit succeeds");
    assert_eq!(store.snapshot().expect("the read succeeds"), committed.run.cursor());
}

#[test]
fn a_server_without_tls_is_refused_by_who_asks_for_it() {
    let plain = Postgres::start().unwrap();
    let url = plain.url().replace("sslmode=disable", "sslmode=verify-full");
    let refusal = open(Config::new(url)).err().expect("it is refused");
    assert!(refusal.contains("server does not support TLS"), "{refusal}");
}
