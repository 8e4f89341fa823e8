//! The verdict on sessions made up by a seed: what equal arms, worse arms, better arms and too little data come to. `mutants` spoils
//! sessions on purpose.

mod mutants;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;
use crate::artifact::{Arm, Distribution, Machine, Outcome, SCHEMA, Tick, When};

const GUARDRAIL: &str = r#"
confidence = 0.95
rounds-min = 6

[[measure]]
name = "ack p50"
protocol = "publish"
latency = "ack"
percentile = 50.0
better = "lower"
margin = 0.15
floor = 20.0

[[measure]]
name = "ack p99"
protocol = "publish"
latency = "ack"
percentile = 99.0
better = "lower"
margin = 0.15
floor = 20.0

[[measure]]
name = "first delivery p99"
protocol = "publish"
latency = "first-delivery"
percentile = 99.0
better = "lower"
margin = 0.15
floor = 20.0

[[measure]]
name = "events a second"
protocol = "publish"
figure = "events-per-s"
better = "higher"
margin = 0.08
floor = 0.0

[[promise]]
name = "lost = 0"
accounts = ["lost"]

[[promise]]
name = "undelivered = 0"
accounts = ["undelivered"]
"#;

const EVENTS: usize = 1_000;

/// What one run of an arm is like. Latencies are in microseconds.
#[derive(Clone, Copy)]
struct Shape {
    median: f64,
    /// What the slowest twentieth is multiplied by.
    tail: f64,
    peak: f64,
    /// How far runs differ from each other, as a part.
    noise: f64,
}

const USUAL: Shape = Shape { median: 400.0, tail: 1.0, peak: 20_000.0, noise: 0.03 };

/// So many rounds, A B and B A in turns; a round's luck is shared by both arms.
fn session(seed: u64, rounds: usize, a: Shape, b: Shape) -> Artifact {
    let mut random = StdRng::seed_from_u64(seed);
    let mut runs = Vec::new();
    for round in 1..=rounds {
        let luck = (0.3 * spread(&mut random)).exp();
        let mut pair = [("a", a), ("b", b)];
        if round % 2 == 0 {
            pair.reverse();
        }
        for (arm, shape) in pair {
            let outcome = Some(outcome(&mut random, shape, luck));
            runs.push(Run {
                round,
                arm: arm.into(),
                protocol: "publish".into(),
                outcome,
                failure: None,
                when: When::default(),
            });
        }
    }
    let arm = |name: &str| Arm { name: name.into(), ..Arm::default() };
    let setting = [("lag_max_us", 1_000.into()), ("protocols", ["publish"].as_slice().into())];
    Artifact {
        schema: SCHEMA,
        programme: "0".into(),
        programme_commit: None,
        unix_time: 0,
        machine: Machine::default(),
        setting: setting.map(|(name, value): (&str, serde_json::Value)| (name.to_owned(), value)).into(),
        guardrail: None,
        arms: vec![arm("a"), arm("b")],
        floors: Vec::new(),
        runs,
    }
}

/// About normal, with a deviation of one.
fn spread(random: &mut StdRng) -> f64 {
    ((0..4).map(|_| random.random::<f64>()).sum::<f64>() - 2.0) * 3_f64.sqrt()
}

