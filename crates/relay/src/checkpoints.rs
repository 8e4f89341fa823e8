//! Checkpoints of the audit log: when one is due, its signatures, its publication.
//!
//! A checkpoint is an event of the relay's own and becomes part of the log it is about, behind what it covers; entries that are
//! nothing but checkpoints make none due, or the log would never rest.
//! Must not know: how trees are kept, or who reads.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use towpath_audit::{Checkpoint, Head, KIND_CHECKPOINT, NoteSigner, root_at};
use towpath_ingest::Answer;
use towpath_policy::{Source, plan};
use towpath_protocol::{Event, SecretKey, VerifiedEvent};
use towpath_runtime::{Clock, Random};
use towpath_store::{Batch, Committed, Error, EventStore, Outcome, StoredTree, StreamId};

use crate::config::Audit;
use crate::node::Node;
use crate::own_events;

/// Signs checkpoints and remembers the last.
pub(crate) struct Checkpoints {
    secret: SecretKey,
    notes: Option<NoteSigner>,
    clock: Arc<dyn Clock>,
    last: Mutex<Last>,
}

/// The last of each log.
struct Last {
    signed: Vec<Signed>,
    at: Instant,
    /// Entries of all streams that it covers, and those that are its own.
    entries: u64,
    created_at: u64,
}

/// A checkpoint as it was published.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) checkpoint: Checkpoint,
    pub(crate) event: Event,
}

impl Signed {
    /// The text, or with an operator's key the signed note.
    pub(crate) fn text(&self) -> String {
        self.event.content().map(|content| content.into_owned()).unwrap_or_default()
    }
}

impl Checkpoints {
    /// Goes on from the last checkpoints in the store, if they are of the log that is there: an export of another log may have
    /// brought some.
    pub(crate) fn resume(
        secret: SecretKey,
        notes: Option<NoteSigner>,
        store: &dyn EventStore,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let events = own_events::newest(store, secret.public_key(), KIND_CHECKPOINT)?;
        let created_at = events.iter().map(Event::created_at).max().unwrap_or_default();
        let heads = store.heads();
        let mut signed = Vec::new();
        for event in events {
            let Ok(checkpoint) = Checkpoint::of_event(&event) else { continue };
            if is_of(&checkpoint, store, &heads)? {
                signed.push(Signed { checkpoint, event });
            }
        }
        let streams = signed.iter().filter(|signed| is_of_stream(&signed.checkpoint));
        let covered: u64 = streams.map(|signed| signed.checkpoint.head.size).sum();
        let last = Last { at: clock.instant(), entries: covered + signed.len() as u64, created_at, signed };
        Ok(Self { secret, notes, clock, last: Mutex::new(last) })
    }

    /// The latest checkpoint called so: of a stream, or of the cluster.
    pub(crate) fn latest(&self, name: &str) -> Option<Signed> {
        self.last.lock().signed.iter().find(|signed| signed.checkpoint.name() == name).cloned()
    }

    /// The key that witnesses need, if notes are signed.
    pub(crate) fn verifier_key(&self, checkpoint: &Checkpoint) -> Option<String> {
        self.notes.as_ref().map(|notes| notes.verifier_key(&checkpoint.origin()))
    }

    fn is_due(&self, heads: &[(StreamId, Head)], config: &Audit) -> bool {
        let last = self.last.lock();
        let waited = self.clock.instant().saturating_duration_since(last.at);
        let uncovered = entries(heads).saturating_sub(last.entries);
        uncovered >= u64::from(config.checkpoint_leaves) || uncovered > 0 && waited >= config.checkpoint_interval
    }

    /// One checkpoint a stream and one of all.
    fn sign(&self, heads: &[(StreamId, Head)], random: &Random) -> Vec<(Checkpoint, VerifiedEvent)> {
        let relay = self.secret.public_key();
        let all = heads.iter().map(|(stream, head)| (stream.0, *head)).collect();
        let streams = heads.iter().map(|(stream, head)| Checkpoint::of_stream(relay, stream.0, *head));
        // Later than the last, or it would not replace it.
        let created_at = self.clock.unix_s().max(self.last.lock().created_at + 1);
        let sign = |checkpoint: Checkpoint| {
            let text = self.notes.as_ref().map_or_else(|| checkpoint.text(), |notes| notes.sign(&checkpoint));
            let event = checkpoint.to_event(&self.secret, &text, created_at, &random.bytes());
            (checkpoint, event)
        };
        streams.chain([Checkpoint::of_cluster(relay, all)]).map(sign).collect()
    }

    /// These were published.
    fn note(&self, heads: &[(StreamId, Head)], signed: Vec<Signed>) {
        *self.last.lock() = Last {
            at: self.clock.instant(),
            entries: entries(heads) + signed.len() as u64,
            created_at: signed.iter().map(|signed| signed.event.created_at()).max().unwrap_or_default(),
            signed,
        };
    }
}

fn entries(heads: &[(StreamId, Head)]) -> u64 {
    heads.iter().map(|(_, head)| head.size).sum()
}

/// Whether the store's trees begin with what the checkpoint covers.
fn is_of(checkpoint: &Checkpoint, store: &dyn EventStore, heads: &[(StreamId, Head)]) -> Result<bool, Error> {
    for (stream, head) in heads {
        let Some(signed) = checkpoint.head_of(stream.0) else { continue };
        let tree = StoredTree { store, stream: *stream };
        if signed.size > head.size || root_at(&tree, signed.size)? != signed.root {
            return Ok(false);
        }
    }
    Ok(true)
}

fn is_of_stream(checkpoint: &Checkpoint) -> bool {
    matches!(checkpoint.scope, towpath_audit::Scope::Stream(_))
}

/// Publishes checkpoints if they are due.
pub(crate) async fn publish_due(node: &Node) {
    let heads = node.store.heads();
    if heads.is_empty() || !node.checkpoints.is_due(&heads, &node.config.get().audit) {
        return;
    }
    let mut published = Vec::new();
    for (checkpoint, event) in node.checkpoints.sign(&heads, &node.random) {
        let signed = Signed { checkpoint, event: event.event().clone() };
        match node.ingest.publish_own(event).await {
            Answer::Committed(_, Outcome::Accepted(_)) => published.push(signed),
            refused => return tracing::warn!(?refused, "a checkpoint of the audit log could not be published"),
        }
    }
    node.checkpoints.note(&heads, published);
}

/// The checkpoints over everything, for a relay whose committer has ended.
pub(crate) fn publish_last(node: &Node) -> Result<Option<Committed>, Error> {
    let heads = node.store.heads();
    if entries(&heads) <= node.checkpoints.last.lock().entries {
        return Ok(None);
    }
    let policy = node.policy.get();
    let events = node.checkpoints.sign(&heads, &node.random);
    let writes = events.into_iter().map(|(_, event)| plan(event, Source::Relay, &policy)).collect();
    node.store.commit(Batch::of(writes, node.clock.unix_ms())).map(Some)
}
