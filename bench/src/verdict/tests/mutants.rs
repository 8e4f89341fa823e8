//! Sessions spoiled on purpose: each way to look better than one is must be seen through.

use super::*;

/// A sound session of equal arms, with every run of B spoiled.
fn spoiled(spoil: impl Fn(&mut Outcome)) -> Artifact {
    let mut artifact = session(20, 8, USUAL, USUAL);
    for run in artifact.runs.iter_mut().filter(|run| run.arm == "b") {
        spoil(run.outcome.as_mut().expect("an outcome"));
    }
    artifact
}

fn accounts(outcome: &mut Outcome) -> &mut Accounts {
    outcome.accounts.as_mut().expect("accounts")
}

/// All rounds are void with such a reason, and nothing passes.
#[track_caller]
fn assert_void(artifact: &Artifact, reason: &str) {
    let judgement = judged(artifact);
    let excluded = judgement.excluded.iter().filter(|excluded| excluded.arm == "b" && excluded.reason.contains(reason));
    assert_eq!(excluded.count(), 8, "{}", judgement.table());
    let run = artifact.runs.iter().find(|run| run.arm == "b").expect("a run");
    assert!(objection(artifact, run).is_some_and(|objection| objection.contains(reason)), "a session would repeat it");
    assert!(verdicts(&judgement).iter().all(|verdict| *verdict == Verdict::Inconclusive), "{}", judgement.table());
}

#[track_caller]
fn assert_damaged(artifact: &Artifact, complaint: &str) {
    let refusal = format!("{:#}", try_judge(artifact).expect_err("damaged"));
    assert!(refusal.contains("damaged: round 1, b, publish") && refusal.contains(complaint), "{refusal}");
}

#[test]
fn a_shifted_tail_fails() {
    let judgement = judged(&session(21, 8, USUAL, Shape { tail: 1.3, ..USUAL }));
    assert_eq!(measure(&judgement, "ack p99").verdict, Verdict::Fail, "{}", judgement.table());
    assert_eq!(measure(&judgement, "ack p50").verdict, Verdict::Pass, "{}", judgement.table());
    assert_eq!((judgement.verdict, judgement.verdict.exit_code()), (Verdict::Fail, 1));
}

#[test]
fn a_missing_delivery_fails() {
    let judgement = judged(&spoiled(|outcome| accounts(outcome).undelivered = 1));
    let kept = &judgement.promises[1];
    assert_eq!((kept.name.as_str(), kept.verdict, kept.broken_by_b), ("undelivered = 0", Verdict::Fail, 8));
    assert_eq!(judgement.verdict, Verdict::Fail);
}

#[test]
fn a_missing_delivery_that_the_accounts_deny_is_void() {
    let without_one = |outcome: &mut Outcome| {
        let ack = outcome.latencies["ack"].histogram().expect("a histogram");
        let all_but_one = ack.iter_recorded().map(|step| step.value_iterated_to() as f64 / 1e3).take(EVENTS / 2);
        outcome.latencies.insert("first-delivery".into(), distribution(&all_but_one.collect::<Vec<_>>()));
    };
    assert_void(&spoiled(without_one), "have no first delivery");
}

#[test]
fn one_lost_event_fails_even_in_a_void_run() {
    let mut artifact = session(22, 8, USUAL, USUAL);
    let of_b = artifact.runs.iter_mut().find(|run| run.arm == "b").and_then(|run| run.outcome.as_mut());
    let outcome = of_b.expect("an outcome");
    outcome.void = Some("the generator was late".into());
    accounts(outcome).lost = 1;
    let judgement = judged(&artifact);
    assert_eq!(judgement.promises[0].verdict, Verdict::Fail);
    assert!(verdicts(&judgement).iter().all(|verdict| *verdict == Verdict::Pass), "{}", judgement.table());
    assert_eq!(judgement.verdict, Verdict::Fail);
}

