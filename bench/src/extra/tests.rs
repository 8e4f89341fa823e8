//! Workloads against a relay of a few lines that errs on purpose: each error must show.

mod relay;

use std::net::TcpStream;
use std::process::Command as Program;
use std::time::Duration;

use clap::Parser;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::*;
use crate::artifact::Outcome;
use crate::caretaker::Group;
use crate::client::{Pool, Target};
use crate::launch::RunningArm;
use crate::schedule::Schedule;
use crate::stand_in::{self, Play, is_signed, say};
use relay::{Fault, start};
use site::{Found, Site};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// Options as they are typed; the address is no part of it.
fn options(words: &str) -> Command {
    let method = "--url ws://127.0.0.1:1 --seconds 1 --warm-up-seconds 0 --lag-max-us 4000000000 --drain-seconds 5";
    let words = format!("bench {words} {method}");
    Line::try_parse_from(words.split_whitespace()).expect("sound options").command
}

fn outcome<'a>(found: &'a Found, protocol: &str) -> &'a Outcome {
    &found.iter().find(|(name, _)| *name == protocol).expect("it was run").1
}

/// A relay that keeps what it is sent and finds it by id, and before each answer does something beside.
struct Beside<F> {
    act: F,
    kept: Vec<Value>,
}

fn start_beside(act: impl FnMut(&TcpStream, &[Value]) + Send + 'static) -> Target {
    stand_in::start(Beside { act, kept: Vec::new() })
}

