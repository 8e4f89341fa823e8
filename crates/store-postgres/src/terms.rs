//! What a tag is found by: 64 bits of a hash. Two tags that share them cost a look at an event that does not match, no more.

use sha2::{Digest, Sha256};
use towpath_protocol::{Event, IndexedTags};

/// Of one tag name and value.
pub(crate) fn term(name: u8, value: &str) -> i64 {
    let mut sha = Sha256::new();
    sha.update([name]);
    sha.update(value.as_bytes());
    let hash: [u8; 32] = sha.finalize().into();
    i64::from_be_bytes(hash.first_chunk().copied().unwrap_or_default())
}

/// Of all tags that filters can ask for, each once.
pub(crate) fn terms(event: &Event) -> Vec<i64> {
    let mut terms: Vec<i64> = IndexedTags::of(event).iter().map(|(name, value)| term(name, value)).collect();
    terms.sort_unstable();
    terms.dedup();
    terms
}
