//! Workloads against a relay of a few lines that errs on purpose: each error must show.

mod relay;

use std::time::Duration;

use clap::Parser;
use tempfile::TempDir;

use super::*;
use crate::artifact::Outcome;
use crate::client::Pool;
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

fn asked(fault: Fault) -> Found {
    let Command::Query(options) = options("query --events 600 --connections 3 --query-rate 100") else {
        panic!("not a query")
    };
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
    let words = "subscriptions --filters 50 --filters-per-subscription 3 --subscriptions-per-connection 5 --rate 50";
    let Command::Subscriptions(options) = options(words) else { panic!("not subscriptions") };
    let found = subscriptions::turn(&options, &mut Site::at(start(fault))).expect("a turn");
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

/// Twelve clients, cut off once.
fn returned(fault: Fault) -> storm::Herd {
    let target = start(fault);
    let mut pool = Pool::open(std::iter::repeat_n(&target, 12)).expect("connected");
    storm::herd(&mut pool, &target, 1).expect("back")
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
    let mut outcome = Outcome::default();
    storm::Herd { busy: 0.9, ..storm::Herd::default() }.add_to(&mut outcome).expect("nobody is back");
    assert!(outcome.void.is_some_and(|void| void.contains("that reconnects was busy 90 %")));
}

#[test]
fn a_client_that_is_turned_away_comes_again_and_is_counted() {
    let herd = returned(Fault::TurnAway);
    assert_eq!((herd.back.len(), herd.refused), (12, 5));
    assert!(herd.complaint.is_some_and(|complaint| complaint.contains("503")));
}