#[test]
fn what_a_lost_is_not_held_against_b() {
    let mut artifact = session(23, 8, USUAL, USUAL);
    let of_a = artifact.runs.iter_mut().find(|run| run.arm == "a").and_then(|run| run.outcome.as_mut());
    accounts(of_a.expect("an outcome")).lost = 1;
    let judgement = judged(&artifact);
    let kept = &judgement.promises[0];
    assert_eq!((kept.verdict, kept.broken_by_a, kept.broken_by_b), (Verdict::Pass, 1, 0));
    assert_eq!(measure(&judgement, "ack p99").rounds, 7, "a run that broke a promise is no yardstick");
}

/// Service time presented as if it counted from the schedule: the lag that is missing gives it away.
#[test]
fn coordinated_omission_is_void() {
    let rebase = |outcome: &mut Outcome| {
        let service = outcome.latencies["ack-service"].clone();
        outcome.latencies.insert("ack".into(), service);
    };
    assert_void(&spoiled(rebase), "ack does not count from the intended instants");
}

#[test]
fn coordinated_omission_of_deliveries_is_void() {
    let rebase = |outcome: &mut Outcome| {
        let service = outcome.latencies["first-delivery-service"].clone();
        outcome.latencies.insert("first-delivery".into(), service);
    };
    assert_void(&spoiled(rebase), "first-delivery does not count from the intended instants");
}

#[test]
fn deliveries_of_an_earlier_session_have_no_service_times() {
    let mut artifact = session(1, 8, USUAL, USUAL);
    for outcome in artifact.runs.iter_mut().filter_map(|run| run.outcome.as_mut()) {
        outcome.latencies.remove("first-delivery-service");
    }
    assert_eq!(judged(&artifact).verdict, Verdict::Pass);
}

/// A hundredth of the events waited half a second for their turn, and only the service time tells of it in no way.
#[test]
fn a_rebased_stall_is_void_though_the_generator_is_in_time_at_p99() {
    let rebase = |outcome: &mut Outcome| {
        let mut lag = vec![10.0; EVENTS];
        lag[..EVENTS / 200].fill(500_000.0);
        outcome.latencies.insert("generator-lag".into(), distribution(&lag));
    };
    assert_void(&spoiled(rebase), "ack does not count from the intended instants");
}

#[test]
fn a_run_that_hides_its_service_times_or_its_lag_is_void() {
    assert_void(&spoiled(|outcome| drop(outcome.latencies.remove("ack-service"))), "service times are not recorded");
    assert_void(&spoiled(|outcome| drop(outcome.latencies.remove("generator-lag"))), "is not recorded");
}

/// What was sent in each second, of as many events.
fn course(outcome: &mut Outcome, sent: [u64; 5]) {
    outcome.series.iter_mut().zip(sent).for_each(|(tick, sent)| tick.sent = sent);
}

/// Events that wait for answers have no lag and no schedule; the pace shows it.
#[test]
fn a_generator_that_waits_for_the_relay_is_void() {
    let wait = |outcome: &mut Outcome| course(outcome, [200, 200, 150, 200, 250]);
    assert_void(&spoiled(wait), "lost its pace: 150 events at 2 s, 200 at another");
}

#[test]
fn a_frozen_generator_is_void() {
    assert_void(&spoiled(|outcome| outcome.series[3].seconds = 2.0), "clock stood still");
    assert_void(&spoiled(|outcome| course(outcome, [200, 0, 0, 0, 800])), "0 events at 1 s");
    assert_void(&spoiled(|outcome| outcome.series.clear()), "nothing sent");
}

#[test]
fn a_generator_that_lags_is_void() {
    let lag = |outcome: &mut Outcome| {
        let late: Vec<f64> = (0..EVENTS).map(|event| if event < 50 { 2_000.0 } else { 10.0 }).collect();
        outcome.latencies.insert("generator-lag".into(), distribution(&late));
    };
    assert_void(&spoiled(lag), "us late at p99, more than 1000 us");
}

