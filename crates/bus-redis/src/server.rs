//! Where Redis is: one server, or whichever Sentinel calls the master.
//!
//! ```text
//! redis://[user[:password]@]host[:port][/db]                       rediss://… with TLS
//! redis+sentinel://[user[:password]@]host:port[,host:port…]/master   rediss+sentinel://… with TLS to all of them
//! …?sslrootcert=FILE                                               certificates of a private authority
//! ```
//! User and password are the server's; Sentinels are asked without. Certificates are always verified.

use std::sync::Arc;
use std::time::Duration;

use redis::{
    Client, Connection, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, RedisError, RedisResult,
    TlsCertificates,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::sentinels::{Address, Sentinels};

/// For each server and each Sentinel that is asked.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Why a URL is none.
#[derive(Debug, Clone)]
pub struct BadUrl(pub String);

impl std::fmt::Display for BadUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the bus's URL: {}", self.0)
    }
}

impl std::error::Error for BadUrl {}

impl From<RedisError> for BadUrl {
    fn from(error: RedisError) -> Self {
        Self(error.to_string())
    }
}

/// See the module.
#[derive(Clone)]
pub struct Server(Kind);

#[derive(Clone)]
enum Kind {
    One(Client),
    Watched(Sentinels),
}

/// Whether TLS is spoken, and whose certificates count.
#[derive(Clone)]
pub(crate) enum Trust {
    Plain,
    /// The authorities that browsers trust.
    Public,
    /// Those in a file in PEM.
    Private(Vec<u8>),
}

impl Server {
    /// From a URL; `password` is used if the URL has none.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, BadUrl> {
        if url.ends_with("#insecure") {
            return Err(BadUrl("a certificate that is not checked protects from nobody".into()));
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (scheme, rest) = base.split_once("://").ok_or_else(|| BadUrl("it has no scheme".into()))?;
        let trust = Trust::of(matches!(scheme, "rediss" | "rediss+sentinel" | "valkeys"), query)?;
        if !matches!(scheme, "redis+sentinel" | "rediss+sentinel") {
            let info = base.into_connection_info()?;
            let login = with_password(info.redis_settings(), password);
            return Ok(Self(Kind::One(trust.client(info.addr().clone(), login)?)));
        }
        let (login, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, master) =
            hosts.split_once('/').ok_or_else(|| BadUrl("name the master behind the sentinels".into()))?;
        let hosts = hosts.split(',').filter(|host| !host.is_empty());
        let sentinels = hosts.map(|host| {
            let (host, port) = host_and_port(host)?;
            Ok(trust.client(trust.addr(host, port), RedisConnectionInfo::default())?)
        });
        let sentinels: Vec<Client> = sentinels.collect::<Result<_, BadUrl>>()?;
        if sentinels.is_empty() || master.is_empty() {
            return Err(BadUrl("name the sentinels and the master".into()));
        }
        // The library knows how a URL spells a password.
        let login =
            with_password(format!("redis://{login}@{master}").into_connection_info()?.redis_settings(), password);
        let (master, named) = (master.to_owned(), Arc::default());
        Ok(Self(Kind::Watched(Sentinels { clients: sentinels, master, login, trust, named })))
    }

    /// Connects, within a bounded time.
    pub fn connect(&self) -> RedisResult<Connection> {
        self.link().map(|link| link.connection)
    }

    /// The same, knowing where to.
    pub(crate) fn link(&self) -> RedisResult<Link> {
        match &self.0 {
            Kind::One(client) => {
                Ok(Link { connection: client.get_connection_with_timeout(CONNECT_TIMEOUT)?, master: None })
            }
            Kind::Watched(sentinels) => {
                let (connection, master) = sentinels.connect()?;
                Ok(Link { connection, master: Some(master) })
            }
        }
    }

    /// Who is to be asked which server it is, if there is more than one.
    pub(crate) fn sentinels(&self) -> Option<&Sentinels> {
        match &self.0 {
            Kind::One(_) => None,
            Kind::Watched(sentinels) => Some(sentinels),
        }
    }

    /// Whether `master`, to which a link leads, is the master no more, as far as is known.
    pub(crate) fn has_left(&self, master: Option<&Address>) -> bool {
        self.sentinels().zip(master).is_some_and(|(sentinels, master)| sentinels.have_left(master))
    }
}

