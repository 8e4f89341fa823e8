//! Signatures (BIP-340 over secp256k1, by libsecp256k1): the only way to a [`VerifiedEvent`].

use std::fmt;

use secp256k1::{
    Keypair, Message, Secp256k1, SecretKey as RawSecretKey, SignOnly, VerifyOnly, XOnlyPublicKey, schnorr,
};

use crate::event::{Event, Fields};
use crate::ids::PublicKey;
use crate::json::push_json_string;
use crate::parse::SubmittedEvent;

/// The signature is not the author's over this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bad signature")]
pub struct BadSignature;

/// A genuine event: well-formed, its id its hash, its signature its author's.
#[derive(Debug, Clone)]
pub struct VerifiedEvent(Event);

impl VerifiedEvent {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.0
    }

    /// The event, no longer known to be genuine to the compiler.
    pub fn into_event(self) -> Event {
        self.0
    }

    /// Takes the operator's word that `event` was verified before, for importing the relay's own dumps.
    pub fn trusted(event: SubmittedEvent) -> Self {
        Self(event.into_event())
    }
}

/// Checks signatures. Some 40 to 90 µs of CPU each, no allocation; share one by reference among threads.
pub struct Verifier {
    secp: Secp256k1<VerifyOnly>,
}

/// A public key as the point of the curve that it stands for. Finding that is a square root, a tenth of checking a signature: worth
/// keeping for authors who write more than once.
#[derive(Debug, Clone, Copy)]
pub struct LiftedKey {
    of: PublicKey,
    point: XOnlyPublicKey,
}

impl LiftedKey {
    /// `None` if the bytes are no key: then nothing can be signed by it.
    pub fn of(key: PublicKey) -> Option<Self> {
        XOnlyPublicKey::from_byte_array(*key.as_bytes()).ok().map(|point| Self { of: key, point })
    }

    /// The key it was made from.
    pub fn key(&self) -> PublicKey {
        self.of
    }
}

impl Verifier {
    /// Builds the precomputed tables.
    pub fn new() -> Self {
        Self { secp: Secp256k1::verification_only() }
    }

    /// Checks the signature of an event whose id is known to be right.
    pub fn verify(&self, event: SubmittedEvent) -> Result<VerifiedEvent, BadSignature> {
        let author = LiftedKey::of(event.unverified().pubkey()).ok_or(BadSignature)?;
        self.verify_by(event, &author)
    }

    /// The same with the author's key at hand. Another's key is a bad signature.
    pub fn verify_by(&self, event: SubmittedEvent, author: &LiftedKey) -> Result<VerifiedEvent, BadSignature> {
        let unverified = event.unverified();
        if author.of != unverified.pubkey() {
            return Err(BadSignature);
        }
        let sig = schnorr::Signature::from_byte_array(unverified.signature().map_err(|_| BadSignature)?);
        let id = unverified.id();
        self.secp.verify_schnorr(&sig, id.as_bytes(), &author.point).map_err(|_| BadSignature)?;
        Ok(VerifiedEvent(event.into_event()))
    }
}

impl Default for Verifier {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier")
    }
}

/// A secret key: the relay's own, or a tool's. Never printed by `Debug`.
#[derive(Clone)]
pub struct SecretKey {
    secp: Secp256k1<SignOnly>,
    pair: Keypair,
}

impl SecretKey {
    /// From its 32 bytes; `None` for the few values that are no key.
    pub fn from_bytes(bytes: [u8; 32]) -> Option<Self> {
        let secp = Secp256k1::signing_only();
        let secret = RawSecretKey::from_byte_array(bytes).ok()?;
        Some(Self { pair: Keypair::from_secret_key(&secp, &secret), secp })
    }

    /// Its 32 bytes. Keep them secret.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.pair.secret_bytes()
    }

    /// The key others know it by.
    pub fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes(self.pair.x_only_public_key().0.serialize())
    }

    /// Signs an event; `aux` is the fresh randomness that BIP-340 recommends.
    pub fn sign(&self, created_at: u64, kind: u16, tags: &[&[&str]], content: &str, aux: &[u8; 32]) -> VerifiedEvent {
        let tags = tags_json(tags);
        let mut content_json = String::new();
        push_json_string(content, &mut content_json);
        let fields = Fields { pubkey: self.public_key(), created_at, kind };
        let id = fields.id(tags.as_bytes(), content_json.as_bytes());
        let message = Message::from_digest(*id.as_bytes());
        let sig = self.secp.sign_schnorr_with_aux_rand(message.as_ref(), &self.pair, aux).to_byte_array();
        VerifiedEvent(Event::assemble(id, &fields, &tags, &content_json, &sig))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public_key())
    }
}

fn tags_json(tags: &[&[&str]]) -> String {
    let mut out = String::from("[");
    for (i, tag) in tags.iter().enumerate() {
        out.push_str(if i > 0 { ",[" } else { "[" });
        for (j, element) in tag.iter().enumerate() {
            out.push_str(if j > 0 { "," } else { "" });
            push_json_string(element, &mut out);
        }
        out.push(']');
    }
    out.push(']');
    out
}
