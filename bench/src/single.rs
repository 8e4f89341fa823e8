//! The commands that load one relay, which they start or which runs already: a load by its rate or its depth, the protocols in
//! turn, and a sweep for the highest rate the relay serves. Knows the order of things, not what a load is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use crate::artifact::{Arm, Artifact, Outcome, Run, When};
use crate::client::Target;
use crate::floors::{self, Floors};
use crate::folder;
use crate::launch::{Contender, RunningArm, Topology};
use crate::live::{self, Heading};
use crate::notes::{AUTHORS, Notes, Recipe};
use crate::options::{Load, Method, Record, SECONDS_MIN};
use crate::protocol::{self, Protocol, Setting};
use crate::report;
use crate::workload::{self, Pacing, Plan};

/// A step that is void is tried again: on a shared machine generators lag.
const ATTEMPTS: usize = 3;
/// How near the sweep comes to the knee: the rate that is served and the one that is not differ by one part in so many.
const PRECISION: u32 = 16;
const RATE_MAX: u32 = 100_000;
const EVENTS_MAX: u32 = 2_000_000;

#[derive(Args)]
pub(crate) struct PublishOptions {
    #[command(flatten)]
    load: Load,
    /// Closed loop: so many unanswered events on every connection, instead of a rate.
    #[arg(long, conflicts_with = "rate", value_parser = clap::value_parser!(u32).range(1..=4096))]
    in_flight: Option<u32>,
    /// Closed loop: connections and unanswered events on each in one word, such as 16x256.
    #[arg(long, conflicts_with_all = ["rate", "connections", "in_flight"], value_parser = Depth::parse)]
    depth: Option<Depth>,
    /// Closed loop: at most so many events.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
}

#[derive(Args)]
pub(crate) struct FanoutOptions {
    #[command(flatten)]
    load: Load,
    /// Connections with one subscription each.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    subscribers: u32,
    /// The address subscribers connect to, if it is another pod's.
    #[arg(long)]
    subscribe_url: Option<String>,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    relay: Relay,
    /// One or more of them, with commas between; cross-pod starts two pods, and mixed does where there can be two.
    #[arg(long, value_enum, value_delimiter = ',', required = true)]
    protocol: Vec<Protocol>,
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    record: Record,
}

#[derive(Args)]
pub(crate) struct SweepOptions {
    #[command(flatten)]
    relay: Relay,
    /// A rate is served while its ack p99 is at most this.
    #[arg(long, default_value_t = 10.0)]
    p99_max_ms: f64,
    /// `--rate` is where the sweep begins.
    #[command(flatten)]
    setting: Setting,
    #[command(flatten)]
    record: Record,
}

#[derive(Args)]
struct Relay {
    /// The relay as NAME=COMMAND, NAME=ADDRESS or NAME=ADDRESS,ADDRESS, or NAME for a program on PATH.
    #[arg(long, value_parser = Contender::parse)]
    relay: Contender,
    /// Where the relay's folder is made and the sync floor is measured.
    #[arg(long, default_value = ".")]
    data: PathBuf,
}

/// Connections, and unanswered events on each.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Depth {
    connections: u32,
    in_flight: u32,
}

impl Depth {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || format!("{text} is not of the form 16x256, with at most 1024 connections and 4096 on each");
        let (connections, in_flight) = text.split_once('x').with_context(wrong)?;
        let number = |text: &str, max: u32| text.parse().ok().filter(|number| (1..=max).contains(number));
        let depth = Some(connections).zip(Some(in_flight)).and_then(|(connections, in_flight)| {
            Some(Self { connections: number(connections, 1_024)?, in_flight: number(in_flight, 4_096)? })
        });
        depth.with_context(wrong)
    }
}

/// A load on a relay that runs; true when the figures can be used and no promise was broken.
pub(crate) fn publish(options: &PublishOptions) -> Result<bool> {
    let PublishOptions { load, in_flight, depth, events } = options;
    let depth = depth.or(in_flight.map(|in_flight| Depth { connections: load.connections, in_flight }));
    let arm = RunningArm::at([(Target::parse(&load.url, load.allow_remote)?, load.pid)]);
    match depth {
        Some(Depth { connections, in_flight }) => {
            let pacing = Pacing::Closed { in_flight: in_flight as usize, duration: load.method.duration() };
            one(load, &arm, pacing, *events, connections, 0)
        }
        None => open(load, &arm, 0),
    }
}

