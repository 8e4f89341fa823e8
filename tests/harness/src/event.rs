//! Events: built, signed, spoilt and verified, independently of the relay's own types.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use secp256k1::{XOnlyPublicKey, schnorr::Signature};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::actors::{CURVE, Keys, alice};

/// The time in seconds, as `created_at` counts it.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// How control characters without a short escape enter the hash of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Controls {
    /// As the bytes they are: what NIP-01 says.
    Verbatim,
    /// As `\u00xx`: what JSON libraries write.
    Escaped,
}

/// An event as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// 64 lowercase hex characters.
    pub id: String,
    /// 64 lowercase hex characters.
    pub pubkey: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// The kind, wider than the protocol's 16 bits so that tests can break the rule.
    pub kind: u64,
    /// The tags.
    pub tags: Vec<Vec<String>>,
    /// The content.
    pub content: String,
    /// 128 lowercase hex characters.
    pub sig: String,
}

impl Event {
    /// The event as a JSON value, to publish or to spoil.
    pub fn json(&self) -> Value {
        json!(self)
    }

    /// The event as JSON with one field replaced or added, its id and signature left alone.
    pub fn with(&self, field: &str, value: impl Into<Value>) -> Value {
        let mut json = self.json();
        json[field] = value.into();
        json
    }

    /// The event as JSON without one of its fields.
    pub fn without(&self, field: &str) -> Value {
        let mut json = self.json();
        if let Some(fields) = json.as_object_mut() {
            fields.remove(field);
        }
        json
    }

    /// The first value of the first tag with this name.
    pub fn tag(&self, name: &str) -> Option<&str> {
        let tag = self.tags.iter().find(|tag| tag.first().is_some_and(|first| first == name))?;
        tag.get(1).map(String::as_str)
    }

    /// The address of a replaceable or addressable event, as `a` tags name it.
    pub fn address(&self) -> String {
        format!("{}:{}:{}", self.kind, self.pubkey, self.tag("d").unwrap_or_default())
    }

    /// Checks the id (under either rule for control characters) and the signature.
    pub fn verify(&self) -> Result<()> {
        let hashes = [Controls::Verbatim, Controls::Escaped].map(|controls| self.hash(controls));
        let id: [u8; 32] = const_hex::decode_to_array(&self.id)?;
        ensure!(hashes.contains(&id), "the id of {self:?} is not its hash");
        let signature = Signature::from_byte_array(const_hex::decode_to_array(&self.sig)?);
        let pubkey = XOnlyPublicKey::from_byte_array(const_hex::decode_to_array(&self.pubkey)?)?;
        CURVE.verify_schnorr(&signature, &id, &pubkey)?;
        Ok(())
    }

    /// The hash of the event's canonical bytes.
    fn hash(&self, controls: Controls) -> [u8; 32] {
        let mut bytes = format!(r#"[0,"{}",{},{},["#, self.pubkey, self.created_at, self.kind);
        for (at, tag) in self.tags.iter().enumerate() {
            bytes.push_str(if at == 0 { "[" } else { ",[" });
            for (at, value) in tag.iter().enumerate() {
                bytes.push_str(if at == 0 { "" } else { "," });
                push_string(&mut bytes, value, controls);
            }
            bytes.push(']');
        }
        bytes.push_str("],");
        push_string(&mut bytes, &self.content, controls);
        bytes.push(']');
        Sha256::digest(bytes).into()
    }
}

/// Appends a JSON string as NIP-01 escapes it.
fn push_string(out: &mut String, text: &str, controls: Controls) {
    out.push('"');
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            control @ '\0'..='\u{1f}' if controls == Controls::Escaped => {
                let _ = write!(out, "\\u{:04x}", u32::from(control));
            }
            verbatim => out.push(verbatim),
        }
    }
    out.push('"');
}

/// An event in the making. Starts as Alice's note of this second.
#[derive(Debug, Clone)]
pub struct EventBuilder {
    author: Keys,
    controls: Controls,
    event: Event,
}

/// A short text note, to begin with.
pub fn note(content: &str) -> EventBuilder {
    let event = Event {
        id: String::new(),
        pubkey: String::new(),
        created_at: now(),
        kind: 1,
        tags: Vec::new(),
        content: content.to_owned(),
        sig: String::new(),
    };
    EventBuilder { author: alice(), controls: Controls::Verbatim, event }
}

impl EventBuilder {
    /// Whose event it is.
    pub fn by(mut self, author: &Keys) -> Self {
        self.author = *author;
        self
    }

    /// When it was made.
    pub fn at(mut self, created_at: u64) -> Self {
        self.event.created_at = created_at;
        self
    }

    /// Its kind.
    pub fn kind(mut self, kind: u64) -> Self {
        self.event.kind = kind;
        self
    }

    /// One more tag.
    pub fn tag<const N: usize>(mut self, tag: [&str; N]) -> Self {
        self.event.tags.push(tag.map(str::to_owned).to_vec());
        self
    }

    /// How its control characters are hashed.
    pub fn controls(mut self, controls: Controls) -> Self {
        self.controls = controls;
        self
    }

    /// The finished event.
    pub fn sign(self) -> Event {
        let mut event = self.event;
        event.pubkey = self.author.pubkey();
        let hash = event.hash(self.controls);
        event.id = const_hex::encode(hash);
        event.sig = self.author.sign(&hash);
        event
    }

    /// The finished event with at least this many leading zero bits in its id, committed to in
    /// its `nonce` tag.
    pub fn mine(self, bits: u32) -> Event {
        self.mine_committing_to(bits, bits)
    }

    /// As [`mine`](Self::mine), but the `nonce` tag commits to `target` bits.
    pub fn mine_committing_to(self, bits: u32, target: u32) -> Event {
        let target = target.to_string();
        (0_u64..)
            .map(|nonce| self.clone().tag(["nonce", &nonce.to_string(), &target]).sign())
            .find(|event| leading_zero_bits(&event.id) >= bits)
            .expect("there is always another nonce")
    }
}

fn leading_zero_bits(id: &str) -> u32 {
    let digits = id.chars().filter_map(|digit| digit.to_digit(16));
    let mut bits = 0;
    for digit in digits {
        let zeros = if digit == 0 { 4 } else { digit.leading_zeros() - 28 };
        bits += zeros;
        if zeros < 4 {
            break;
        }
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_event_verifies_and_a_spoilt_one_does_not() {
        let event = note("hi").tag(["t", "a\"b\\c\u{1}"]).sign();
        event.verify().unwrap();
        let spoilt = Event { content: "ho".into(), ..event };
        spoilt.verify().unwrap_err();
    }

    /// The mined example printed in NIP-13.
    #[test]
    fn the_hash_is_that_of_a_published_example() {
        let event = Event {
            id: "000006d8c378af1779d2feebc7603a125d99eca0ccf1085959b307f64e5dd358".into(),
            pubkey: "a48380f4cfcc1ad5378294fcac36439770f9c878dd880ffa94bb74ea54a6f243".into(),
            created_at: 1_651_794_653,
            kind: 1,
            tags: vec![vec!["nonce".into(), "776797".into(), "20".into()]],
            content: "It's just me mining my own business".into(),
            sig: String::new(),
        };
        assert_eq!(const_hex::encode(event.hash(Controls::Verbatim)), event.id);
        assert_eq!(leading_zero_bits(&event.id), 21);
    }
}
