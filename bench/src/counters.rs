//! What a relay itself counted of refusals, limits and failures, where it tells: a run during which one of these moved was no
//! run without refusals, whether or not a client saw it. Knows Towpath's names; of other relays nothing is read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Target;
use crate::launch::Pod;

const READ_MAX: Duration = Duration::from_secs(5);

/// Each moves only when something was refused, cut off or failed. One that moves when something merely waited or was read from the
/// log is none of them: latencies show that.
const NAMES: [&str; 12] = [
    "towpath_refusals_total",
    "towpath_gateway_refusals_total",
    "towpath_gateway_closes_total",
    "towpath_deliver_slow_consumers_total",
    "towpath_ingest_commit_failures_total",
    "towpath_follower_failures_total",
    "towpath_bus_unsent_total",
    "towpath_bus_malformed_total",
    "towpath_bus_resumed_total",
    "towpath_postgres_leases_lost_total",
    "towpath_postgres_commit_retries_total",
    "towpath_audit_problems",
];

/// Ends of connections that were the client's doing.
const HARMLESS: [&str; 2] = [r#"by="client""#, r#"by="lost""#];

/// By pod; `None` of one that does not tell. By name with its labels.
#[derive(Debug, PartialEq)]
pub(crate) struct Counters(Vec<Option<BTreeMap<String, f64>>>);

impl Counters {
    /// Of all pods.
    pub(crate) fn read(pods: &[Pod]) -> Self {
        Self(pods.iter().map(|pod| text(&pod.target).map(|text| parse(&text))).collect())
    }

    /// What moved since `earlier`, in words.
    pub(crate) fn moved_since(&self, earlier: &Self) -> Vec<String> {
        let of_pod = |(number, (now, then)): (usize, (&Option<_>, &Option<_>))| match (now, then) {
            (Some(now), Some(then)) => grown(number + 1, now, then),
            // Silence is not a zero.
            (None, Some(_)) => vec![format!("the counters of pod {} cannot be read any more", number + 1)],
            (_, None) => Vec::new(),
        };
        self.0.iter().zip(&earlier.0).enumerate().flat_map(of_pod).collect()
    }
}

fn grown(pod: usize, now: &BTreeMap<String, f64>, then: &BTreeMap<String, f64>) -> Vec<String> {
    let grown = |(name, now): (&String, &f64)| {
        let by = now - then.get(name).copied().unwrap_or_default();
        (by > 0.0).then(|| format!("{name} of pod {pod} grew by {by}"))
    };
    now.iter().filter_map(grown).collect()
}

/// A relay's metrics, if it has any.
pub(crate) fn text(target: &Target) -> Option<String> {
    let request = ureq::get(&target.http_url(Some("/metrics"))).config().timeout_global(Some(READ_MAX)).build();
    request.call().ok()?.body_mut().read_to_string().ok()
}

fn parse(text: &str) -> BTreeMap<String, f64> {
    let counters = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let bare = name.split('{').next()?;
        let is_harmless = HARMLESS.iter().any(|label| name.contains(label));
        let is_counted = NAMES.contains(&bare) && !is_harmless;
        Some((name.to_owned(), value.parse().ok()?)).filter(|_| is_counted)
    });
    counters.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::thread;

    use tempfile::TempDir;

    use super::*;
    use crate::launch::{Contender, Topology};
    use crate::notes::{self, Recipe};
    use crate::workload::verify;

    /// Is shown from its first failure on, and the one follower there is never fails.
    const UNSHOWN: &str = "towpath_follower_failures_total";
    /// Counters that move when all is well, or when something waited.
    const OTHERS: [&str; 18] = [
        "towpath_audit_verified_total",
        "towpath_bus_heard_total",
        "towpath_bus_sent_bytes_total",
        "towpath_bus_sent_total",
        "towpath_deliver_catch_ups_total",
        "towpath_deliver_frames_total",
        "towpath_deliver_gaps_total",
        "towpath_gateway_frames_in_total",
        "towpath_gateway_frames_out_total",
        "towpath_gateway_in_bytes_total",
        "towpath_gateway_out_bytes_total",
        "towpath_gateway_writes_total",
        "towpath_ingest_accepted_total",
        "towpath_ingest_ephemeral_total",
        "towpath_live_false_candidates_total",
        "towpath_postgres_commit_round_trips_total",
        "towpath_postgres_pool_waits_total",
        "towpath_postgres_replica_reads_total",
    ];

    const BEFORE: &str = r#"# TYPE towpath_refusals counter
