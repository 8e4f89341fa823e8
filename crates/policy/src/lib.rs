//! What a kind means, and whether a principal may write or read an event: `(event, principal, policy, now) → decision`.
//!
//! Owns: the kind table, the write rules (NIP-09, 13, 40, 42, 62, 70), the read rule for private kinds (NIP-17, 59), and [`Write`],
//! the only thing a store commits.
//! Must not know: I/O, clocks (`now` is an argument), storage, connections, or how a refusal is worded.

mod auth;
mod kinds;
mod read;
mod relay_url;
mod source;
mod write;

pub use auth::{AuthDenial, HttpAuthDenial, check_auth, check_http_auth};
pub use kinds::{Effect, KindSpec, Storage, kind_spec};
pub use read::{Audience, all_private, may_read, names_private};
pub use relay_url::RelayUrl;
pub use source::Source;
pub use write::{
    DELETION_TARGETS_MAX, DeletionRequest, Denial, Placement, Removal, Write, authorise, expires_at, has_expired, plan,
    screen,
};

use towpath_protocol::PublicKey;

/// Kind 22242: proof of a key for one connection (NIP-42). Never stored, never delivered.
pub const KIND_AUTH: u16 = 22242;
/// Kind 27235: proof of a key for one HTTP request (NIP-98).
pub const KIND_HTTP_AUTH: u16 = 27_235;
/// Gift wraps, which their recipients may delete (NIP-59).
pub const KIND_GIFT_WRAP: u16 = 1059;
/// Gift wraps, stored and ephemeral: dated up to two days back on purpose (NIP-59).
pub const GIFT_WRAPS: [u16; 2] = [KIND_GIFT_WRAP, 21059];
/// Deletion requests, on which deletion requests have no effect (NIP-09).
pub const KIND_DELETION: u16 = 5;
/// Requests to vanish, on which deletion requests have no effect (NIP-62).
pub const KIND_VANISH: u16 = 62;

/// The operator's rules. Seconds are seconds; times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Only authenticated principals may publish.
    pub auth_to_write: bool,
    /// Only authenticated principals may query and subscribe.
    pub auth_to_read: bool,
    /// Kinds that only their author and the keys in their `p` tags may read.
    pub private_kinds: Vec<u16>,
    /// Least proof of work, in leading zero bits of the id (NIP-13).
    pub pow_bits_min: u8,
    /// How far ahead of now an event may be dated.
    pub created_at_ahead_max_s: u64,
    /// How far behind now an event may be dated; `None` for any age.
    pub created_at_behind_max_s: Option<u64>,
    /// How far an AUTH event may be dated from now, either way.
    pub auth_skew_max_s: u64,
    /// Requests to vanish are honoured (NIP-62).
    pub vanish: bool,
    /// The names this relay goes by: AUTH may name any path of their hosts, a request to vanish means one of them exactly.
    pub urls: Vec<RelayUrl>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            auth_to_write: false,
            auth_to_read: false,
            private_kinds: vec![4, 1059, 21059],
            pow_bits_min: 0,
            created_at_ahead_max_s: 900,
            created_at_behind_max_s: None,
            auth_skew_max_s: 600,
            vanish: true,
            urls: Vec::new(),
        }
    }
}

/// Who is asking: every key proven on the connection so far (NIP-42: they accumulate). None means anonymous.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Principal {
    keys: Vec<PublicKey>,
}

impl Principal {
    /// A connection that proved nothing.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Adds a proven key.
    pub fn add(&mut self, key: PublicKey) {
        if !self.is(&key) {
            self.keys.push(key);
        }
    }

    /// Whether it proved `key`.
    pub fn is(&self, key: &PublicKey) -> bool {
        self.keys.contains(key)
    }

    /// Whether it proved any key.
    pub fn is_authenticated(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The proven keys, oldest first.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }
}
