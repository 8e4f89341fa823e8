//! Connections: the URL, TLS, what is set on each, and how failures are named.
//!
//! Must not know: tables.

use std::sync::Arc;
use std::time::Duration;

use postgres::config::{SslMode, TargetSessionAttrs};
use postgres::error::SqlState;
use postgres::{Client, NoTls};
use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;
use towpath_store::Error;

use crate::Config;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A server that vanished without a word is noticed after this, if it left something unacknowledged.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(10);
/// And if it did not, but owes an answer: the silence before it is asked, between two questions, and how many of them.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_RETRIES: u32 = 3;

/// Raised by the store's functions when a stream is not the caller's any more.
pub(crate) const NOT_OURS: &str = "TP001";

/// Makes connections alike.
pub(crate) struct Connector {
    config: postgres::Config,
    tls: Option<MakeRustlsConnect>,
}

impl Connector {
    /// To the server at `url`, if it takes writes where they are `wanted`: an address may lead to a standby while a failover is under way.
    pub(crate) fn new(settings: &Config, url: &str, wanted: TargetSessionAttrs) -> Result<Self, Error> {
        let url = Url::parse(url)?;
        let mut config: postgres::Config = url.rest.parse().map_err(|error| refused("read store.url", &error))?;
        if let Some(path) = &settings.password_file {
            let password = std::fs::read_to_string(path).map_err(|e| Error::io("read postgres.password_file", e))?;
            config.password(password.trim_end_matches(['\r', '\n']));
        }
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(TCP_USER_TIMEOUT).ssl_mode(url.ssl_mode);
        config.keepalives_idle(KEEPALIVE_IDLE).keepalives_interval(KEEPALIVE_INTERVAL);
        config.keepalives_retries(KEEPALIVE_RETRIES);
        if wanted != TargetSessionAttrs::Any {
            config.target_session_attrs(wanted);
        }
        config.application_name(&format!("towpath {}", settings.pod));
        if !settings.pooler {
            // Every statement has an index to go by, and the plan for all parameters goes by that: one for a limit of a few goes by time
            // in a part of few kinds, through all of it if there is none of the kind. A plan made while a part was empty must not read it
            // from end to end once it is full. A commit decides on what it sees once it has its locks.
            let ms = settings.statement_timeout.as_millis();
            config.options(&format!(
                "-c statement_timeout={ms} -c lock_timeout={ms} -c idle_in_transaction_session_timeout={ms} \
                 -c default_transaction_isolation=read\\ committed \
                 -c jit=off -c enable_seqscan=off -c plan_cache_mode=force_generic_plan -c client_min_messages=warning"
            ));
        }
        let tls = match url.ssl_mode {
            SslMode::Disable => None,
            _ => Some(MakeRustlsConnect::new(tls(url.root_cert.as_deref())?)),
        };
        Ok(Self { config, tls })
    }

    pub(crate) fn connect(&self) -> Result<Client, Error> {
        let client = match &self.tls {
            None => self.config.connect(NoTls),
            Some(tls) => self.config.connect(tls.clone()),
        };
        client.map_err(|error| unavailable("connect to the database", &error))
    }
}

/// Refuses a server that would break what a commit promises by what is set for us, which is easily forgotten; whether it waits for its
/// disk, which is decided for all that is on it.
pub(crate) fn check_settings(client: &mut Client) -> Result<bool, Error> {
    const SETTINGS: &str = "select current_setting('default_transaction_isolation'), current_setting('synchronous_commit'), \
                            current_setting('fsync'), current_setting('synchronous_standby_names')";
    let row = client.query_one(SETTINGS, &[]).map_err(|error| refused("look at the database's settings", &error))?;
    let [isolation, commit, fsync, standbys]: [&str; 4] = [row.get(0), row.get(1), row.get(2), row.get(3)];
    let wrong = match (isolation, commit) {
        ("read committed", "off") => Some(("synchronous_commit", "off", "on")),
        // The server's own disk alone is not what the standbys are for.
        ("read committed", "local") if !standbys.is_empty() => Some(("synchronous_commit", "local", "on")),
        ("read committed", _) => None,
        _ => Some(("default_transaction_isolation", isolation, "read committed")),
    };
    if let Some((name, value, right)) = wrong {
        return Err(Error::Unavailable(format!(
            "the database has {name} = '{value}' for this role, so that no OK would be sure: \
             alter role … set {name} = '{right}'"
        )));
    }
    if fsync == "off" {
        tracing::warn!("the database has fsync = off: a power failure loses what was acknowledged, and perhaps all");
    }
    Ok(fsync != "off")
}

/// What libpq understands in a URL and the driver does not.
struct Url {
    rest: String,
    ssl_mode: SslMode,
    root_cert: Option<String>,
}