towpath_refusals_total{prefix="blocked"} 1
towpath_gateway_closes_total{code="1006",by="lost"} 4
towpath_ingest_accepted_total 7
"#;

    fn counters(text: &str) -> Counters {
        Counters(vec![Some(parse(text))])
    }

    #[test]
    fn a_refusal_that_no_client_saw_is_told() {
        let after = BEFORE.replace("} 1\n", "} 3\n") + "towpath_gateway_closes_total{code=\"1013\",by=\"relay\"} 1\n";
        let moved = counters(&after).moved_since(&counters(BEFORE));
        assert_eq!(
            moved,
            [
                r#"towpath_gateway_closes_total{code="1013",by="relay"} of pod 1 grew by 1"#,
                r#"towpath_refusals_total{prefix="blocked"} of pod 1 grew by 2"#,
            ]
        );
    }

    #[test]
    fn a_relay_that_tells_no_more_is_not_taken_for_one_that_refused_nothing() {
        let (before, silent) = (counters(BEFORE), Counters(vec![None]));
        assert_eq!(silent.moved_since(&before), ["the counters of pod 1 cannot be read any more"]);
        assert!(silent.moved_since(&silent).is_empty() && before.moved_since(&silent).is_empty());
    }

    #[test]
    fn work_done_and_clients_that_left_are_no_refusals() {
        let after = BEFORE.replace(" 4\n", " 9\n").replace(" 7\n", " 900\n");
        assert!(counters(&after).moved_since(&counters(BEFORE)).is_empty());
    }

    /// Those of a relay that ended a connection, refused a handshake, and refused an event: a counter with labels is shown once it has
    /// moved.
    fn counters_of_the_relay() -> BTreeSet<String> {
        let test = std::env::current_exe().expect("a path");
        let relay = test.ancestors().nth(2).expect("a build folder").join("towpath");
        let data = TempDir::new().expect("a folder");
        let contender = Contender::parse(&format!("towpath={}", relay.display())).expect("known");
        let arm = contender.start(data.path(), Topology::Alone).expect("cargo build");
        let target = &arm.pods[0].target;
        let half =
            ureq::get(&target.http_url(None)).header("Connection", "upgrade").header("Upgrade", "websocket").call();
        assert!(half.is_err(), "a handshake without a key");
        let forged = Recipe::fresh(1, "forged").and_then(|recipe| notes::forge(&recipe)).expect("signed");
        assert!(!verify::publish(target, &forged).expect("an answer").0);
        let shown = || -> BTreeSet<String> {
            let text = text(target).expect("metrics");
            let names = text.lines().filter_map(|line| line.split(['{', ' ']).next());
            names.filter(|name| name.ends_with("_total") || NAMES.contains(name)).map(str::to_owned).collect()
        };
        // That a connection has ended is noticed a moment later.
        for _ in 0..500 {
            if shown().contains("towpath_gateway_closes_total") {
                break;
            }
            thread::sleep(Duration::from_millis(10));
        }
        shown()
    }

    #[test]
    fn the_relay_has_every_counter_that_is_looked_at_and_none_that_nobody_has_judged() {
        let shown = counters_of_the_relay();
        let missing: Vec<_> = NAMES.into_iter().filter(|name| !shown.contains(*name)).collect();
        assert_eq!(missing, [UNSHOWN], "renamed or gone");
        let is_known = |name: &&String| NAMES.contains(&name.as_str()) || OTHERS.contains(&name.as_str());
        let strange: Vec<_> = shown.iter().filter(|name| !is_known(name)).collect();
        assert!(strange.is_empty(), "does a run count during which these moved? {strange:?}");
    }
}
