//! Whether commits can succeed: what the last beat found, and what came of the last commit.

use std::time::{Duration, Instant};

use towpath_store::Error;

/// A beat that succeeds says nothing of commits, and the other way round.
#[derive(Default)]
pub(crate) struct Health {
    beat: Option<Error>,
    /// The commit that failed last, or is being tried again, and when; none once one has succeeded.
    commit: Option<(Instant, Error)>,
    /// Since when a commit waits for its answer.
    pending: Option<Instant>,
}

impl Health {
    pub(crate) fn beaten(&mut self, result: &Result<(), Error>) {
        self.beat = result.as_ref().err().cloned();
    }

    pub(crate) fn commit_begins(&mut self, now: Instant) {
        self.pending = Some(now);
    }

    pub(crate) fn commit_fails(&mut self, now: Instant, error: &Error) {
        self.commit = Some((now, error.clone()));
    }

    pub(crate) fn commit_ends<T>(&mut self, now: Instant, result: &Result<T, Error>) {
        self.pending = None;
        self.commit = result.as_ref().err().map(|error| (now, error.clone()));
    }

    /// A commit that failed counts for as long as a `lease`: nobody sends any to a pod that is unwell, so that none would clear it. One that
    /// is pending does from the end of its `patience` on.
    pub(crate) fn check(&self, now: Instant, lease: Duration, patience: Duration) -> Result<(), Error> {
        if let Some(error) = &self.beat {
            return Err(error.clone());
        }
        if let Some((at, error)) = &self.commit
            && now.saturating_duration_since(*at) < lease
        {
            return Err(error.clone());
        }
        if self.pending.is_some_and(|since| now.saturating_duration_since(since) > patience) {
            return Err(Error::Unavailable("a commit is not answered by the database".into()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use towpath_runtime::{Clock, SystemClock};

    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn is_well(health: &Health, now: Instant) -> bool {
        health.check(now, 15 * S, 10 * S).is_ok()
    }

    #[test]
    fn a_beat_that_succeeds_does_not_hide_that_commits_fail_nor_the_other_way_round() {
        let (mut health, now, failed) = (Health::default(), SystemClock.instant(), Err(Error::Full));
        health.commit_begins(now);
        health.commit_ends::<()>(now, &failed);
        health.beaten(&Ok(()));
        assert!(!is_well(&health, now + 14 * S));
        assert!(is_well(&health, now + 15 * S), "it is worth another commit");
        health.beaten(&failed);
        health.commit_ends(now + 16 * S, &Ok(()));
        assert!(!is_well(&health, now + 17 * S));
        health.beaten(&Ok(()));
        assert!(is_well(&health, now + 17 * S));
    }

    #[test]
    fn a_commit_that_is_not_answered_counts_once_patience_is_over() {
        let (mut health, now) = (Health::default(), SystemClock.instant());
        health.commit_begins(now);
        assert!(is_well(&health, now + 10 * S));
        assert!(!is_well(&health, now + 11 * S));
        health.commit_ends(now + 12 * S, &Ok(()));
        assert!(is_well(&health, now + 12 * S));
    }
}
