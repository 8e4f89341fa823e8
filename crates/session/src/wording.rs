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

/// Where in the audit log an accepted event is; for machines.
pub fn audit_place(stream: u32, index: u64) -> String {
    format!("audit: {stream}/{index}")
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
        Denial::TooManyTargets { max } => format!("invalid: a deletion request may name {max} events and addresses"),
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
        AuthDenial::TooManyKeys { max } => format!("restricted: this connection has proven {max} keys already"),
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
/// The filters of the scans in progress fill their room.
pub const TOO_MANY_SCANS: &str = "error: the relay is busy with larger questions than it has room for; try again later";

/// A connection's subscriptions are used up.
pub fn too_many_subscriptions(max: usize) -> String {
    format!("rate-limited: too many subscriptions; close some of the {max} open ones")
}

/// NIP-01's for `OK` and `CLOSED`, and NIP-42's.
const PREFIXES: [&str; 10] = [
    "duplicate",
    "pow",
    "blocked",
    "rate-limited",
    "invalid",
    "restricted",
    "mute",
    "error",
    "auth-required",
    "unsupported",
];

/// The machine-readable prefix of a refusal; that of errors if it has none of those there are.
pub fn prefix(text: &str) -> &'static str {
    let known = text.split_once(':').and_then(|(prefix, _)| PREFIXES.into_iter().find(|known| *known == prefix));
    known.unwrap_or("error")
}