fn outcome(random: &mut StdRng, shape: Shape, luck: f64) -> Outcome {
    let own = luck * (shape.noise * spread(random)).exp();
    let service: Vec<f64> = (0..EVENTS)
        .map(|event| {
            let tail = if event % 20 == 0 { 2.0 * shape.tail } else { 1.0 };
            shape.median * own * tail * (0.1 * spread(random)).exp()
        })
        .collect();
    let lag: Vec<f64> = (0..EVENTS).map(|_| -30.0 * random.random::<f64>().max(1e-9).ln()).collect();
    let ack: Vec<f64> = service.iter().zip(&lag).map(|(service, lag)| service + lag).collect();
    let delivered = |answered: &[f64]| answered.iter().map(|micros| micros + 50.0).collect::<Vec<_>>();
    let (delivery, delivery_service) = (delivered(&ack), delivered(&service));
    let latencies = [
        ("ack", &ack),
        ("ack-service", &service),
        ("generator-lag", &lag),
        ("first-delivery", &delivery),
        ("first-delivery-service", &delivery_service),
    ];
    let peak = shape.peak / luck * (shape.noise * spread(random)).exp();
    Outcome {
        latencies: latencies.map(|(name, micros)| (name.to_owned(), distribution(micros))).into(),
        figures: [("events-per-s".to_owned(), peak)].into(),
        series: (0..5).map(|second| tick(f64::from(second), EVENTS as u64 / 5)).collect(),
        accounts: Some(Accounts {
            planned: EVENTS,
            sent: EVENTS,
            acked: EVENTS,
            stored: EVENTS,
            delivered: EVENTS as u64,
            ..Accounts::default()
        }),
        ..Outcome::default()
    }
}

fn tick(seconds: f64, sent: u64) -> Tick {
    Tick { seconds, sent, acked: sent, ..Tick::default() }
}

fn distribution(micros: &[f64]) -> Distribution {
    let nanos = micros.iter().map(|micros| (micros * 1e3) as u64);
    Distribution::of(nanos).expect("bounds").expect("samples")
}

fn guardrail() -> Guardrail {
    Guardrail::parse(GUARDRAIL).expect("sound")
}

fn try_judge(artifact: &Artifact) -> Result<Judgement> {
    judge(Side { artifact, arm: "a" }, Side { artifact, arm: "b" }, &guardrail())
}

fn judged(artifact: &Artifact) -> Judgement {
    try_judge(artifact).expect("can be judged")
}

#[track_caller]
fn measure<'a>(judgement: &'a Judgement, name: &str) -> &'a Judged {
    judgement.measures.iter().find(|judged| judged.name == name).expect("judged")
}

fn verdicts(judgement: &Judgement) -> Vec<Verdict> {
    judgement.measures.iter().map(|judged| judged.verdict).collect()
}

#[test]
fn equal_arms_pass_when_the_machine_is_quiet() {
    let judgement = judged(&session(1, 8, USUAL, USUAL));
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.table());
    assert_eq!(measure(&judgement, "ack p99").rounds, 8);
    assert!(judgement.excluded.is_empty(), "{}", judgement.table());
}

/// Also where single runs are off by a quarter, as on a shared machine: then the answer is that there is none.
#[test]
fn equal_arms_do_not_fail_whatever_the_noise() {
    let loud = Shape { noise: 0.25, ..USUAL };
    for seed in 0..6 {
        let judgement = judged(&session(seed, 6, loud, loud));
        assert_ne!(judgement.verdict, Verdict::Fail, "{}", judgement.table());
    }
    for (noise, passed_min) in [(0.03, 95), (0.25, 0)] {
        let shape = Shape { noise, ..USUAL };
        let verdicts: Vec<_> = (0..100).map(|seed| of_peaks(seed, shape, shape)).collect();
        let count = |verdict| verdicts.iter().filter(|each| **each == verdict).count();
        let (failed, passed) = (count(Verdict::Fail), count(Verdict::Pass));
        assert!(failed <= 3 && passed >= passed_min, "{failed} of 100 failed and {passed} passed at noise {noise}");
    }
}

/// At the margin itself a failure is as rare as the confidence says.
#[test]
fn an_arm_that_is_as_bad_as_allowed_seldom_fails() {
    let allowed = Shape { peak: USUAL.peak * 0.92, ..USUAL };
    let failed = (0..100).filter(|seed| of_peaks(*seed, USUAL, allowed) == Verdict::Fail).count();
    assert!(failed <= 7, "{failed} of 100");
}

