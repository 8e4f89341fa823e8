//! Values of the smaller tables.

use towpath_protocol::EventId;
use towpath_store::Seq;

use super::keys::be64;

/// The current version under an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) created_at: u64,
    pub(crate) id: EventId,
    pub(crate) seq: Seq,
}

impl Version {
    pub(crate) fn to_bytes(self) -> [u8; 48] {
        let mut bytes = [0; 48];
        bytes[..8].copy_from_slice(&self.created_at.to_be_bytes());
        bytes[8..40].copy_from_slice(self.id.as_bytes());
        bytes[40..].copy_from_slice(&self.seq.0.to_be_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let id = EventId::from_bytes(*bytes.get(8..)?.first_chunk()?);
        Some(Self { created_at: be64(bytes, 0)?, id, seq: Seq(be64(bytes, 40)?) })
    }
}

/// What a log file holds in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Waste {
    /// Bytes of events that are no longer stored.
    pub(crate) dead_bytes: u64,
    /// Those among them that must go: deleted, vanished or expired, not merely superseded.
    pub(crate) erase_bytes: u64,
    /// When the first of those was removed, in milliseconds since 1970.
    pub(crate) erase_since_ms: u64,
}

impl Waste {
    /// Something was removed, and must go as well if it says since when.
    pub(crate) fn removed(&mut self, bytes: u64, erase_since_ms: Option<u64>) {
        self.dead_bytes += bytes;
        let Some(since) = erase_since_ms else { return };
        // They need not come in the order of their times.
        self.erase_since_ms = if self.erase_bytes == 0 { since } else { self.erase_since_ms.min(since) };
        self.erase_bytes += bytes;
    }

    /// What is left after a rewrite without what had been `counted`: removed while it ran.
    pub(crate) fn rewritten(self, counted: Self, at_ms: u64) -> Self {
        Self {
            dead_bytes: self.dead_bytes.saturating_sub(counted.dead_bytes),
            erase_bytes: self.erase_bytes.saturating_sub(counted.erase_bytes),
            erase_since_ms: at_ms,
        }
    }

    pub(crate) fn to_bytes(self) -> [u8; 24] {
        let mut bytes = [0; 24];
        bytes[..8].copy_from_slice(&self.dead_bytes.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.erase_bytes.to_be_bytes());
        bytes[16..].copy_from_slice(&self.erase_since_ms.to_be_bytes());
        bytes
    }

    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self { dead_bytes: be64(bytes, 0)?, erase_bytes: be64(bytes, 8)?, erase_since_ms: be64(bytes, 16)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Once, the first to be counted said since when, although one that was counted later had been removed before.
    #[test]
    fn what_must_go_longest_says_since_when() {
        let mut waste = Waste::default();
        for since in [None, Some(7), Some(5), Some(9)] {
            waste.removed(10, since);
        }
        assert_eq!(waste, Waste { dead_bytes: 40, erase_bytes: 30, erase_since_ms: 5 });
        let mut left = waste.rewritten(waste, 20);
        left.removed(10, Some(30));
        assert_eq!(left, Waste { dead_bytes: 10, erase_bytes: 10, erase_since_ms: 30 });
    }
}
