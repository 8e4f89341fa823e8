//! What a store owes to those it has answered.

use std::collections::{HashMap, HashSet};

use towpath_protocol::EventId;

use crate::violation::{Fault, Promise, Violation};

/// What a store holds, and which events would have removed which others had they been stored.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    stored: HashSet<EventId>,
    removers: HashMap<EventId, Vec<EventId>>,
}

impl Holdings {
    /// A store that holds these events.
    pub fn new(stored: impl IntoIterator<Item = EventId>) -> Self {
        Self { stored: stored.into_iter().collect(), removers: HashMap::new() }
    }

    /// `by` replaces or deletes `removed`, whichever of them comes first. All removers of an event have to be named, not
    /// only the next.
    pub fn removes(&mut self, by: EventId, removed: EventId) {
        self.removers.entry(removed).or_default().push(by);
    }

    /// Whether the event is stored.
    pub fn holds(&self, id: &EventId) -> bool {
        self.stored.contains(id)
    }

    /// Whether a stored event has removed it, or kept it out.
    pub(crate) fn is_removed(&self, id: &EventId) -> bool {
        self.removers.get(id).is_some_and(|removers| removers.iter().any(|by| self.holds(by)))
    }

    /// Whether the event is stored, or one that removed it is.
    fn accounts_for(&self, id: &EventId) -> bool {
        self.holds(id) || self.is_removed(id)
    }
}

/// Every acked event is stored unless a stored one removed it; and no stored event has left behind what it removed, because
/// both happened in one commit.
pub fn acked_is_durable(acked: &[EventId], holdings: &Holdings) -> Result<(), Violation> {
    let violation = |fault| Violation { promise: Promise::AckedIsDurable, fault };
    if let Some(lost) = acked.iter().find(|id| !holdings.accounts_for(id)) {
        return Err(violation(Fault::Missing(*lost)));
    }
    match holdings.stored.iter().find(|id| holdings.is_removed(id)) {
        Some(left) => Err(violation(Fault::NotRemoved(*left))),
        None => Ok(()),
    }
}

/// Every stored-class event that a subscriber has received is stored unless a stored one removed it.
pub fn delivered_is_committed(delivered: &[EventId], holdings: &Holdings) -> Result<(), Violation> {
    match delivered.iter().find(|id| !holdings.accounts_for(id)) {
        Some(id) => Err(Violation { promise: Promise::DeliveredIsCommitted, fault: Fault::Unexpected(*id) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id;

    #[test]
    fn a_stored_event_was_rightly_acked() {
        assert_eq!(acked_is_durable(&[id(1)], &Holdings::new([id(1), id(2)])), Ok(()));
    }

    #[test]
    fn an_acked_event_that_is_gone_breaks_the_promise() {
        let fault = acked_is_durable(&[id(1)], &Holdings::new([id(2)])).unwrap_err().fault;
        assert_eq!(fault, Fault::Missing(id(1)));
    }

    #[test]
    fn an_acked_event_may_have_been_removed_by_a_stored_one() {
        let mut holdings = Holdings::new([id(2)]);
        holdings.removes(id(2), id(1));
        assert_eq!(acked_is_durable(&[id(1), id(2)], &holdings), Ok(()));
    }

    #[test]
    fn a_removal_that_was_not_stored_excuses_nothing() {
        let mut holdings = Holdings::new([]);
        holdings.removes(id(2), id(1));
        assert_eq!(acked_is_durable(&[id(1)], &holdings).unwrap_err().fault, Fault::Missing(id(1)));
    }

    #[test]
    fn a_removal_that_is_half_done_breaks_the_promise() {
        let mut holdings = Holdings::new([id(1), id(2)]);
        holdings.removes(id(2), id(1));
        assert_eq!(acked_is_durable(&[id(2)], &holdings).unwrap_err().fault, Fault::NotRemoved(id(1)));
    }

    #[test]
    fn an_event_that_was_delivered_and_never_stored_breaks_the_promise() {
        let holdings = Holdings::new([id(1)]);
        assert_eq!(delivered_is_committed(&[id(1)], &holdings), Ok(()));
        assert_eq!(delivered_is_committed(&[id(2)], &holdings).unwrap_err().fault, Fault::Unexpected(id(2)));
    }
}
