//! Signatures (BIP-340 over secp256k1, by `towpath-schnorr`, and if it cannot tell, by libsecp256k1): the only way to a [`VerifiedEvent`].

use std::fmt;
use std::sync::Arc;

use secp256k1::{Keypair, Message, Secp256k1, SecretKey as RawSecretKey, SignOnly, VerifyOnly, schnorr};
use towpath_schnorr::{Lanes, Signed};

use crate::authors::{Author, Authors};
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

/// Of more, each would take hardly less, and one bad signature has all of them looked at one by one.
const AT_ONCE: usize = 64;

/// Checks signatures: one takes libsecp256k1 some 20 to 60 µs; where the processor can, one takes three fifths of that and each of many a
/// sixth. Keeps what it found out about the keys of authors who wrote lately, 18 MiB at most. Share one by reference among threads.
pub struct Verifier {
    secp: Secp256k1<VerifyOnly>,
    /// `None` where the processor cannot.
    lanes: Option<Lanes>,
    authors: Authors,
}

impl Verifier {
    /// Knows nobody yet.
    pub fn new() -> Self {
        Self { secp: Secp256k1::verification_only(), lanes: Lanes::detect(), authors: Authors::new() }
    }

    /// Checks the signature of an event whose id is known to be right: [`BadSignature`] if it is not its author's, or the author's bytes are no key.
    pub fn verify(&self, event: SubmittedEvent) -> Result<VerifiedEvent, BadSignature> {
        let author = self.authors.of(event.unverified().pubkey());
        self.verify_by(event, &author)
    }

    /// Whether this processor checks many signatures at once.
    pub fn has_lanes() -> bool {
        Lanes::detect().is_some()
    }

    /// How many to hand to [`Verifier::verify_all`] if all of it has to wait for the last: 32 where many are checked at once, else 1.
    pub fn burst_events_max(&self) -> usize {
        if self.lanes.is_some() { AT_ONCE / 2 } else { 1 }
    }

    /// The same for many, in their order, each with what belongs to it: up to 64 at once. One by one where the processor cannot, for one event
    /// alone, and if one of those at once is not genuine.
    pub fn verify_all<T>(&self, events: Vec<(SubmittedEvent, T)>) -> Vec<(Result<VerifiedEvent, BadSignature>, T)> {
        let mut verified = Vec::with_capacity(events.len());
        let mut left = events.into_iter();
        while !left.as_slice().is_empty() {
            let some = &left.as_slice()[..AT_ONCE.min(left.len())];
            let authors = some.iter().map(|(event, _)| self.authors.of(event.unverified().pubkey()));
            let authors: Vec<Arc<Author>> = authors.collect();
            let are_genuine = self.are_genuine(some, &authors);
            // In this order, or one event more would be taken than there are authors.
            verified.extend(authors.iter().zip(left.by_ref()).map(|(author, (event, of))| {
                let genuine = |event: SubmittedEvent| Ok(VerifiedEvent(event.into_event()));
                (if are_genuine { genuine(event) } else { self.verify_by(event, author) }, of)
            }));
        }
        verified
    }

    /// False also if that cannot be told at once.
    fn are_genuine<T>(&self, events: &[(SubmittedEvent, T)], authors: &[Arc<Author>]) -> bool {
        let Some(lanes) = self.lanes.as_ref().filter(|_| events.len() > 1) else { return false };
        let signed = events.iter().zip(authors).map(|((event, _), author)| signed(event, author));
        signed.collect::<Option<Vec<_>>>().is_some_and(|signed| lanes.are_genuine(&signed))
    }

    /// False also if that cannot be told so.
    fn is_genuine(&self, event: &SubmittedEvent, author: &Author) -> bool {
        let Some(lanes) = &self.lanes else { return false };
        signed(event, author).is_some_and(|signed| lanes.is_genuine(&signed))
    }

