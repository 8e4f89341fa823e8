//! What the audit log owes to those who were answered.

use std::collections::HashSet;

use towpath_protocol::EventId;

use crate::Holdings;
use crate::violation::{Fault, Promise, Violation};

/// Every acked event has a leaf, and no event has two. `leaves` are the events that the audit log names, in order; `duplicates` are
/// those of the acked that were answered as such: so is a version older than the stored one, which was never let in.
pub fn acked_is_audited(
    acked: &[EventId],
    duplicates: &[EventId],
    leaves: &[EventId],
    holdings: &Holdings,
) -> Result<(), Violation> {
    let violation = |fault| Violation { promise: Promise::AckedIsAudited, fault };
    let mut audited = HashSet::new();
    if let Some(twice) = leaves.iter().find(|id| !audited.insert(**id)) {
        return Err(violation(Fault::Twice(*twice)));
    }
    let kept_out = |id: &EventId| duplicates.contains(id) && holdings.is_removed(id);
    match acked.iter().find(|id| !audited.contains(id) && !kept_out(id)) {
        Some(missing) => Err(violation(Fault::Missing(*missing))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id;

    #[test]
    fn an_acked_event_without_a_leaf_breaks_the_promise() {
        let holdings = Holdings::new([id(1), id(2)]);
        assert_eq!(acked_is_audited(&[id(1)], &[], &[id(2), id(1)], &holdings), Ok(()));
        assert_eq!(acked_is_audited(&[id(1)], &[], &[id(2)], &holdings).unwrap_err().fault, Fault::Missing(id(1)));
    }

    #[test]
    fn an_event_with_two_leaves_breaks_the_promise() {
        let fault = acked_is_audited(&[], &[], &[id(1), id(2), id(1)], &Holdings::new([])).unwrap_err().fault;
        assert_eq!(fault, Fault::Twice(id(1)));
    }

    #[test]
    fn an_old_version_may_be_answered_without_being_let_in() {
        let mut holdings = Holdings::new([id(2)]);
        holdings.removes(id(2), id(1));
        let audited = |duplicates: &[EventId]| acked_is_audited(&[id(1), id(2)], duplicates, &[id(2)], &holdings);
        assert_eq!(audited(&[id(1)]), Ok(()));
        assert_eq!(audited(&[]).unwrap_err().fault, Fault::Missing(id(1)), "it was let in, and has been replaced");
    }
}
