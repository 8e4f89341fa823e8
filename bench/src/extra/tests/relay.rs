//! A relay of a few lines that stores, finds and delivers as it should, or errs in one way on purpose.

use std::net::TcpStream;

use serde_json::Value;

use crate::client::Target;
use crate::stand_in::{self, Play, is_signed, say, say_all};

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fault {
    None,
    /// None: an event happens behind every answer, and comes with its end.
    Lively,
    /// Every answer lacks its last event.
    Short,
    /// Every answer is oldest first.
    Backwards,
    /// Every fifth request is closed.
    RefuseFifth,
    /// The first subscriber hears of nothing that happens.
    Deaf,
    /// Every subscriber hears of everything.
    Indiscriminate,
    /// The tenth event is refused.
    RefuseTenth,
    /// Handshakes number twenty to twenty-four are answered with 503.
    TurnAway,
}

struct Live {
    stream: TcpStream,
    subscription: String,
    filters: Vec<Value>,
}

struct Relay {
    fault: Fault,
    stored: Vec<Value>,
    live: Vec<Live>,
    requests: usize,
    greeted: usize,
}

pub(super) fn start(fault: Fault) -> Target {
    stand_in::start(Relay { fault, stored: Vec::new(), live: Vec::new(), requests: 0, greeted: 0 })
}

impl Play for Relay {
    fn turn_away(&mut self, is_metrics: bool) -> Option<String> {
        if is_metrics {
            return Some("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned());
        }
        self.greeted += 1;
        let is_full = self.fault == Fault::TurnAway && (20..25).contains(&self.greeted);
        is_full.then(|| "HTTP/1.1 503 Service Unavailable\r\n\r\n".to_owned())
    }

    fn hear(&mut self, stream: &TcpStream, message: &[Value]) {
        match message[0].as_str() {
            Some("EVENT") => self.publish(stream, &message[1]),
            Some("REQ") => self.request(stream, message[1].as_str().expect("a name"), &message[2..]),
            _ => {}
        }
    }
}

impl Relay {
    fn publish(&mut self, stream: &TcpStream, event: &Value) {
        if !is_signed(event) {
            return say(stream, &format!(r#"["OK",{},false,"invalid: its signature"]"#, event["id"]));
        }
        self.stored.push(event.clone());
        let accepted = self.fault != Fault::RefuseTenth || self.stored.len() != 10;
        say(stream, &format!(r#"["OK",{},{accepted},"blocked: tenth"]"#, event["id"]));
        let deaf = usize::from(self.fault == Fault::Deaf);
        for Live { stream, subscription, filters } in self.live.iter().skip(deaf) {
            if self.fault == Fault::Indiscriminate || filters.iter().any(|filter| matches(filter, event)) {
                say(stream, &format!(r#"["EVENT","{subscription}",{event}]"#));
            }
        }
    }

    fn request(&mut self, stream: &TcpStream, subscription: &str, filters: &[Value]) {
        self.requests += 1;
        if self.fault == Fault::RefuseFifth && self.requests.is_multiple_of(5) {
            return say(stream, &format!(r#"["CLOSED","{subscription}","blocked: fifth"]"#));
        }
        let filter = &filters[0];
        let mut found: Vec<&Value> = self.stored.iter().filter(|event| matches(filter, event)).collect();
        found.sort_by_key(|event| (std::cmp::Reverse(event["created_at"].as_u64()), event["id"].as_str()));
        found.truncate(filter["limit"].as_u64().map_or(usize::MAX, |limit| limit as usize));
        match self.fault {
            Fault::Short => drop(found.pop()),
            Fault::Backwards => found.reverse(),
            _ => {}
        }
        for event in found {
            say(stream, &format!(r#"["EVENT","{subscription}",{event}]"#));
        }
        let end = format!(r#"["EOSE","{subscription}"]"#);
        match self.stored.first().filter(|_| self.fault == Fault::Lively) {
            Some(event) => say_all(stream, &[&end, &format!(r#"["EVENT","{subscription}",{event}]"#)]),
            None => say(stream, &end),
        }
        let stream = stream.try_clone().expect("a second handle");
        self.live.push(Live { stream, subscription: subscription.to_owned(), filters: filters.to_vec() });
    }
}

fn matches(filter: &Value, event: &Value) -> bool {
    filter.as_object().expect("an object").iter().all(|(name, wanted)| {
        let is_wanted = |value: &Value| wanted.as_array().is_some_and(|wanted| wanted.contains(value));
        let tags = || event["tags"].as_array().into_iter().flatten();
        match name.as_str() {
            "ids" => is_wanted(&event["id"]),
            "authors" => is_wanted(&event["pubkey"]),
            "kinds" => is_wanted(&event["kind"]),
            "since" => event["created_at"].as_u64() >= wanted.as_u64(),
            "until" => event["created_at"].as_u64() <= wanted.as_u64(),
            "limit" => true,
            tag => tags().any(|of| of[0].as_str() == tag.strip_prefix('#') && is_wanted(&of[1])),
        }
    })
}
