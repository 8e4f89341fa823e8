//! What a report says, and what voids it.
use super::*;
use crate::account::Accounts;

fn latency(p50: f64, p99: f64) -> Latency {
    Latency { count: 9, p50, p90: p50, p99, p99_9: p99, max: p99 }
}

fn outcome(ack_p50: f64, peak: f64) -> Outcome {
    Outcome {
        void: None,
        ack: Some(latency(ack_p50, 2_000.0)),
        first_delivery: Some(latency(ack_p50, 2_900.0)),
        last_delivery: None,
        acked_per_second: peak,
        relay_cpu_us_per_event: Some(200.0),
        generator_cpu_us_per_event: 10.0,
        elsewhere_share: Some(0.0),
        relay_resident_bytes: Some(64 << 20),
        generator_lag: None,
        accounts: Accounts { planned: 9, sent: 9, acked: 9, stored: 9, ..Accounts::default() },
        complaint: None,
    }
}

/// Floors V = 90, S = 220 / 1 400, E = 60 / 260 us; 20 000 checks a second.
fn comparison(outcomes: &[(Workload, Outcome)]) -> String {
    let floors = Floors {
        verify: latency(90.0, 120.0),
        verifies_per_second_all_cores: 20_000.0,
        sync: latency(220.0, 1_400.0),
        echo: latency(60.0, 260.0),
        echo_back_to_back: latency(10.0, 20.0),
    };
    let entry = |(workload, outcome): &(Workload, Outcome)| Entry {
        round: 1,
        relay: "towpath".into(),
        workload: *workload,
        outcome: Some(outcome.clone()),
        failure: None,
    };
    let setting = Setting {
        rate: 1_000,
        seconds: 10,
        connections: 16,
        in_flight: 32,
        peak_events: 9,
        subscribers: 100,
        fanout_rate: 200,
        seed: 1,
    };
    Comparison {
        version: "0",
        cores: 2,
        unix_time: 0,
        setting,
        floors: vec![floors],
        entries: outcomes.iter().map(entry).collect(),
        relays: vec!["towpath".into()],
    }
    .markdown()
}

fn verdict(report: &str, bound: &str) -> String {
    let row = report.lines().find(|line| line.starts_with(&format!("| {bound}"))).expect("a row");
    row.trim_end_matches(" |").rsplit(" | ").next().expect("a last cell").to_owned()
}

#[test]
fn bounds_are_judged_in_the_right_direction() {
    let good = comparison(&[
        (Workload::Steady, outcome(700.0, 1_000.0)),
        (Workload::Watched, outcome(700.0, 1_000.0)),
        (Workload::Peak, outcome(9_000.0, 8_100.0)),
    ]);
    for bound in ["ack p50", "ack p99", "first delivery p99", "peak >=", "relay CPU per event at the peak"] {
        assert_eq!(verdict(&good, bound), "met", "{bound}");
    }
    let bad = comparison(&[(Workload::Steady, outcome(750.0, 1_000.0)), (Workload::Peak, outcome(750.0, 7_900.0))]);
    assert_eq!(verdict(&bad, "ack p50"), "MISSED");
    assert_eq!(verdict(&bad, "peak >="), "MISSED");
    assert_eq!(verdict(&bad, "first delivery p99"), "not measured");
}

#[test]
fn a_void_run_is_told_and_not_counted() {
    let void = Outcome { void: Some("the generator was late".into()), ..outcome(1.0, 1.0) };
    let report = comparison(&[(Workload::Steady, void)]);
    assert_eq!(verdict(&report, "ack p50"), "not measured");
    assert!(report.contains("VOID: round 1, towpath, 1000/s: the generator was late"));
}