#[test]
fn refusals_and_silence_are_void() {
    let refuse = |outcome: &mut Outcome| {
        let accounts = accounts(outcome);
        (accounts.acked, accounts.refused) = (accounts.acked - 3, 3);
        outcome.latencies.iter_mut().for_each(|(_, latency)| *latency = distribution(&vec![400.0; EVENTS - 3]));
        outcome.complaint = Some("rate-limited: slow down".into());
    };
    assert_void(&spoiled(refuse), "3 events were refused: rate-limited: slow down");
    let ignore = |outcome: &mut Outcome| {
        let accounts = accounts(outcome);
        (accounts.sent, accounts.planned, accounts.unanswered) = (EVENTS + 2, EVENTS + 2, 2);
        outcome.series[4].sent += 2;
    };
    assert_void(&spoiled(ignore), "2 events were not answered");
    assert_void(&spoiled(|outcome| accounts(outcome).planned += 1), "1000 of 1001 events were sent");
    assert_void(&spoiled(|outcome| outcome.accounts = None), "not accounted for");
    assert_void(&spoiled(|outcome| outcome.void = Some("an error counter moved".into())), "error counter");
}

#[test]
fn a_run_that_failed_is_listed_with_its_reason() {
    let mut artifact = session(24, 8, USUAL, USUAL);
    for run in artifact.runs.iter_mut().filter(|run| run.arm == "b") {
        (run.outcome, run.failure) = (None, Some("no handshake".into()));
    }
    assert_void(&artifact, "it failed: no handshake");
}

/// The other six rounds are sound, and enough.
#[test]
fn a_relay_that_crashes_now_and_then_fails() {
    let mut artifact = session(27, 8, USUAL, USUAL);
    for run in artifact.runs.iter_mut().filter(|run| run.arm == "b" && run.round > 6) {
        (run.outcome, run.failure) = (None, Some("the relay closed the connection".into()));
    }
    let judgement = judged(&artifact);
    assert!(verdicts(&judgement).iter().all(|verdict| *verdict == Verdict::Pass), "{}", judgement.table());
    let kept = judgement.promises.iter().find(|kept| kept.name == "every run to its end").expect("judged");
    assert_eq!((kept.verdict, kept.broken_by_a, kept.broken_by_b), (Verdict::Fail, 0, 2));
    assert_eq!(judgement.verdict, Verdict::Fail);
}

/// Eight sound rounds, and as many that B spoilt and a session repeated.
fn half_spoilt(spoil: impl Fn(&mut Outcome)) -> Judgement {
    let mut artifact = session(28, 16, USUAL, USUAL);
    for run in artifact.runs.iter_mut().filter(|run| run.arm == "b" && (run.round / 2).is_multiple_of(2)) {
        spoil(run.outcome.as_mut().expect("an outcome"));
    }
    judged(&artifact)
}

#[test]
fn a_relay_that_spoils_its_bad_runs_does_not_pass_by_its_good_ones() {
    let refuse = |outcome: &mut Outcome| {
        (outcome.void, outcome.is_voided_by_relay) = (Some("the relay said: error: overloaded".into()), true);
    };
    let judgement = half_spoilt(refuse);
    assert!(verdicts(&judgement).iter().all(|verdict| *verdict == Verdict::Pass), "{}", judgement.table());
    let kept = judgement.promises.iter().find(|kept| kept.name == "no run spoilt by the relay").expect("judged");
    assert_eq!((kept.verdict, judgement.verdict), (Verdict::Fail, Verdict::Fail), "{}", judgement.table());
}

fn late(outcome: &mut Outcome) {
    outcome.void = Some("the generator was late".into());
}

