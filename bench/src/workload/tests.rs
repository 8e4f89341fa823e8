//! Runs against a relay of a few lines that keeps its promises, or breaks one on purpose.

use std::collections::HashMap;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::*;
use crate::caretaker::Group;
use crate::notes::Recipe;
use crate::stand_in::{self, Play, is_signed, say};

/// Which promise to break, on the tenth event.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Lose,
    DeliverTwice,
    DeliverNever,
    /// The last event once more, when all is said.
    DeliverAgainLate,
    /// Say that it was there already.
    Know,
    Refuse,
    RefuseInSecret,
    Ignore,
    Notice,
    CloseSubscriptions,
    HangUp,
    /// Not of an event: COUNT is answered with a notice.
    CannotCount,
    /// Not of the tenth event: any with a forged signature is accepted.
    TakeForged,
}

/// What else happens when the relay hears something.
type Beside = Box<dyn FnMut(&[serde_json::Value]) + Send>;

struct Relay {
    fault: Fault,
    beside: Beside,
    stored: HashMap<String, serde_json::Value>,
    subscribers: Vec<TcpStream>,
    published: usize,
    refused: usize,
}

impl Relay {
    fn publish(&mut self, stream: &TcpStream, event: &serde_json::Value) {
        if !is_signed(event) {
            let (id, is_taken) = (&event["id"], self.fault == Fault::TakeForged);
            return say(stream, &format!(r#"["OK",{id},{is_taken},"invalid: its signature"]"#));
        }
        self.published += 1;
        let fault = if self.published == 10 { self.fault } else { Fault::None };
        let id = event["id"].as_str().expect("an id").to_owned();
        match fault {
            Fault::Ignore => return,
            Fault::HangUp => {
                stream.shutdown(Shutdown::Both).expect("open until now");
                return;
            }
            Fault::Notice => say(stream, r#"["NOTICE","the tenth"]"#),
            Fault::RefuseInSecret => self.refused += 1,
            Fault::CloseSubscriptions => self.to_all(r#"["CLOSED","live","error: the tenth"]"#, 1),
            _ => {}
        }
        let reason = if fault == Fault::Know { "duplicate" } else { "blocked" };
        say(stream, &format!(r#"["OK","{id}",{},"{reason}: tenth"]"#, fault != Fault::Refuse));
        if fault == Fault::Refuse {
            return;
        }
        let times = match fault {
            Fault::DeliverTwice => 2,
            Fault::DeliverNever => 0,
            _ => 1,
        };
        let delivery = format!(r#"["EVENT","live",{event}]"#);
        self.to_all(&delivery, times);
        if self.fault == Fault::DeliverAgainLate && self.published == 200 {
            let subscriber = self.subscribers[0].try_clone().expect("a second handle");
            thread::spawn(move || {
                thread::sleep(LINGER / 5);
                say(&subscriber, &delivery);
            });
        }
        if fault != Fault::Lose {
            self.stored.insert(id, event.clone());
        }
    }

    fn to_all(&self, text: &str, times: usize) {
        for subscriber in &self.subscribers {
            (0..times).for_each(|_| say(subscriber, text));
        }
    }

    fn request(&mut self, stream: &TcpStream, subscription: &str, filter: &serde_json::Value) {
        if subscription == "live" {
            self.subscribers.push(stream.try_clone().expect("a second handle"));
        }
        for event in self.matching(filter) {
            say(stream, &format!(r#"["EVENT","{subscription}",{event}]"#));
        }
        say(stream, &format!(r#"["EOSE","{subscription}"]"#));
    }

    fn matching(&self, filter: &serde_json::Value) -> Vec<&serde_json::Value> {
        let is_wanted = |field: &str, value: &serde_json::Value| {
            filter[field].as_array().is_some_and(|wanted| wanted.contains(value))
        };
        let matches =
            |event: &&serde_json::Value| is_wanted("ids", &event["id"]) || is_wanted("authors", &event["pubkey"]);
        self.stored.values().filter(matches).collect()
    }

    fn count(&self, stream: &TcpStream, subscription: &str, filter: &serde_json::Value) {
        if self.fault == Fault::CannotCount {
            return say(stream, r#"["NOTICE","what is a COUNT?"]"#);
        }
        let count = self.matching(filter).len();
        say(stream, &format!(r#"["COUNT","{subscription}",{{"count":{count}}}]"#));
    }
}

impl Play for Relay {
    fn turn_away(&mut self, is_metrics: bool) -> Option<String> {
        let page = format!("towpath_refusals_total{{prefix=\"blocked\"}} {}\n", self.refused);
        is_metrics
            .then(|| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}", page.len()))
    }

    fn hear(&mut self, stream: &TcpStream, message: &[serde_json::Value]) {
        (self.beside)(message);
        let subscription = message[1].as_str().unwrap_or_default();
        match message[0].as_str() {
            Some("EVENT") => self.publish(stream, &message[1]),
            Some("REQ") => self.request(stream, subscription, &message[2]),
            Some("COUNT") => self.count(stream, subscription, &message[2]),
            _ => {}
        }
    }
}

fn start(fault: Fault) -> Target {
    start_beside(Box::new(|_| ()), fault)
}

fn start_beside(beside: Beside, fault: Fault) -> Target {
    stand_in::start(Relay { fault, beside, stored: HashMap::new(), subscribers: Vec::new(), published: 0, refused: 0 })
}

/// A load, with nothing that depends on how fast this machine is.
struct Load {
    pacing: Pacing,
    events: usize,
    subscribers: usize,
    has_background: bool,
    warm_up_seconds: u32,
    lag_max_us: u32,
}

impl Load {
    fn closed(in_flight: usize, duration: Nanos, events: usize) -> Self {
        let pacing = Pacing::Closed { in_flight, duration };
        Self { pacing, events, subscribers: 0, has_background: false, warm_up_seconds: 0, lag_max_us: u32::MAX }
    }

    /// 200 events in a second, heard by two.
    fn open() -> Self {
        let pacing = Pacing::Open(Schedule::new(200, 1));
        Self { pacing, events: 200, subscribers: 2, has_background: false, warm_up_seconds: 0, lag_max_us: u32::MAX }
    }

    /// Against a relay whose process is known: this one.
    fn run(&self, fault: Fault) -> Outcome {
        self.run_at(start(fault), std::process::id()).expect("a run")
    }

    fn run_at(&self, target: Target, pid: u32) -> Result<Outcome> {
        let recipe =
            Recipe { seed: 1, label: "test".into(), created_at: 1_700_000_000, authors: 3, content_bytes: 200 };
        let arm = RunningArm::at([(target, Some(pid))]);
        let method = Method {
            seed: 1,
            content_bytes: 200,
            seconds: 1 + self.warm_up_seconds,
            warm_up_seconds: self.warm_up_seconds,
            lag_max_us: self.lag_max_us,
            drain_seconds: 1,
        };
        let plan = Plan {
            arm: &arm,
            publishers_at: &arm.pods,
            subscribers_at: &arm.pods,
            notes: &Notes::sign(&recipe, self.events).expect("signed"),
            since: recipe.created_at,
            pacing: self.pacing,
            connections: 4,
            subscribers: self.subscribers,
            has_background: self.has_background,
            method: &method,
        };
        run(&plan, &Progress::new())
    }
}

/// A process whose costs are taken for the relay's.
fn double(script: &str) -> Group {
    Group::start(Command::new("sh").args(["-c", script]).stdin(Stdio::piped())).expect("a shell")
}

fn open(fault: Fault) -> Outcome {
    Load::open().run(fault)
}

fn accounts(outcome: &Outcome) -> &Accounts {
    outcome.accounts.as_ref().expect("settled")
}

fn void(fault: Fault) -> String {
    open(fault).void.unwrap_or_default()
}

#[test]
fn a_sound_relay_has_every_event_acked_stored_and_delivered() {
    let outcome = open(Fault::None);
    let accounts = accounts(&outcome);
    assert!(accounts.is_clean(), "{accounts:?}");
    assert_eq!((accounts.sent, accounts.acked, accounts.stored, accounts.delivered), (200, 200, 200, 400));
    let deliveries = ["first-delivery", "first-delivery-service", "last-delivery", "last-delivery-service"];
    for latency in ["ack", "ack-service", "generator-lag"].into_iter().chain(deliveries) {
        assert_eq!(outcome.latency(latency).map(|latency| latency.count), Some(200), "{latency}");
    }
    assert!(outcome.figure("events-per-s").is_some_and(|rate| (1.0..=210.0).contains(&rate)));
    assert_eq!(outcome.series.iter().map(|tick| tick.acked).sum::<u64>(), 200);
    assert_eq!(outcome.void, None);
}

#[test]
fn what_the_relay_cost_is_told_by_event_and_by_delivery() {
    let outcome = open(Fault::None);
    let figure = |name| outcome.figure(name).unwrap_or_else(|| panic!("no {name}"));
    let (event, delivery) = (figure("relay-cpu-us-per-event"), figure("relay-cpu-us-per-delivery"));
    assert!((event - 2.0 * delivery).abs() < 1e-6, "{event} for two deliveries of {delivery}");
    assert!(figure("relay-peak-resident-bytes") >= figure("relay-resident-bytes"));
    assert!(figure("bytes-per-s") > 200.0 * figure("events-per-s"), "a note's content alone has 200 bytes");
    assert!(figure("delivered-per-s") > figure("events-per-s"));
    assert_eq!(outcome.figure("relay-resident-bytes-pod-1"), None, "one pod is the relay");
}

/// A process that works until the twentieth event, and the warm-up goes on for long after that.
#[test]
fn what_the_warm_up_cost_is_no_part_of_the_figures() {
    let double = double("while :; do :; done");
    let process = Pid::from_child(&double.leader);
    let mut published = 0;
    let stop = move |message: &[serde_json::Value]| {
        published += usize::from(message[0] == "EVENT");
        if published == 20 {
            kill_process(process, Signal::STOP).expect("it runs");
        }
    };
    let load = Load { pacing: Pacing::Open(Schedule::new(200, 2)), events: 400, warm_up_seconds: 1, ..Load::open() };
    let outcome = load.run_at(start_beside(Box::new(stop), Fault::None), double.leader.id()).expect("a run");
    assert_eq!(outcome.figure("relay-cpu-us-per-event"), Some(0.0));
}

/// A process that takes 20 MB once somebody asks for stored events.
#[test]
fn what_asking_afterwards_costs_is_no_part_of_the_peak() {
    const MORE: u64 = 20_000_000;
    let script = format!("read line; x=$(head -c {MORE} /dev/zero | tr '\\0' x); while read line; do :; done");
    let mut double = double(&script);
    let (pid, mut input) = (double.leader.id(), double.leader.stdin.take().expect("piped"));
    let grow = move |message: &[serde_json::Value]| {
        if message[1].as_str().is_some_and(|name| name.starts_with("check")) {
            input.write_all(b"\n").expect("it reads");
            while peak_resident_bytes(pid).is_some_and(|peak| peak < MORE) {
                thread::yield_now();
            }
        }
    };
    let outcome = Load::open().run_at(start_beside(Box::new(grow), Fault::None), pid).expect("a run");
    let peak = outcome.figure("relay-peak-resident-bytes").expect("known");
    assert!(peak < MORE as f64, "{peak}");
    assert!(peak_resident_bytes(pid).is_some_and(|peak| peak >= MORE), "it has grown since");
}

#[test]
fn a_run_that_is_over_before_its_warm_up_is_void() {
    let load = Load { warm_up_seconds: 60, ..Load::closed(8, 60_000_000_000, 200) };
    let outcome = load.run(Fault::None);
    assert!(outcome.void.as_ref().is_some_and(|void| void.contains("nothing was timed")), "{:?}", outcome.void);
    assert!(!outcome.is_voided_by_relay);
    assert!(load.run(Fault::HangUp).is_voided_by_relay, "nor is that an excuse");
}

#[test]
fn a_relay_that_checks_no_signature_fails_the_run() {
    let failure = Load::open().run_at(start(Fault::TakeForged), std::process::id()).expect_err("a forgery");
    assert!(failure.to_string().contains("accepted an event with a forged signature"), "{failure}");
}

#[test]
fn a_closed_loop_sends_every_note_once() {
    let outcome = Load::closed(8, 10_000_000_000, 2_000).run(Fault::None);
    assert!(accounts(&outcome).is_clean());
    assert_eq!((accounts(&outcome).sent, accounts(&outcome).acked), (2_000, 2_000));
    assert!(outcome.figure("events-per-s").is_some_and(|rate| rate > 0.0));
    assert_eq!(outcome.void, None);
}

#[test]
fn a_closed_loop_ends_with_its_time() {
    let outcome = Load::closed(1, 20_000_000, 50_000).run(Fault::None);
    let accounts = accounts(&outcome);
    assert!(accounts.sent < 50_000 && accounts.sent == accounts.acked);
}

#[test]
fn each_broken_promise_shows_where_it_was_broken() {
    let lost = open(Fault::Lose).accounts.expect("settled");
    assert_eq!((lost.lost, lost.acked, lost.stored), (1, 200, 199));
    let doubled = open(Fault::DeliverTwice).accounts.expect("settled");
    assert_eq!((doubled.delivered_twice, doubled.undelivered, doubled.delivered), (2, 0, 402));
    let late = open(Fault::DeliverAgainLate).accounts.expect("settled");
    assert_eq!((late.delivered_twice, late.delivered), (1, 401), "whatever comes behind the last is heard");
    let missed = open(Fault::DeliverNever).accounts.expect("settled");
    assert_eq!((missed.undelivered, missed.delivered), (2, 398));
    assert_eq!(missed.missed_by, [(0, 1), (1, 1)].into(), "one by each");
    assert!([lost, doubled, late, missed].iter().all(|accounts| !accounts.is_clean()));
}

#[test]
fn a_refusal_or_a_silence_breaks_no_promise_and_voids_the_run() {
    let refused = open(Fault::Refuse);
    assert_eq!((accounts(&refused).refused, accounts(&refused).acked), (1, 199));
    assert_eq!(refused.complaint.as_deref(), Some("blocked: tenth"));
    let silent = open(Fault::Ignore);
    assert_eq!((accounts(&silent).unanswered, accounts(&silent).acked), (1, 199));
    assert!(accounts(&refused).is_clean() && accounts(&silent).is_clean());
    assert!(refused.void.is_some_and(|reason| reason.contains("1 refused")));
    assert!(silent.void.is_some_and(|reason| reason.contains("1 not answered")));
}

#[test]
fn whatever_the_relay_says_or_does_against_a_client_voids_the_run() {
    for (fault, reason) in [
        (Fault::Notice, "the tenth"),
        (Fault::CloseSubscriptions, "error: the tenth"),
        (Fault::HangUp, "ended 1 connections"),
    ] {
        let void = void(fault);
        assert!(void.contains(reason), "{void}");
    }
}

#[test]
fn a_refusal_that_only_the_relay_counted_voids_the_run() {
    let void = void(Fault::RefuseInSecret);
    assert!(void.contains("towpath_refusals_total{prefix=\"blocked\"} of pod 1 grew by 1"), "{void}");
}

#[test]
fn what_the_relay_had_already_was_not_measured() {
    let outcome = open(Fault::Know);
    assert_eq!((accounts(&outcome).known_before, accounts(&outcome).acked), (1, 200));
    assert!(outcome.is_voided_by_relay && outcome.void.is_some_and(|void| void.contains("1 events were known")));
}

#[test]
fn it_is_told_whose_doing_a_void_run_is() {
    assert!(open(Fault::Notice).is_voided_by_relay);
    let late = Load { lag_max_us: 0, ..Load::open() };
    assert!(!late.run(Fault::None).is_voided_by_relay);
    assert!(!late.run(Fault::Notice).is_voided_by_relay, "of two that may be at fault, none is blamed");
}

#[test]
fn a_generator_that_lags_voids_the_run() {
    let void = Load { lag_max_us: 0, ..Load::open() }.run(Fault::None).void.unwrap_or_default();
    assert!(void.contains("late at p99"), "nobody is never late: {void}");
}

#[test]
fn others_ask_count_come_and_go_meanwhile() {
    let outcome = Load { has_background: true, ..Load::open() }.run(Fault::None);
    for latency in ["query", "count", "connect"] {
        assert!(outcome.latency(latency).is_some_and(|latency| latency.count > 0), "{latency}");
    }
    assert_eq!((accounts(&outcome).delivered, outcome.void), (400, None));
}

#[test]
fn a_relay_that_cannot_count_is_measured_without() {
    let outcome = Load { has_background: true, ..Load::open() }.run(Fault::CannotCount);
    assert!(outcome.latency("query").is_some() && outcome.latency("count").is_none());
    assert_eq!(outcome.void, None);
}
