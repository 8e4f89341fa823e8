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

/// Places of entries, ascending.
pub trait Removed: Iterator<Item = (StreamId, Seq)> {}

impl<I: Iterator<Item = (StreamId, Seq)>> Removed for I {}

/// What an accepted write did; `removes` if it removed anything.
pub fn action_of(write: &Write, removes: bool) -> Action {
    match (write.removal(), write.placement()) {
        (Removal::Vanish, _) => Action::Vanished,
        (Removal::Delete(_), _) => Action::Deleted,
        (Removal::None, Placement::Replaceable(_)) if removes => Action::Replaced,
        (Removal::None, _) => Action::Accepted,
    }
}

/// Of an accepted event that removed the entries named, in ascending order.
pub fn of_event(stamp: Stamp, action: Action, source: Source, event: &Event, removed: impl Removed) -> Leaf {
    let told = action != Action::Vanished;
    Leaf {
        source: Some(source),
        event: Some((event.id(), event.kind())),
        actor: Some(event.pubkey()),
        group: event.first_value("h").map(|group| Group::new(&group)),
        ..plain(stamp, action, removed.filter(|_| told))
    }
}

/// Of events that expired.
pub fn of_expiry(stamp: Stamp, removed: impl Removed) -> Leaf {
    plain(stamp, Action::Expired, removed)
}

/// Of an act that is no event.
pub fn of_act(stamp: Stamp, act: &Act) -> Leaf {
    Leaf {
        source: Some(act.source),
        event: act.event,
        actor: act.actor,
        ..plain(stamp, act.action, std::iter::empty())
    }
}

fn plain(stamp: Stamp, action: Action, removed: impl Removed) -> Leaf {
    let (mut here, mut elsewhere) = (Vec::new(), Vec::new());
    for (stream, seq) in removed {
        if stream == stamp.stream { here.push(seq.0) } else { elsewhere.push((stream.0, seq.0)) }
    }
    Leaf {
        stream: stamp.stream.0,
        seq: stamp.seq.0,
        committed_at_ms: stamp.committed_at_ms,
        action,
        source: None,
        event: None,
        actor: None,
        group: None,
        removed: here,
        removed_elsewhere: elsewhere,
    }
}
