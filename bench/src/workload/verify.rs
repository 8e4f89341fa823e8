//! After the run: is every event there, once? Asks by id, as any client could.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::account::Record;
use crate::client::{Pool, Target};
use crate::message::Message;
use crate::notes::Notes;

/// Within every common relay's limits.
const IDS_PER_REQUEST: usize = 100;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// A relay may acknowledge a moment before its readers see the event; that is late, not lost.
const SECOND_LOOK: Duration = Duration::from_secs(1);

/// How often the relay returns each event that was sent.
pub(super) fn ask_for_all(target: &Target, notes: &Notes, records: &[Record]) -> Result<Vec<u32>> {
    let mut found = vec![0; records.len()];
    let mut pool = Pool::open([target])?;
    let sent: Vec<usize> = (0..records.len()).filter(|event| records[*event].sent.is_some()).collect();
    ask(&mut pool, notes, &sent, &mut found)?;
    let missing: Vec<usize> = sent.into_iter().filter(|event| records[*event].accepted && found[*event] == 0).collect();
    if !missing.is_empty() {
        thread::sleep(SECOND_LOOK);
        ask(&mut pool, notes, &missing, &mut found)?;
    }
    Ok(found)
}

fn ask(pool: &mut Pool, notes: &Notes, events: &[usize], found: &mut [u32]) -> Result<()> {
    for (number, chunk) in events.chunks(IDS_PER_REQUEST).enumerate() {
        let ids: Vec<String> = chunk.iter().map(|event| const_hex::encode(notes.all[*event].id)).collect();
        let subscription = format!("check-{number}");
        pool.connections[0].push_text(&format!(r#"["REQ","{subscription}",{{"ids":["{}"]}}]"#, ids.join(r#"",""#)));
        pool.flush(0)?;
        hear_out(pool, notes, found)?;
        pool.connections[0].push_text(&format!(r#"["CLOSE","{subscription}"]"#));
    }
    Ok(())
}

fn hear_out(pool: &mut Pool, notes: &Notes, found: &mut [u32]) -> Result<()> {
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
                if let Some(times) = notes.number(id).and_then(|event| found.get_mut(event)) {
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
