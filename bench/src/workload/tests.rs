//! Runs against a relay of a few lines that keeps its promises, or breaks one on purpose.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::*;
use crate::frame;
use crate::notes::Recipe;

/// Which promise to break, on the tenth event.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    Lose,
    DeliverTwice,
    DeliverNever,
    Refuse,
    Ignore,
}

#[derive(Default)]
struct Relay {
    stored: HashMap<String, String>,
    subscribers: Vec<TcpStream>,
    published: usize,
}

fn say(stream: &TcpStream, text: &str) {
    let mut bytes = Vec::new();
    frame::append(&mut bytes, frame::TEXT, text.as_bytes(), None);
    // A client that has left is no fault of the relay's.
    let _ = (&*stream).write_all(&bytes);
}

impl Relay {
    fn publish(&mut self, stream: &TcpStream, event: &serde_json::Value, fault: Fault) {
        self.published += 1;
        let fault = if self.published == 10 { fault } else { Fault::None };
        let id = event["id"].as_str().expect("an id").to_owned();
        if fault == Fault::Ignore {
            return;
        }
        say(stream, &format!(r#"["OK","{id}",{},"blocked: tenth"]"#, fault != Fault::Refuse));
        if fault == Fault::Refuse {
            return;
        }
        let times = match fault {
            Fault::DeliverTwice => 2,
            Fault::DeliverNever => 0,
            _ => 1,
        };
        for subscriber in &self.subscribers {
            for _ in 0..times {
                say(subscriber, &format!(r#"["EVENT","live",{event}]"#));
            }
        }
        if fault != Fault::Lose {
            self.stored.insert(id, event.to_string());
        }
    }

    fn request(&mut self, stream: &TcpStream, subscription: &str, filter: &serde_json::Value) {
        match filter["ids"].as_array() {
            None => self.subscribers.push(stream.try_clone().expect("a second handle")),
            Some(ids) => {
                for event in ids.iter().filter_map(|id| self.stored.get(id.as_str()?)) {
                    say(stream, &format!(r#"["EVENT","{subscription}",{event}]"#));
                }
            }
        }
        say(stream, &format!(r#"["EOSE","{subscription}"]"#));
    }
}

fn serve(mut stream: TcpStream, relay: &Mutex<Relay>, fault: Fault) {
    let mut inbox = Vec::new();
    let mut chunk = [0; 65_536];
    let mut is_greeted = false;
    while let Ok(received @ 1..) = stream.read(&mut chunk) {
        inbox.extend_from_slice(&chunk[..received]);
        if !is_greeted {
            assert!(inbox.ends_with(b"\r\n\r\n"), "the request comes in one piece");
            let answer =
                "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
            stream.write_all(answer.as_bytes()).expect("greeted");
            inbox.clear();
            is_greeted = true;
        }
        while let Some(found) = frame::first(&inbox).expect("sound frames") {
            let mut payload = inbox[found.payload.clone()].to_vec();
            frame::unmask(&mut payload, found.mask.expect("a client masks"));
            inbox.drain(..found.payload.end);
            let message: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
            let mut relay = relay.lock().expect("no thread panicked");
            match message[0].as_str() {
                Some("EVENT") => relay.publish(&stream, &message[1], fault),
                Some("REQ") => relay.request(&stream, message[1].as_str().expect("an id"), &message[2]),
                _ => {}
            }
        }
    }
}

fn start(fault: Fault) -> Target {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let relay = Arc::new(Mutex::new(Relay::default()));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nodelay(true).expect("a TCP socket");
            let relay = Arc::clone(&relay);
            thread::spawn(move || serve(stream, &relay, fault));
        }
    });
    Target::parse(&format!("ws://{address}"), false).expect("loopback")
}

fn run_against(fault: Fault, pacing: Pacing, events: usize, subscribers: usize) -> Outcome {
    let recipe = Recipe { seed: 1, label: "test".into(), created_at: 1_700_000_000, authors: 3 };
    let target = start(fault);
    run(&Plan {
        target: &target,
        heard_at: &target,
        relay_pid: None,
        notes: &Notes::sign(&recipe, events).expect("signed"),
        since: recipe.created_at,
        pacing,
        connections: 4,
        subscribers,
        warm_up: 0,
        lag_max: Nanos::MAX,
        drain: Duration::from_secs(1),
    })
    .expect("a run")
}

fn open(fault: Fault) -> Outcome {
    run_against(fault, Pacing::Open(Schedule::new(200, 1)), 200, 2)
}

#[test]
fn a_sound_relay_has_every_event_acked_stored_and_delivered() {
    let outcome = open(Fault::None);
    let accounts = &outcome.accounts;
    assert!(accounts.is_clean(), "{accounts:?}");
    assert_eq!((accounts.sent, accounts.acked, accounts.stored, accounts.delivered), (200, 200, 200, 400));
    assert_eq!(outcome.ack.map(|latency| latency.count), Some(200));
    assert_eq!(outcome.last_delivery.map(|latency| latency.count), Some(200));
    assert!((1.0..=210.0).contains(&outcome.acked_per_second), "{}", outcome.acked_per_second);
    assert_eq!(outcome.void, None);
}

#[test]
fn a_closed_loop_sends_every_note_once() {
    let pacing = Pacing::Closed { in_flight: 8, duration: 10_000_000_000 };
    let outcome = run_against(Fault::None, pacing, 2_000, 0);
    assert!(outcome.accounts.is_clean());
    assert_eq!((outcome.accounts.sent, outcome.accounts.acked), (2_000, 2_000));
    assert!(outcome.acked_per_second > 0.0);
}

#[test]
fn a_closed_loop_ends_with_its_time() {
    let pacing = Pacing::Closed { in_flight: 1, duration: 20_000_000 };
    let outcome = run_against(Fault::None, pacing, 50_000, 0);
    assert!(outcome.accounts.sent < 50_000 && outcome.accounts.sent == outcome.accounts.acked);
}

#[test]
fn each_broken_promise_shows_where_it_was_broken() {
    let lost = open(Fault::Lose).accounts;
    assert_eq!((lost.lost, lost.acked, lost.stored), (1, 200, 199));
    let doubled = open(Fault::DeliverTwice).accounts;
    assert_eq!((doubled.delivered_twice, doubled.undelivered, doubled.delivered), (2, 0, 402));
    let missed = open(Fault::DeliverNever).accounts;
    assert_eq!((missed.undelivered, missed.delivered), (2, 398));
    assert!([lost, doubled, missed].iter().all(|accounts| !accounts.is_clean()));
}

#[test]
fn a_refusal_or_a_silence_is_counted_and_breaks_no_promise() {
    let refused = open(Fault::Refuse);
    assert_eq!((refused.accounts.refused, refused.accounts.acked), (1, 199));
    assert_eq!(refused.complaint.as_deref(), Some("blocked: tenth"));
    let silent = open(Fault::Ignore).accounts;
    assert_eq!((silent.unanswered, silent.acked), (1, 199));
    assert!(refused.accounts.is_clean() && silent.is_clean());
}

#[test]
fn a_generator_that_lags_voids_the_run() {
    let lag = Latency { count: 1, p50: 10.0, p90: 10.0, p99: 1_500.0, p99_9: 1_500.0, max: 1_500.0 };
    let target = start(Fault::None);
    let recipe = Recipe { seed: 1, label: "test".into(), created_at: 1_700_000_000, authors: 1 };
    let plan = |lag_max| Plan {
        target: &target,
        heard_at: &target,
        relay_pid: None,
        notes: Box::leak(Box::new(Notes::sign(&recipe, 1).expect("signed"))),
        since: 0,
        pacing: Pacing::Open(Schedule::new(1, 1)),
        connections: 1,
        subscribers: 0,
        warm_up: 0,
        lag_max,
        drain: Duration::ZERO,
    };
    let accounts = Accounts { acked: 1, sent: 1, planned: 1, ..Accounts::default() };
    assert!(void(&plan(1_000_000), Some(lag), &accounts).is_some_and(|reason| reason.contains("late")));
    assert_eq!(void(&plan(2_000_000), Some(lag), &accounts), None);
}
