//! The relay information document (NIP-11): built from the configuration, so that it states what is enforced.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use towpath_protocol::PublicKey;

use crate::config::Config;

/// The NIPs this relay implements on its side of the wire. Those that can be switched off are left out when they are.
pub const SUPPORTED_NIPS: &[u16] = &[1, 9, 11, 13, 40, 42, 45, 59, 62, 67, 70, 98];

const SOFTWARE: &str = "https://github.com/towpath/towpath";

/// The NIPs that are on.
pub(crate) fn supported_nips(config: &Config) -> Vec<u16> {
    let is_on = |nip: &u16| match nip {
        45 => config.protocol.count,
        62 => config.protocol.vanish,
        67 => config.protocol.eose_hints,
        98 => config.audit.enabled,
        _ => true,
    };
    SUPPORTED_NIPS.iter().copied().filter(is_on).collect()
}

/// The document.
pub(crate) fn document(config: &Config, own_key: &PublicKey) -> Bytes {
    let mut document = Map::new();
    let about = &config.relay;
    document.insert("name".into(), about.name.clone().into());
    let mut optional = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            document.insert(key.into(), value.into());
        }
    };
    optional("description", about.description.clone());
    optional("banner", about.banner.clone());
    optional("icon", about.icon.clone());
    optional("pubkey", about.pubkey.map(|key| key.to_hex()));
    optional("contact", about.contact.clone());
    optional("terms_of_service", about.terms_of_service.clone());
    document.insert("self".into(), own_key.to_hex().into());
    document.insert("supported_nips".into(), supported_nips(config).into());
    document.insert("software".into(), SOFTWARE.into());
    document.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    document.insert("limitation".into(), limitation(config));
    Value::Object(document).to_string().into()
}

fn limitation(config: &Config) -> Value {
    let limits = &config.limits;
    let mut limitation = json!({
        "max_message_length": limits.message_bytes_max,
        "max_subscriptions": limits.subscriptions_max,
        "max_limit": limits.limit_max,
        "default_limit": limits.limit_default,
        "max_subid_length": limits.subid_chars_max,
        "max_event_tags": limits.event_tags_max,
        "max_content_length": limits.content_chars_max,
        "min_pow_difficulty": limits.pow_bits_min,
        "auth_required": config.auth.to_write && config.auth.to_read,
        "payment_required": false,
        "restricted_writes": config.auth.to_write || limits.pow_bits_min > 0,
        "created_at_upper_limit": limits.created_at_ahead_max.as_secs(),
    });
    if let Some(behind) = limits.created_at_behind_max {
        limitation["created_at_lower_limit"] = behind.as_secs().into();
    }
    limitation
}

#[cfg(test)]
mod tests {
    use towpath_protocol::SecretKey;

    use super::*;
    use crate::config::{Sources, resolve};

    fn config(text: &str) -> Config {
        resolve(&Sources::default().text("towpath.toml", text)).unwrap_or_else(|problems| panic!("{problems}")).config
    }

    fn own_key() -> PublicKey {
        SecretKey::from_bytes([7; 32]).unwrap().public_key()
    }

    fn of(text: &str) -> Value {
        serde_json::from_slice(&document(&config(text), &own_key())).unwrap()
    }

    #[test]
    fn it_states_the_limits_that_are_configured() {
        let configured = of("[limits]\n\
             message_bytes_max = 70_001\n\
             subscriptions_max = 11\n\
             limit_max = 902\n\
             limit_default = 103\n\
             subid_chars_max = 34\n\
             event_tags_max = 205\n\
             content_chars_max = 60_006\n\
             pow_bits_min = 17\n\
             created_at_ahead_max_s = 308\n\
             created_at_behind_max_s = 86_409\n");
        let expected = json!({
            "max_message_length": 70_001,
            "max_subscriptions": 11,
            "max_limit": 902,
            "default_limit": 103,
            "max_subid_length": 34,
            "max_event_tags": 205,
            "max_content_length": 60_006,
            "min_pow_difficulty": 17,
            "auth_required": false,
            "payment_required": false,
            "restricted_writes": true,
            "created_at_upper_limit": 308,
            "created_at_lower_limit": 86_409,
        });
        assert_eq!(configured["limitation"], expected);
    }

    #[test]
    fn it_states_no_limit_that_there_is_not() {
        let limitation = &of("")["limitation"];
        assert_eq!(limitation.get("created_at_lower_limit"), None, "events of any age are taken");
        assert_eq!(limitation["restricted_writes"], false);
    }

    #[test]
    fn it_asks_for_authentication_where_nothing_goes_without() {
        for (text, auth_required, restricted_writes) in [
            ("", false, false),
            ("auth.to_read = true", false, false),
            ("auth.to_write = true", false, true),
            ("auth.to_write = true\nauth.to_read = true", true, true),
        ] {
            let limitation = &of(text)["limitation"];
            assert_eq!(limitation["auth_required"], auth_required, "{text}");
            assert_eq!(limitation["restricted_writes"], restricted_writes, "{text}");
        }
    }

    #[test]
    fn nips_that_are_switched_off_are_left_out() {
        assert_eq!(of("")["supported_nips"], json!(SUPPORTED_NIPS));
        for (text, off) in [
            ("protocol.count = false", &[45][..]),
            ("protocol.vanish = false", &[62]),
            ("protocol.eose_hints = false", &[67]),
            ("audit.enabled = false", &[98]),
            ("protocol.count = false\nprotocol.vanish = false\nprotocol.eose_hints = false", &[45, 62, 67]),
        ] {
            let on: Vec<u16> = SUPPORTED_NIPS.iter().copied().filter(|nip| !off.contains(nip)).collect();
            assert_eq!(of(text)["supported_nips"], json!(on), "{text}");
        }
    }

    #[test]
    fn the_relay_says_who_it_is_and_leaves_out_what_nobody_filled_in() {
        let keys = |document: &Value| document.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        let plain = of("");
        let always = ["limitation", "name", "self", "software", "supported_nips", "version"];
        assert_eq!(keys(&plain), always);
        assert_eq!(plain["self"], own_key().to_hex());
        assert_eq!(plain["version"], env!("CARGO_PKG_VERSION"));

        let operator = SecretKey::from_bytes([8; 32]).unwrap().public_key().to_hex();
        let full = of(&format!(
            "[relay]\nname = \"A \\\"quoted\\\" name\"\ndescription = \"what\"\nbanner = \"https://b.example.com\"\n\
             icon = \"https://i.example.com\"\npubkey = \"{operator}\"\ncontact = \"mailto:x@example.com\"\n\
             terms_of_service = \"https://t.example.com\"\n"
        ));
        for (key, value) in [
            ("name", "A \"quoted\" name"),
            ("description", "what"),
            ("banner", "https://b.example.com"),
            ("icon", "https://i.example.com"),
            ("pubkey", &operator),
            ("contact", "mailto:x@example.com"),
            ("terms_of_service", "https://t.example.com"),
        ] {
            assert_eq!(full[key], value, "{key}");
        }
    }
}
