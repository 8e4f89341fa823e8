//! The names of a relay, compared as people write them: scheme, case, default port, path and trailing slash do not matter.

/// A relay's host and port in one comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    authority: String,
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
        let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
        (!authority.is_empty() && !authority.contains('@')).then(|| Self { authority: authority.to_owned() })
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
            "wss://relay.example.com:443/any?x",
            "ws://relay.example.com",
            "https://relay.example.com",
        ] {
            assert_eq!(RelayUrl::parse(same).as_ref(), Some(&one), "{same}");
        }
        for other in
            ["wss://relay.example.com:8080", "wss://relay.example.com.evil.net", "wss://evil.net/relay.example.com"]
        {
            assert_ne!(RelayUrl::parse(other).as_ref(), Some(&one), "{other}");
        }
        for bad in ["", "relay.example.com", "ftp://x", "wss://", "wss://user@relay.example.com"] {
            assert_eq!(RelayUrl::parse(bad), None, "{bad}");
        }
    }
}