impl<F: FnMut(&TcpStream, &[Value]) + Send + 'static> Play for Beside<F> {
    fn turn_away(&mut self, is_metrics: bool) -> Option<String> {
        is_metrics.then(|| "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned())
    }

    fn hear(&mut self, stream: &TcpStream, message: &[Value]) {
        (self.act)(stream, message);
        let [label, subject, filter @ ..] = message else { return };
        if label == "EVENT" {
            say(stream, &format!(r#"["OK",{},{},""]"#, subject["id"], is_signed(subject)));
            self.kept.push(subject.clone());
        } else if label == "REQ" {
            let is_wanted = |event: &&Value| filter[0]["ids"].as_array().is_some_and(|ids| ids.contains(&event["id"]));
            for event in self.kept.iter().filter(is_wanted) {
                say(stream, &format!(r#"["EVENT",{subject},{event}]"#));
            }
            say(stream, &format!(r#"["EOSE",{subject}]"#));
        }
    }
}

/// Says `word` to all who are subscribed when it hears a `label`.
fn grumbler(label: &'static str, word: &'static str) -> Target {
    let mut subscribed: Vec<TcpStream> = Vec::new();
    start_beside(move |stream, message| {
        if message[0] == label {
            subscribed.iter().for_each(|stream| say(stream, word));
        }
        if message[0] == "REQ" {
            subscribed.push(stream.try_clone().expect("a second handle"));
        }
    })
}

fn query_options() -> query::Options {
    match options("query --events 600 --connections 3 --query-rate 100") {
        Command::Query(options) => options,
        _ => panic!("not a query"),
    }
}

fn asked(fault: Fault) -> Found {
    let options = query_options();
    let folder = TempDir::new().expect("a folder");
    let stored = stored::Stored::make(folder.path(), 1, 600).expect("signed");
    let mut site = Site::at(start(fault));
    query::fill(&stored, &mut site, true).expect("filled");
    query::turn(&options, &stored, &mut site, 1, 1.0).expect("asked")
}

#[test]
fn right_answers_are_figures_for_every_class_of_question() {
    let found = asked(Fault::None);
    for protocol in ["query", "query-open"] {
        let outcome = outcome(&found, protocol);
        assert_eq!(outcome.void, None);
        assert!(outcome.figure("answers-checked").is_some_and(|checked| checked > 0.0));
        assert_eq!((outcome.figure("answers-wrong"), outcome.figure("unanswered")), (Some(0.0), Some(0.0)));
        assert!(outcome.figure("asker-busy-share").is_some_and(|share| share > 0.0));
        for class in oracle::Class::ALL {
            assert!(outcome.latency(&format!("query-{class}")).is_some(), "{class}");
        }
    }
    assert_eq!(outcome(&found, "query-open").latency("query").map(|all| all.count), Some(100));
    assert!(found.iter().all(|(protocol, _)| *protocol != "query-cold"), "it is not ours to stop");
}

#[test]
fn what_happens_behind_an_answer_is_no_part_of_it() {
    let found = asked(Fault::Lively);
    assert_eq!(outcome(&found, "query").complaint, None);
    assert_eq!(outcome(&found, "query").figure("answers-wrong"), Some(0.0));
}

#[test]
fn wrong_and_refused_answers_are_no_figures() {
    for (fault, reason) in [(Fault::Short, "wrong"), (Fault::Backwards, "wrong"), (Fault::RefuseFifth, "not answered")]
    {
        let found = asked(fault);
        let outcome = outcome(&found, "query");
        assert!(outcome.void.as_ref().is_some_and(|void| void.contains(reason)), "{:?}", outcome.void);
        assert!(outcome.complaint.is_some(), "{reason}");
    }
}

/// A process that works until the fifth question, and the warm-up goes on for long after that.
#[test]
fn what_the_warm_up_cost_is_no_part_of_what_a_question_costs() {
    let double = Group::start(Program::new("sh").args(["-c", "while :; do :; done"])).expect("a shell");
    let process = Pid::from_child(&double.leader);
    let mut questions = 0;
    let target = start_beside(move |_, message| {
        questions += usize::from(message[0] == "REQ");
        if questions == 5 {
            kill_process(process, Signal::STOP).expect("it runs");
        }
    });
    let folder = TempDir::new().expect("a folder");
    let stored = stored::Stored::make(folder.path(), 1, 600).expect("signed");
    let arm = RunningArm::at([(target, Some(double.leader.id()))]);
    let pace = ask::Pace::Open(Schedule::new(50, 2));
    let part = query::Part { protocol: "query-open", pace, warm_up: 1_000_000_000 };
    let outcome = query::asked(&query_options(), &stored, &arm, 1, &part).expect("asked");
    assert_eq!(outcome.figure("relay-cpu-us-per-query"), Some(0.0));
    assert_eq!(outcome.latency("query").map(|all| all.count), Some(50));
}

#[test]
fn a_relay_that_refuses_an_event_is_not_taken_for_filled() {
    let folder = TempDir::new().expect("a folder");
    let stored = stored::Stored::make(folder.path(), 1, 600).expect("signed");
    let loaded = stored.publish(&start(Fault::None)).expect("filled");
    assert_eq!((loaded.sent, loaded.accepted, loaded.refused), (600, 600, 0));
    let failure = stored.publish(&start(Fault::RefuseTenth)).expect_err("one is missing");
    assert!(failure.to_string().contains("refused 1 of 600 events: blocked: tenth"), "{failure}");
}

#[test]
fn a_relay_without_an_import_command_is_published_to_and_asked_afterwards() {
    let folder = TempDir::new().expect("a folder");
    let stored = stored::Stored::make(folder.path(), 1, 600).expect("signed");
    let import = |fault| import::turn(&stored, &mut Site::at(start(fault))).expect("published");
    let sound = import(Fault::None);
    let sound = outcome(&sound, "import-by-publishing");
    assert_eq!((sound.void.as_deref(), sound.figure("answers-wrong")), (None, Some(0.0)));
    assert!(sound.figure("events-per-s").is_some_and(|rate| rate > 0.0));
    assert!(sound.figure("publisher-busy-share").is_some_and(|share| share > 0.0));
    let short = import(Fault::Short);
    assert!(outcome(&short, "import-by-publishing").void.is_some());
}

fn idled(fault: Fault) -> Outcome {
    let Command::Idle(options) = options("idle --connections 12") else { panic!("not idle") };
    let patience = idle::Patience { idle: Duration::ZERO, delivery: Duration::from_millis(500) };
    let found = idle::turn(&options, &mut Site::at(start(fault)), &patience).expect("a turn");
    outcome(&found, "idle").clone()
}

#[test]
fn every_idle_connection_must_get_the_event_it_waits_for() {
    let sound = idled(Fault::None);
    assert!(sound.is_good(), "{sound:?}");
    assert_eq!(sound.accounts.map(|accounts| accounts.delivered), Some(12));
    let deaf = idled(Fault::Deaf);
    assert!(!deaf.is_good());
    assert_eq!(deaf.accounts.map(|accounts| (accounts.delivered, accounts.undelivered)), Some((11, 1)));
    let refused = idled(Fault::RefuseFifth);
    assert!(refused.void.is_some_and(|void| void.contains("2 subscriptions were refused")));
}

fn subscribed(fault: Fault) -> Outcome {
    subscribed_at(start(fault))
}

fn subscribed_at(target: Target) -> Outcome {
    let words = "subscriptions --filters 50 --filters-per-subscription 3 --subscriptions-per-connection 5 --rate 50";
    let Command::Subscriptions(options) = options(words) else { panic!("not subscriptions") };
    let found = subscriptions::turn(&options, &mut Site::at(target)).expect("a turn");
    assert_eq!(found.len(), 3, "without, with, without");
    outcome(&found, "subscriptions").clone()
}

#[test]
fn filters_that_match_nothing_cost_what_they_cost() {
    let outcome = subscribed(Fault::None);
    assert_eq!(outcome.void, None);
    assert!(outcome.figure("ack-p50-ratio").is_some_and(|ratio| ratio > 0.0));
    assert!(outcome.figure("filters-per-s").is_some_and(|rate| rate > 0.0));
}

#[test]
fn no_filters_have_no_weight_to_measure() {
    let refusal = run(&options("subscriptions --filters 0")).expect_err("none");
    assert!(refusal.to_string().contains("not 0"), "{refusal}");
}

#[test]
fn a_delivery_to_a_filter_that_does_not_match_voids_the_figures() {
    let outcome = subscribed(Fault::Indiscriminate);
    assert!(outcome.void.is_some_and(|void| void.contains("that they do not match")));
    assert_eq!(outcome.figures.get("ack-p50-ratio"), None);
}

#[test]
fn a_subscription_that_the_relay_ends_voids_the_figures() {
    let word = r#"["CLOSED","s0","error: no more"]"#;
    let outcome = subscribed_at(grumbler("EVENT", word));
    assert_eq!(outcome.void, Some(format!("the relay said: {word}")));
    assert!(outcome.is_voided_by_relay);
}

#[test]
fn a_subscription_that_is_ended_while_others_begin_is_refused() {
    let target = grumbler("REQ", r#"["CLOSED","s0","error: no more"]"#);
    let mut crowd = crowd::Crowd::gather(&target, 4).expect("connected");
    let request = |_, nth| (nth < 3).then(|| format!(r#"["REQ","s{nth}",{{"kinds":[1]}}]"#));
    let subscribed = crowd.subscribe(request).expect("subscribed");
    assert!(subscribed.objection().is_some_and(|objection| objection.contains("subscriptions were refused")));
}

/// Twelve clients, cut off once.
fn returned(fault: Fault) -> storm::Herd {
    returned_to(&start(fault))
}

fn returned_to(target: &Target) -> storm::Herd {
    let mut pool = Pool::open(std::iter::repeat_n(target, 12)).expect("connected");
    storm::herd(&mut pool, target, 1).expect("back")
}

fn void(herd: storm::Herd) -> Option<String> {
    let mut outcome = Outcome::default();
    herd.add_to(&mut outcome).expect("figures");
    outcome.void
}

#[test]
fn a_herd_is_back_when_each_has_its_eose() {
    let herd = returned(Fault::None);
    assert_eq!((herd.back.len(), herd.refused), (12, 0));
    assert!(herd.back.is_sorted());
    assert!(herd.busy > 0.0);
}

#[test]
fn a_herd_whose_own_thread_had_no_headroom_is_void() {
    let void = void(storm::Herd { busy: 0.9, ..storm::Herd::default() });
    assert!(void.is_some_and(|void| void.contains("that reconnects was busy 90 %")));
}

#[test]
fn what_the_relay_says_to_a_client_that_is_back_voids_the_herd() {
    let word = r#"["CLOSED","herd","error: no more"]"#;
    let herd = returned_to(&grumbler("REQ", word));
    assert_eq!((herd.back.len(), herd.refused), (12, 0));
    assert_eq!(void(herd), Some(format!("the relay said: {word}")));
}

#[test]
fn whatever_the_relay_says_between_two_herds_voids_the_storm() {
    let Command::Storm(options) = options("storm --clients 12 --rate 50") else { panic!("no storm") };
    let word = r#"["NOTICE","error: no more"]"#;
    let found = storm::turn(&options, &mut Site::at(grumbler("EVENT", word))).expect("a turn");
    for protocol in ["storm-before", "storm"] {
        assert_eq!(outcome(&found, protocol).void, Some(format!("the relay said: {word}")), "{protocol}");
    }
    let storm = outcome(&found, "storm");
    assert_eq!(storm.latency("reconnect").map(|back| back.count), Some(4 * 12));
    assert_eq!(storm.figure("ack-p50-ratio"), None);
}

#[test]
fn a_client_that_is_turned_away_comes_again_and_is_counted() {
    let herd = returned(Fault::TurnAway);
    assert_eq!((herd.back.len(), herd.refused), (12, 5));
    assert!(herd.complaint.as_ref().is_some_and(|complaint| complaint.contains("503")));
    assert_eq!(void(storm::Herd { busy: 0.0, ..herd }), None, "its time counted on, and that is what a herd is for");
}
