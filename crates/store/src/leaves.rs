//! What the audit log says of each entry: the same in every store.
//!
//! Owns: which action an entry is. Must not know: how leaves are encoded, hashed or kept.

use towpath_audit::{Action, Group, Leaf};
use towpath_policy::{Placement, Removal, Source, Write};
use towpath_protocol::Event;

use crate::{Act, Seq, StreamId};

/// Where and when an entry was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Whose commit it was.
    pub stream: StreamId,
    /// Its place.
    pub seq: Seq,
    /// The committer's clock, in milliseconds since 1970.
    pub committed_at_ms: u64,
}

/// What an accepted write that removed these entries did.
pub fn action_of(write: &Write, removed: &[Seq]) -> Action {
    match (write.removal(), write.placement()) {
        (Removal::Vanish, _) => Action::Vanished,
        (Removal::Delete(_), _) => Action::Deleted,
        (Removal::None, Placement::Replaceable(_)) if !removed.is_empty() => Action::Replaced,
        (Removal::None, _) => Action::Accepted,
    }
}

/// Of an accepted event that removed the entries named, in ascending order.
pub fn of_event(stamp: Stamp, action: Action, source: Source, event: &Event, removed: &[Seq]) -> Leaf {
    let removed = if action == Action::Vanished { &[] } else { removed };
    Leaf {
        source: Some(source),
        event: Some((event.id(), event.kind())),
        actor: Some(event.pubkey()),
        group: event.first_value("h").map(|group| Group::new(&group)),
        ..plain(stamp, action, removed)
    }
}

/// Of events that expired.
pub fn of_expiry(stamp: Stamp, removed: &[Seq]) -> Leaf {
    plain(stamp, Action::Expired, removed)
}

/// Of an act that is no event.
pub fn of_act(stamp: Stamp, act: &Act) -> Leaf {
    Leaf { source: Some(act.source), event: act.event, actor: act.actor, ..plain(stamp, act.action, &[]) }
}

fn plain(stamp: Stamp, action: Action, removed: &[Seq]) -> Leaf {
    Leaf {
        stream: stamp.stream.0,
        seq: stamp.seq.0,
        committed_at_ms: stamp.committed_at_ms,
        action,
        source: None,
        event: None,
        actor: None,
        group: None,
        removed: removed.iter().map(|seq| seq.0).collect(),
    }
}
