//! Whether a client is still there: when it is pinged, and when its silence has lasted too long.
//!
//! Must not know: sockets and timers. The time is an argument.

use std::time::{Duration, Instant};

use crate::Config;

/// What is known of one client.
#[derive(Default)]
pub(crate) struct Liveness {
    /// When it was last sent a ping.
    pinged: Option<Instant>,
}

/// What is due, and how long it is until something may be due again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beat {
    Ping(Duration),
    Wait(Duration),
    /// The client counts as gone.
    Silent,
}

impl Liveness {
    /// The ping that was due has left: it may have waited behind a long frame.
    pub(crate) fn sent(&mut self, now: Instant) {
        self.pinged = Some(now);
    }

    /// To be asked one `ping_interval` after the connection began, and then when it says. `heard` is whether anything came since the
    /// last ping.
    pub(crate) fn tick(&mut self, now: Instant, heard: bool, config: &Config) -> Beat {
        let &Config { ping_interval, pong_timeout, .. } = config;
        let passed = self.pinged.map(|pinged| now.saturating_duration_since(pinged));
        match passed {
            Some(passed) if !heard && passed >= pong_timeout => Beat::Silent,
            // What comes meanwhile is looked for as often as a client that answers is pinged.
            Some(passed) if !heard => Beat::Wait(ping_interval.min(pong_timeout - passed)),
            Some(passed) if passed < ping_interval => Beat::Wait(ping_interval - passed),
            _ => {
                self.sent(now);
                Beat::Ping(ping_interval.min(pong_timeout))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use towpath_runtime::{Clock, SystemClock};

    use super::*;

    /// In which of the first 120 seconds a client is pinged, and in which it is let go, if it answers each ping after so many.
    fn life(ping_interval: u64, pong_timeout: u64, answers_after: Option<u64>) -> (Vec<u64>, Option<u64>) {
        let seconds = Duration::from_secs;
        let config =
            Config { ping_interval: seconds(ping_interval), pong_timeout: seconds(pong_timeout), ..Config::default() };
        let (mut liveness, start) = (Liveness::default(), SystemClock.instant());
        let (mut pings, mut second) = (Vec::new(), ping_interval);
        while second <= 120 {
            let heard = pings.last().zip(answers_after).is_some_and(|(ping, after)| ping + after <= second);
            let next = match liveness.tick(start + seconds(second), heard, &config) {
                Beat::Silent => return (pings, Some(second)),
                Beat::Wait(next) => next,
                Beat::Ping(next) => {
                    pings.push(second);
                    next
                }
            };
            second += next.as_secs();
        }
        (pings, None)
    }

    /// Pings came an interval and a time-out apart, too seldom for proxies that drop quiet connections.
    #[test]
    fn a_client_that_answers_is_pinged_every_interval_however_long_it_might_be_silent() {
        for pong_timeout in [5, 30, 60, 100] {
            assert_eq!(life(30, pong_timeout, Some(1)), (vec![30, 60, 90, 120], None), "{pong_timeout}");
        }
    }

    #[test]
    fn a_client_that_is_silent_for_the_timeout_after_a_ping_is_let_go() {
        assert_eq!(life(30, 60, None), (vec![30], Some(90)));
        assert_eq!(life(30, 30, None), (vec![30], Some(60)));
        assert_eq!(life(30, 5, None), (vec![30], Some(35)));
        assert_eq!(life(30, 40, None), (vec![30], Some(70)));
    }

    #[test]
    fn a_late_answer_is_one() {
        assert_eq!(life(30, 60, Some(45)), (vec![30, 90], None));
    }

    #[test]
    fn a_ping_that_waited_behind_a_long_frame_is_answered_in_time_from_when_it_left() {
        let seconds = Duration::from_secs;
        let config = Config { ping_interval: seconds(30), pong_timeout: seconds(20), ..Config::default() };
        let (mut liveness, start) = (Liveness::default(), SystemClock.instant());
        assert_eq!(liveness.tick(start, false, &config), Beat::Ping(seconds(20)));
        liveness.sent(start + seconds(25));
        assert_eq!(liveness.tick(start + seconds(25), false, &config), Beat::Wait(seconds(20)));
        assert_eq!(liveness.tick(start + seconds(45), false, &config), Beat::Silent);
    }
}
