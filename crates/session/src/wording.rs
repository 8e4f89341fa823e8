//! The wording of outcomes and refusals: machine-readable prefix, colon, text (NIP-01). Nothing else words them.

use std::time::Duration;

use towpath_policy::{AuthDenial, Denial};
use towpath_store::{Error, Outcome};

/// `OK`'s flag and text for what the store decided.
pub fn outcome(outcome: Outcome) -> (bool, &'static str) {
    match outcome {
        Outcome::Accepted(_) => (true, ""),
        Outcome::Duplicate => (true, DUPLICATE),
        Outcome::Superseded => (true, "duplicate: a newer version is stored"),
        Outcome::Deleted => (false, "blocked: this event was deleted by its author"),
        Outcome::Vanished => (false, "blocked: its author asked this relay to forget everything up to then"),
    }
}

/// Why the rules refuse an event.
pub fn denial(denial: &Denial) -> String {
    match denial {
        Denial::Unpublishable => "invalid: this kind is for AUTH messages and cannot be published".into(),
        Denial::TooFarAhead { max_s } => {
            format!("invalid: created_at is more than {max_s} s ahead of this relay's clock")
        }
        Denial::TooOld { max_s } => format!("invalid: created_at is more than {max_s} s ago"),
        Denial::MalformedExpiration => "invalid: the expiration tag is not a time in seconds".into(),
        Denial::Expired => "invalid: this event has expired".into(),
        Denial::Work { bits, required } => format!("pow: difficulty {bits} is less than {required}"),
        Denial::WorkCommitment { committed, required } => {
            format!("pow: committed difficulty {committed} is less than {required}")
        }
        Denial::AuthRequired => "auth-required: publishing here needs authentication".into(),
        Denial::ProtectedAnonymous => "auth-required: only its author may publish a protected event".into(),
        Denial::ProtectedOther => "restricted: only its author may publish a protected event".into(),
        Denial::RepostOfProtected => "blocked: this repost carries a protected event".into(),
        Denial::VanishWithoutRelay => "invalid: a request to vanish needs a relay tag".into(),
        Denial::VanishElsewhere => "blocked: this request to vanish names other relays only".into(),
    }
}

/// Why AUTH failed.
pub fn auth_denial(denial: AuthDenial) -> String {
    match denial {
        AuthDenial::Kind => "invalid: AUTH takes an event of kind 22242".into(),
        AuthDenial::Time { skew_max_s } => {
            format!("invalid: created_at is more than {skew_max_s} s from this relay's clock")
        }
        AuthDenial::Challenge => "invalid: that is not the challenge of this connection".into(),
        AuthDenial::Relay => "invalid: the relay tag does not name this relay".into(),
    }
}

/// What clients are told of a failing store: enough to know whether to come back, nothing about the machine.
pub fn store_error(error: &Error) -> &'static str {
    match error {
        Error::Full => "error: the relay's disk is full; nothing was stored",
        _ => "error: the relay's store failed; try again later",
    }
}

/// Too much of `what`; come back after `wait`.
pub fn rate_limited(what: &str, wait: Duration) -> String {
    format!("rate-limited: too many {what}; retry in {} s", wait.as_secs() + u64::from(wait.subsec_nanos() > 0))
}

/// Stored before.
pub const DUPLICATE: &str = "duplicate: already have this event";
/// An ephemeral event without listeners.
pub const NOBODY_LISTENING: &str = "mute: nobody was listening to this ephemeral event";
/// The signature is wrong.
pub const BAD_SIGNATURE: &str = "invalid: bad signature";
/// The commit queue is full, or the relay is stopping.
pub const OVERLOADED: &str = "rate-limited: the relay is overloaded; retry in 1 s";
/// Reading needs a proven key.
pub const AUTH_TO_READ: &str = "auth-required: reading here needs authentication";
/// Only private kinds were asked for, by nobody in particular.
pub const AUTH_FOR_PRIVATE: &str = "auth-required: these kinds are served to their author and recipients only";
/// NIP-45 is switched off.
pub const COUNT_IS_OFF: &str = "unsupported: this relay does not count";
/// The live index is full.
pub const TOO_MANY_LIVE_FILTERS: &str = "error: the relay has no room for more subscriptions; try again later";

/// A connection's subscriptions are used up.
pub fn too_many_subscriptions(max: usize) -> String {
    format!("rate-limited: too many subscriptions; close some of the {max} open ones")
}

/// Whether a refusal asks for (another) proven key, so that the client needs the challenge.
pub fn asks_for_auth(refusal: &str) -> bool {
    refusal.starts_with("auth-required:") || refusal.starts_with("restricted:")
}
