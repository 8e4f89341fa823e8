//! What a report says, and what voids it.
use super::*;
use crate::artifact::{Machine, When};

fn latency(p50: f64, p99: f64) -> Distribution {
    Distribution { count: 9, p50, p90: p50, p99, p99_9: p99, max: p99, histogram: String::new() }
}

fn outcome(ack: (f64, f64), first_delivery_p99: f64, peak: f64) -> Outcome {
    let latencies = [
        ("ack", latency(ack.0, ack.1)),
        ("first-delivery", latency(ack.0, first_delivery_p99)),
        ("last-delivery", latency(4_000.0, 9_000.0)),
    ];
    let figures = [("events-per-s", peak), ("relay-cpu-us-per-event", 130.0), ("relay-cpu-us-per-delivery", 7.0)];
    Outcome {
        latencies: latencies.map(|(name, latency)| (name.to_owned(), latency)).into(),
        figures: figures.map(|(name, figure)| (name.to_owned(), figure)).into(),
        accounts: Some(Accounts { planned: 9, sent: 9, acked: 9, stored: 9, ..Accounts::default() }),
        ..Outcome::default()
    }
}

fn comparison(outcomes: &[(&str, Outcome)]) -> String {
    comparison_of(10, outcomes)
}

/// V = 90, S = 220 / 1 400, E = 60 / 260 us; 20 000 checks a second.
fn floors() -> Floors {
    Floors {
        verify: latency(90.0, 120.0),
        verifies_per_second_all_cores: 20_000.0,
        sync: latency(220.0, 1_400.0),
        echo: latency(60.0, 260.0),
        echo_back_to_back: latency(10.0, 20.0),
        send: Some(latency(4.25, 6.0)),
    }
}

/// So many rounds, all alike, that a verdict can be proven.
fn comparison_of(seconds: u32, outcomes: &[(&str, Outcome)]) -> String {
    session(floors(), seconds, &[outcomes; 6])
}

/// By round.
fn session(floors: Floors, seconds: u32, rounds: &[&[(&str, Outcome)]]) -> String {
    let run = |round: usize, (workload, outcome): &(&str, Outcome)| Run {
        round,
        arm: "towpath".into(),
        protocol: (*workload).to_owned(),
        outcome: Some(outcome.clone()),
        failure: None,
        when: When::default(),
    };
    let setting = serde_json::json!({
        "rate": 1_000, "fanout_rate": 200, "connections": 16, "subscribers": 100, "in_flight": 32, "peak_events": 9,
        "seed": 1, "seconds": seconds, "warm_up_seconds": 1, "lag_max_us": 1_000, "drain_seconds": 10
    });
    let artifact = Artifact {
        schema: 1,
        programme: "0".into(),
        programme_commit: None,
        unix_time: 0,
        machine: Machine { cores: 2, ..Machine::default() },
        setting: serde_json::from_value(setting).expect("names"),
        guardrail: None,
        arms: vec![Arm { name: "towpath".into(), ..Arm::default() }],
        floors: vec![floors; rounds.len()],
        runs: (1..).zip(rounds).flat_map(|(round, outcomes)| outcomes.iter().map(move |of| run(round, of))).collect(),
    };
    markdown(&artifact).expect("a comparison")
}

fn verdict(report: &str, bound: &str) -> String {
    let row = report.lines().find(|line| line.starts_with(&format!("| {bound}"))).expect("a row");
    row.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell").to_owned()
}

#[test]
fn bounds_are_judged_in_the_right_direction() {
    let good = comparison(&[
        (STEADY, outcome((500.0, 3_400.0), 0.0, 1_000.0)),
        (QUIET, outcome((500.0, 1_000.0), 0.0, 200.0)),
        (FANOUT, outcome((500.0, 1_500.0), 1_699.0, 200.0)),
        (PEAK, outcome((9_000.0, 9_000.0), 0.0, 12_100.0)),
        (DEEP_PEAK, outcome((9_000.0, 9_000.0), 0.0, 14_100.0)),
    ]);
    for bound in ["ack p50", "ack p99 <=", "ack p99 with", "first", "last", "peak >=", "relay CPU per event", "deep"] {
        assert_eq!(verdict(&good, bound), "met", "{bound}");
    }
    assert_eq!(verdict(&good, "relay CPU per delivery"), "MISSED");
    let bad = comparison(&[
        (STEADY, outcome((520.0, 3_600.0), 0.0, 1_000.0)),
        (FANOUT, outcome((500.0, 1_500.0), 1_701.0, 200.0)),
        (PEAK, outcome((9_000.0, 9_000.0), 0.0, 11_900.0)),
        (DEEP_PEAK, outcome((9_000.0, 9_000.0), 0.0, 13_900.0)),
    ]);
    for bound in ["ack p50", "ack p99 <=", "first", "peak >=", "deep"] {
        assert_eq!(verdict(&bad, bound), "MISSED", "{bound}");
    }
    assert_eq!(verdict(&bad, "ack p99 with"), "not measured", "there was no run without subscribers");
}

/// On the ack's median, at most 518 us, and on the peak, at least 12 000/s; by round.
fn verdicts_over(acks: &[f64], peaks: &[f64]) -> [String; 2] {
    let round = |(ack, peak): (&f64, &f64)| {
        [(STEADY, outcome((*ack, 900.0), 0.0, 0.0)), (PEAK, outcome((900.0, 900.0), 0.0, *peak))]
    };
    let rounds: Vec<_> = acks.iter().zip(peaks).map(round).collect();
    let rounds: Vec<_> = rounds.iter().map(|outcomes| outcomes.as_slice()).collect();
    let report = session(floors(), 10, &rounds);
    ["ack p50", "peak >="].map(|bound| verdict(&report, bound))
}

