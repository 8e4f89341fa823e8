//! Event ids and public keys: 32 bytes each, 64 lowercase hex characters on the wire (NIP-01).

use std::fmt;
use std::hash::{Hash, Hasher};

/// Not exactly 64 lowercase hexadecimal characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 lowercase hex characters")]
pub struct HexError;

/// Decodes exactly `N` bytes of lowercase hex; uppercase is refused because ids are compared as text elsewhere.
pub(crate) fn decode_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    if text.len() != 2 * N || text.bytes().fold(false, |upper, b| upper | b.is_ascii_uppercase()) {
        return Err(HexError);
    }
    let mut bytes = [0; N];
    const_hex::decode_to_slice(text, &mut bytes).map_err(|_| HexError)?;
    Ok(bytes)
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its 32 bytes.
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// From 64 lowercase hex characters.
            pub fn from_hex(text: &str) -> Result<Self, HexError> {
                // `const_hex` takes an optional 0x prefix; the length check has already ruled that out.
                if text.starts_with("0x") {
                    return Err(HexError);
                }
                decode_hex(text).map(Self)
            }

            /// Its 32 bytes.
            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Its 64 lowercase hex characters.
            pub fn to_hex(&self) -> String {
                const_hex::encode(self.0)
            }
        }

        impl Hash for $name {
            /// All of it, as clients choose some of these freely; word by word, which costs hashers less than a slice of bytes.
            fn hash<H: Hasher>(&self, state: &mut H) {
                self.0.as_chunks().0.iter().for_each(|word| state.write_u64(u64::from_ne_bytes(*word)));
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(const_hex::Buffer::<32>::new().format(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

id_type! {
    /// The SHA-256 of an event's canonical serialisation.
    EventId
}
id_type! {
    /// An x-only secp256k1 public key (BIP-340). Not known to be on the curve until a signature was checked with it.
    PublicKey
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_64_lowercase_hex_characters_are_an_id() {
        let good = "00".repeat(31) + "af";
        assert_eq!(EventId::from_hex(&good).unwrap().to_hex(), good);
        for bad in
            ["", "af", &good.to_uppercase(), &format!("0x{}", &good[2..]), &(good.clone() + "00"), &"zz".repeat(32)]
        {
            assert_eq!(EventId::from_hex(bad), Err(HexError), "{bad}");
        }
    }
}
