//! Whether an AUTH event proves its key to this relay on this connection (NIP-42).

use towpath_protocol::{Event, PublicKey, VerifiedEvent};

use crate::{KIND_AUTH, KIND_HTTP_AUTH, Policy, RelayUrl};

/// What NIP-98 suggests.
const HTTP_AUTH_SKEW_MAX_S: u64 = 60;

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

/// Why an HTTP request's event proves no key (NIP-98).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpAuthDenial {
    /// Not kind 27235.
    Kind,
    /// Dated more than a minute from now.
    Time,
    /// For another address.
    Url,
    /// For another method.
    Method,
}

/// The key that `event` proves for a request of `method` to `target`, path and query, of this relay.
pub fn check_http_auth(
    event: &VerifiedEvent,
    method: &str,
    target: &str,
    policy: &Policy,
    now: u64,
) -> Result<PublicKey, HttpAuthDenial> {
    let event = event.event();
    if event.kind() != KIND_HTTP_AUTH {
        return Err(HttpAuthDenial::Kind);
    }
    if event.created_at().abs_diff(now) > HTTP_AUTH_SKEW_MAX_S {
        return Err(HttpAuthDenial::Time);
    }
    if !event.first_value("u").is_some_and(|url| is_of_this_relay(&url, target, policy)) {
        return Err(HttpAuthDenial::Url);
    }
    if event.first_value("method").as_deref() != Some(method) {
        return Err(HttpAuthDenial::Method);
    }
    Ok(event.pubkey())
}

/// Whether `url` is `target` under one of the relay's names, as HTTP has them.
fn is_of_this_relay(url: &str, target: &str, policy: &Policy) -> bool {
    let Some(base) = url.strip_suffix(target) else { return false };
    let Some(base) = base.strip_prefix("http").filter(|rest| rest.starts_with("s://") || rest.starts_with("://"))
    else {
        return false;
    };
    // A path before the target is another resource's.
    if base.split_once("://").is_none_or(|(_, authority)| authority.contains(['/', '?', '#'])) {
        return false;
    }
    is_here(&format!("ws{base}"), policy)
}

fn names_this_relay(event: &Event, policy: &Policy) -> bool {
    event.first_value("relay").is_some_and(|url| is_here(&url, policy))
}

/// Whatever the path: who proves a key to one relay of a host proves it to all of them (NIP-42).
fn is_here(url: &str, policy: &Policy) -> bool {
    RelayUrl::parse(url).is_some_and(|url| policy.urls.iter().any(|own| own.is_beside(&url)))
}
