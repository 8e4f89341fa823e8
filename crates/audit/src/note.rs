//! Signed notes (C2SP signed-note, Ed25519): a checkpoint as standard witnesses and monitors take it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use sha2::{Digest, Sha256};

use crate::Checkpoint;

/// Ed25519, in key ids and keys.
const ALGORITHM: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

/// Signs notes with an operator's Ed25519 key.
pub struct NoteSigner(Ed25519KeyPair);

impl NoteSigner {
    /// From the 32 bytes of a secret key (RFC 8032); `None` if the library refuses them.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The checkpoint's text with a signature under the log's origin as name.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let (text, name) = (checkpoint.text(), checkpoint.origin());
        let mut signature = key_id(&name, self.0.public_key().as_ref()).to_vec();
        signature.extend_from_slice(self.0.sign(text.as_bytes()).as_ref());
        format!("{text}\n— {name} {}\n", BASE64_STANDARD.encode(signature))
    }

    /// The verifier key that witnesses are configured with, for the log of that origin.
    pub fn verifier_key(&self, origin: &str) -> String {
        let key = self.0.public_key().as_ref();
        let id = const_hex::encode(key_id(origin, key));
        format!("{origin}+{id}+{}", BASE64_STANDARD.encode([&[ALGORITHM], key].concat()))
    }
}

/// Whether `note` has a good signature by the key that a [`NoteSigner::verifier_key`] names.
pub fn is_signed_by(note: &str, verifier_key: &str) -> bool {
    signature_and_text(note, verifier_key).is_some_and(|(key, signature, text)| {
        UnparsedPublicKey::new(&ED25519, key).verify(text.as_bytes(), &signature).is_ok()
    })
}

fn signature_and_text<'a>(note: &'a str, verifier_key: &str) -> Option<(Vec<u8>, Vec<u8>, &'a str)> {
    let (name, rest) = verifier_key.split_once('+')?;
    let key = BASE64_STANDARD.decode(rest.split_once('+')?.1).ok()?;
    let key = key.strip_prefix(&[ALGORITHM])?.to_vec();
    let at = note.rfind("\n\n")?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    let id = key_id(name, &key);
    let line = |line: &str| {
        let (by, signature) = line.strip_prefix("— ")?.rsplit_once(' ')?;
        let signature = BASE64_STANDARD.decode(signature).ok().filter(|_| by == name)?;
        signature.strip_prefix(&id).filter(|rest| rest.len() == SIGNATURE_BYTES).map(<[u8]>::to_vec)
    };
    Some((key, signatures.lines().find_map(line)?, text))
}

fn key_id(name: &str, key: &[u8]) -> [u8; 4] {
    let hash = Sha256::new().chain_update(name).chain_update([b'\n', ALGORITHM]).chain_update(key).finalize();
    [hash[0], hash[1], hash[2], hash[3]]
}

#[cfg(test)]
mod tests {
    use towpath_protocol::PublicKey;

    use super::*;
    use crate::{Hash, Head};

    /// The key and signature of the example in C2SP's signed-note.
    #[test]
    fn the_example_of_the_specification_is_accepted() {
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let note = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n\n\
                    — PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        assert!(is_signed_by(note, key));
        assert!(!is_signed_by(&note.replace("think", "thank"), key));
        assert!(!is_signed_by(note, &key.replace("PeterNeumann", "PeterNewman")));
    }

    #[test]
    fn a_signed_checkpoint_is_accepted_under_its_own_key_only() {
        let relay = PublicKey::from_bytes([3; 32]);
        let signer = NoteSigner::from_seed(&[9; 32]).unwrap();
        let checkpoint = Checkpoint::of_stream(relay, 0, Head { size: 1, root: Hash([5; 32]) });
        let note = signer.sign(&checkpoint);
        assert_eq!(Checkpoint::parse(&note), Ok(checkpoint.clone()));
        assert!(is_signed_by(&note, &signer.verifier_key(&checkpoint.origin())));
        let other = NoteSigner::from_seed(&[8; 32]).unwrap();
        assert!(!is_signed_by(&note, &other.verifier_key(&checkpoint.origin())));
        assert!(!is_signed_by(&checkpoint.text(), &signer.verifier_key(&checkpoint.origin())));
    }
}