#[test]
fn a_relay_that_starves_the_generator_does_not_pass_by_its_good_runs() {
    let judgement = half_spoilt(late);
    assert!(verdicts(&judgement).iter().all(|verdict| *verdict == Verdict::Inconclusive), "{}", judgement.table());
    assert!(judgement.table().contains("the generator spoilt 0 runs of A and 8 of B"), "{}", judgement.table());
    let kept = judgement.promises.iter().find(|kept| kept.name == "no run spoilt by the generator").expect("judged");
    assert_eq!((kept.verdict, judgement.verdict), (Verdict::Inconclusive, Verdict::Inconclusive));
}

#[test]
fn what_the_generator_spoils_of_both_alike_is_nobodys_fault() {
    let mut artifact = session(32, 16, USUAL, USUAL);
    for (arm, rounds) in [("a", [1, 4, 9]), ("b", [2, 5, 10])] {
        let spoilt = artifact.runs.iter_mut().filter(|run| run.arm == arm && rounds.contains(&run.round));
        spoilt.for_each(|run| late(run.outcome.as_mut().expect("an outcome")));
    }
    let judgement = judged(&artifact);
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.table());
}

/// Rebased on the answers, with no lag and service times to match; but it was asked for 200 events a second.
#[test]
fn a_schedule_that_moves_with_the_answers_is_void_though_it_keeps_a_pace() {
    let mut artifact = spoiled(|outcome| course(outcome, [150, 150, 150, 150, 400]));
    artifact.setting.insert("rate".into(), 200.into());
    assert_void(&artifact, "sent 150 events a second, and was asked for 200");
}

/// The slowest acks are, as they are told; the others are not.
fn mostly_lag(outcome: &mut Outcome) {
    let mut lag = vec![30.0; EVENTS];
    lag[..EVENTS / 200].fill(900.0);
    outcome.latencies.insert("generator-lag".into(), distribution(&lag));
    let service = vec![400.0; EVENTS];
    let whole: Vec<f64> = lag.iter().zip(&service).map(|(lag, service)| lag + service).collect();
    outcome.latencies.insert("ack-service".into(), distribution(&service));
    outcome.latencies.insert("ack".into(), distribution(&whole));
    outcome.latencies.remove("first-delivery-service");
}

#[test]
fn a_tail_that_is_mostly_the_generators_is_no_figure() {
    let mut artifact = session(29, 8, USUAL, USUAL);
    artifact.runs.iter_mut().for_each(|run| mostly_lag(run.outcome.as_mut().expect("an outcome")));
    let tail = GUARDRAIL.replacen("percentile = 99.0", "percentile = 99.9", 1);
    let guardrail = Guardrail::parse(&tail).expect("sound");
    let judgement = judge(Side { artifact: &artifact, arm: "a" }, Side { artifact: &artifact, arm: "b" }, &guardrail);
    let judgement = judgement.expect("judged");
    assert_eq!(measure(&judgement, "ack p50").verdict, Verdict::Pass, "{}", judgement.table());
    assert_eq!(measure(&judgement, "ack p99").remark.as_deref(), Some("0 sound rounds of the 6 it takes"));
}

/// Half of B's tails are left out; so B does not pass by the other half.
#[test]
fn a_tail_that_is_left_out_of_b_alone_leaves_the_question_open() {
    let artifact = |spoil: &dyn Fn(&mut Outcome)| {
        let mut artifact = session(33, 16, USUAL, USUAL);
        for run in artifact.runs.iter_mut().filter(|run| run.arm == "b" && (run.round / 2).is_multiple_of(2)) {
            spoil(run.outcome.as_mut().expect("an outcome"));
        }
        artifact
    };
    let tail = GUARDRAIL.replacen("percentile = 99.0", "percentile = 99.9", 1);
    let guardrail = Guardrail::parse(&tail).expect("sound");
    let judged = |artifact: &Artifact| {
        judge(Side { artifact, arm: "a" }, Side { artifact, arm: "b" }, &guardrail).expect("judged")
    };
    let sound = judged(&artifact(&|_| ()));
    assert_eq!(measure(&sound, "ack p99").verdict, Verdict::Pass, "{}", sound.table());
    let starved = judged(&artifact(&mostly_lag));
    let tail = measure(&starved, "ack p99");
    assert_eq!((tail.verdict, tail.rounds), (Verdict::Inconclusive, 8), "{}", starved.table());
    assert!(tail.remark.as_deref().is_some_and(|remark| remark.contains("0 runs of A and 8 of B")));
}

