//! What the relay tells people and clients about itself.

use std::path::PathBuf;

use towpath_protocol::PublicKey;

use crate::config::codec::{Optional, OptionalFile, OptionalKey, Prose, RelayUrl, Text, WebUrl};
use crate::config::setting::{Section, setting};

/// `[relay]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Relay {
    pub name: String,
    pub description: Option<String>,
    pub contact: Option<String>,
    pub pubkey: Option<PublicKey>,
    pub banner: Option<String>,
    pub icon: Option<String>,
    pub terms_of_service: Option<String>,
    pub url: Option<String>,
    pub key_file: Option<PathBuf>,
}

impl Default for Relay {
    fn default() -> Self {
        Self {
            name: "Towpath".to_owned(),
            description: None,
            contact: None,
            pubkey: None,
            banner: None,
            icon: None,
            terms_of_service: None,
            url: None,
            key_file: None,
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "relay",
    what: "What the relay tells people and clients about itself (NIP-11).",
    settings: &[
        setting!(
            relay.name,
            Text<100>,
            "name",
            Live,
            "The name clients show for this relay.",
            "The name of the software, until you give your relay its own.",
        ),
        setting!(
            relay.description,
            Optional<Prose>,
            "description",
            Live,
            "A few sentences on who the relay is for and what belongs on it. \"\" leaves it out.",
            "Only you know it.",
        ),
        setting!(
            relay.contact,
            Optional<Prose>,
            "contact",
            Live,
            "Another way to reach the operator, such as \"mailto:admin@example.org\". \"\" leaves it out.",
            "Only you know it.",
        ),
        setting!(
            relay.pubkey,
            OptionalKey,
            "pubkey",
            Live,
            "The operator's public key, 64 hexadecimal characters. This is a person's key; the relay's own \
             key is the file `relay.key` in the data folder. \"\" leaves it out.",
            "Only you know it.",
        ),
        setting!(
            relay.banner,
            Optional<WebUrl>,
            "banner",
            Live,
            "The URL of a wide picture. \"\" leaves it out.",
            "Nothing to show until you have one.",
        ),
        setting!(
            relay.icon,
            Optional<WebUrl>,
            "icon",
            Live,
            "The URL of a square picture. \"\" leaves it out.",
            "Nothing to show until you have one.",
        ),
        setting!(
            relay.terms_of_service,
            Optional<WebUrl>,
            "terms_of_service",
            Live,
            "The URL of the terms of service. \"\" leaves it out.",
            "Nothing to show until you have them.",
        ),
        setting!(
            relay.url,
            Optional<RelayUrl>,
            "url",
            Restart,
            "The URL clients connect to, such as \"wss://relay.example.org\". The `relay` tag of an AUTH \
             event (NIP-42) and of a request to vanish (NIP-62) must name it.",
            "Not set: only localhost and the address listened on are accepted, whatever host a client says it \
             connected to, so that nobody can replay an AUTH meant for another host. Set it before others connect.",
        ),
        setting!(
            relay.key_file,
            OptionalFile,
            "key_file",
            Restart,
            "A file with the relay's own secret key, 64 hexadecimal characters, for you alone. All pods of a cluster have the same.",
            "Empty: `relay.key` in the data folder, made at the first start.",
        ),
    ],
};
