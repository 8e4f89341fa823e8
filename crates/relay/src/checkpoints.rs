//! Checkpoints of the audit log: when one is due, its signatures, its publication.
//!
//! In a cluster each pod signs for the stream it commits to, and whoever finds the one over all streams too old signs that.
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
        let own = store.own_stream().map(|stream| stream.0.to_string());
        let of_own = signed.iter().filter(|signed| Some(signed.checkpoint.name()) == own);
        let covered: u64 = of_own.map(|signed| signed.checkpoint.head.size).sum();
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

    /// `heads` are those of the streams this process commits to.
    fn is_due(&self, heads: &[(StreamId, Head)], config: &Audit) -> bool {
        let last = self.last.lock();
        let waited = self.clock.instant().saturating_duration_since(last.at);
        let uncovered = entries(heads).saturating_sub(last.entries);
        uncovered >= u64::from(config.checkpoint_leaves) || uncovered > 0 && waited >= config.checkpoint_interval
    }

    /// One checkpoint for each of `own`, and one of all if that is wanted.
    fn sign(
        &self,
        own: &[(StreamId, Head)],
        all: Option<&[(StreamId, Head)]>,
        random: &Random,
    ) -> Vec<(Checkpoint, VerifiedEvent)> {
        let relay = self.secret.public_key();
        let streams = own.iter().map(|(stream, head)| Checkpoint::of_stream(relay, stream.0, *head));
        let all = all.map(|all| all.iter().map(|(stream, head)| (stream.0, *head)).collect());
        let all = all.map(|all| Checkpoint::of_cluster(relay, all));
        // Later than the last that was signed, published or not, or it might not replace it.
        let created_at = {
            let mut last = self.last.lock();
            last.created_at = self.clock.unix_s().max(last.created_at + 1);
            last.created_at
        };
        let sign = |checkpoint: Checkpoint| {
            let text = self.notes.as_ref().map_or_else(|| checkpoint.text(), |notes| notes.sign(&checkpoint));
            let event = checkpoint.to_event(&self.secret, &text, created_at, &random.bytes());
            (checkpoint, event)
        };
        streams.chain(all).map(sign).collect()
    }

    /// These were published.
    fn note(&self, heads: &[(StreamId, Head)], signed: Vec<Signed>) {
        let mut last = self.last.lock();
        last.at = self.clock.instant();
        last.entries = entries(heads) + signed.len() as u64;
        last.created_at =
            signed.iter().map(|signed| signed.event.created_at()).chain([last.created_at]).max().unwrap_or_default();
        for signed in signed {
            last.signed.retain(|old| old.checkpoint.name() != signed.checkpoint.name());
            last.signed.push(signed);
        }
    }

    /// Of other pods, newer than those known.
    fn adopt(&self, events: Vec<Event>) {
        let mut last = self.last.lock();
        for event in events {
            let Ok(checkpoint) = Checkpoint::of_event(&event) else { continue };
            let known = last.signed.iter().find(|old| old.checkpoint.name() == checkpoint.name());
            if known.is_none_or(|old| old.event.created_at() < event.created_at()) {
                last.created_at = last.created_at.max(event.created_at());
                last.signed.retain(|old| old.checkpoint.name() != checkpoint.name());
                last.signed.push(Signed { checkpoint, event });
            }
        }
    }

    /// Whether the checkpoint over all streams is too old.
    fn wants_all(&self, config: &Audit) -> bool {
        let latest = self.latest("cluster");
        let age = |signed: Signed| self.clock.unix_s().saturating_sub(signed.event.created_at());
        latest.is_none_or(|signed| age(signed) >= config.checkpoint_interval.as_secs())
    }
}

pub(crate) fn entries(heads: &[(StreamId, Head)]) -> u64 {
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

/// Publishes checkpoints if they are due.
pub(crate) async fn publish_due(node: &Node) {
    let (heads, own) = (node.store.heads(), own_heads(&*node.store));
    let config = node.config.get().audit.clone();
    if own.is_empty() || !node.checkpoints.is_due(&own, &config) {
        return;
    }
    // Alone, both are signed together.
    let all = if heads.len() > 1 { wants_all(node, &config).await } else { true };
    let mut published = Vec::new();
    for (checkpoint, event) in node.checkpoints.sign(&own, all.then_some(&heads[..]), &node.random) {
        let signed = Signed { checkpoint, event: event.event().clone() };
        match node.ingest.publish_own(event).await {
            Answer::Committed(_, Outcome::Accepted(_)) => published.push(signed),
            refused => return tracing::warn!(?refused, "a checkpoint of the audit log could not be published"),
        }
    }
    node.checkpoints.note(&own, published);
}

/// Looks what other pods have signed, and whether the checkpoint over all streams is too old.
async fn wants_all(node: &Node, config: &Audit) -> bool {
    let (store, key) = (Arc::clone(&node.store), node.own_key);
    let read = tokio::task::spawn_blocking(move || own_events::newest(&*store, key, KIND_CHECKPOINT)).await;
    match read {
        Ok(Ok(events)) => node.checkpoints.adopt(events),
        Ok(Err(error)) => tracing::warn!(%error, "the checkpoints of other pods cannot be read"),
        Err(_) => {}
    }
    node.checkpoints.wants_all(config)
}

/// Of the stream this process commits to.
pub(crate) fn own_heads(store: &dyn EventStore) -> Vec<(StreamId, Head)> {
    let own = store.own_stream();
    store.heads().into_iter().filter(|(stream, _)| Some(*stream) == own).collect()
}

/// The checkpoints over everything, for a relay whose committer has ended.
pub(crate) fn publish_last(node: &Node) -> Result<Option<Committed>, Error> {
    let (heads, own) = (node.store.heads(), own_heads(&*node.store));
    if entries(&own) <= node.checkpoints.last.lock().entries {
        return Ok(None);
    }
    let policy = node.policy.get();
    let events = node.checkpoints.sign(&own, Some(&heads), &node.random);
    let writes = events.into_iter().map(|(_, event)| plan(event, Source::Relay, &policy)).collect();
    node.store.commit(Batch::of(writes, node.clock.unix_ms())).map(Some)
}
