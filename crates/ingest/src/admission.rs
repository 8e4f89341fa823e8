//! How many events may be on their way from their connections to a commit (docs/adr/0008-admission.md).
//!
//! Owns: the line in front of the signature checks. Must not know: what is checked, where it waits behind that.
//!
//! Many threads check signatures, and one commits. If the checks could run as far ahead as the queue between them is long, an event
//! would wait there for as long as clients have events in flight, and the committer for a processor that checks use. So once enough
//! events are under way, connections wait here in turn, and are not read meanwhile: what else a client sends waits in its socket.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// Where none of those before it is committed for so long, the store stands still. Then a burst goes on to the queue, whose bound
/// refuses it.
const WAIT_MAX: Duration = Duration::from_millis(250);

/// See the module.
pub(crate) struct Admission {
    room: Semaphore,
    events_max: usize,
}

/// A burst's room, given back when this is dropped, but for what was [`Admitted::passed_on`]. None if it waited too long.
pub(crate) struct Admitted<'a>(Option<SemaphorePermit<'a>>);

impl Admission {
    pub(crate) fn new(events_max: usize) -> Self {
        Self { room: Semaphore::new(events_max), events_max }
    }

    /// Waits for room for so many events, in turn and not for long. Cancel-safe.
    pub(crate) async fn admit(&self, events: usize) -> Admitted<'_> {
        let events = u32::try_from(events.min(self.events_max)).unwrap_or(u32::MAX);
        if let Ok(room) = self.room.try_acquire_many(events) {
            return Admitted(Some(room));
        }
        // Apart, because it is seldom, and every connection that serves an event would carry its size. It is never closed.
        let room = Box::pin(timeout(WAIT_MAX, self.room.acquire_many(events)));
        Admitted(room.await.ok().and_then(Result::ok))
    }

    /// So many that were passed on with their room wait no longer.
    pub(crate) fn arrived(&self, events: usize) {
        self.room.add_permits(events);
    }

    /// Events that were admitted and have not arrived yet. Less than none would be room given back that nobody had.
    pub(crate) fn under_way(&self) -> i64 {
        let events = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        events(self.events_max) - events(self.room.available_permits())
    }
}

impl Admitted<'_> {
    /// So many events go on, and the others were refused. How many of the former keep their room, until they have [`Admission::arrived`].
    pub(crate) fn passed_on(self, events: usize) -> usize {
        let Some(mut room) = self.0 else { return 0 };
        let kept = room.split(events.min(room.num_permits()));
        kept.map_or(0, |kept| {
            let events = kept.num_permits();
            kept.forget();
            events
        })
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn a_burst_waits_in_turn_until_others_have_arrived() {
        let admission = Admission::new(4);
        assert_eq!(admission.admit(3).await.passed_on(3), 3);
        let mut second = pin!(admission.admit(2));
        assert!(poll!(&mut second).is_pending());
        let mut third = pin!(admission.admit(1));
        assert!(poll!(&mut third).is_pending(), "there is room for it, and another waits before it");
        assert_eq!(admission.under_way(), 4, "what there was is kept for the second");
        admission.arrived(1);
        let second = second.await;
        assert!(poll!(&mut third).is_pending());
        assert_eq!(second.passed_on(1), 1);
        assert_eq!(third.await.passed_on(1), 1, "what is refused gives its room back at once");
        admission.arrived(4);
        assert_eq!(admission.under_way(), 0);
    }

    #[tokio::test]
    async fn whoever_leaves_the_line_or_is_refused_takes_no_room() {
        let admission = Admission::new(2);
        let first = admission.admit(2).await;
        {
            let mut second = pin!(admission.admit(1));
            assert!(poll!(&mut second).is_pending());
        }
        drop(first);
        assert_eq!(admission.under_way(), 0);
        assert_eq!(admission.admit(2).await.passed_on(0), 0);
        assert_eq!(admission.under_way(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_on_without_room_when_the_store_stands_still() {
        let admission = Admission::new(2);
        assert_eq!(admission.admit(2).await.passed_on(2), 2);
        let admitted = timeout(Duration::from_secs(1), admission.admit(1)).await;
        let admitted = admitted.expect("soon, as its connection is not read meanwhile");
        assert_eq!(admitted.passed_on(1), 0, "nothing to give back");
        admission.arrived(2);
        assert_eq!(admission.under_way(), 0);
    }

    #[tokio::test]
    async fn a_burst_larger_than_all_room_takes_all_of_it() {
        let admission = Admission::new(2);
        assert_eq!(admission.admit(5).await.passed_on(5), 2);
    }
}
