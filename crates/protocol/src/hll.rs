//! HyperLogLog registers over the authors of counted events (NIP-45), so that clients can merge the counts of several relays.

use sha2::{Digest, Sha256};

use crate::event::Address;
use crate::ids::PublicKey;

/// 256 registers of one byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HyperLogLog {
    offset: usize,
    registers: [u8; 256],
}

impl HyperLogLog {
    /// Empty, looking at keys from byte `offset` on (see `offset`).
    pub fn new(offset: usize) -> Self {
        Self { offset: offset.min(30), registers: [0; 256] }
    }

    /// Counts one event's author.
    pub fn add(&mut self, author: &PublicKey) {
        let key = author.as_bytes();
        let register = &mut self.registers[usize::from(key[self.offset])];
        let mut zeros = 0;
        for byte in &key[self.offset + 1..] {
            zeros += byte.leading_zeros();
            if *byte != 0 {
                break;
            }
        }
        *register = (*register).max(u8::try_from(zeros + 1).unwrap_or(u8::MAX));
    }

    /// 512 hex characters, as sent in `COUNT`.
    pub fn to_hex(&self) -> String {
        const_hex::encode(self.registers)
    }
}

/// The byte of an author's key at which a filter's HyperLogLog starts: the 33rd hex character of the first tag condition's
/// first value, plus 8. An address stands for its author, other text for its hash.
pub(crate) fn offset(value: &str) -> usize {
    let hex = if PublicKey::from_hex(value).is_ok() {
        value.to_owned()
    } else if let Some(address) = Address::parse(value) {
        address.pubkey.to_hex()
    } else {
        const_hex::encode(Sha256::digest(value))
    };
    let digit = hex.as_bytes().get(32).and_then(|&c| (c as char).to_digit(16)).unwrap_or(0);
    digit as usize + 8
}
