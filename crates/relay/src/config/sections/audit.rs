//! What the relay can prove afterwards.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use towpath_protocol::PublicKey;

use crate::config::codec::{Keys, Number, OptionalFile, Seconds, Switch};
use crate::config::setting::{Section, setting};

/// `[audit]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Audit {
    pub enabled: bool,
    pub checkpoint_leaves: u32,
    pub checkpoint_interval: Duration,
    pub auditors: BTreeSet<PublicKey>,
    pub ok_carries_place: bool,
    pub note_key_file: Option<PathBuf>,
    pub verify_per_second: u32,
}

impl Audit {
    /// Whether `OK` names the place.
    pub(crate) fn says_place(&self) -> bool {
        self.enabled && self.ok_carries_place
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self {
            enabled: true,
            checkpoint_leaves: 10_000,
            checkpoint_interval: Duration::from_secs(60),
            auditors: BTreeSet::new(),
            ok_carries_place: false,
            note_key_file: None,
            verify_per_second: 250,
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "audit",
    what: "The audit log: a Merkle tree over the commit log, which proves what was accepted and in which order.",
    settings: &[
        setting!(
            audit.enabled,
            Switch,
            "enabled",
            Restart,
            "Every commit extends the audit tree before it is acknowledged. Switched on later, the tree is made \
             for all of the log at the start.",
            "It costs a commit a few microseconds, and cannot be had in hindsight by those who rely on it.",
        ),
        setting!(
            audit.checkpoint_leaves, Number<1, 1_000_000_000>, "checkpoint_leaves", Live,
            "After so many entries the relay signs a checkpoint of the tree and publishes it.",
            "Often enough that little is ever uncovered on a busy relay, seldom enough to cost nothing.",
        ),
        setting!(
            audit.checkpoint_interval, Seconds<1, 86_400>, "checkpoint_interval_s", Live,
            "Or after this long, if there were entries since the last.",
            "A minute: nobody can rewrite more than the last minute unseen.",
        ),
        setting!(
            audit.auditors,
            Keys,
            "auditors",
            Live,
            "Public keys, in hex, that may see the audit entries of everything, private events included. They \
             authenticate over HTTP (NIP-98).",
            "Nobody sees more than their subscriptions show them unless you say so.",
        ),
        setting!(
            audit.ok_carries_place,
            Switch,
            "ok_carries_place",
            Live,
            "`OK true` of a stored event says `audit: <stream>/<index>`, its place in the audit log.",
            "Clients expect an empty text, and can ask for the place at any time.",
        ),
        setting!(
            audit.note_key_file,
            OptionalFile,
            "note_key_file",
            Restart,
            "A file with the 64 hexadecimal characters of an Ed25519 secret key, for you alone. Checkpoints then \
             are signed notes (C2SP) that standard witnesses can cosign; `/audit` names the `verifier_key` they need.",
            "The relay's own signature is enough for Nostr clients.",
        ),
        setting!(
            audit.verify_per_second, Number<0, 1_000_000>, "verify_per_second", Live,
            "So many entries a second are verified in the background, signatures included, round after round; a log \
             of fewer than 15 000 entries once in the time that those take. 0 switches it off.",
            "A million entries in an hour or so, for about a hundredth of a core.",
        ),
    ],
};
