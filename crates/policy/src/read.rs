//! Who may read what. Decided per event at output, so that no filter, however it is put, can leak a private event.

use towpath_protocol::{Event, Filter, PublicKey};

use crate::{Policy, Principal};

/// Whether `principal` may be sent `event`. Private kinds are for their author and the keys they are addressed to.
pub fn may_read(event: &Event, principal: &Principal, policy: &Policy) -> bool {
    // Whoever asks is told so; this is for subscriptions older than the rule.
    if policy.auth_to_read && !principal.is_authenticated() {
        return false;
    }
    if !policy.private_kinds.contains(&event.kind()) {
        return true;
    }
    if !principal.is_authenticated() {
        return false;
    }
    let addressed_to = |key: &str| PublicKey::from_hex(key).is_ok_and(|key| principal.is(&key));
    principal.is(&event.pubkey())
        || event.tags().any(|tag| tag.name() == "p" && tag.value().is_some_and(|key| addressed_to(&key)))
}

/// Whether `filter` names a private kind: what an anonymous client is sent for it may not be all there is.
pub fn names_private(filter: &Filter, policy: &Policy) -> bool {
    filter.kinds.as_ref().is_some_and(|kinds| kinds.iter().any(|kind| policy.private_kinds.contains(kind)))
}

/// Whether `filter` can only match private kinds, so that asking for it anonymously is answered with a request to authenticate
/// instead of silence.
pub fn all_private(filter: &Filter, policy: &Policy) -> bool {
    filter
        .kinds
        .as_ref()
        .is_some_and(|kinds| !kinds.is_empty() && kinds.iter().all(|kind| policy.private_kinds.contains(kind)))
}