#[test]
fn six_rounds_clearly_on_one_side_are_proof() {
    let acks = [440.0, 500.0, 510.0, 480.0, 490.0, 519.0];
    let peaks = [12_900.0, 12_100.0, 14_000.0, 12_500.0, 13_000.0, 11_990.0];
    assert_eq!(verdicts_over(&acks, &peaks), ["met", "met"], "one round beyond a bound is not all");
    let (acks, peaks) = (acks.map(|ack| ack * 1.2), peaks.map(|peak| peak / 1.2));
    assert_eq!(verdicts_over(&acks, &peaks), ["MISSED", "MISSED"]);
}

#[test]
fn six_rounds_on_both_sides_are_none() {
    let acks = [400.0, 430.0, 450.0, 500.0, 600.0, 700.0];
    let peaks = [9_000.0, 10_000.0, 11_000.0, 11_500.0, 14_000.0, 16_000.0];
    assert_eq!(verdicts_over(&acks, &peaks), ["met, not proven", "MISSED, not proven"]);
}

#[test]
fn three_rounds_are_never_proof() {
    assert_eq!(verdicts_over(&[100.0; 3], &[100.0; 3]), ["met, not proven", "MISSED, not proven"]);
    assert_eq!(verdicts_over(&[100.0; 6], &[100.0; 6]), ["met", "MISSED"]);
}

#[test]
fn a_figure_of_nothing_or_without_end_is_no_proof() {
    let both = |figure: f64| verdicts_over(&[figure; 6], &[figure; 6]);
    assert_eq!(both(0.0), ["met, not proven", "MISSED, not proven"]);
    assert_eq!(both(f64::INFINITY), ["MISSED, not proven", "met, not proven"]);
    assert_eq!(both(f64::NAN), ["MISSED, not proven", "MISSED, not proven"]);
}

#[test]
fn what_not_proven_means_is_told_before_it_is_said() {
    let report = comparison(&[]);
    assert!(report.lines().next().is_some_and(|first| first.contains("Not proven is what fewer than 6 rounds say")));
}

#[test]
fn runs_too_short_to_tell_a_queue_that_fills_meet_and_miss_no_bound_on_latency() {
    let outcomes = [
        (STEADY, outcome((500.0, 3_400.0), 0.0, 1_000.0)),
        (FANOUT, outcome((500.0, 1_500.0), 1_701.0, 200.0)),
        (PEAK, outcome((9_000.0, 9_000.0), 0.0, 12_100.0)),
    ];
    let verdicts = |seconds, bounds: &[&str]| {
        let report = comparison_of(seconds, &outcomes);
        bounds.iter().map(|bound| verdict(&report, bound)).collect::<Vec<_>>()
    };
    let latencies = ["ack p50", "ack p99 <=", "first", "last"];
    assert_eq!(verdicts(4, &latencies), ["too short"; 4]);
    assert_eq!(verdicts(5, &latencies), ["met", "met", "MISSED", "met"]);
    assert_eq!(verdicts(4, &["ack p99 with"]), ["not measured"]);
    assert_eq!(verdicts(4, &["relay CPU per delivery", "peak >="]), ["MISSED", "met"], "these fill no queue");
}

#[test]
fn what_most_readers_come_for_is_first() {
    let report = comparison(&[(STEADY, outcome((500.0, 3_400.0), 0.0, 1_000.0))]);
    let (head, rest) = report.split_once(EVERYTHING).expect("two parts");
    let rows = |part: &str, what: &str| part.lines().filter(|line| line.starts_with(what)).count();
    assert_eq!((verdict(head, "ack p50"), verdict(head, "deep")), ("met".to_owned(), "not measured".to_owned()));
    let figures = |part| ["| 1000/s", "| 200/s", "| peak, "].map(|workload| rows(part, workload)).iter().sum::<usize>();
    assert_eq!((figures(head), figures(rest)), (HEADLINES.len(), ROWS.len()));
    let further = ["| floor |", "| V: ", "| accounts |", "| towpath | 54 |"];
    assert_eq!(further.map(|row| (rows(head, row), rows(rest, row))), [(0, 1); 4]);
}

#[test]
fn a_session_without_one_of_the_floors_is_read_and_told() {
    let row = |floors| {
        let report = session(floors, 10, &[&[]]);
        report.lines().find(|line| line.contains("one send")).expect("a row").to_owned()
    };
    assert!(row(floors()).ends_with("| 4.25 | 6.00 |"), "{}", row(floors()));
    let serde_json::Value::Object(mut older) = serde_json::to_value(floors()).expect("names") else {
        panic!("no names")
    };
    older.remove("send");
    let older = serde_json::from_value(older.into()).expect("fields may be missing");
    assert!(row(older).ends_with("| - | - |"));
}

#[test]
fn a_void_run_is_told_and_not_counted() {
    let void = Outcome { void: Some("the generator was late".into()), ..outcome((1.0, 1.0), 1.0, 1.0) };
    let report = comparison(&[(STEADY, void)]);
    assert_eq!(verdict(&report, "ack p50"), "not measured");
    assert!(report.contains("VOID: round 1, towpath, 1000/s: the generator was late"));
}
