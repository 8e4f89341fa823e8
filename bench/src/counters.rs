//! What a relay itself counted of refusals, limits and failures, where it tells: a run during which one of these moved was no
//! run without refusals, whether or not a client saw it. Knows Towpath's names; of other relays nothing is read.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Target;
use crate::launch::Pod;

const READ_MAX: Duration = Duration::from_secs(5);

/// Each moves only when something was refused, cut off or failed.
const NAMES: [&str; 11] = [
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
    use super::*;

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
}
