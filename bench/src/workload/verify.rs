//! Afterwards: is every event there, once? Asks by id, as any client could. And is one with a forged signature refused?

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::account::Record;
use crate::client::{Pool, Target};
use crate::message::Message;
use crate::notes::{self, Id, Note, Notes, Recipe};

// Whoever asks at a pace of its own is judged by the same rules.
pub(crate) use super::soundness::{filling, late_generator};

/// Within every common relay's limits.
const IDS_PER_REQUEST: usize = 100;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// For one event, when there is no other.
const OK_TIMEOUT: Duration = Duration::from_secs(10);
/// A relay may acknowledge a moment before its readers see the event; that is late, not lost.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// How often the relay returns each event that was sent.
pub(super) fn ask_for_all(target: &Target, notes: &Notes, records: &[Record]) -> Result<Vec<u32>> {
    let id = |event: usize| notes.all[event].id;
    let events = || 0..records.len();
    let sent: Vec<Id> = events().filter(|event| records[*event].sent.is_some()).map(id).collect();
    let awaited: Vec<Id> = events().filter(|event| records[*event].accepted).map(id).collect();
    let found = times_found(target, &sent, &awaited)?;
    Ok(events().map(|event| found.get(&id(event)).copied().unwrap_or_default()).collect())
}

/// A relay that does not check signatures is fast for a reason: an error unless it refuses one that is forged.
pub(super) fn must_refuse_a_forgery(target: &Target, seed: u64) -> Result<()> {
    let forged = notes::forge(&Recipe::fresh(seed, "forged")?)?;
    let (is_accepted, _) = publish(target, &forged).context("an event with a forged signature")?;
    ensure!(!is_accepted, "the relay accepted an event with a forged signature");
    Ok(())
}

/// Whether the relay takes one event, and what it says of it.
pub(crate) fn publish(target: &Target, note: &Note) -> Result<(bool, String)> {
    let mut pool = Pool::open([target])?;
    pool.connections[0].push(&note.frame);
    pool.flush(0)?;
    let sent = Instant::now();
    let mut readable = Vec::new();
    loop {
        ensure!(sent.elapsed() < OK_TIMEOUT, "the relay did not answer");
        ensure!(pool.open_connections() == 1, "the relay closed the connection instead of answering");
        pool.wait(OK_TIMEOUT, &mut readable)?;
        let mut answer = None;
        pool.connections[0].receive(|message| {
            if let Message::Ok { accepted, reason, .. } = message {
                answer = Some((accepted, reason.into_owned()));
            }
        })?;
        if let Some(answer) = answer {
            return Ok(answer);
        }
        pool.flush(0)?;
    }
}

/// How often the relay returns each of `ids`; those among `awaited` that it does not are asked for once more.
pub(crate) fn times_found(target: &Target, ids: &[Id], awaited: &[Id]) -> Result<HashMap<Id, u32>> {
    let mut found = ids.iter().map(|id| (*id, 0)).collect();
    let mut pool = Pool::open([target])?;
    ask(&mut pool, ids, &mut found)?;
    let missing: Vec<Id> = awaited.iter().filter(|id| found.get(*id) == Some(&0)).copied().collect();
    if !missing.is_empty() {
        thread::sleep(SECOND_LOOK);
        ask(&mut pool, &missing, &mut found)?;
    }
    Ok(found)
}

fn ask(pool: &mut Pool, ids: &[Id], found: &mut HashMap<Id, u32>) -> Result<()> {
    for (number, chunk) in ids.chunks(IDS_PER_REQUEST).enumerate() {
        let ids: Vec<String> = chunk.iter().map(const_hex::encode).collect();
        let subscription = format!("check-{number}");
        pool.connections[0].push_text(&format!(r#"["REQ","{subscription}",{{"ids":["{}"]}}]"#, ids.join(r#"",""#)));
        pool.flush(0)?;
        hear_out(pool, found)?;
        pool.connections[0].push_text(&format!(r#"["CLOSE","{subscription}"]"#));
    }
    Ok(())
}

fn hear_out(pool: &mut Pool, found: &mut HashMap<Id, u32>) -> Result<()> {
    let asked = Instant::now();
    let mut readable = Vec::new();
    loop {
        ensure!(asked.elapsed() < ANSWER_TIMEOUT, "the relay did not finish answering for stored events");
        ensure!(pool.open_connections() == 1, "the relay closed the connection that asked for stored events");
        pool.wait(ANSWER_TIMEOUT, &mut readable)?;
        if readable.is_empty() {
            continue;
        }
        let mut is_complete = false;
        let mut refusal = None;
        pool.connections[0].receive(|message| match message {
            Message::Event { id } => {
                let mut bytes = Id::default();
                if const_hex::decode_to_slice(id, &mut bytes).is_ok()
                    && let Some(times) = found.get_mut(&bytes)
                {
                    *times += 1;
                }
            }
            Message::Eose => is_complete = true,
            Message::Closed(text) => refusal = Some(text.to_owned()),
            _ => {}
        })?;
        if let Some(refusal) = refusal {
            bail!("the relay refused to return stored events: {refusal}");
        }
        if is_complete {
            return Ok(());
        }
        pool.flush(0)?;
    }
}