/// The same with subscribers.
pub(crate) fn fanout(options: &FanoutOptions) -> Result<bool> {
    let FanoutOptions { load, subscribers, subscribe_url } = options;
    let mut pods = vec![(Target::parse(&load.url, load.allow_remote)?, load.pid)];
    if let Some(url) = subscribe_url {
        pods.push((Target::parse(url, load.allow_remote)?, None));
    }
    open(load, &RunningArm::at(pods), *subscribers)
}

fn open(load: &Load, arm: &RunningArm, subscribers: u32) -> Result<bool> {
    let schedule = load.method.schedule(load.rate);
    one(load, arm, Pacing::Open(schedule), schedule.events(), load.connections, subscribers)
}

/// Publishes at the first pod and listens at the last.
fn one(
    load: &Load,
    arm: &RunningArm,
    pacing: Pacing,
    events: usize,
    connections: u32,
    subscribers: u32,
) -> Result<bool> {
    let Load { method, output, .. } = load;
    method.check()?;
    let floors = output.has_folder().then(|| measure_floors(method, load.rate, Path::new("."))).transpose()?;
    let recipe = method.recipe("publish")?;
    let plan = Plan {
        arm,
        publishers_at: &arm.pods[..1],
        subscribers_at: &arm.pods[arm.pods.len() - 1..],
        notes: &Notes::sign(&recipe, events)?,
        since: recipe.created_at,
        pacing,
        connections: connections as usize,
        subscribers: subscribers as usize,
        has_background: false,
        method,
    };
    let protocol = known_as(pacing, subscribers, arm.pods.len()).to_string();
    let heading = Heading { protocol: &protocol, arm: &arm.name, round: (1, 1), seconds: method.seconds };
    let session = Instant::now();
    let outcome = live::watch(heading, arm, |progress| workload::run(&plan, progress))?;
    print!("{}", report::describe(&outcome));
    output.write_json(&outcome)?;
    let is_good = outcome.is_good();
    let mut artifact = Artifact::begin(&asked(load, pacing, events, connections, subscribers)?, None)?;
    artifact.floors.extend(floors);
    artifact.arms.push(describe(arm, &load.url)?);
    artifact.runs.push(Run::ended(1, &arm.name, &protocol, Ok(outcome), When::since(session, session)));
    output.write_folder(&artifact)?;
    Ok(is_good)
}

/// The protocol that such a load is.
fn known_as(pacing: Pacing, subscribers: u32, pods: usize) -> Protocol {
    match pacing {
        Pacing::Closed { .. } => Protocol::Peak,
        Pacing::Open(_) if subscribers == 0 => Protocol::Publish,
        Pacing::Open(_) if pods > 1 => Protocol::CrossPod,
        Pacing::Open(_) => Protocol::SamePod,
    }
}

/// All that was asked for, by the names that the protocols have for it.
fn asked(
    load: &Load,
    pacing: Pacing,
    events: usize,
    connections: u32,
    subscribers: u32,
) -> Result<BTreeMap<String, Value>> {
    let mut asked: BTreeMap<String, Value> = serde_json::from_value(serde_json::to_value(&load.method)?)?;
    let always: [(&str, Value); 2] = [("connections", connections.into()), ("subscribers", subscribers.into())];
    let more: Vec<(&str, Value)> = match pacing {
        Pacing::Closed { in_flight, .. } => vec![("in_flight", in_flight.into()), ("peak_events", events.into())],
        Pacing::Open(_) if subscribers == 0 => vec![("rate", load.rate.into())],
        Pacing::Open(_) => vec![("fanout_rate", load.rate.into())],
    };
    asked.extend(always.into_iter().chain(more).map(|(name, value)| (name.to_owned(), value)));
    Ok(asked)
}

/// What is known of a relay that somebody else started.
fn describe(arm: &RunningArm, url: &str) -> Result<Arm> {
    let contender = Contender::parse(&format!("relay={url}"))?;
    Ok(Arm { name: arm.name.clone(), ..contender.describe(arm) })
}

