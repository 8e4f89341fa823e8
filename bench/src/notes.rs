//! The events of a run: text notes of many authors, signed and framed before the clock starts.
//! Keys and words follow from the seed, so that every relay of a comparison is sent the same.
//! Knows nothing of when or where they are sent.

use std::collections::HashMap;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use secp256k1::{Keypair, Secp256k1, SignOnly};
use sha2::{Digest, Sha256};

use crate::frame;

/// The usual size of a note's content.
pub(crate) const CONTENT_BYTES: u32 = 200;

/// How many authors a fresh set has.
pub(crate) const AUTHORS: usize = 1_000;
/// How many notes have the same second: about as many as are signed in one, so that the last is at most 20 s ahead of the clock. All of a
/// run in one second would lie anywhere in an index by time.
const NOTES_PER_SECOND: usize = 100_000;
/// What one generator holds in memory.
const NOTES_MAX: usize = 2_000_000;

pub(crate) type Id = [u8; 32];

/// What distinguishes one set of notes from another.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) seed: u64,
    /// Part of every content, so that no two sets share an id.
    pub(crate) label: String,
    /// Of the first.
    pub(crate) created_at: u64,
    pub(crate) authors: usize,
    pub(crate) content_bytes: usize,
}

/// One signed note and the masked frame that publishes it.
pub(crate) struct Note {
    pub(crate) id: Id,
    pub(crate) author: [u8; 32],
    pub(crate) signature: [u8; 64],
    pub(crate) frame: Box<[u8]>,
}

impl Recipe {
    /// A set that no run before had; `label` keeps the sets of one process apart.
    pub(crate) fn fresh(seed: u64, label: &str) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
        Ok(Self {
            seed,
            label: format!("{:x} {label}", now.as_nanos()),
            created_at: now.as_secs(),
            authors: AUTHORS,
            content_bytes: CONTENT_BYTES as usize,
        })
    }
}

/// Notes by number, and their numbers by id.
pub(crate) struct Notes {
    pub(crate) all: Vec<Note>,
    numbers: HashMap<u64, u32>,
}

impl Notes {
    /// Signs `count` notes on every core.
    pub(crate) fn sign(recipe: &Recipe, count: usize) -> Result<Self> {
        ensure!(count <= NOTES_MAX, "{count} events are more than this generator holds ({NOTES_MAX})");
        let secp = Secp256k1::signing_only();
        let authors =
            (0..recipe.authors.max(1)).map(|author| keypair(&secp, recipe.seed, author)).collect::<Result<Vec<_>>>()?;
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let share = count.div_ceil(workers).max(1);
        let all = thread::scope(|scope| {
            let shares: Vec<_> = (0..count)
                .step_by(share)
                .map(|start| {
                    let (secp, authors) = (&secp, &authors);
                    let numbers = start..count.min(start + share);
                    scope
                        .spawn(move || numbers.map(|number| note(secp, authors, recipe, number, 0)).collect::<Vec<_>>())
                })
                .collect();
            let joined = shares.into_iter().map(|share| share.join().ok());
            joined.collect::<Option<Vec<_>>>().context("a signing thread failed")
        })?;
        Ok(Self::of(all.into_iter().flatten().collect()))
    }

