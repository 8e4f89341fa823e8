//! When each event is due. The schedule is a pure function of the event's number: it knows no
//! clock, so a generator or a relay that falls behind can never move it, and latency counted from
//! a due time includes every moment an event had to wait its turn.

/// Nanoseconds since the start of a run.
pub(crate) type Nanos = u64;

const SECOND: u128 = 1_000_000_000;

/// The instants of a fixed number of events.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Schedule {
    /// Evenly spread.
    Steady { rate_per_second: u32, events: usize },
    /// As they were recorded, in order.
    Recorded(&'static [Nanos]),
}

impl Schedule {
    /// `rate_per_second` events a second for `seconds`; a rate of zero is taken as one.
    pub(crate) fn new(rate_per_second: u32, seconds: u32) -> Self {
        let rate_per_second = rate_per_second.max(1);
        Self::Steady { rate_per_second, events: rate_per_second as usize * seconds as usize }
    }

    pub(crate) fn events(&self) -> usize {
        match self {
            Self::Steady { events, .. } => *events,
            Self::Recorded(instants) => instants.len(),
        }
    }

    /// Between two events, on average.
    pub(crate) fn gap(&self) -> Nanos {
        match self {
            Self::Steady { .. } => self.due(1),
            Self::Recorded(instants) => match instants {
                [first, .., last] => (last - first) / (instants.len() as Nanos - 1),
                _ => Nanos::MAX,
            },
        }
    }

    /// The instant event `number` should leave, however late its predecessors left.
    pub(crate) fn due(&self, number: usize) -> Nanos {
        match self {
            Self::Steady { rate_per_second, .. } => (number as u128 * SECOND / u128::from(*rate_per_second)) as Nanos,
            // Behind the last there is nothing that could be due.
            Self::Recorded(instants) => instants.get(number).copied().unwrap_or(Nanos::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_spread_evenly_over_the_run() {
        let schedule = Schedule::new(1_000, 10);
        assert_eq!(schedule.events(), 10_000);
        assert_eq!(schedule.due(0), 0);
        assert_eq!(schedule.due(1), 1_000_000);
        assert_eq!(schedule.due(9_999), 9_999_000_000);
    }

    #[test]
    fn the_gap_is_that_of_most_events() {
        assert_eq!(Schedule::new(1_000, 10).gap(), 1_000_000);
        assert_eq!(Schedule::Recorded(&[0, 900, 1_000, 1_100]).gap(), 366);
        assert_eq!(Schedule::Recorded(&[5]).gap(), Nanos::MAX);
    }

    #[test]
    fn rounding_never_accumulates() {
        let schedule = Schedule::new(3, 1_000);
        assert_eq!(schedule.due(1), 333_333_333);
        assert_eq!(schedule.due(3_000), 1_000_000_000_000);
    }

    #[test]
    fn asking_late_or_out_of_order_does_not_rebase_the_schedule() {
        let schedule = Schedule::new(250, 60);
        let before: Vec<_> = (0..schedule.events()).map(|number| schedule.due(number)).collect();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let after: Vec<_> = (0..schedule.events()).rev().map(|number| schedule.due(number)).collect();
        assert!(before.iter().eq(after.iter().rev()));
        assert!(before.windows(2).all(|pair| pair[1] - pair[0] == 4_000_000));
    }
}
