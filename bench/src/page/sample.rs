//! An artifact as a real session leaves it, made up from a seed: for tests, and to look at the page without measuring.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::account::Accounts;
use crate::artifact::{Arm, Artifact, Distribution, Machine, Outcome, Run, SCHEMA, Tick, When};
use crate::floors::Floors;

const SECONDS: usize = 20;
const SAMPLES: usize = 4_000;
const PROTOCOLS: [&str; 5] = ["publish", "same-pod", "cross-pod", "mixed", "peak"];

/// What makes one arm unlike another.
#[derive(Clone, Copy)]
struct Character {
    name: &'static str,
    durability: &'static str,
    /// Microseconds.
    median: f64,
    /// How far the tail reaches, as the spread of a logarithm.
    spread: f64,
    peak: f64,
    cpu_us: f64,
    resident_mib: f64,
}

const CHARACTERS: [Character; 3] = [
    Character {
        name: "towpath",
        durability: "synced",
        median: 320.0,
        spread: 0.30,
        peak: 21_000.0,
        cpu_us: 92.0,
        resident_mib: 96.0,
    },
    Character {
        name: "rnostr",
        durability: "batched by timer",
        median: 260.0,
        spread: 0.75,
        peak: 15_500.0,
        cpu_us: 118.0,
        resident_mib: 61.0,
    },
    Character {
        name: "nostr-rs-relay",
        durability: "unsynced",
        median: 560.0,
        spread: 0.95,
        peak: 2_100.0,
        cpu_us: 449.0,
        resident_mib: 77.0,
    },
];

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    /// From 0 to below 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (self.uniform() + self.uniform() + self.uniform() + self.uniform() - 2.0) * 3_f64.sqrt()
    }

    /// Microseconds: most near the median, one in 400 a slow one.
    fn latency(&mut self, median: f64, spread: f64) -> f64 {
        let usual = median * (self.normal() * spread).exp();
        if self.uniform() < 0.0025 { usual + median * 12.0 * self.uniform() } else { usual }
    }
}

pub(super) fn distribution(micros: impl IntoIterator<Item = f64>) -> Distribution {
    let nanos = micros.into_iter().map(|micros| (micros * 1e3) as u64);
    Distribution::of(nanos).expect("bounds").unwrap_or_default()
}

/// Three arms, five protocols, three rounds; one run is void, one failed, and one relay lost an event.
pub(super) fn artifact() -> Artifact {
    static MADE: LazyLock<Artifact> = LazyLock::new(|| {
        let mut artifact = make(&CHARACTERS, 3);
        let run = |artifact: &Artifact, round, arm: &str, protocol: &str| {
            let is_it = |run: &Run| (run.round, run.arm.as_str(), run.protocol.as_str()) == (round, arm, protocol);
            artifact.runs.iter().position(is_it).expect("a run")
        };
        let late = run(&artifact, 1, "rnostr", "same-pod");
        let void = "the generator was 1840 us late at p99, more than 1000 us";
        artifact.runs[late].outcome.as_mut().expect("an outcome").void = Some(void.into());
        let alone = run(&artifact, 2, "nostr-rs-relay", "cross-pod");
        artifact.runs[alone].outcome = None;
        artifact.runs[alone].failure = Some("cross-pod needs a second pod, and nostr-rs-relay has one".into());
        let lossy = run(&artifact, 2, "nostr-rs-relay", "mixed");
        let outcome = artifact.runs[lossy].outcome.as_mut().expect("an outcome");
        outcome.complaint = Some("NOTICE: database is busy".into());
        let accounts = outcome.accounts.as_mut().expect("accounts");
        (accounts.lost, accounts.stored) = (1, accounts.stored - 1);
        artifact
    });
    MADE.clone()
}

