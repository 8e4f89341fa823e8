//! What the log owes to those who follow it.

use crate::violation::{Fault, Promise, Violation};

/// A follower that began after position `after` and has caught up with `head` has read every entry between them. It may have
/// read one again, after a crash, but has never skipped one.
pub fn followers_catch_up(after: u64, head: u64, read: &[u64]) -> Result<(), Violation> {
    let violation = |seq| Violation { promise: Promise::FollowersCatchUp, fault: Fault::Skipped(seq) };
    let mut reached = after;
    for seq in read {
        match seq.checked_sub(reached) {
            Some(2..) => return Err(violation(reached + 1)),
            Some(1) => reached += 1,
            Some(0) | None => {}
        }
    }
    match reached < head {
        true => Err(violation(reached + 1)),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_may_read_an_entry_again() {
        assert_eq!(followers_catch_up(2, 5, &[3, 4, 3, 4, 5]), Ok(()));
    }

    #[test]
    fn a_follower_that_skips_an_entry_breaks_the_promise() {
        assert_eq!(followers_catch_up(0, 3, &[1, 3, 2]).unwrap_err().fault, Fault::Skipped(2));
    }

    #[test]
    fn a_follower_that_stops_early_breaks_the_promise() {
        assert_eq!(followers_catch_up(0, 3, &[1, 2]).unwrap_err().fault, Fault::Skipped(3));
    }
}
