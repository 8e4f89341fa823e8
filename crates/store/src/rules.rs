//! The rules of replacement and deletion, pure, shared by every store (NIP-01, 09, 40, 59, 62).

use towpath_policy::{KIND_DELETION, KIND_GIFT_WRAP, KIND_VANISH};
use towpath_protocol::{Event, EventId, PublicKey};

/// Whether a version dated `(created_at, id)` replaces one dated `old`: the later one, on a tie the one with the lower id.
pub fn supersedes(new: (u64, EventId), old: (u64, EventId)) -> bool {
    new.0 > old.0 || (new.0 == old.0 && new.1 < old.1)
}

/// Whether an event that expires at `expires_at` (NIP-40) is over by the commit at `committed_at_ms`, though upkeep may not have come to it.
pub fn is_over(expires_at: Option<u64>, committed_at_ms: u64) -> bool {
    expires_at.is_some_and(|at| at <= committed_at_ms / 1000)
}

/// The keys whose deletion requests and requests to vanish reach `event`: its author and, for a gift wrap, its recipients.
pub fn owners(event: &Event) -> Vec<PublicKey> {
    let mut owners = vec![event.pubkey()];
    if event.kind() == KIND_GIFT_WRAP {
        owners.extend(recipients(event));
    }
    owners
}

/// The keys in `p` tags.
pub fn recipients(event: &Event) -> impl Iterator<Item = PublicKey> + '_ {
    event.tags().filter(|tag| tag.name() == "p").filter_map(|tag| PublicKey::from_hex(&tag.value()?).ok())
}

/// Whether deletion requests have any effect on events of `kind`.
pub fn is_deletable(kind: u16) -> bool {
    kind != KIND_DELETION && kind != KIND_VANISH
}

/// Whether a request to vanish removes events of `kind`. Requests to vanish themselves are kept, as proof.
pub fn vanishes(kind: u16) -> bool {
    kind != KIND_VANISH
}