/// The floors of this machine at that pace; `data` lies on the filesystem to sync.
fn measure_floors(method: &Method, rate: u32, data: &Path) -> Result<Floors> {
    floors::measure(&Notes::sign(&Recipe::fresh(method.seed, "floors")?, AUTHORS)?, data, rate)
}

/// The artifact of a session with that relay, of nothing yet.
fn begin(relay: &Relay, setting: &Setting, record: &Record) -> Result<Artifact> {
    let arms = record.arms([relay.relay.name.as_str()])?;
    Ok(Artifact { arms, ..Artifact::begin(setting, Some(&relay.data))? })
}

/// The protocols in turn, each on a relay started for it.
pub(crate) fn run(options: &RunOptions) -> Result<bool> {
    let RunOptions { relay, setting, record, .. } = options;
    let session = Instant::now();
    let mut artifact = begin(relay, setting, record)?;
    let folder = record.folder("run", &artifact);
    artifact.floors.push(measure_floors(&setting.method, setting.rate, &relay.data)?);
    in_turn(options, session, &folder, &mut artifact)?;
    record.write(&folder, &artifact)?;
    Ok(artifact.runs.iter().all(|run| run.outcome.as_ref().is_some_and(Outcome::is_good)))
}

/// One that fails does not take with it what the others measure; what was measured is on the disk after each.
fn in_turn(options: &RunOptions, session: Instant, folder: &Path, artifact: &mut Artifact) -> Result<()> {
    let name = &options.relay.relay.name;
    for protocol in &options.protocol {
        let began = Instant::now();
        let result = one_protocol(options, *protocol, &mut artifact.arms[0]);
        match &result {
            Ok(outcome) => println!("## {protocol}\n\n{}", report::describe(outcome)),
            Err(failure) => println!("## {protocol}\n\nFAILED: {failure:#}\n"),
        }
        artifact.runs.push(Run::ended(1, name, &protocol.to_string(), result, When::since(session, began)));
        folder::keep(folder, artifact)?;
    }
    Ok(())
}

fn one_protocol(options: &RunOptions, protocol: Protocol, arm: &mut Arm) -> Result<Outcome> {
    let RunOptions { relay: Relay { relay, data }, setting, .. } = options;
    let name = protocol.to_string();
    let load = protocol::Load::prepare(protocol, setting, &name)?;
    let running = relay.start(data, protocol.topology(&[relay]))?;
    arm.learn(relay.describe(&running));
    let heading = Heading { protocol: &name, arm: &relay.name, round: (1, 1), seconds: setting.method.seconds };
    live::watch(heading, &running, |progress| load.run_watched(&running, progress))
}

/// Doubles the rate until it is not served, then halves what is between; each step on a relay started for it. True when there
/// is a rate that is served, and no run failed or broke a promise, at whatever rate.
pub(crate) fn sweep(options: &SweepOptions) -> Result<bool> {
    let SweepOptions { relay, p99_max_ms, setting, record } = options;
    ensure!(
        !setting.method.is_too_short(),
        "less than {SECONDS_MIN} s after the warm-up are too short to tell whether a rate is served: raise --seconds"
    );
    let mut artifact = begin(relay, setting, record)?;
    artifact.setting.insert("p99_max_ms".into(), (*p99_max_ms).into());
    let folder = record.folder("sweep", &artifact);
    artifact.floors.push(measure_floors(&setting.method, setting.rate, &relay.data)?);
    let found = search(options, &folder, &mut artifact);
    // Whatever ended the search, what it measured is kept.
    let written = record.write(&folder, &artifact);
    let is_good = found?;
    written.map(|()| is_good)
}

