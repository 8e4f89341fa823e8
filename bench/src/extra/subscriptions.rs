//! Many live filters that match nothing of what is published: what an event's ack takes with and without them in one turn,
//! what they weigh, and how fast they are taken.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clap::Args;

use super::corpus::Dice;
use super::crowd::{self, Crowd, Heard, Subscribed};
use super::idle::settled;
use super::named;
use super::site::{Bench, Found, Limits, Site};
use super::steady::{Steady, ack_ratio};

const FILTERS_MAX: usize = 1_000_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Live filters, up to 1 000 000.
    #[arg(long, default_value_t = 100_000)]
    filters: usize,
    /// Filters of one subscription.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    filters_per_subscription: u32,
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscriptions_per_connection: u32,
    #[command(flatten)]
    steady: Steady,
    #[command(flatten)]
    bench: Bench,
}

impl Options {
    fn subscriptions(&self) -> usize {
        self.filters.div_ceil(self.filters_per_subscription as usize)
    }

    fn crowd(&self) -> usize {
        self.subscriptions().div_ceil(self.subscriptions_per_connection as usize)
    }

    /// The request that opens one subscription; `None` behind the last.
    fn request(&self, connection: usize, nth: usize) -> Option<String> {
        let per_connection = self.subscriptions_per_connection as usize;
        let number = connection * per_connection + nth;
        if nth == per_connection || number >= self.subscriptions() {
            return None;
        }
        let per_subscription = self.filters_per_subscription as usize;
        let first = number * per_subscription;
        let seed = self.bench.method.seed;
        let filters: Vec<String> =
            (first..self.filters.min(first + per_subscription)).map(|filter| stranger(seed, filter)).collect();
        Some(format!(r#"["REQ","s{nth}",{}]"#, filters.join(",")))
    }
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    ensure!((1..=FILTERS_MAX).contains(&options.filters), "give 1 to {FILTERS_MAX} filters, not {}", options.filters);
    let limits: Limits = vec![
        ("TOWPATH_SERVER_CONNECTIONS_MAX", (options.crowd() + 2_000) as u64),
        ("TOWPATH_LIMITS_SUBSCRIPTIONS_MAX", u64::from(options.subscriptions_per_connection) + 10),
        ("TOWPATH_LIMITS_FILTERS_MAX", 256),
        ("TOWPATH_RATES_QUERY_PER_CONNECTION_PER_S", 0),
    ];
    let setting = BTreeMap::from([
        ("filters".to_owned(), options.filters.into()),
        ("filters-per-subscription".to_owned(), options.filters_per_subscription.into()),
        ("subscriptions-per-connection".to_owned(), options.subscriptions_per_connection.into()),
        ("steady".to_owned(), serde_json::to_value(options.steady)?),
    ]);
    options.bench.take_turns("subscriptions", &limits, setting, |site, _| turn(options, site))
}

/// Without, with, without again: what the machine does meanwhile hits both alike.
pub(super) fn turn(options: &Options, site: &mut Site) -> Result<Found> {
    let method = &options.bench.method;
    let arm = site.fresh()?;
    let pod = &arm.pods[0];
    let first = options.steady.publish(arm, method, "without")?;
    let before = settled(pod.pid);
    let mut crowd = Crowd::gather(&pod.target, options.crowd())?;
    let connected = settled(pod.pid);
    let subscribed = crowd.subscribe(|connection, nth| options.request(connection, nth))?;
    let after = settled(pod.pid);
    let (mut with, heard) = crowd.listen_while(|_| options.steady.publish(arm, method, "with"))?;
    drop(crowd);
    let closed = settled(pod.pid);
    let last = options.steady.publish(arm, method, "without again")?;
    let grown = |from: Option<u64>, to: Option<u64>| Some((to? as f64 - from? as f64) / options.filters as f64);
    crowd::void(&mut with, objection(&subscribed, &heard));
    with.figures.extend(named([
        ("ack-p50-ratio", ack_ratio(&with, &[&first, &last], |ack| ack.p50)),
        ("ack-p99-ratio", ack_ratio(&with, &[&first, &last], |ack| ack.p99)),
        ("filters-per-s", Some(options.filters as f64 / subscribed.seconds)),
        ("relay-bytes-per-filter", grown(connected, after)),
        ("relay-bytes-per-filter-with-connections", grown(before, after)),
        ("relay-bytes-per-filter-once-closed", grown(before, closed)),
        ("refused", Some(subscribed.refused as f64)),
    ]));
    with.complaint = with.complaint.or(subscribed.complaint).or(heard.complaint);
    Ok(vec![("subscriptions-without", first), ("subscriptions", with), ("subscriptions-without", last)])
}

/// Fewer subscriptions cost less, and those that match are not the ones that were meant.
fn objection(subscribed: &Subscribed, heard: &Heard) -> Option<String> {
    let events: u32 = heard.events.iter().sum();
    let astray = || (events > 0).then(|| format!("{events} events came to filters that they do not match"));
    subscribed.objection().or_else(|| heard.objection()).or_else(astray)
}

/// A filter such as clients have, for somebody or something that no published note is of.
fn stranger(seed: u64, number: usize) -> String {
    let mut dice = Dice::new(seed.wrapping_add(1_000_003), number as u64);
    let nobody: String = (0..64).map(|_| char::from(b"0123456789abcdef"[dice.below(16)])).collect();
    match number % 10 {
        0..=3 => format!(r#"{{"kinds":[1],"authors":["{nobody}"],"limit":1}}"#),
        4..=6 => format!(r##"{{"#p":["{nobody}"],"limit":1}}"##),
        7..=8 => format!(r##"{{"kinds":[1,7],"#e":["{nobody}"],"limit":1}}"##),
        _ => format!(r##"{{"kinds":[1],"#t":["topic-{number}"],"limit":1}}"##),
    }
}