/// Two revisions of one relay, eight rounds in turns: a session that can be judged. The second has a better median and a
/// worse tail.
pub(super) fn session() -> Artifact {
    static MADE: LazyLock<Artifact> = LazyLock::new(|| {
        let usual = Character { name: "towpath-main", ..CHARACTERS[0] };
        let changed =
            Character { name: "towpath-branch", median: 270.0, spread: 0.52, peak: 22_400.0, cpu_us: 98.5, ..usual };
        let mut artifact = make(&[usual, changed], 8);
        artifact.setting.insert("protocols".into(), PROTOCOLS.as_slice().into());
        artifact
    });
    MADE.clone()
}

/// Steps of a sweep by two arms, the last of each void.
pub(super) fn sweep() -> Artifact {
    let mut random = Random(11);
    let mut artifact = Artifact { runs: Vec::new(), ..artifact() };
    artifact.arms.truncate(2);
    for character in &CHARACTERS[..2] {
        for (step, rate) in [1_000.0, 2_000.0, 4_000.0, 8_000.0, 12_000.0, 14_000.0, 16_000.0].into_iter().enumerate() {
            let slower = 1.0 / (1.0 - (rate / 17_000.0_f64).min(0.97));
            let strained = Character { median: character.median * slower, ..*character };
            let mut run = Run { protocol: "sweep".into(), ..run(&mut random, step + 1, "publish", &strained) };
            let outcome = run.outcome.as_mut().expect("an outcome");
            outcome.figures.extend([("rate-per-s".to_owned(), rate), ("events-per-s".to_owned(), rate.min(15_000.0))]);
            outcome.void = (rate > 15_000.0).then(|| "the queue was still filling".into());
            artifact.runs.push(run);
        }
    }
    artifact
}

/// Every arm under every protocol in every round, in turns.
fn make(characters: &[Character], rounds: usize) -> Artifact {
    let mut random = Random(7);
    let mut runs = Vec::new();
    for round in 1..=rounds {
        for protocol in PROTOCOLS {
            let turns: Vec<&Character> =
                if round % 2 == 1 { characters.iter().collect() } else { characters.iter().rev().collect() };
            runs.extend(turns.into_iter().map(|character| run(&mut random, round, protocol, character)));
        }
    }
    Artifact {
        schema: SCHEMA,
        programme: "0.1.0".into(),
        programme_commit: None,
        unix_time: 1_767_225_600,
        machine: Machine {
            processor: "AMD EPYC 7B13".into(),
            cores: 2,
            memory_bytes: 24 << 30,
            kernel: "Linux 6.1.0-28-amd64".into(),
            governor: Some("performance".into()),
            filesystem: Some("ext4".into()),
        },
        setting: setting(),
        guardrail: None,
        arms: characters.iter().map(arm).collect(),
        floors: (0..rounds).map(|_| floors(&mut random)).collect(),
        runs,
    }
}

fn setting() -> BTreeMap<String, serde_json::Value> {
    let all = serde_json::json!({
        "rate": 1_000, "fanout_rate": 200, "connections": 16, "subscribers": 100, "in_flight": 32, "seconds": SECONDS,
        "warm_up_seconds": 1, "content_bytes": 200, "order": "A B C C B A",
    });
    serde_json::from_value(all).expect("an object")
}

fn arm(character: &Character) -> Arm {
    Arm {
        name: character.name.into(),
        command: format!("target/release/{} serve", character.name),
        software: Some(format!("https://example.org/{}.git", character.name)),
        version: Some("0.8.12".into()),
        commit: (character.name == "towpath").then(|| "50304a1c9b8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f".into()),
        durability: character.durability.into(),
        servers: Vec::new(),
    }
}

fn floors(random: &mut Random) -> Floors {
    let mut around = |micros: f64, more: f64| distribution((0..1_000).map(|_| micros + more * random.uniform()));
    Floors {
        verify: around(40.0, 10.0),
        sync: around(150.0, 90.0),
        echo: around(22.0, 20.0),
        echo_back_to_back: around(55.0, 20.0),
        send: Some(around(4.0, 1.0)),
        verifies_per_second_all_cores: 43_000.0,
    }
}