impl Url {
    fn parse(url: &str) -> Result<Self, Error> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut ssl_mode, mut root_cert, mut others) = (SslMode::Prefer, None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("sslmode", "disable") => ssl_mode = SslMode::Disable,
                ("sslmode", "allow" | "prefer") => ssl_mode = SslMode::Prefer,
                // A certificate that is not looked at protects from nobody: every mode with TLS verifies.
                ("sslmode", "require" | "verify-ca" | "verify-full") => ssl_mode = SslMode::Require,
                ("sslmode", other) => {
                    return Err(Error::Unavailable(format!("store.url: no sslmode is called {other}")));
                }
                ("sslrootcert", path) => root_cert = Some(path.to_owned()),
                _ => others.push(pair),
            }
        }
        let rest = if others.is_empty() { base.to_owned() } else { format!("{base}?{}", others.join("&")) };
        Ok(Self { rest, ssl_mode, root_cert })
    }
}

fn tls(root_cert: Option<&str>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    match root_cert {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path);
            let unusable = |error: &dyn std::fmt::Display| Error::Unavailable(format!("sslrootcert {path}: {error}"));
            for certificate in certificates.map_err(|error| unusable(&error))? {
                roots.add(certificate.map_err(|error| unusable(&error))?).map_err(|error| unusable(&error))?;
            }
        }
    }
    let versions =
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| Error::Unavailable(error.to_string()))?;
    Ok(versions.with_root_certificates(roots).with_no_client_auth())
}

/// Names a failure. The server's own words are in it; they are for the log, not for clients.
pub(crate) fn unavailable(context: &'static str, error: &postgres::Error) -> Error {
    if error.code() == Some(&SqlState::DISK_FULL) {
        return Error::Full;
    }
    refused(context, error)
}

fn refused(context: &'static str, error: &postgres::Error) -> Error {
    use std::error::Error as _;
    let server = error.as_db_error().map(|db| format!("{} ({})", db.message(), db.code().code()));
    let cause = server.or_else(|| error.source().map(ToString::to_string)).unwrap_or_else(|| error.to_string());
    Error::Unavailable(format!("{context}: {cause}"))
}

/// Whether the server may have done what was asked without our knowing, or is none to ask any more.
pub(crate) fn is_lost(error: &postgres::Error) -> bool {
    match error.code() {
        None => true,
        Some(code) => {
            code.code().starts_with("08")
                || code.code().starts_with("57P")
                || *code == SqlState::READ_ONLY_SQL_TRANSACTION
        }
    }
}

const CONFLICTS: [SqlState; 4] = [
    SqlState::T_R_DEADLOCK_DETECTED,
    SqlState::T_R_SERIALIZATION_FAILURE,
    SqlState::UNIQUE_VIOLATION,
    SqlState::DUPLICATE_TABLE,
];

/// Whether the same may succeed at another try: somebody else was in the way.
pub(crate) fn is_conflict(error: &postgres::Error) -> bool {
    matches!(error.code(), Some(code) if CONFLICTS.contains(code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libpq_calls_the_modes_is_understood_and_the_rest_is_left_to_the_driver() {
        let url = Url::parse("postgres://u@h/d?sslmode=verify-full&keepalives=1&sslrootcert=/ca.pem").unwrap();
        assert_eq!((url.rest.as_str(), url.ssl_mode), ("postgres://u@h/d?keepalives=1", SslMode::Require));
        assert_eq!(url.root_cert.as_deref(), Some("/ca.pem"));
        assert_eq!(Url::parse("postgres://u@h/d").unwrap().ssl_mode, SslMode::Prefer);
        assert!(Url::parse("postgres://u@h/d?sslmode=verify").is_err());
    }

    /// The driver's own is two hours.
    #[test]
    fn a_server_that_vanished_while_it_owes_an_answer_is_noticed_about_as_soon_as_one_that_did_not_get_the_question() {
        let config = Config::new("postgres://u@h/d");
        let config = Connector::new(&config, &config.url, TargetSessionAttrs::Any).unwrap().config;
        let (interval, retries) = (config.get_keepalives_interval().unwrap(), config.get_keepalives_retries().unwrap());
        assert!(config.get_keepalives() && config.get_keepalives_idle() + interval * retries <= 2 * TCP_USER_TIMEOUT);
    }

    #[test]
    fn a_certificate_file_that_is_none_is_named() {
        let config = Config::new("postgres://u@h/d?sslmode=verify-full&sslrootcert=/no/such/file.pem");
        let error = Connector::new(&config, &config.url, TargetSessionAttrs::Any).err().unwrap();
        assert!(error.to_string().contains("/no/such/file.pem"), "{error}");
    }
}