/// A connection, and the master it leads to if Sentinels named one.
pub(crate) struct Link {
    pub(crate) connection: Connection,
    pub(crate) master: Option<Address>,
}

impl Trust {
    fn of(tls: bool, query: &str) -> Result<Self, BadUrl> {
        let mut trust = if tls { Self::Public } else { Self::Plain };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslrootcert", file)) if tls => {
                    let unusable = |error: &dyn std::fmt::Display| BadUrl(format!("sslrootcert {file}: {error}"));
                    let pem = std::fs::read(file).map_err(|error| unusable(&error))?;
                    CertificateDer::from_pem_slice(&pem).map_err(|error| unusable(&error))?;
                    trust = Self::Private(pem);
                }
                Some(("sslrootcert", _)) => return Err(BadUrl("sslrootcert is for TLS: rediss://".into())),
                _ => return Err(BadUrl(format!("{pair} is not known"))),
            }
        }
        Ok(trust)
    }

    pub(crate) fn addr(&self, host: String, port: u16) -> ConnectionAddr {
        match self {
            Self::Plain => ConnectionAddr::Tcp(host, port),
            Self::Public | Self::Private(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        }
    }

    pub(crate) fn client(&self, addr: ConnectionAddr, login: RedisConnectionInfo) -> RedisResult<Client> {
        let info = addr.into_connection_info()?.set_redis_settings(login);
        match self {
            Self::Plain | Self::Public => Client::open(info),
            Self::Private(pem) => {
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem.clone()) })
            }
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), BadUrl> {
    let named = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = named.ok_or_else(|| BadUrl(format!("{text} is not host:port")))?;
    Ok((host.trim_start_matches('[').trim_end_matches(']').to_owned(), port))
}

/// With `password`, if it has none of its own.
fn with_password(login: &RedisConnectionInfo, password: Option<&str>) -> RedisConnectionInfo {
    match password {
        Some(password) if login.password().is_none() => login.clone().set_password(password),
        _ => login.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(url: &str, password: Option<&str>) -> (String, RedisConnectionInfo) {
        let Kind::One(client) = Server::parse(url, password).unwrap().0 else { panic!("{url} is one server") };
        let info = client.get_connection_info();
        (info.addr().to_string(), info.redis_settings().clone())
    }

    fn watched(url: &str) -> (Vec<String>, String, RedisConnectionInfo) {
        let Kind::Watched(sentinels) = Server::parse(url, Some("secret")).unwrap().0 else {
            panic!("{url} names sentinels")
        };
        let hosts = sentinels.clients.iter().map(|sentinel| sentinel.get_connection_info().addr().to_string());
        (hosts.collect(), sentinels.master, sentinels.login)
    }

    #[test]
    fn urls_of_one_server_and_of_sentinels_are_told_apart() {
        assert_eq!(one("redis://127.0.0.1:6380", None).0, "127.0.0.1:6380");
        let (hosts, master, login) = watched("redis+sentinel://me@a:1,[::1]:2/main");
        assert_eq!(hosts, ["a:1", "::1:2"]);
        assert_eq!((master.as_str(), login.username(), login.password()), ("main", Some("me"), Some("secret")));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in [
            "",
            "http://x",
            "redis+sentinel://a:1",
            "redis+sentinel:///main",
            "redis+sentinel://a/main",
            "rediss://h#insecure",
            "redis://h?sslrootcert=x",
            "redis://h?sslmode=x",
        ] {
            assert!(Server::parse(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_from_a_file_is_taken_as_it_is_where_the_url_has_none() {
        for (url, file, expected) in [
            ("redis://h", "p", (None, Some("p"))),
            ("redis://u@h", "a/b@c%41", (Some("u"), Some("a/b@c%41"))),
            ("redis://u:q%41@h", "p", (Some("u"), Some("qA"))),
        ] {
            let (_, login) = one(url, Some(file));
            assert_eq!((login.username(), login.password()), expected, "{url}");
        }
    }

    #[test]
    fn a_certificate_file_that_is_none_is_named() {
        for file in ["/no/such/file.pem", "/dev/null"] {
            let error = Server::parse(&format!("rediss://h?sslrootcert={file}"), None).err().unwrap();
            assert!(error.to_string().contains(file), "{error}");
        }
    }
}
