//! Rate limits: one virtual bucket per key, bounded in number.
//!
//! The generic cell rate algorithm keeps one instant per key: the time at which its bucket would be full again.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many at once, and so many a second on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Refill, per second. Zero or less switches the limit off.
    pub per_second: f64,
    /// Size of the bucket.
    pub burst: f64,
}

impl Rate {
    /// No limit.
    pub const OFF: Self = Self { per_second: 0.0, burst: 0.0 };

    fn is_off(&self) -> bool {
        self.per_second <= 0.0
    }

    fn cost(&self, tokens: f64) -> Duration {
        Duration::try_from_secs_f64(tokens / self.per_second).unwrap_or(Duration::from_secs(3600))
    }
}

/// Keeps the buckets of many keys. When it knows too many keys it forgets those whose buckets are full; if all are in use, new
/// keys share one bucket, so that an attacker with many addresses can exhaust neither memory nor the limit.
#[derive(Debug)]
pub struct RateLimiter<K> {
    keys_max: usize,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    full_at: HashMap<K, Instant>,
    overflow_full_at: Option<Instant>,
}

impl<K: Eq + Hash> RateLimiter<K> {
    /// At most `keys_max` buckets.
    pub fn new(keys_max: usize) -> Self {
        Self { keys_max, buckets: Mutex::new(Buckets { full_at: HashMap::new(), overflow_full_at: None }) }
    }

    /// Takes `tokens` from `key`'s bucket, or says how long until there are as many. More than the bucket holds count as all of it.
    pub fn take(&self, key: K, tokens: f64, rate: Rate, now: Instant) -> Result<(), Duration> {
        if rate.is_off() {
            return Ok(());
        }
        let mut buckets = self.buckets.lock();
        if buckets.full_at.len() >= self.keys_max && !buckets.full_at.contains_key(&key) {
            buckets.full_at.retain(|_, full_at| *full_at > now);
            if buckets.full_at.len() >= self.keys_max {
                return take(buckets.overflow_full_at.get_or_insert(now), tokens, rate, now);
            }
        }
        take(buckets.full_at.entry(key).or_insert(now), tokens, rate, now)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buckets.lock().full_at.len()
    }
}

fn take(full_at: &mut Instant, tokens: f64, rate: Rate, now: Instant) -> Result<(), Duration> {
    let burst = rate.burst.max(1.0);
    let latest = now + rate.cost(burst);
    // It may have been emptied under another rate: none is emptier than empty, from now on.
    *full_at = (*full_at).min(latest);
    let next_full = (*full_at).max(now) + rate.cost(tokens.min(burst));
    if next_full > latest {
        return Err(next_full - latest);
    }
    *full_at = next_full;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, SystemClock};

    const TWO_A_SECOND: Rate = Rate { per_second: 2.0, burst: 3.0 };

    #[test]
    fn a_burst_passes_then_one_per_refill_and_the_wait_is_named() {
        let limiter = RateLimiter::new(10);
        let start = SystemClock.instant();
        for _ in 0..3 {
            assert_eq!(limiter.take("a", 1.0, TWO_A_SECOND, start), Ok(()));
        }
        let wait = limiter.take("a", 1.0, TWO_A_SECOND, start).unwrap_err();
        assert!(wait <= Duration::from_millis(500) && wait > Duration::from_millis(490), "{wait:?}");
        assert_eq!(limiter.take("b", 1.0, TWO_A_SECOND, start), Ok(()), "keys do not share buckets");
        assert_eq!(limiter.take("a", 1.0, TWO_A_SECOND, start + wait), Ok(()));
    }

    #[test]
    fn a_bucket_that_was_emptied_under_a_slower_rate_fills_at_the_new_one() {
        let limiter = RateLimiter::new(10);
        let now = SystemClock.instant();
        let slow = Rate { per_second: 0.01, burst: 1_000.0 };
        assert_eq!(limiter.take("a", 1_000.0, slow, now), Ok(()));
        let wait = limiter.take("a", 1.0, TWO_A_SECOND, now).unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        assert_eq!(limiter.take("a", 1.0, TWO_A_SECOND, now + wait), Ok(()));
    }

    #[test]
    fn many_keys_cannot_grow_it_nor_escape_it() {
        let limiter = RateLimiter::new(5);
        let now = SystemClock.instant();
        let passed = (0..1000).filter(|key| limiter.take(*key, 1.0, TWO_A_SECOND, now).is_ok()).count();
        assert_eq!((passed, limiter.len()), (5 + 3, 5));
        let later = now + Duration::from_secs(10);
        assert_eq!(limiter.take(2000, 1.0, TWO_A_SECOND, later), Ok(()));
        assert_eq!(limiter.len(), 1, "full buckets are forgotten");
    }
}
