//! How fast clients are let in. After a restart all of them come back at once, and each then asks for what it missed: let in one
//! after the other, those who are in are served while the rest wait for their answer to the upgrade.
//!
//! Pages do not wait here, so that health checks pass while a herd does. A client address holds no more turns than it may hold
//! connections.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Turns that need no waiting after a pause: a quarter of what a second has.
const BURSTS_PER_SECOND: u32 = 4;

/// Hands out turns, so many a second.
pub(crate) struct Ramp {
    interval: Duration,
    /// Nobody is made to wait for longer; whoever would have to is refused.
    wait_max: Duration,
    /// When the next turn is.
    next: Mutex<Option<Instant>>,
}

/// A client's turn. One that is not used goes to somebody else: who leaves while waiting must not keep others waiting.
#[must_use]
pub(crate) struct Turn<'a> {
    ramp: &'a Ramp,
    /// How long it is until then.
    pub(crate) wait: Duration,
    is_used: bool,
}

impl Turn<'_> {
    /// Its time has come.
    pub(crate) fn use_up(mut self) {
        self.is_used = true;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if !self.is_used
            && let Some(next) = &mut *self.ramp.next.lock()
        {
            *next -= self.ramp.interval;
        }
    }
}

/// So many wait already that there is no turn in time.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Ramp {
    pub(crate) fn new(per_second: u32, wait_max: Duration) -> Self {
        Self { interval: Duration::from_secs(1) / per_second.max(1), wait_max, next: Mutex::new(None) }
    }

    /// Takes a turn.
    pub(crate) fn turn(&self, now: Instant) -> Result<Turn<'_>, TooMany> {
        let mut next = self.next.lock();
        let earliest = now.checked_sub(Duration::from_secs(1) / BURSTS_PER_SECOND).unwrap_or(now);
        let turn = next.map_or(earliest, |next| next.max(earliest));
        let wait = turn.saturating_duration_since(now);
        if wait > self.wait_max {
            return Err(TooMany);
        }
        *next = Some(turn + self.interval);
        Ok(Turn { ramp: self, wait, is_used: false })
    }
}

#[cfg(test)]
mod tests {
    use towpath_runtime::{Clock, SystemClock};

    use super::*;

    /// Takes a turn and uses it up.
    fn taken(ramp: &Ramp, now: Instant) -> Result<Duration, TooMany> {
        let turn = ramp.turn(now)?;
        let wait = turn.wait;
        turn.use_up();
        Ok(wait)
    }

    #[test]
    fn a_turn_that_nobody_waited_for_goes_to_the_next() {
        let (ramp, start) = (Ramp::new(10, Duration::from_secs(1)), SystemClock.instant());
        while taken(&ramp, start).is_ok() {}
        let later = start + Duration::from_millis(500);
        for _ in 0..100 {
            drop(ramp.turn(later).unwrap());
        }
        assert!(taken(&ramp, later).is_ok(), "those who left are not waited for");
    }

    #[test]
    fn a_herd_is_let_in_at_the_rate_and_the_last_of_a_large_one_is_refused() {
        let (ramp, start) = (Ramp::new(100, Duration::from_secs(1)), SystemClock.instant());
        let waits: Vec<_> = (0..200).map(|_| taken(&ramp, start)).collect();
        let at_once = waits.iter().filter(|wait| **wait == Ok(Duration::ZERO)).count();
        assert_eq!(at_once, 26, "a quarter of a second's, and the one whose turn is now");
        assert_eq!(waits[125], Ok(Duration::from_secs(1)));
        assert_eq!(waits[126], Err(TooMany));
    }

    #[test]
    fn who_is_refused_takes_nobody_elses_turn_and_a_pause_is_made_up_for_by_a_burst_only() {
        let (ramp, start) = (Ramp::new(10, Duration::ZERO), SystemClock.instant());
        while taken(&ramp, start).is_ok() {}
        assert_eq!(taken(&ramp, start + Duration::from_millis(100)), Ok(Duration::ZERO));
        let much_later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| taken(&ramp, much_later).is_ok()).count(), 3);
    }
}