/// The verdict on the peaks of six rounds, without the sessions around them.
fn of_peaks(seed: u64, a: Shape, b: Shape) -> Verdict {
    let mut random = StdRng::seed_from_u64(seed);
    let mut peak = |shape: Shape| shape.peak * (shape.noise * spread(&mut random)).exp();
    let differences: Vec<f64> = (0..6).map(|_| (peak(b) / peak(a)).ln()).collect();
    let change = bootstrap::paired(&differences, 0.95).map(f64::exp_m1);
    difference::verdict(guardrail::Better::Higher, -0.08, change)
}

#[test]
fn swapping_the_arms_swaps_the_signs() {
    let (slow, fast) = (Shape { tail: 1.5, ..USUAL }, Shape { peak: 24_000.0, ..USUAL });
    let artifact = session(2, 8, slow, fast);
    let (a, b) = (Side { artifact: &artifact, arm: "a" }, Side { artifact: &artifact, arm: "b" });
    let forth = judge(a, b, &guardrail()).expect("judged");
    let back = judge(b, a, &guardrail()).expect("judged");
    for (forth, back) in forth.measures.iter().zip(&back.measures) {
        let (there, again) = (forth.change.expect("an interval"), back.change.expect("an interval"));
        for (one, other) in [(there.estimate, again.estimate), (there.low, again.high), (there.high, again.low)] {
            assert!(((1.0 + one) * (1.0 + other) - 1.0).abs() < 1e-9, "{one} and {other} are not inverse");
        }
    }
    let of = |judgement: &Judgement, name| {
        let judged = measure(judgement, name);
        (judged.verdict, judged.change.expect("an interval").direction)
    };
    assert_eq!(of(&forth, "ack p99"), (Verdict::Pass, Direction::Better));
    assert_eq!(of(&back, "ack p99"), (Verdict::Fail, Direction::Worse));
    assert_eq!(of(&forth, "events a second"), (Verdict::Pass, Direction::Better));
    assert_eq!(of(&back, "events a second"), (Verdict::Fail, Direction::Worse));
}

#[test]
fn too_few_rounds_are_no_verdict() {
    let judgement = judged(&session(3, 5, USUAL, USUAL));
    assert!(verdicts(&judgement).iter().all(|verdict| *verdict == Verdict::Inconclusive));
    assert_eq!(measure(&judgement, "ack p99").remark.as_deref(), Some("5 sound rounds of the 6 it takes"));
    assert!(judgement.promises.iter().all(|kept| kept.verdict == Verdict::Inconclusive));
    assert_eq!(judgement.verdict.exit_code(), 3);
    let nothing = judged(&session(3, 0, USUAL, USUAL));
    assert_eq!((nothing.verdict, nothing.measures.len()), (Verdict::Inconclusive, 4));
}

#[test]
fn what_was_not_measured_does_not_pass() {
    let mut artifact = session(4, 8, USUAL, USUAL);
    for run in artifact.runs.iter_mut().filter(|run| run.arm == "b") {
        run.outcome.as_mut().expect("an outcome").figures.clear();
    }
    let judgement = judged(&artifact);
    assert_eq!(measure(&judgement, "events a second").verdict, Verdict::Inconclusive);
    assert_eq!(measure(&judgement, "ack p99").verdict, Verdict::Pass);
    assert_eq!(judgement.verdict, Verdict::Inconclusive);
}

#[test]
fn a_protocol_nobody_asked_for_is_not_judged() {
    let mut artifact = session(5, 8, USUAL, USUAL);
    artifact.setting.insert("protocols".into(), ["same-pod"].as_slice().into());
    let judgement = judged(&artifact);
    assert!(judgement.measures.is_empty());
    assert!(judgement.not_asked.contains(&"publish: ack p99".to_owned()));
    assert_eq!(judgement.verdict, Verdict::Inconclusive, "its promises are not known");
}

