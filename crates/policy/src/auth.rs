//! Whether an AUTH event proves its key to this relay on this connection (NIP-42).

use towpath_protocol::{Event, PublicKey, VerifiedEvent};

use crate::{KIND_AUTH, Policy, RelayUrl};

/// Why it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthDenial {
    /// Not kind 22242.
    Kind,
    /// Dated too far from now.
    Time {
        /// Seconds allowed.
        skew_max_s: u64,
    },
    /// Not the challenge this connection was sent.
    Challenge,
    /// Not one of this relay's names.
    Relay,
    /// The connection has proven enough.
    TooManyKeys {
        /// Keys allowed.
        max: usize,
    },
}

/// The key that `event` proves, given the challenge this connection was sent.
pub fn check_auth(event: &VerifiedEvent, challenge: &str, policy: &Policy, now: u64) -> Result<PublicKey, AuthDenial> {
    let event = event.event();
    if event.kind() != KIND_AUTH {
        return Err(AuthDenial::Kind);
    }
    if event.created_at().abs_diff(now) > policy.auth_skew_max_s {
        return Err(AuthDenial::Time { skew_max_s: policy.auth_skew_max_s });
    }
    if event.first_value("challenge").as_deref() != Some(challenge) {
        return Err(AuthDenial::Challenge);
    }
    if !names_this_relay(event, policy) {
        return Err(AuthDenial::Relay);
    }
    Ok(event.pubkey())
}

fn names_this_relay(event: &Event, policy: &Policy) -> bool {
    let named = event.first_value("relay").and_then(|url| RelayUrl::parse(&url));
    named.is_some_and(|url| policy.urls.contains(&url))
}
