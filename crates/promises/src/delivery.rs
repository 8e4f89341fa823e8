//! What a subscription owes to its reader, and a connection to its writer.

use std::collections::{HashMap, HashSet};

use towpath_protocol::EventId;

use crate::violation::{Fault, Promise, Violation};

/// `received` is `expected`, each event once, in any order.
fn exactly_once<'a>(expected: &[EventId], received: impl Iterator<Item = &'a EventId>) -> Result<(), Fault> {
    let mut due: HashSet<&EventId> = expected.iter().collect();
    let known = due.clone();
    for id in received {
        match (due.remove(id), known.contains(id)) {
            (true, _) => {}
            (false, true) => return Err(Fault::Twice(*id)),
            (false, false) => return Err(Fault::Unexpected(*id)),
        }
    }
    // The first by the order in which they were expected, so that the same failure reads the same.
    match expected.iter().find(|id| due.contains(id)) {
        Some(missing) => Err(Fault::Missing(*missing)),
        None => Ok(()),
    }
}

/// A subscription that was live before the first of the `committed` events has received each of them once.
pub fn nothing_missed(committed: &[EventId], received: &[EventId]) -> Result<(), Violation> {
    exactly_once(committed, received.iter()).map_err(|fault| Violation { promise: Promise::NothingMissed, fault })
}

/// A subscription that was opened while events were being committed has received each that matches once: as a stored event
/// before `EOSE`, or live after it.
pub fn exact_handover(matching: &[EventId], stored: &[EventId], live: &[EventId]) -> Result<(), Violation> {
    exactly_once(matching, stored.iter().chain(live))
        .map_err(|fault| Violation { promise: Promise::ExactHandover, fault })
}

/// The live events of a subscription came in the order of their commits; those that it does not match are left out.
pub fn commit_order(commits: &[EventId], live: &[EventId]) -> Result<(), Violation> {
    let places: HashMap<&EventId, usize> = commits.iter().enumerate().map(|(place, id)| (id, place)).collect();
    let mut reached = 0;
    for id in live {
        match places.get(id) {
            None => return Err(order(Fault::Unexpected(*id))),
            Some(place) if *place < reached => return Err(order(Fault::OutOfOrder(*id))),
            Some(place) => reached = place + 1,
        }
    }
    Ok(())
}

/// The `OK`s of one connection came in the order it sent the events, none left out; the latest may still be due.
pub fn ok_order(sent: &[EventId], answered: &[EventId]) -> Result<(), Violation> {
    match answered.iter().enumerate().find(|(place, id)| sent.get(*place) != Some(id)) {
        Some((_, id)) => Err(order(Fault::OutOfOrder(*id))),
        None => Ok(()),
    }
}

fn order(fault: Fault) -> Violation {
    Violation { promise: Promise::CommitOrder, fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id;

    #[test]
    fn every_event_once_in_any_order_misses_nothing() {
        assert_eq!(nothing_missed(&[id(1), id(2)], &[id(2), id(1)]), Ok(()));
    }

    #[test]
    fn a_missing_event_a_second_copy_and_a_stranger_break_the_promise() {
        let fault = |received: &[EventId]| nothing_missed(&[id(1), id(2)], received).unwrap_err().fault;
        assert_eq!(fault(&[id(1)]), Fault::Missing(id(2)));
        assert_eq!(fault(&[id(1), id(2), id(1)]), Fault::Twice(id(1)));
        assert_eq!(fault(&[id(1), id(2), id(3)]), Fault::Unexpected(id(3)));
    }

    #[test]
    fn a_handover_is_exact_wherever_the_end_of_the_stored_events_falls() {
        let all = [id(1), id(2), id(3)];
        for place in 0..=all.len() {
            let (stored, live) = all.split_at(place);
            assert_eq!(exact_handover(&all, stored, live), Ok(()));
        }
    }

    #[test]
    fn an_event_on_both_sides_of_the_handover_breaks_the_promise() {
        let violation = exact_handover(&[id(1), id(2)], &[id(1), id(2)], &[id(2)]).unwrap_err();
        assert_eq!(violation, Violation { promise: Promise::ExactHandover, fault: Fault::Twice(id(2)) });
    }

    #[test]
    fn an_event_on_neither_side_of_the_handover_breaks_the_promise() {
        let violation = exact_handover(&[id(1), id(2), id(3)], &[id(1)], &[id(3)]).unwrap_err();
        assert_eq!(violation.fault, Fault::Missing(id(2)));
    }

    #[test]
    fn live_events_may_leave_out_commits_and_not_overtake_them() {
        let commits = [id(1), id(2), id(3)];
        assert_eq!(commit_order(&commits, &[id(1), id(3)]), Ok(()));
        assert_eq!(commit_order(&commits, &[id(3), id(1)]).unwrap_err().fault, Fault::OutOfOrder(id(1)));
        assert_eq!(commit_order(&commits, &[id(4)]).unwrap_err().fault, Fault::Unexpected(id(4)));
    }

    #[test]
    fn answers_are_due_in_the_order_of_the_questions() {
        let sent = [id(1), id(2), id(3)];
        assert_eq!(ok_order(&sent, &sent[..2]), Ok(()));
        assert_eq!(ok_order(&sent, &[id(2)]).unwrap_err().fault, Fault::OutOfOrder(id(2)));
        assert_eq!(ok_order(&sent, &[id(1), id(3)]).unwrap_err().fault, Fault::OutOfOrder(id(3)));
    }
}
