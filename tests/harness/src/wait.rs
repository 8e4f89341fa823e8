//! Waiting for conditions. Nothing else in the tests knows about time passing.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

/// How long a test waits for anything before it fails. A healthy relay needs milliseconds; the
/// deadline is what a busy machine may add.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for `future`, at most for [`DEADLINE`]; `what` names the missed condition.
pub async fn within<T>(what: &str, future: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(DEADLINE, future).await.with_context(|| format!("waited {DEADLINE:?} for {what}"))?
}

/// Asks again and again until the answer is yes, at most for [`DEADLINE`].
///
/// For conditions that the relay announces to nobody, such as the passing of an expiration.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let started = Instant::now();
    let mut ticks = interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if condition().await? {
            return Ok(());
        }
        if started.elapsed() > DEADLINE {
            bail!("{what}: still not so after {DEADLINE:?}");
        }
    }
}
