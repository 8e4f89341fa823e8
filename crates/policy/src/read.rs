//! Who may read what. Decided per event at output, so that no filter, however it is put, can leak a private event.

use std::cell::OnceCell;

use towpath_protocol::{Event, Filter, PublicKey};

use crate::{Policy, Principal};

/// Who may be sent one event. Its tags are read once at most, however many are asked about: an event may have thousands of them, and as
/// many may listen.
#[derive(Debug)]
pub struct Audience<'a> {
    event: &'a Event,
    /// The keys in its `p` tags, sorted, once an answer depended on them.
    addressed: OnceCell<Vec<PublicKey>>,
}

impl<'a> Audience<'a> {
    /// Of `event`.
    pub fn of(event: &'a Event) -> Self {
        Self { event, addressed: OnceCell::new() }
    }

    /// Whether anybody may be sent it, whoever they are.
    pub fn is_everybody(&self, policy: &Policy) -> bool {
        !policy.auth_to_read && !policy.private_kinds.contains(&self.event.kind())
    }

    /// Whether `principal` may be sent it. Private kinds are for their author and the keys they are addressed to.
    pub fn includes(&self, principal: &Principal, policy: &Policy) -> bool {
        // Whoever asks is told so; this is for subscriptions older than the rule.
        if policy.auth_to_read && !principal.is_authenticated() {
            return false;
        }
        if !policy.private_kinds.contains(&self.event.kind()) {
            return true;
        }
        principal.is(&self.event.pubkey()) || principal.keys().iter().any(|key| self.is_addressed_to(key))
    }

    fn is_addressed_to(&self, key: &PublicKey) -> bool {
        let addressed = self.addressed.get_or_init(|| {
            let named = self.event.tags().filter(|tag| tag.name() == "p").filter_map(|tag| tag.value());
            let mut keys: Vec<PublicKey> = named.filter_map(|key| PublicKey::from_hex(&key).ok()).collect();
            keys.sort_unstable();
            keys
        });
        addressed.binary_search(key).is_ok()
    }
}

/// Whether `principal` may be sent `event`, for one who asks alone: see [`Audience::includes`].
pub fn may_read(event: &Event, principal: &Principal, policy: &Policy) -> bool {
    Audience::of(event).includes(principal, policy)
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

#[cfg(test)]
mod tests {
    use towpath_protocol::SecretKey;

    use super::*;

    #[test]
    fn whom_an_event_is_addressed_to_is_read_when_an_answer_depends_on_it_and_kept() {
        let key = |secret| SecretKey::from_bytes([secret; 32]).unwrap();
        let proved = |secret| {
            let mut principal = Principal::anonymous();
            principal.add(key(secret).public_key());
            principal
        };
        let (bob, carol) = (key(2).public_key().to_hex(), key(3).public_key().to_hex());
        let event = key(1).sign(1, 1059, &[&["p", &carol], &["p", &bob]], "", &[0; 32]).into_event();
        let (audience, policy) = (Audience::of(&event), Policy::default());
        assert!(!audience.includes(&Principal::anonymous(), &policy) && audience.includes(&proved(1), &policy));
        assert!(audience.addressed.get().is_none(), "nobody has asked who is neither anonymous nor the author");
        let answers = [2, 3, 4].map(|secret| audience.includes(&proved(secret), &policy));
        assert_eq!(answers, [true, true, false]);
        assert_eq!(audience.addressed.get().map(Vec::len), Some(2));
    }
}
