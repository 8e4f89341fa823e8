//! The world, passed by value: time, tasks, live configuration, rate limits, histogram buckets.
//!
//! Owns: the only places where the clock is read, a task is spawned and a thread is started.
//! Must not know: events, storage, sockets. No globals: two relays live in one process.

mod clock;
mod live;
mod metrics;
mod random;
mod rate;
mod tasks;
mod workers;

pub use clock::{Clock, ManualClock, SystemClock};
pub use live::Live;
pub use metrics::latency_histogram;
pub use random::Random;
pub use rate::{Rate, RateLimiter};
pub use tasks::{TaskGroup, Thread};
pub use workers::Workers;