/// What was measured is on the disk after each step.
fn search(options: &SweepOptions, folder: &Path, artifact: &mut Artifact) -> Result<bool> {
    let SweepOptions { p99_max_ms, setting, .. } = options;
    let session = Instant::now();
    println!("| rate/s | events/s | ack p50, ms | ack p99, ms | |\n|---|---|---|---|---|");
    let rate_max = RATE_MAX.min(EVENTS_MAX / setting.method.seconds);
    let mut lagged_at: Option<u32> = None;
    let knee = knee(setting.rate.min(rate_max), rate_max, |rate| {
        let is_first = artifact.runs.is_empty();
        let Run { outcome, failure, .. } = step(options, rate, session, artifact)?;
        folder::keep(folder, artifact)?;
        let outcome = outcome.unwrap_or_default();
        let objection = failure.or_else(|| objection(&outcome, *p99_max_ms));
        // Beyond a rate that is served, a generator that lags shows that the cores are full, of whatever. Before there is one,
        // it shows nothing of the relay.
        if has_lagged(&outcome, &setting.method) {
            ensure!(
                !is_first,
                "the generator cannot keep {rate} events a second on this machine: begin lower, or when it is less busy"
            );
            lagged_at = Some(lagged_at.map_or(rate, |lowest| lowest.min(rate)));
        }
        println!("{}", row(rate, &outcome, objection.as_deref()));
        Ok(objection.is_none())
    })?;
    match knee {
        Some(rate) => println!("\nServed with an ack p99 of at most {p99_max_ms} ms: {rate} events/s."),
        None => println!("\nNo rate was served with an ack p99 of at most {p99_max_ms} ms."),
    }
    if let Some(rate) = lagged_at {
        println!("From {rate} events/s on the generator itself was late: the relay's own limit may be higher.");
    }
    Ok(knee.is_some() && artifact.is_clean())
}

/// A run at `rate`, or the last of several, because one that is void is repeated. Each is in the artifact.
fn step(options: &SweepOptions, rate: u32, session: Instant, artifact: &mut Artifact) -> Result<Run> {
    let Relay { relay, data } = &options.relay;
    let setting = Setting { rate, ..options.setting.clone() };
    let mut attempts = 0;
    loop {
        attempts += 1;
        let load = protocol::Load::prepare(Protocol::Publish, &setting, "sweep")?;
        let arm = relay.start(data, Topology::Alone)?;
        artifact.arms[0].learn(relay.describe(&arm));
        let protocol = format!("{rate}/s");
        let heading = Heading {
            protocol: &protocol,
            arm: &relay.name,
            round: (attempts, ATTEMPTS),
            seconds: setting.method.seconds,
        };
        let began = Instant::now();
        let mut result = live::watch(heading, &arm, |progress| load.run_watched(&arm, progress));
        if let Ok(outcome) = &mut result {
            outcome.figures.insert("rate-per-s".into(), rate.into());
        }
        let (number, when) = (artifact.runs.len() + 1, When::since(session, began));
        let run = Run::ended(number, &relay.name, "sweep", result, when);
        artifact.runs.push(run.clone());
        let is_void = run.outcome.as_ref().is_some_and(|outcome| outcome.void.is_some());
        if !is_void || attempts == ATTEMPTS {
            return Ok(run);
        }
    }
}

fn has_lagged(outcome: &Outcome, method: &Method) -> bool {
    outcome.latency("generator-lag").is_some_and(|lag| lag.p99 > f64::from(method.lag_max_us))
}

/// Why a rate does not count as served.
fn objection(outcome: &Outcome, p99_max_ms: f64) -> Option<String> {
    if outcome.void.is_some() {
        return outcome.void.clone();
    }
    if !outcome.is_good() {
        return Some("a promise was broken".into());
    }
    let p99_ms = outcome.latency("ack").map(|ack| ack.p99 / 1e3);
    p99_ms.is_none_or(|p99| p99 > p99_max_ms).then(|| format!("ack p99 is above {p99_max_ms} ms"))
}

fn row(rate: u32, outcome: &Outcome, objection: Option<&str>) -> String {
    let ack = outcome.latency("ack");
    let [p50, p99] = [ack.map(|ack| ack.p50), ack.map(|ack| ack.p99)]
        .map(|micros| micros.map_or("-".into(), |micros| format!("{:.2}", micros / 1e3)));
    let served = outcome.figure("events-per-s").unwrap_or_default();
    format!("| {rate} | {served:.0} | {p50} | {p99} | {} |", objection.unwrap_or("served"))
}

