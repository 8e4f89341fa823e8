//! Fills a relay with the lines of a file: published over a few connections with many unanswered events on each, as fast as it
//! answers. Knows events as text only.

use std::io::BufRead;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::client::{Pool, Target};
use crate::measure::Busy;
use crate::message::Message;

const CONNECTIONS: usize = 8;
/// Deep enough to fill the largest commits, and less than relays are known to cut clients off at.
const IN_FLIGHT: usize = 256;
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// What became of the lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Loaded {
    pub(super) sent: usize,
    pub(super) accepted: usize,
    /// The relay had them.
    pub(super) known: usize,
    pub(super) refused: usize,
    pub(super) seconds: f64,
    /// How much of them the publishing thread was at work.
    pub(super) busy: f64,
    /// The first refusal.
    pub(super) complaint: Option<String>,
}

/// Publishes every line and waits for every answer.
pub(super) fn publish(target: &Target, lines: impl BufRead) -> Result<Loaded> {
    let mut pool = Pool::open(std::iter::repeat_n(target, CONNECTIONS))?;
    let mut outstanding = [0; CONNECTIONS];
    let mut lines = lines.lines();
    let mut loaded = Loaded::default();
    let mut is_at_end = false;
    let mut readable = Vec::new();
    let (start, busy) = (Instant::now(), Busy::start());
    let mut last_heard = start;
    loop {
        for (connection, outstanding) in outstanding.iter_mut().enumerate() {
            while !is_at_end && *outstanding < IN_FLIGHT {
                let Some(line) = lines.next().transpose().context("cannot read the events")? else {
                    is_at_end = true;
                    break;
                };
                if line.is_empty() {
                    continue;
                }
                pool.connections[connection].push_text(&format!(r#"["EVENT",{line}]"#));
                *outstanding += 1;
                loaded.sent += 1;
            }
            pool.flush(connection)?;
        }
        if is_at_end && outstanding.iter().all(|outstanding| *outstanding == 0) {
            loaded.seconds = start.elapsed().as_secs_f64();
            loaded.busy = busy.share();
            return Ok(loaded);
        }
        ensure!(pool.open_connections() == CONNECTIONS, "the relay closed a connection while it was filled");
        ensure!(last_heard.elapsed() < SILENCE_MAX, "the relay stopped answering while it was filled");
        pool.wait(Duration::from_secs(1), &mut readable)?;
        for &connection in &readable {
            last_heard = Instant::now();
            outstanding[connection] -= hear(&mut pool, connection, &mut loaded)?;
        }
    }
}

/// The number of answers that came.
fn hear(pool: &mut Pool, connection: usize, loaded: &mut Loaded) -> Result<usize> {
    let mut answers = 0;
    let mut notice = None;
    pool.connections[connection].receive(|message| match message {
        Message::Ok { accepted, reason, .. } => {
            answers += 1;
            if reason.starts_with("duplicate:") {
                loaded.known += 1;
            } else if accepted {
                loaded.accepted += 1;
            } else {
                loaded.refused += 1;
                loaded.complaint.get_or_insert_with(|| reason.into_owned());
            }
        }
        Message::Notice(text) => notice = Some(text.to_owned()),
        _ => {}
    })?;
    if let Some(notice) = notice {
        // An event that is answered with a notice has no OK, which would be waited for in vain.
        bail!("the relay said while it was filled: {notice}");
    }
    Ok(answers)
}