#[test]
fn a_few_microseconds_are_no_failure() {
    let quick = Shape { median: 60.0, ..USUAL };
    let slower = Shape { median: 76.0, ..USUAL };
    let judgement = judged(&session(6, 8, quick, slower));
    let judged = measure(&judgement, "ack p50");
    assert!(judged.change.expect("an interval").direction == Direction::Worse, "{}", judgement.table());
    assert_eq!(judged.verdict, Verdict::Pass, "{}", judgement.table());
}

#[test]
fn an_arm_that_always_goes_first_is_not_judged() {
    let mut artifact = session(7, 8, USUAL, USUAL);
    artifact.runs.sort_by_key(|run| (run.round, run.arm.clone()));
    let refusal = format!("{:#}", try_judge(&artifact).expect_err("refused"));
    assert!(refusal.contains("a went first 8 times, b 0 times"), "{refusal}");
}

#[test]
fn two_sessions_are_judged_without_pairs() {
    let (old, new) = (session(8, 8, USUAL, USUAL), session(9, 8, USUAL, Shape { tail: 3.0, ..USUAL }));
    let across = |old: &Artifact, new: &Artifact| {
        judge(Side { artifact: old, arm: "a" }, Side { artifact: new, arm: "b" }, &guardrail())
    };
    let judgement = across(&old, &new).expect("judged");
    assert!(!judgement.is_paired);
    let width = |judgement: &Judgement| {
        let change = measure(judgement, "ack p50").change.expect("an interval");
        change.high - change.low
    };
    assert!(width(&judgement) > 2.0 * width(&judged(&old)), "what the sessions do not share is not cancelled");
    assert_eq!(measure(&judgement, "ack p99").verdict, Verdict::Fail, "{}", judgement.table());

    let mut faster = new.clone();
    faster.setting.insert("rate".into(), 2_000.into());
    assert!(across(&old, &faster).expect_err("refused").to_string().contains("rate is not set and 2000"));
    let elsewhere = Artifact { machine: Machine { cores: 64, ..Machine::default() }, ..new };
    assert!(across(&old, &elsewhere).expect_err("refused").to_string().contains("different machines"));
}

#[test]
fn an_unknown_arm_or_schema_is_an_error() {
    let artifact = session(10, 6, USUAL, USUAL);
    let sides = (Side { artifact: &artifact, arm: "a" }, Side { artifact: &artifact, arm: "c" });
    assert!(judge(sides.0, sides.1, &guardrail()).expect_err("refused").to_string().contains("no arm c"));
    let newer = Artifact { schema: SCHEMA + 1, ..artifact };
    assert!(try_judge(&newer).expect_err("refused").to_string().contains("schema"));
}

#[test]
fn the_sides_are_the_first_arm_and_the_second() {
    let one = session(11, 0, USUAL, USUAL);
    let names =
        |artifacts: &[Artifact]| super::sides(artifacts).map(|(a, b)| (a.arm.to_owned(), b.arm.to_owned())).ok();
    assert_eq!(names(std::slice::from_ref(&one)), Some(("a".into(), "b".into())));
    let alone = Artifact { arms: vec![Arm { name: "new".into(), ..Arm::default() }], ..one.clone() };
    assert_eq!(names(&[one.clone(), alone.clone()]), Some(("a".into(), "new".into())));
    assert_eq!((names(&[alone]), names(&[])), (None, None));
}

#[test]
fn the_table_says_what_was_decided_and_why() {
    let mut artifact = session(12, 8, USUAL, Shape { tail: 2.0, ..USUAL });
    artifact.runs[0].outcome.as_mut().expect("an outcome").void = Some("a neighbour was loud".into());
    let table = judged(&artifact).table();
    let line = |start: &str| table.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{table}"));
    assert!(line("FAIL  publish: ack p99 ").contains(" ms  "), "{table}");
    assert!(line("PASS  publish: ack p50 ").contains(" us  "), "{table}");
    assert!(line("  round 1, a, publish: a neighbour was loud").len() > 10);
    assert_eq!(table.lines().last(), Some("FAIL: 7 of 9 passed, 2 failed, 0 inconclusive"));
}