    /// Notes that were signed elsewhere.
    pub(crate) fn of(all: Vec<Note>) -> Self {
        let numbers = all.iter().enumerate().map(|(number, note)| (prefix(&note.id), number as u32)).collect();
        Self { all, numbers }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// The number of the note with this id; `None` for events that are not ours.
    pub(crate) fn number(&self, id_hex: &str) -> Option<usize> {
        let mut id = Id::default();
        const_hex::decode_to_slice(id_hex, &mut id).ok()?;
        let number = *self.numbers.get(&prefix(&id))? as usize;
        (self.all[number].id == id).then_some(number)
    }
}

/// A note with a sound id, whose signature is wrong by one bit.
pub(crate) fn forge(recipe: &Recipe) -> Result<Note> {
    let secp = Secp256k1::signing_only();
    let author = keypair(&secp, recipe.seed, 0)?;
    Ok(note(&secp, &[author], recipe, 0, 1))
}

fn prefix(id: &Id) -> u64 {
    id.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn keypair(secp: &Secp256k1<SignOnly>, seed: u64, author: usize) -> Result<Keypair> {
    let secret = Sha256::digest(format!("towpath-bench author {seed} {author}"));
    Keypair::from_seckey_byte_array(secp, secret.into()).context("an author's key is out of range")
}

/// `flaw` are the bits of the signature's last byte that are wrong.
fn note(secp: &Secp256k1<SignOnly>, authors: &[Keypair], recipe: &Recipe, number: usize, flaw: u8) -> Note {
    let keypair = &authors[number % authors.len()];
    let author = keypair.x_only_public_key().0.serialize();
    let pubkey = const_hex::encode(author);
    let content = content(recipe, number);
    let created_at = recipe.created_at + (number / NOTES_PER_SECOND) as u64;
    let canonical = format!(r#"[0,"{pubkey}",{created_at},1,[],"{content}"]"#);
    let id: Id = Sha256::digest(canonical).into();
    let mut signature = secp.sign_schnorr_no_aux_rand(&id, keypair).to_byte_array();
    signature[63] ^= flaw;
    let message = format!(
        r#"["EVENT",{{"id":"{}","pubkey":"{pubkey}","created_at":{created_at},"kind":1,"tags":[],"content":"{content}","sig":"{}"}}]"#,
        const_hex::encode(id),
        const_hex::encode(signature),
    );
    let mut framed = Vec::with_capacity(message.len() + 8);
    let mask = [signature[0], signature[1], signature[2], signature[3]];
    frame::append(&mut framed, frame::TEXT, message.as_bytes(), Some(mask));
    Note { id, author, signature, frame: framed.into() }
}

/// Lower-case words, so that nothing needs an escape and the byte count is exact.
fn content(recipe: &Recipe, number: usize) -> String {
    let mut text = format!("{} {number} ", recipe.label);
    let mut state = recipe.seed ^ (number as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    while text.len() < recipe.content_bytes {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let letter = (state >> 33) % 32;
        text.push(if letter < 26 { (b'a' + letter as u8) as char } else { ' ' });
    }
    text.truncate(recipe.content_bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipe(label: &str) -> Recipe {
        Recipe { seed: 7, label: label.into(), created_at: 1_700_000_000, authors: 5, content_bytes: 200 }
    }

    #[test]
    fn notes_are_dated_as_they_come() {
        let secp = Secp256k1::signing_only();
        let author = keypair(&secp, 7, 0).expect("a key");
        let dated = |number| {
            let note = note(&secp, &[author], &recipe("a"), number, 0);
            let (mask, text) = note.frame[4..].split_at(4);
            let text: Vec<u8> = text.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
            let text: serde_json::Value = serde_json::from_slice(&text).expect("a message");
            text[1]["created_at"].as_u64()
        };
        assert_eq!(dated(NOTES_PER_SECOND - 1), Some(1_700_000_000));
        assert_eq!(dated(NOTES_PER_SECOND), Some(1_700_000_001));
    }

    #[test]
    fn a_seed_gives_the_same_notes_and_a_label_other_ones() {
        let ids = |label| {
            let notes = Notes::sign(&recipe(label), 20).expect("signed");
            notes.all.iter().map(|note| note.id).collect::<Vec<_>>()
        };
        assert_eq!(ids("a"), ids("a"));
        assert!(ids("a").iter().all(|id| !ids("b").contains(id)));
    }

    #[test]
    fn every_note_is_found_by_its_id_and_verifies() {
        let notes = Notes::sign(&recipe("a"), 20).expect("signed");
        for (number, note) in notes.all.iter().enumerate() {
            assert_eq!(notes.number(&const_hex::encode(note.id)), Some(number));
            crate::floors::verify(&Secp256k1::verification_only(), note).expect("a valid signature");
        }
        assert!(crate::floors::verify(&Secp256k1::verification_only(), &forge(&recipe("b")).expect("forged")).is_err());
        assert_eq!(notes.number(&"0".repeat(64)), None);
        for content_bytes in [100, 200, 5_000] {
            assert_eq!(content(&Recipe { content_bytes, ..recipe("a") }, 3).len(), content_bytes);
        }
    }
}
