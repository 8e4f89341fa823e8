//! Somebody who publishes at a fixed pace while something else goes on. Knows nothing of what that is.

use anyhow::Result;
use clap::Args;

use crate::artifact::{Distribution, Outcome};
use crate::launch::RunningArm;
use crate::live::{self, Heading};
use crate::notes::Notes;
use crate::options::Method;
use crate::workload::{self, Pacing, Plan};

/// How much of it.
#[derive(Args, Clone, Copy, Debug, serde::Serialize)]
pub(super) struct Steady {
    /// Events a second.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) rate: u32,
    /// Connections that publish.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(super) connections: u32,
}

impl Steady {
    /// Publishes to the first pod for as long as `method` says, and once more if that run is void: on a shared machine the
    /// generator is late now and then. One that broke a promise stands, lest a second hide it. `label` tells the runs of one
    /// process apart.
    pub(super) fn publish(self, arm: &RunningArm, method: &Method, label: &str) -> Result<Outcome> {
        let outcome = self.publish_once(arm, method, label)?;
        let may_be_repeated = outcome.void.is_some() && outcome.is_clean();
        if may_be_repeated { self.publish_once(arm, method, label) } else { Ok(outcome) }
    }

    /// Once, whatever becomes of it.
    pub(super) fn publish_once(self, arm: &RunningArm, method: &Method, label: &str) -> Result<Outcome> {
        let schedule = method.schedule(self.rate);
        let recipe = method.recipe(label)?;
        let plan = Plan {
            arm,
            publishers_at: &arm.pods[..1],
            subscribers_at: &arm.pods[..1],
            notes: &Notes::sign(&recipe, schedule.events())?,
            since: recipe.created_at,
            pacing: Pacing::Open(schedule),
            connections: self.connections as usize,
            subscribers: 0,
            has_background: false,
            method,
        };
        let heading = Heading { protocol: label, arm: &arm.name, round: (1, 1), seconds: method.seconds };
        live::watch(heading, arm, |progress| workload::run(&plan, progress))
    }
}

/// A percentile of the acks of `with` over the mean of it without; `None` when the figures must not be used.
pub(super) fn ack_ratio(with: &Outcome, without: &[&Outcome], percentile: fn(&Distribution) -> f64) -> Option<f64> {
    let of = |outcome: &Outcome| outcome.latency("ack").filter(|_| outcome.void.is_none()).map(percentile);
    let baseline: Vec<f64> = without.iter().filter_map(|outcome| of(outcome)).collect();
    Some(of(with)? * baseline.len() as f64 / baseline.iter().sum::<f64>()).filter(|ratio| ratio.is_finite())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::client::Target;
    use crate::stand_in::{Vice, keeper};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        steady: Steady,
        #[command(flatten)]
        method: Method,
    }

    #[test]
    fn a_run_that_broke_a_promise_is_not_repeated_until_none_is() {
        let words = "bench --rate 20 --seconds 1 --warm-up-seconds 0 --lag-max-us 0 --drain-seconds 5";
        let Line { steady, method } = Line::parse_from(words.split(' '));
        let lost = |vice| {
            let arm = RunningArm::at([(Target::parse(&keeper(vice), false).expect("loopback"), None)]);
            let outcome = steady.publish(&arm, &method, "test").expect("a run");
            assert!(outcome.void.is_some(), "nobody is never late");
            outcome.accounts.map(|accounts| accounts.lost)
        };
        assert_eq!(lost(Vice::Loses(0..1)), Some(1));
        assert_eq!(lost(Vice::Loses(20..21)), Some(1), "one that kept them all is");
    }
}