    fn verify_by(&self, event: SubmittedEvent, author: &Author) -> Result<VerifiedEvent, BadSignature> {
        if self.is_genuine(&event, author) {
            return Ok(VerifiedEvent(event.into_event()));
        }
        let unverified = event.unverified();
        let sig = schnorr::Signature::from_byte_array(unverified.signature().map_err(|_| BadSignature)?);
        let point = author.point().ok_or(BadSignature)?;
        self.secp.verify_schnorr(&sig, unverified.id().as_bytes(), point).map_err(|_| BadSignature)?;
        Ok(VerifiedEvent(event.into_event()))
    }
}

fn signed<'a>(event: &SubmittedEvent, author: &'a Author) -> Option<Signed<'a>> {
    let event = event.unverified();
    Some(Signed { key: author.multiples(), message: *event.id().as_bytes(), signature: event.signature().ok()? })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> SecretKey {
        SecretKey::from_bytes([byte; 32]).unwrap()
    }

    fn note(by: u8, content: &str) -> SubmittedEvent {
        SubmittedEvent::from_canonical(key(by).sign(1, 1, &[], content, &[0; 32]).into_event()).unwrap()
    }

    /// Says that it is by `pretended`, who did not sign it.
    fn usurped(by: u8, pretended: u8) -> SubmittedEvent {
        let (by, fields) = (key(by), Fields { pubkey: key(pretended).public_key(), created_at: 1, kind: 1 });
        let id = fields.id(b"[]", b"\"\"");
        let sig = by.secp.sign_schnorr_no_aux_rand(id.as_bytes(), &by.pair).to_byte_array();
        SubmittedEvent::from_canonical(Event::assemble(id, &fields, "[]", "\"\"", &sig)).unwrap()
    }

    #[test]
    fn many_that_are_genuine_are_checked_at_once_where_the_processor_can() {
        let verifier = Verifier::new();
        let events: Vec<_> = (0..70).map(|n| (note(1 + n % 3, &n.to_string()), n)).collect();
        let authors: Vec<_> =
            events.iter().map(|(event, _)| verifier.authors.of(event.unverified().pubkey())).collect();
        let at_once = verifier.lanes.is_some();
        assert_eq!(verifier.are_genuine(&events[..2], &authors[..2]), at_once);
        assert_eq!(verifier.are_genuine(&events, &authors), at_once);
        assert!(!verifier.are_genuine(&events[..1], &authors[..1]), "alone");
        let ids: Vec<_> = events.iter().map(|(event, n)| (event.unverified().id(), *n)).collect();
        let verified = verifier.verify_all(events).into_iter().map(|(event, n)| (event.unwrap().event().id(), n));
        assert!(verified.eq(ids), "in their order");
    }

    #[test]
    fn one_alone_is_checked_in_lanes_where_the_processor_can() {
        let verifier = Verifier::new();
        let in_lanes =
            |event: &SubmittedEvent| verifier.is_genuine(event, &verifier.authors.of(event.unverified().pubkey()));
        for content in ["the first", "one more"] {
            assert_eq!(in_lanes(&note(1, content)), verifier.lanes.is_some());
            assert!(verifier.verify(note(1, content)).is_ok());
            assert!(!in_lanes(&usurped(2, 1)));
            assert!(verifier.verify(usurped(2, 1)).is_err());
        }
    }

    #[test]
    fn an_event_is_its_authors_only_wherever_it_is_among_others() {
        let verifier = Verifier::new();
        for (count, at) in [(1, 0), (2, 0), (2, 1), (66, 64), (66, 65), (130, 63), (130, 70)] {
            let event = |n: u64| if n == at { usurped(2, 1) } else { note(1 + (n % 2) as u8, &n.to_string()) };
            let verified = verifier.verify_all((0..count).map(|n| (event(n), n)).collect());
            assert!(verified.iter().map(|(event, n)| (event.is_ok(), *n)).eq((0..count).map(|n| (n != at, n))), "{at}");
        }
    }
}