/// Whether a refusal asks for (another) proven key, so that the client needs the challenge.
pub fn asks_for_auth(refusal: &str) -> bool {
    refusal.starts_with("auth-required:") || refusal.starts_with("restricted:")
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use towpath_store::Seq;

    use super::*;

    /// The prefix, of a text that clients and people can both read.
    fn checked_prefix(text: &str) -> &str {
        let (found, rest) = text.split_once(": ").unwrap_or_else(|| panic!("{text:?} has no prefix"));
        assert_eq!(prefix(text), found, "{text:?} has a prefix of its own");
        assert!(rest.trim() == rest && rest.len() > 5, "{text:?} explains nothing");
        assert!(!text.contains(['\n', '\r']) && !text.ends_with('.'), "{text:?} is not one phrase");
        found
    }

    #[test]
    fn what_has_no_prefix_is_an_error() {
        for text in ["", "pow", "Pow: x", "of: its own", " invalid: x", "error: x"] {
            assert_eq!(prefix(text), "error", "{text:?}");
        }
        assert_eq!(prefix("pow: 7: is less than 8"), "pow");
    }

    #[test]
    fn every_outcome_is_worded() {
        // Without a wildcard: whoever adds a variant is sent here, and adds it to the list below too.
        let expected = |outcome| match outcome {
            Outcome::Accepted(_) => (true, None),
            Outcome::Duplicate | Outcome::Superseded => (true, Some("duplicate")),
            Outcome::Deleted | Outcome::Vanished => (false, Some("blocked")),
        };
        for decided in
            [Outcome::Accepted(Seq(1)), Outcome::Duplicate, Outcome::Superseded, Outcome::Deleted, Outcome::Vanished]
        {
            let (accepted, text) = outcome(decided);
            let prefix = (!text.is_empty()).then(|| checked_prefix(text));
            assert_eq!((accepted, prefix), expected(decided), "{decided:?}");
        }
    }

    #[test]
    fn every_denial_is_worded() {
        let expected = |denial: &Denial| match denial {
            Denial::Unpublishable
            | Denial::TooFarAhead { .. }
            | Denial::TooOld { .. }
            | Denial::MalformedExpiration
            | Denial::Expired
            | Denial::TooManyTargets { .. }
            | Denial::VanishWithoutRelay => "invalid",
            Denial::Work { .. } | Denial::WorkCommitment { .. } => "pow",
            Denial::AuthRequired | Denial::ProtectedAnonymous => "auth-required",
            Denial::ProtectedOther => "restricted",
            Denial::RepostOfProtected | Denial::VanishElsewhere => "blocked",
        };
        for (refused, figures) in [
            (Denial::Unpublishable, &[][..]),
            (Denial::TooFarAhead { max_s: 901 }, &["901 s"]),
            (Denial::TooOld { max_s: 902 }, &["902 s"]),
            (Denial::MalformedExpiration, &[]),
            (Denial::Expired, &[]),
            (Denial::Work { bits: 7, required: 21 }, &["7", "21"]),
            (Denial::WorkCommitment { committed: 8, required: 22 }, &["8", "22"]),
            (Denial::AuthRequired, &[]),
            (Denial::ProtectedAnonymous, &[]),
            (Denial::ProtectedOther, &[]),
            (Denial::RepostOfProtected, &[]),
            (Denial::TooManyTargets { max: 903 }, &["903"]),
            (Denial::VanishWithoutRelay, &[]),
            (Denial::VanishElsewhere, &[]),
        ] {
            let text = denial(&refused);
            assert_eq!(checked_prefix(&text), expected(&refused), "{refused:?}");
            assert!(figures.iter().all(|figure| text.contains(figure)), "{text:?} names {figures:?}");
        }
    }

    #[test]
    fn every_failed_proof_is_worded() {
        let expected = |denial| match denial {
            AuthDenial::Kind | AuthDenial::Time { .. } | AuthDenial::Challenge | AuthDenial::Relay => "invalid",
            AuthDenial::TooManyKeys { .. } => "restricted",
        };
        for refused in [
            AuthDenial::Kind,
            AuthDenial::Time { skew_max_s: 601 },
            AuthDenial::Challenge,
            AuthDenial::Relay,
            AuthDenial::TooManyKeys { max: 64 },
        ] {
            assert_eq!(checked_prefix(&auth_denial(refused)), expected(refused), "{refused:?}");
        }
        assert!(auth_denial(AuthDenial::Time { skew_max_s: 601 }).contains("601 s"));
    }

    #[test]
    fn a_failing_store_is_worded_without_a_word_about_the_machine() {
        let secret = || "/var/lib/secret".to_owned();
        for error in [
            Error::Full,
            Error::Corrupt(secret()),
            Error::InUse,
            Error::io("opening /var/lib/secret", ErrorKind::PermissionDenied.into()),
            Error::io("writing", ErrorKind::StorageFull.into()),
            Error::Closed(secret()),
            Error::Unavailable(secret()),
        ] {
            let text = store_error(&error);
            assert_eq!(checked_prefix(text), "error", "{error:?}");
            assert!(!text.contains("secret"), "{text:?}");
            assert_eq!(text.contains("full"), matches!(error, Error::Full), "{error:?}");
        }
    }

    #[test]
    fn every_fixed_text_has_its_prefix() {
        for (text, expected) in [
            (DUPLICATE, "duplicate"),
            (NOBODY_LISTENING, "mute"),
            (BAD_SIGNATURE, "invalid"),
            (OVERLOADED, "rate-limited"),
            (AUTH_TO_READ, "auth-required"),
            (AUTH_FOR_PRIVATE, "auth-required"),
            (COUNT_IS_OFF, "unsupported"),
            (TOO_MANY_LIVE_FILTERS, "error"),
            (TOO_MANY_SCANS, "error"),
            (&too_many_subscriptions(1024), "rate-limited"),
        ] {
            assert_eq!(checked_prefix(text), expected, "{text:?}");
        }
        assert!(too_many_subscriptions(1024).contains("1024"));
    }

    #[test]
    fn a_rate_limit_names_whole_seconds_after_which_it_is_over() {
        for (wait_ms, seconds) in [(1, 1), (999, 1), (1000, 1), (1001, 2), (59_500, 60)] {
            let text = rate_limited("queries", Duration::from_millis(wait_ms));
            assert_eq!(text, format!("rate-limited: too many queries; retry in {seconds} s"));
            assert_eq!(checked_prefix(&text), "rate-limited");
        }
    }

    #[test]
    fn only_refusals_that_a_proven_key_may_lift_ask_for_one() {
        for (text, expected) in [
            (AUTH_TO_READ, true),
            (AUTH_FOR_PRIVATE, true),
            (&denial(&Denial::AuthRequired), true),
            (&denial(&Denial::ProtectedAnonymous), true),
            (&denial(&Denial::ProtectedOther), true),
            (&denial(&Denial::Expired), false),
            (BAD_SIGNATURE, false),
            (OVERLOADED, false),
            ("invalid: auth-required: is no prefix here", false),
            ("", false),
        ] {
            assert_eq!(asks_for_auth(text), expected, "{text:?}");
        }
    }
}
