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

    /// When a bucket that is full at `full_at` would be full without `tokens`, or how long until it has as many.
    fn full_without(&self, full_at: &mut Instant, tokens: f64, now: Instant) -> Result<Instant, Duration> {
        let burst = self.burst.max(1.0);
        let latest = now + self.cost(burst);
        // It may have been emptied under another rate: none is emptier than empty, from now on.
        *full_at = (*full_at).min(latest);
        let full_without = (*full_at).max(now) + self.cost(tokens.min(burst));
        if full_without > latest { Err(full_without - latest) } else { Ok(full_without) }
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

    /// Takes `tokens` from the bucket of each of `keys`, or from none: then it says how long until there are as many in all of them. More
    /// than a bucket holds count as all of it.
    pub fn take<I>(&self, keys: I, tokens: f64, now: Instant) -> Result<(), Duration>
    where
        I: Iterator<Item = (K, Rate)> + Clone,
    {
        let mut buckets = self.buckets.lock();
        let limited = keys.filter(|(_, rate)| !rate.is_off());
        let mut longest = None;
        for (key, rate) in limited.clone() {
            longest = longest.max(rate.full_without(buckets.of(key, self.keys_max, now), tokens, now).err());
        }
        match longest {
            Some(wait) => Err(wait),
            None => {
                for (key, rate) in limited {
                    let full_at = buckets.of(key, self.keys_max, now);
                    *full_at = rate.full_without(full_at, tokens, now).unwrap_or(*full_at);
                }
                Ok(())
            }
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.buckets.lock().full_at.len()
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// When the bucket of `key` is full again.
    fn of(&mut self, key: K, keys_max: usize, now: Instant) -> &mut Instant {
        if self.full_at.len() >= keys_max && !self.full_at.contains_key(&key) {
            // Not those that a request just asked for: what it takes it takes from the buckets that it looked at.
            self.full_at.retain(|_, full_at| *full_at >= now);
            if self.full_at.len() >= keys_max {
                return self.overflow_full_at.get_or_insert(now);
            }
        }
        self.full_at.entry(key).or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Clock, SystemClock};

    const TWO_A_SECOND: Rate = Rate { per_second: 2.0, burst: 3.0 };

    fn take<K: Eq + Hash + Clone>(
        limiter: &RateLimiter<K>,
        key: K,
        tokens: f64,
        rate: Rate,
        now: Instant,
    ) -> Result<(), Duration> {
        limiter.take(std::iter::once((key, rate)), tokens, now)
    }

    #[test]
    fn a_burst_passes_then_one_per_refill_and_the_wait_is_named() {
        let limiter = RateLimiter::new(10);
        let start = SystemClock.instant();
        for _ in 0..3 {
            assert_eq!(take(&limiter, "a", 1.0, TWO_A_SECOND, start), Ok(()));
        }
        let wait = take(&limiter, "a", 1.0, TWO_A_SECOND, start).unwrap_err();
        assert!(wait <= Duration::from_millis(500) && wait > Duration::from_millis(490), "{wait:?}");
        assert_eq!(take(&limiter, "b", 1.0, TWO_A_SECOND, start), Ok(()), "keys do not share buckets");
        assert_eq!(take(&limiter, "a", 1.0, TWO_A_SECOND, start + wait), Ok(()));
    }

    #[test]
    fn a_bucket_that_was_emptied_under_a_slower_rate_fills_at_the_new_one() {
        let limiter = RateLimiter::new(10);
        let now = SystemClock.instant();
        let slow = Rate { per_second: 0.01, burst: 1_000.0 };
        assert_eq!(take(&limiter, "a", 1_000.0, slow, now), Ok(()));
        let wait = take(&limiter, "a", 1.0, TWO_A_SECOND, now).unwrap_err();
        assert!(wait <= Duration::from_millis(500), "{wait:?}");
        assert_eq!(take(&limiter, "a", 1.0, TWO_A_SECOND, now + wait), Ok(()));
    }

    #[test]
    fn what_one_bucket_refuses_costs_the_others_nothing() {
        let limiter = RateLimiter::new(10);
        let now = SystemClock.instant();
        let both = |first, second| [(first, TWO_A_SECOND), (second, TWO_A_SECOND)].into_iter();
        assert_eq!(limiter.take(both("a", "b"), 3.0, now), Ok(()));
        assert!(limiter.take(both("c", "a"), 1.0, now).is_err());
        assert!(limiter.take(both("a", "c"), 1.0, now).is_err());
        assert_eq!(take(&limiter, "c", 3.0, TWO_A_SECOND, now), Ok(()));
    }

    #[test]
    fn a_request_takes_from_the_buckets_that_it_looked_at_however_many_keys_there_are() {
        const SLOW: Rate = Rate { per_second: 0.001, burst: 3.0 };
        let limiter = RateLimiter::new(5);
        let now = SystemClock.instant();
        for (key, rate) in [("a", TWO_A_SECOND), ("b", SLOW), ("c", SLOW), ("d", SLOW), ("e", SLOW), ("f", SLOW)] {
            assert_eq!(take(&limiter, key, 3.0, rate, now), Ok(()), "{key}");
        }
        assert!(take(&limiter, "g", 1.0, SLOW, now).is_err(), "it shares a bucket with f");
        let later = now + Duration::from_secs(10);
        assert!(limiter.take([("connection", TWO_A_SECOND), ("address", SLOW)].into_iter(), 1.0, later).is_err());
    }

    #[test]
    fn many_keys_cannot_grow_it_nor_escape_it() {
        let limiter = RateLimiter::new(5);
        let now = SystemClock.instant();
        let passed = (0..1000).filter(|key| take(&limiter, *key, 1.0, TWO_A_SECOND, now).is_ok()).count();
        assert_eq!((passed, limiter.len()), (5 + 3, 5));
        let later = now + Duration::from_secs(10);
        assert_eq!(take(&limiter, 2000, 1.0, TWO_A_SECOND, later), Ok(()));
        assert_eq!(limiter.len(), 1, "full buckets are forgotten");
    }
}
