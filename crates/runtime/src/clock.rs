//! Time, as an argument.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970.
    fn unix_ms(&self) -> u64;

    /// Microseconds since 1970.
    fn unix_us(&self) -> u64 {
        self.unix_ms() * 1000
    }

    /// A steady reading, for measuring spans.
    fn instant(&self) -> Instant;

    /// The steady reading at a time that has passed, in microseconds since 1970; now for one that has not, by this clock.
    fn instant_at(&self, unix_us: u64) -> Instant {
        let now = self.instant();
        now.checked_sub(Duration::from_micros(self.unix_us().saturating_sub(unix_us))).unwrap_or(now)
    }

    /// Seconds since 1970.
    fn unix_s(&self) -> u64 {
        self.unix_ms() / 1000
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
impl Clock for SystemClock {
    fn unix_ms(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
    }

    fn unix_us(&self) -> u64 {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        u64::try_from(since_1970.as_micros()).unwrap_or(u64::MAX)
    }

    fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A clock that moves when told to.
#[derive(Debug)]
pub struct ManualClock {
    start: Instant,
    start_ms: u64,
    passed_ms: AtomicU64,
}

impl ManualClock {
    /// Stands at `unix_ms`.
    pub fn at(unix_ms: u64) -> Self {
        Self { start: SystemClock.instant(), start_ms: unix_ms, passed_ms: AtomicU64::new(0) }
    }

    /// Moves on.
    pub fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn unix_ms(&self) -> u64 {
        self.start_ms + self.passed_ms.load(Ordering::SeqCst)
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_millis(self.passed_ms.load(Ordering::SeqCst))
    }
}
