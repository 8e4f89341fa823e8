//! Where Redis is: one server, or whichever Sentinel calls the master.
//!
//! ```text
//! redis://[user[:password]@]host[:port][/db]              rediss://… with TLS; #insecure is not accepted
//! redis+sentinel://[user[:password]@]host:port[,host:port…]/master
//! ```

use std::time::Duration;

use redis::sentinel::Sentinel;
use redis::{Client, Connection, ConnectionInfo, IntoConnectionInfo, RedisResult};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const SENTINEL: &str = "redis+sentinel://";

/// Why a URL is none.
#[derive(Debug, Clone)]
pub struct BadUrl(pub String);

impl std::fmt::Display for BadUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the bus's URL: {}", self.0)
    }
}

impl std::error::Error for BadUrl {}

/// See the module.
#[derive(Clone)]
pub struct Server(Kind);

#[derive(Clone)]
enum Kind {
    One(ConnectionInfo),
    /// The sentinels, the credentials for the master, and its name.
    Watched {
        sentinels: Vec<String>,
        login: String,
        master: String,
    },
}

impl Server {
    /// From a URL; `password` is used if the URL has none.
    pub fn parse(url: &str, password: Option<&str>) -> Result<Self, BadUrl> {
        let Some(rest) = url.strip_prefix(SENTINEL) else {
            let url = with_password(url, password);
            if url.ends_with("#insecure") {
                return Err(BadUrl("a certificate that is not checked protects from nobody".into()));
            }
            return url
                .as_str()
                .into_connection_info()
                .map(Kind::One)
                .map(Self)
                .map_err(|error| BadUrl(error.to_string()));
        };
        let (login, hosts) = rest.rsplit_once('@').unwrap_or(("", rest));
        let (hosts, master) =
            hosts.split_once('/').ok_or_else(|| BadUrl("name the master behind the sentinels".into()))?;
        let sentinels: Vec<String> =
            hosts.split(',').filter(|host| !host.is_empty()).map(|host| format!("redis://{host}")).collect();
        if sentinels.is_empty() || master.is_empty() {
            return Err(BadUrl("name the sentinels and the master".into()));
        }
        let login = match (login, password) {
            ("", Some(password)) => format!(":{password}"),
            (login, Some(password)) if !login.contains(':') => format!("{login}:{password}"),
            (login, _) => login.to_owned(),
        };
        Ok(Self(Kind::Watched { sentinels, login, master: master.to_owned() }))
    }

    /// Connects, within a bounded time.
    pub fn connect(&self) -> RedisResult<Connection> {
        match &self.0 {
            Kind::One(info) => Client::open(info.clone())?.get_connection_with_timeout(CONNECT_TIMEOUT),
            Kind::Watched { sentinels, login, master } => {
                let mut sentinel = Sentinel::build(sentinels.iter().map(String::as_str).collect())?;
                let found = sentinel.master_for(master, None)?;
                let address = found.get_connection_info().addr().to_string();
                let url =
                    if login.is_empty() { format!("redis://{address}") } else { format!("redis://{login}@{address}") };
                Client::open(url)?.get_connection_with_timeout(CONNECT_TIMEOUT)
            }
        }
    }
}

/// The URL with `password`, if it has a place for one and none is there.
fn with_password(url: &str, password: Option<&str>) -> String {
    let (Some(password), Some((scheme, rest))) = (password, url.split_once("://")) else { return url.to_owned() };
    match rest.rsplit_once('@') {
        None => format!("{scheme}://:{password}@{rest}"),
        Some((user, host)) if !user.contains(':') => format!("{scheme}://{user}:{password}@{host}"),
        Some(_) => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_one_server_and_of_sentinels_are_told_apart() {
        assert!(matches!(Server::parse("redis://127.0.0.1:6379", None).unwrap().0, Kind::One(_)));
        let watched = Server::parse("redis+sentinel://me@a:1,b:2/main", Some("secret")).unwrap().0;
        let Kind::Watched { sentinels, login, master } = watched else { panic!("sentinels are named") };
        assert_eq!(sentinels, ["redis://a:1", "redis://b:2"]);
        assert_eq!((login.as_str(), master.as_str()), ("me:secret", "main"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for bad in ["", "http://x", "redis+sentinel://a:1", "redis+sentinel:///main", "rediss://h#insecure"] {
            assert!(Server::parse(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_password_from_a_file_goes_where_none_is() {
        assert_eq!(with_password("redis://h", Some("p")), "redis://:p@h");
        assert_eq!(with_password("redis://u@h", Some("p")), "redis://u:p@h");
        assert_eq!(with_password("redis://u:q@h", Some("p")), "redis://u:q@h");
    }
}