/// The highest rate found to be served, from `from` up by doubling or down by halving, to one part in `PRECISION`.
fn knee(from: u32, rate_max: u32, mut is_served: impl FnMut(u32) -> Result<bool>) -> Result<Option<u32>> {
    let (mut served, mut swamped) = (0, None);
    let mut rate = from;
    loop {
        if is_served(rate)? {
            served = rate;
        } else {
            swamped = Some(rate);
        }
        rate = match swamped {
            None if served >= rate_max => break,
            None => served.saturating_mul(2).min(rate_max),
            Some(swamped) if swamped - served <= (swamped / PRECISION).max(1) => break,
            Some(swamped) => u32::midpoint(served, swamped),
        };
    }
    Ok((served > 0).then_some(served))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use clap::Parser;
    use tempfile::TempDir;

    use super::*;
    use crate::artifact::Distribution;
    use crate::schedule::Schedule;
    use crate::stand_in::{self, Play, Vice, keeper};

    #[derive(Parser)]
    struct ByHand {
        #[command(flatten)]
        load: Load,
    }

    #[derive(Parser)]
    struct Protocols {
        #[command(flatten)]
        options: RunOptions,
    }

    #[derive(Parser)]
    struct Sweep {
        #[command(flatten)]
        options: SweepOptions,
    }

    #[test]
    fn a_load_by_hand_is_recorded_as_what_it_was() {
        let ByHand { load } = ByHand::parse_from(["bench", "--rate", "300"]);
        let (open, closed) = (Pacing::Open(Schedule::new(300, 1)), Pacing::Closed { in_flight: 32, duration: 1 });
        let loads = [(closed, 0, 1), (open, 0, 1), (open, 5, 1), (open, 5, 2)];
        let names = loads.map(|(pacing, subscribers, pods)| known_as(pacing, subscribers, pods).to_string());
        assert_eq!(names, ["peak", "publish", "same-pod", "cross-pod"]);
        let of = |pacing, subscribers| asked(&load, pacing, 900, 4, subscribers).expect("names");
        let peak = of(closed, 0);
        assert!(peak["in_flight"] == 32 && peak["peak_events"] == 900 && peak["connections"] == 4);
        assert!(peak["warm_up_seconds"] == 1 && !peak.contains_key("rate"));
        assert!(of(open, 0)["rate"] == 300 && of(open, 5)["fanout_rate"] == 300 && of(open, 5)["subscribers"] == 5);
    }

    /// Nothing but what a relay says of itself.
    struct Nameplate;

    impl Play for Nameplate {
        fn turn_away(&mut self, is_metrics: bool) -> Option<String> {
            let page = if is_metrics {
                "towpath_store_synced 0\n"
            } else {
                r#"{"software":"https://example.org/towpath","version":"9"}"#
            };
            Some(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len()))
        }

        fn hear(&mut self, _: &TcpStream, _: &[Value]) {}
    }

    #[test]
    fn a_relay_that_runs_already_says_what_it_is() {
        let arm = RunningArm::at([(stand_in::start(Nameplate), None)]);
        let described = describe(&arm, "ws://127.0.0.1:7777").expect("an address");
        assert_eq!((described.name.as_str(), described.command.as_str()), ("the relay", "ws://127.0.0.1:7777"));
        assert_eq!((described.version.as_deref(), described.durability.as_str()), (Some("9"), "unsynced"));
    }

    #[test]
    fn a_sweep_whose_steps_are_too_short_to_tell_is_refused() {
        let Sweep { options } = Sweep::parse_from(["bench", "--relay", "towpath=/bin/false", "--seconds", "4"]);
        let refusal = sweep(&options).expect_err("one second of it is warm-up");
        assert!(refusal.to_string().contains("too short to tell"), "{refusal}");
    }

    /// A sweep from 1/s up on a relay that errs behind its first event, and what is kept of it.
    fn swept(vice: Vice) -> (bool, Artifact) {
        let words = "--rate 1 --seconds 1 --warm-up-seconds 0 --p99-max-ms 600000 --lag-max-us 4000000000";
        let relay = format!("x={}", keeper(vice));
        let Sweep { options } = Sweep::parse_from(["bench", "--relay", &relay].into_iter().chain(words.split(' ')));
        let mut artifact = begin(&options.relay, &options.setting, &options.record).expect("begun");
        let folder = TempDir::new().expect("a folder");
        let is_good = search(&options, folder.path(), &mut artifact).expect("a sweep");
        (is_good, folder::read(folder.path()).expect("kept"))
    }

    #[test]
    fn a_promise_that_is_broken_at_a_rate_that_is_not_served_is_broken() {
        let (is_good, artifact) = swept(Vice::Loses(1..2));
        let lost = artifact.runs.iter().filter_map(|run| Some(run.outcome.as_ref()?.accounts.as_ref()?.lost));
        assert!(!is_good && lost.eq([0, 1]), "one event a second is served, two are not");
    }

    #[test]
    fn a_relay_that_fails_beyond_its_knee_does_not_take_the_knee_with_it() {
        let (is_good, artifact) = swept(Vice::LocksUpAfter(1));
        let failures: Vec<_> = artifact.runs.iter().map(|run| run.failure.as_deref()).collect();
        assert!(matches!(failures[..], [None, Some(_)]), "{failures:?}");
        assert!(!is_good && artifact.arms[0].name == "x");
    }

    #[test]
    fn a_protocol_that_fails_does_not_take_with_it_what_another_measured() {
        let words = "--protocol cross-pod,publish --rate 20 --seconds 1 --warm-up-seconds 0 --lag-max-us 4000000000 \
                     --commit x=abc";
        let relay = format!("x={}", keeper(Vice::Loses(0..0)));
        let words = ["bench", "--relay", &relay].into_iter().chain(words.split(' '));
        let Protocols { options } = Protocols::parse_from(words);
        let mut artifact = begin(&options.relay, &options.setting, &options.record).expect("begun");
        let folder = TempDir::new().expect("a folder");
        in_turn(&options, Instant::now(), folder.path(), &mut artifact).expect("kept");
        let artifact = folder::read(folder.path()).expect("an artifact");
        assert_eq!(artifact.arms[0].commit.as_deref(), Some("abc"), "{:?}", artifact.arms);
        let [failed, measured] = &artifact.runs[..] else { panic!("{:?}", artifact.runs) };
        assert!(failed.failure.as_ref().is_some_and(|failure| failure.contains("second address")));
        assert!(measured.outcome.as_ref().is_some_and(Outcome::is_good), "{measured:?}");
    }

    /// The rates that a sweep from 1 000 up tries on a relay that serves so many a second.
    fn tried(capacity: u32) -> (Option<u32>, Vec<u32>) {
        let mut rates = Vec::new();
        let knee = knee(1_000, 50_000, |rate| {
            rates.push(rate);
            Ok(rate <= capacity)
        });
        (knee.expect("no failure"), rates)
    }

    #[test]
    fn a_sweep_doubles_and_then_halves() {
        let (knee, rates) = tried(5_300);
        assert_eq!(rates, [1_000, 2_000, 4_000, 8_000, 6_000, 5_000, 5_500, 5_250]);
        assert_eq!(knee, Some(5_250));
    }

    #[test]
    fn a_sweep_ends_at_the_most_it_may_try_and_below_its_beginning() {
        assert_eq!(tried(u32::MAX).0, Some(50_000));
        assert!(tried(300).0.is_some_and(|knee| (280..=300).contains(&knee)));
        assert_eq!(tried(0).0, None);
    }

    #[test]
    fn a_failure_to_measure_ends_a_sweep() {
        assert!(knee(1_000, 50_000, |_| anyhow::bail!("no relay")).is_err());
    }

    #[test]
    fn a_rate_is_served_in_time_and_soundly_or_not_at_all() {
        let outcome = |p99_us: u64| Outcome {
            latencies: Distribution::of([p99_us * 1_000])
                .expect("bounds")
                .map(|ack| ("ack".into(), ack))
                .into_iter()
                .collect(),
            ..Outcome::default()
        };
        assert_eq!(objection(&outcome(9_900), 10.0), None);
        assert!(objection(&outcome(10_100), 10.0).is_some());
        assert!(objection(&Outcome::default(), 10.0).is_some(), "nothing was acknowledged");
        assert!(objection(&Outcome { void: Some("lag".into()), ..outcome(1) }, 10.0).is_some());
    }

    #[test]
    fn a_depth_is_two_numbers() {
        assert_eq!(Depth::parse("16x256").ok(), Some(Depth { connections: 16, in_flight: 256 }));
        assert!(["16", "16x", "x4", "0x4", "16x5000", "16x4x2"].iter().all(|text| Depth::parse(text).is_err()));
    }
}
