//! A relay that keeps what it is sent and finds it by id, but for one vice.

use std::net::TcpStream;
use std::ops::Range;

use serde_json::Value;

use super::{Play, is_signed, say, start};

/// Counted in events with a sound signature.
pub(crate) enum Vice {
    /// These are acknowledged and not kept.
    Loses(Range<usize>),
    /// At each of the first so many it says a word too much.
    Complains(usize),
    /// Behind so many it lets nobody in.
    LocksUpAfter(usize),
}

struct Keeper {
    vice: Vice,
    taken: usize,
    kept: Vec<Value>,
}

/// Starts one; where it listens.
pub(crate) fn keeper(vice: Vice) -> String {
    start(Keeper { vice, taken: 0, kept: Vec::new() }).http_url(Some("")).replacen("http", "ws", 1)
}

impl Play for Keeper {
    fn turn_away(&mut self, _is_metrics: bool) -> Option<String> {
        let is_locked = matches!(self.vice, Vice::LocksUpAfter(events) if self.taken > events);
        is_locked.then(|| "HTTP/1.1 503 Service Unavailable\r\n\r\n".to_owned())
    }

    fn hear(&mut self, stream: &TcpStream, message: &[Value]) {
        match message[0].as_str() {
            Some("EVENT") => self.take(stream, &message[1]),
            Some("REQ") => self.find(stream, &message[1], &message[2]),
            _ => {}
        }
    }
}

impl Keeper {
    fn take(&mut self, stream: &TcpStream, event: &Value) {
        let id = &event["id"];
        if !is_signed(event) {
            return say(stream, &format!(r#"["OK",{id},false,"invalid: its signature"]"#));
        }
        let number = self.taken;
        self.taken += 1;
        if matches!(self.vice, Vice::Complains(first) if number < first) {
            say(stream, r#"["NOTICE","a word too much"]"#);
        }
        let is_known = self.kept.iter().any(|kept| kept["id"] == *id);
        say(stream, &format!(r#"["OK",{id},true,"{}"]"#, if is_known { "duplicate: known" } else { "" }));
        let is_lost = matches!(&self.vice, Vice::Loses(lost) if lost.contains(&number));
        if !is_known && !is_lost {
            self.kept.push(event.clone());
        }
    }

    fn find(&self, stream: &TcpStream, subscription: &Value, filter: &Value) {
        let is_wanted = |event: &&Value| filter["ids"].as_array().is_some_and(|ids| ids.contains(&event["id"]));
        for event in self.kept.iter().filter(is_wanted) {
            say(stream, &format!(r#"["EVENT",{subscription},{event}]"#));
        }
        say(stream, &format!(r#"["EOSE",{subscription}]"#));
    }
}