#[test]
fn a_run_that_is_too_short_to_tell_a_queue_that_fills_has_no_latencies() {
    let mut artifact = session(30, 8, USUAL, USUAL);
    artifact.setting.extend([("seconds".into(), 4.into()), ("warm_up_seconds".into(), 1.into())]);
    let judgement = judged(&artifact);
    assert!(measure(&judgement, "ack p50").remark.as_deref().is_some_and(|remark| remark.contains("too short")));
    assert_eq!(measure(&judgement, "events a second").verdict, Verdict::Pass, "{}", judgement.table());
}

#[test]
fn arms_of_unlike_durability_are_told_apart() {
    let mut artifact = session(31, 8, USUAL, USUAL);
    for (arm, durability) in artifact.arms.iter_mut().zip(["synced", "unsynced"]) {
        arm.durability = durability.into();
    }
    assert!(judged(&artifact).table().contains("An OK does not mean the same: A is synced, B is unsynced."));
}

#[test]
fn a_summary_that_is_not_its_histograms_is_an_error() {
    let ack = |outcome: &mut Outcome| outcome.latencies.get_mut("ack").expect("acks").clone();
    let flatter = |outcome: &mut Outcome| {
        let ack = Distribution { p99: ack(outcome).p99 * 0.7, ..ack(outcome) };
        outcome.latencies.insert("ack".into(), ack);
    };
    assert_damaged(&spoiled(flatter), "the summary of ack is not its histogram's: p99 is told as");
    let drop_one = |outcome: &mut Outcome| {
        let ack = Distribution { count: ack(outcome).count - 1, ..ack(outcome) };
        outcome.latencies.insert("ack".into(), ack);
    };
    assert_damaged(&spoiled(drop_one), "999 samples are 1000 in the histogram");
    let garble = |outcome: &mut Outcome| {
        let ack = Distribution { histogram: "AAAA".into(), ..ack(outcome) };
        outcome.latencies.insert("ack".into(), ack);
    };
    assert_damaged(&spoiled(garble), "the histogram of ack");
}

#[test]
fn accounts_that_do_not_add_up_are_an_error() {
    assert_damaged(&spoiled(|outcome| accounts(outcome).acked -= 10), "are not the 1000 sent");
    assert_damaged(&spoiled(|outcome| accounts(outcome).planned = 10), "1000 events were sent of 10");
    let fewer = |outcome: &mut Outcome| {
        let accounts = accounts(outcome);
        (accounts.sent, accounts.acked) = (900, 900);
    };
    assert_damaged(&spoiled(fewer), "1000 acks were timed and 900 counted");
    assert_damaged(&spoiled(|outcome| outcome.series[0].sent = 1), "1000 events were sent, 801 by the course");
}

#[test]
fn a_second_sound_run_of_one_round_is_an_error() {
    let mut artifact = session(25, 8, USUAL, USUAL);
    let again = artifact.runs.iter().find(|run| run.arm == "b").expect("a run").clone();
    artifact.runs.push(again);
    assert_damaged(&artifact, "two runs count");
}

#[test]
fn a_void_run_that_was_repeated_counts_once() {
    let mut artifact = session(26, 8, USUAL, USUAL);
    let mut void = artifact.runs[0].clone();
    void.outcome.as_mut().expect("an outcome").void = Some("the generator was late".into());
    artifact.runs.insert(0, void);
    let judgement = judged(&artifact);
    assert_eq!((judgement.excluded.len(), measure(&judgement, "ack p99").rounds), (1, 8));
    assert_eq!(judgement.verdict, Verdict::Pass, "{}", judgement.table());
}