fn run(random: &mut Random, round: usize, protocol: &str, character: &Character) -> Run {
    let is_heard = !matches!(protocol, "publish" | "peak");
    let (median, rate) = match protocol {
        "peak" => (512e6 / character.peak, character.peak),
        "publish" => (character.median, 1_000.0),
        _ => (character.median * 1.6, 200.0),
    };
    let mood = 1.0 + 0.03 * random.normal();
    let spread = if protocol == "peak" { 0.12 } else { character.spread };
    let events = rate as usize * SECONDS;
    let figures = [
        ("events-per-s", rate * (1.0 + 0.01 * random.normal())),
        ("relay-cpu-us-per-event", character.cpu_us * mood),
        ("relay-resident-bytes", character.resident_mib * 1_048_576.0 * mood),
        ("generator-cpu-us-per-event", 4.0 + random.uniform()),
        ("elsewhere-share", 0.02 + 0.03 * random.uniform()),
    ];
    let outcome = Outcome {
        void: None,
        is_voided_by_relay: false,
        latencies: latencies(random, median * mood, spread, is_heard),
        figures: figures.map(|(name, value)| (name.to_owned(), value)).into(),
        series: (0..SECONDS)
            .map(|second| tick(random, second as f64, rate, median * mood, is_heard, character))
            .collect(),
        accounts: Some(Accounts {
            planned: events,
            sent: events,
            acked: events,
            stored: events,
            delivered: if is_heard { events as u64 * 100 } else { 0 },
            ..Accounts::default()
        }),
        complaint: None,
    };
    Run {
        round,
        arm: character.name.into(),
        protocol: protocol.into(),
        outcome: Some(outcome),
        failure: None,
        when: When::default(),
    }
}

/// Of the same events: what counts from the intended instants is the lag and what counts from the real ones.
fn latencies(random: &mut Random, median: f64, spread: f64, is_heard: bool) -> BTreeMap<String, Distribution> {
    let service: Vec<f64> = (0..SAMPLES).map(|_| random.latency(median, spread)).collect();
    let lag: Vec<f64> = (0..SAMPLES).map(|_| 4.0 + 20.0 * random.uniform()).collect();
    let ack: Vec<f64> = service.iter().zip(&lag).map(|(service, lag)| service + lag).collect();
    let mut later = |factor: f64| ack.iter().map(|ack| ack * factor + 30.0 * random.uniform()).collect::<Vec<f64>>();
    let (first, last) = (later(1.08), later(3.2));
    let served = |whole: &[f64]| whole.iter().zip(&lag).map(|(whole, lag)| whole - lag).collect::<Vec<f64>>();
    let mut all = Vec::new();
    if is_heard {
        all.extend([("first-delivery-service", served(&first)), ("last-delivery-service", served(&last))]);
        all.extend([("first-delivery", first), ("last-delivery", last)]);
    }
    all.extend([("ack", ack), ("ack-service", service), ("generator-lag", lag)]);
    all.into_iter().map(|(name, micros)| (name.to_owned(), distribution(micros))).collect()
}

fn tick(random: &mut Random, seconds: f64, rate: f64, median: f64, is_heard: bool, character: &Character) -> Tick {
    let p99 = median * (2.3 * character.spread).exp() * (1.0 + 0.15 * random.normal()).max(0.5);
    Tick {
        seconds,
        sent: rate as u64,
        acked: (rate * (1.0 + 0.02 * random.normal())) as u64,
        ack_p50_us: Some(median),
        ack_p99_us: Some(p99),
        first_delivery_p99_us: is_heard.then_some(p99 * 1.2),
        outstanding: (rate * median / 1e6 * 5.0 * random.uniform()).round() as u64,
        relay_cores: Some((rate * character.cpu_us / 1e6 * (1.0 + 0.1 * random.normal())).min(1.6)),
        relay_resident_bytes: Some(((character.resident_mib + seconds * 0.8) * 1_048_576.0) as u64),
    }
}
