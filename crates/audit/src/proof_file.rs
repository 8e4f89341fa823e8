//! A proof that an event is in the log, in one file: checked offline, with nothing but the relay's public key.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use towpath_protocol::{Event, Limits, PublicKey, SubmittedEvent, Verifier, wire};

use crate::{Checkpoint, Hash, Head, Leaf, check_inclusion};

const FORMAT: &str = "towpath-proof-1";

/// What the file holds, as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    format: String,
    /// The event, if whoever made the file could see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    event: Option<Value>,
    /// Hex.
    leaf: String,
    /// Hex, from the leaf's sibling up.
    path: Vec<String>,
    /// The event of the relay that names size and root.
    checkpoint: Value,
}

/// What a good file proves.
#[derive(Debug, Clone)]
pub struct Proved {
    /// What the log says.
    pub leaf: Leaf,
    /// As of this tree.
    pub head: Head,
    /// When the relay stood by it, in seconds since 1970.
    pub signed_at: u64,
    /// Whether the file holds the event, genuine and as the leaf has it.
    pub event: Option<Event>,
}

/// Why a file proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lie {
    /// It is something else.
    #[error("this is no proof: {0}")]
    Malformed(String),
    /// No relay stands by it, or another one.
    #[error("the checkpoint is not good: {0}")]
    Checkpoint(String),
    /// The relay that signed is not the one asked about.
    #[error("the checkpoint is signed by {0}")]
    OtherRelay(PublicKey),
    /// The checkpoint is over something else.
    #[error("the leaf is not in the tree of the checkpoint")]
    NotIncluded,
    /// The event is not genuine.
    #[error("the event is not genuine: {0}")]
    Forged(String),
    /// The event is genuine, and not what the leaf is about.
    #[error("the leaf is of another event: the {0} differs")]
    OtherEvent(&'static str),
}

impl ProofFile {
    /// Of a leaf, the path to the checkpoint's root, the checkpoint's event and, if it may be seen, the leaf's event.
    pub fn new(leaf: &Leaf, path: &[Hash], checkpoint: &Event, event: Option<&Event>) -> Result<Self, Lie> {
        Ok(Self {
            format: FORMAT.to_owned(),
            event: event.map(value).transpose()?,
            leaf: const_hex::encode(leaf.to_bytes()),
            path: path.iter().map(Hash::to_string).collect(),
            checkpoint: value(checkpoint)?,
        })
    }

    /// Reads a file.
    pub fn parse(text: &str) -> Result<Self, Lie> {
        let file: Self = serde_json::from_str(text).map_err(|error| Lie::Malformed(error.to_string()))?;
        if file.format != FORMAT {
            return Err(Lie::Malformed(format!("its format is {:?}", file.format)));
        }
        Ok(file)
    }

    /// The file's text.
    pub fn to_json(&self) -> Result<String, Lie> {
        serde_json::to_string_pretty(self).map_err(|error| Lie::Malformed(error.to_string()))
    }

    /// Checks everything in it against `relay`'s key.
    pub fn check(&self, relay: &PublicKey, verifier: &Verifier) -> Result<Proved, Lie> {
        let signed = submitted(&self.checkpoint).map_err(Lie::Checkpoint)?;
        let signed_at = signed.unverified().created_at();
        let checkpoint = Checkpoint::of_signed(signed, verifier).map_err(|e| Lie::Checkpoint(e.to_string()))?;
        if checkpoint.relay != *relay {
            return Err(Lie::OtherRelay(checkpoint.relay));
        }
        let bytes = const_hex::decode(&self.leaf).map_err(|_| Lie::Malformed("the leaf is no hex".into()))?;
        let leaf = Leaf::from_bytes(&bytes).map_err(|error| Lie::Malformed(error.to_string()))?;
        let path = self.path.iter().map(|hash| hash.parse()).collect::<Result<Vec<Hash>, _>>();
        let path = path.map_err(|error| Lie::Malformed(error.to_string()))?;
        let head = checkpoint.head_of(leaf.stream).ok_or(Lie::NotIncluded)?;
        let index = leaf.seq.checked_sub(1).ok_or(Lie::NotIncluded)?;
        if !check_inclusion(leaf.hash(), index, head, &path) {
            return Err(Lie::NotIncluded);
        }
        let event = self.event.as_ref().map(|event| genuine(event, &leaf, verifier)).transpose()?;
        Ok(Proved { leaf, head, signed_at, event })
    }
}

fn genuine(event: &Value, leaf: &Leaf, verifier: &Verifier) -> Result<Event, Lie> {
    let event = submitted(event).map_err(Lie::Forged)?;
    let event = verifier.verify(event).map_err(|error| Lie::Forged(error.to_string()))?.into_event();
    leaf.check_event(&event).map_err(Lie::OtherEvent)?;
    Ok(event)
}

fn value(event: &Event) -> Result<Value, Lie> {
    serde_json::from_str(event.as_str()).map_err(|error| Lie::Malformed(error.to_string()))
}

/// An event of any size: files come from people, one at a time.
fn submitted(event: &Value) -> Result<SubmittedEvent, String> {
    let limits = Limits { event_tags_max: usize::MAX, content_chars_max: usize::MAX, ..Limits::default() };
    wire::event(&event.to_string(), &limits).map_err(|error| error.to_string())
}

#[cfg(test)]
pub(crate) mod tests;
