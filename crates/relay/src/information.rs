//! The relay information document (NIP-11): built from the configuration, so that it states what is enforced.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use towpath_protocol::PublicKey;

use crate::config::Config;

/// The NIPs this relay implements on its side of the wire. Those that can be switched off are left out when they are.
pub const SUPPORTED_NIPS: &[u16] = &[1, 9, 11, 13, 40, 42, 45, 59, 62, 67, 70];

const SOFTWARE: &str = "https://github.com/towpath/towpath";

/// The NIPs that are on.
pub(crate) fn supported_nips(config: &Config) -> Vec<u16> {
    let is_on = |nip: &u16| match nip {
        45 => config.protocol.count,
        62 => config.protocol.vanish,
        67 => config.protocol.eose_hints,
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
