//! The names of a relay, compared as people write them: scheme, case, default port, trailing slash and query do not matter.

/// A relay's host, port and path in one comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    authority: String,
    path: String,
}

impl RelayUrl {
    /// From `ws://`, `wss://`, `http://` or `https://` and a host; `None` for anything else.
    pub fn parse(url: &str) -> Option<Self> {
        let (scheme, rest) = url.trim().split_once("://")?;
        let default_port = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => ":80",
            "wss" | "https" => ":443",
            _ => return None,
        };
        let place = rest.split(['?', '#']).next()?;
        let (authority, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let authority = authority.to_ascii_lowercase();
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
        let path = path.trim_end_matches('/').to_owned();
        (!authority.is_empty() && !authority.contains('@')).then(|| Self { authority: authority.to_owned(), path })
    }

    /// Whether both are of one host and port, where several relays may be.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.authority == other.authority
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_does_not_matter() {
        let one = RelayUrl::parse("wss://relay.example.com").unwrap();
        for same in [
            "WSS://Relay.Example.COM/",
            "wss://relay.example.com:443//?x=/y#z",
            "ws://relay.example.com",
            "https://relay.example.com",
        ] {
            assert_eq!(RelayUrl::parse(same).as_ref(), Some(&one), "{same}");
        }
        for (other, is_beside) in [
            ("wss://relay.example.com:8080", false),
            ("wss://relay.example.com.evil.net", false),
            ("wss://evil.net/relay.example.com", false),
            ("wss://relay.example.com/inbox", true),
            ("wss://relay.example.com/inbox/?x", true),
        ] {
            let other = RelayUrl::parse(other).unwrap();
            assert_ne!(other, one);
            assert_eq!(other.is_beside(&one), is_beside, "{other:?}");
        }
        assert_eq!(RelayUrl::parse("wss://x/Inbox"), RelayUrl::parse("WSS://X:443/Inbox/"));
        assert_ne!(RelayUrl::parse("wss://x/Inbox"), RelayUrl::parse("wss://x/inbox"));
        for bad in ["", "relay.example.com", "ftp://x", "wss://", "wss://user@relay.example.com"] {
            assert_eq!(RelayUrl::parse(bad), None, "{bad}");
        }
    }
}
