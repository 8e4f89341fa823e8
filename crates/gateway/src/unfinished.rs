//! What all connections together hold of messages that have not come in full, and who is refused when it is too much.
//!
//! It counts bytes; it must not know whose they are or what they say. A connection's [`Share`] goes with the connection
//! and gives back what it held, however the connection ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus_client::metrics::gauge::Gauge;

use crate::Close;

/// Connections that hold no more than this are served even when the total is used up: who sends slowly pays, not
/// everyone. It is also about what one read of a socket brings.
const FAIR_SHARE_BYTES: usize = 64 * 1024;
/// RFC 6455 has no code for this; its registry has "try again later".
const TRY_AGAIN_LATER: u16 = 1013;

/// The bytes of all connections.
#[derive(Debug)]
pub(crate) struct Budget {
    total_bytes_max: usize,
    held: AtomicUsize,
    gauge: Gauge,
}

/// The bytes of one connection.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    held: usize,
}

impl Budget {
    pub(crate) fn new(total_bytes_max: usize, gauge: Gauge) -> Arc<Self> {
        Arc::new(Self { total_bytes_max, held: AtomicUsize::new(0), gauge })
    }

    /// A share that holds nothing yet.
    pub(crate) fn share(self: &Arc<Self>) -> Share {
        Share { budget: self.clone(), held: 0 }
    }
}

impl Share {
    /// From now on the connection holds so many bytes; refused if they are more than there is room for.
    pub(crate) fn hold(&mut self, bytes: usize) -> Result<(), Close> {
        if bytes > self.held {
            self.grow(bytes)
        } else {
            self.shrink(bytes);
            Ok(())
        }
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Close> {
        let Budget { total_bytes_max, held, gauge } = &*self.budget;
        let more = bytes - self.held;
        let taken = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |total| {
            // Who holds all there is may go on to any length a message may have, so that no total is too small to be used.
            let fits = bytes <= FAIR_SHARE_BYTES || total == self.held || total + more <= *total_bytes_max;
            fits.then_some(total + more)
        });
        taken.map_err(|_| {
            Close::new(TRY_AGAIN_LATER, "try again later: the relay holds too many unfinished messages")
        })?;
        // Added to, not set: of two that set it, the one with the older number may come last.
        gauge.inc_by(signed(more));
        self.held = bytes;
        Ok(())
    }

    fn shrink(&mut self, bytes: usize) {
        let less = self.held - bytes;
        if less > 0 {
            self.budget.held.fetch_sub(less, Ordering::Relaxed);
            self.budget.gauge.dec_by(signed(less));
            self.held = bytes;
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// Whether a connection is closed for want of room here rather than for what it sent.
pub(crate) fn is_refusal(close: &Close) -> bool {
    close.code == TRY_AGAIN_LATER
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    #[test]
    fn who_does_not_fit_is_refused_and_keeps_what_it_had() {
        let budget = Budget::new(300 * KIB, Gauge::default());
        let (mut one, mut other) = (budget.share(), budget.share());
        assert_eq!(one.hold(200 * KIB), Ok(()));
        assert_eq!(other.hold(100 * KIB), Ok(()));
        let refused = other.hold(101 * KIB).expect_err("no room");
        assert!(refused.code == 1013 && refused.reason.contains("try again later"), "{refused:?}");
        assert_eq!(budget.gauge.get(), 300 * 1024);
        assert_eq!(one.hold(199 * KIB), Ok(()));
        assert_eq!(other.hold(101 * KIB), Ok(()));
    }

    #[test]
    fn a_fair_share_is_there_for_everyone() {
        let budget = Budget::new(100 * KIB, Gauge::default());
        let mut greedy = budget.share();
        assert_eq!(greedy.hold(100 * KIB), Ok(()));
        let mut modest: Vec<Share> = (0..10).map(|_| budget.share()).collect();
        assert!(modest.iter_mut().all(|share| share.hold(FAIR_SHARE_BYTES).is_ok()));
        assert!(modest[0].hold(FAIR_SHARE_BYTES + 1).is_err());
    }

    #[test]
    fn whoever_is_alone_may_send_the_longest_message() {
        let budget = Budget::new(100 * KIB, Gauge::default());
        let (mut alone, mut second) = (budget.share(), budget.share());
        assert_eq!(alone.hold(90 * KIB), Ok(()));
        assert_eq!(alone.hold(400 * KIB), Ok(()));
        assert!(second.hold(FAIR_SHARE_BYTES + 1).is_err());
    }

    #[test]
    fn everything_is_given_back() {
        let budget = Budget::new(1 << 20, Gauge::default());
        let mut shares: Vec<Share> = (0..10).map(|_| budget.share()).collect();
        for (share, bytes) in shares.iter_mut().zip(1..) {
            assert_eq!(share.hold(bytes * KIB), Ok(()));
        }
        assert_eq!(shares[0].hold(0), Ok(()));
        drop(shares);
        assert_eq!((budget.held.load(Ordering::Relaxed), budget.gauge.get()), (0, 0));
    }
}
