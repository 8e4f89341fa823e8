//! The page a browser gets: what this is, what it speaks, how to connect.

use bytes::Bytes;

use crate::config::Config;
use crate::information::supported_nips;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem;color:#1a2b2b;\
background:#fbfbf8}h1{margin-bottom:.2rem}code{background:#eef1ec;padding:.1rem .3rem;border-radius:.2rem}\
table{border-collapse:collapse}td{padding:.15rem 1rem .15rem 0}";

/// The page. `address` is where clients connect.
pub(crate) fn page(config: &Config, address: &str) -> Bytes {
    let name = escape(&config.relay.name);
    let about = escape(config.relay.description.as_deref().unwrap_or("A Nostr relay."));
    let address = escape(address);
    let nips: Vec<String> = supported_nips(config).iter().map(|nip| format!("{nip:02}")).collect();
    let limits = &config.limits;
    let rows: String = [
        ("Message", format!("{} bytes", limits.message_bytes_max)),
        ("Subscriptions per connection", limits.subscriptions_max.to_string()),
        ("Filters per request", limits.filters_max.to_string()),
        ("Stored events per filter", format!("{} (default {})", limits.limit_max, limits.limit_default)),
    ]
    .iter()
    .map(|(what, value)| format!("<tr><td>{what}</td><td>{value}</td></tr>"))
    .collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{name}</title><style>{STYLE}</style></head><body><h1>{name}</h1><p>{about}</p>\
         <p>Point a Nostr client at <code>{address}</code>.</p>\
         <h2>Speaks</h2><p>NIP-{}</p><h2>Limits</h2><table>{rows}</table>\
         <p>Towpath {}</p></body></html>\n",
        nips.join(", "),
        env!("CARGO_PKG_VERSION"),
    )
    .into()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Relay;

    fn text(config: &Config, address: &str) -> String {
        String::from_utf8(page(config, address).to_vec()).unwrap()
    }

    #[test]
    fn what_the_operator_wrote_is_text_and_never_markup() {
        let hostile = "<script>alert(\"a & b\")</script>";
        let escaped = "&lt;script&gt;alert(&quot;a &amp; b&quot;)&lt;/script&gt;";
        let named = Relay { name: hostile.into(), ..Relay::default() };
        let described = Relay { description: Some(hostile.into()), ..Relay::default() };
        for (relay, address, times) in
            [(named, "wss://x", 2), (described, "wss://x", 1), (Relay::default(), hostile, 1)]
        {
            let page = text(&Config { relay, ..Config::default() }, address);
            assert!(!page.contains("<script"), "{page}");
            assert_eq!(page.matches(escaped).count(), times, "{page}");
        }
    }

    #[test]
    fn it_tells_where_to_connect_what_is_spoken_and_the_limits() {
        let mut config = Config::default();
        config.relay.name = "Lock 7".into();
        config.limits.message_bytes_max = 70_001;
        let page = text(&config, "wss://relay.example.com");
        for part in [
            "<title>Lock 7</title>",
            "<h1>Lock 7</h1>",
            "A Nostr relay.",
            "<code>wss://relay.example.com</code>",
            "NIP-01, 09, 11,",
            ", 45,",
            "<td>70001 bytes</td>",
            "<td>5000 (default 500)</td>",
        ] {
            assert!(page.contains(part), "{part:?} is in {page}");
        }
        config.protocol.count = false;
        assert!(!text(&config, "").contains(", 45"), "a NIP that is switched off is not spoken");
    }
}
