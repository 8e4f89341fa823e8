//! What no relay can undercut on this machine, measured in the same run as the relays: one
//! signature check, one durable append, one WebSocket echo, one send. Knows no relay.

mod send;

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use secp256k1::schnorr::Signature;
use secp256k1::{Secp256k1, VerifyOnly, XOnlyPublicKey};
use serde::{Deserialize, Serialize};

use crate::artifact::Distribution;
use crate::frame;
use crate::notes::{Note, Notes};
use crate::schedule::Schedule;

const MEASURE: Duration = Duration::from_secs(1);
const APPEND_BYTES: usize = 4096;
const SYNCS: usize = 1_000;
const SYNC_MEASURE_MAX: Duration = Duration::from_secs(5);
const ECHOES: usize = 5_000;
const ECHO_SECONDS: u32 = 3;
/// About what an EVENT message of 200 bytes of content weighs.
const MESSAGE_BYTES: usize = 550;
const ECHO_TIMEOUT: Duration = Duration::from_secs(5);

/// The floors; times in microseconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Floors {
    pub(crate) verify: Distribution,
    pub(crate) verifies_per_second_all_cores: f64,
    pub(crate) sync: Distribution,
    /// At the open loop's pace, so that waking two idle threads is part of it, as it is of an ack.
    pub(crate) echo: Distribution,
    /// The same without a pause, for comparison: nobody ever falls asleep.
    pub(crate) echo_back_to_back: Distribution,
    /// Processor time, of one of many sockets that get the same. Older sessions did not measure it.
    #[serde(default)]
    pub(crate) send: Option<Distribution>,
}

/// One of the floors that are times, if it was measured.
type Time = fn(&Floors) -> Option<&Distribution>;

impl Floors {
    /// Those that are times, as tables call them.
    pub(crate) const NAMED: [(&'static str, Time); 5] = [
        ("V: one signature check", |floors| Some(&floors.verify)),
        ("S: one 4 KiB append and sync", |floors| Some(&floors.sync)),
        ("E: one WebSocket echo at the open loop's pace", |floors| Some(&floors.echo)),
        ("one WebSocket echo back to back", |floors| Some(&floors.echo_back_to_back)),
        ("processor time of one send, of 100 to a socket each", |floors| floors.send.as_ref()),
    ];
}

/// Measures all of them; `data` lies on the filesystem the relays write to.
pub(crate) fn measure(notes: &Notes, data: &Path, rate_per_second: u32) -> Result<Floors> {
    Ok(Floors {
        verify: verify_latency(notes)?,
        verifies_per_second_all_cores: verify_rate(notes)?,
        sync: sync_latency(data)?,
        echo: echo_latency(Some(Schedule::new(rate_per_second, ECHO_SECONDS)))?,
        echo_back_to_back: echo_latency(None)?,
        send: Some(send::cost()?),
    })
}

/// What every relay has to do for every note: lift the author's key, check the signature.
pub(crate) fn verify(secp: &Secp256k1<VerifyOnly>, note: &Note) -> Result<()> {
    let author = XOnlyPublicKey::from_byte_array(note.author)?;
    Ok(secp.verify_schnorr(&Signature::from_byte_array(note.signature), &note.id, &author)?)
}

fn verify_latency(notes: &Notes) -> Result<Distribution> {
    let secp = Secp256k1::verification_only();
    let start = Instant::now();
    let mut samples = Vec::new();
    for note in notes.all.iter().cycle().take_while(|_| start.elapsed() < MEASURE) {
        let before = Instant::now();
        verify(&secp, note)?;
        samples.push(before.elapsed().as_nanos() as u64);
    }
    Distribution::of(samples)?.context("no signature was checked")
}

fn verify_rate(notes: &Notes) -> Result<f64> {
    let cores = thread::available_parallelism()?.get();
    let count = |first: usize| -> Result<usize> {
        let secp = Secp256k1::verification_only();
        let start = Instant::now();
        let mut checked = 0;
        for note in notes.all.iter().cycle().skip(first).take_while(|_| start.elapsed() < MEASURE) {
            verify(&secp, note)?;
            checked += 1;
        }
        Ok(checked)
    };
    let checked: usize = thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|core| scope.spawn(move || count(core))).collect();
        let joined = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| Err(anyhow!("a core failed"))));
        joined.sum::<Result<usize>>()
    })?;
    Ok(checked as f64 / MEASURE.as_secs_f64())
}

fn sync_latency(data: &Path) -> Result<Distribution> {
    let mut file: File = tempfile::tempfile_in(data).with_context(|| format!("cannot write in {}", data.display()))?;
    let block = [0x5A; APPEND_BYTES];
    let start = Instant::now();
    let mut samples = Vec::with_capacity(SYNCS);
    while samples.len() < SYNCS && start.elapsed() < SYNC_MEASURE_MAX {
        let before = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        samples.push(before.elapsed().as_nanos() as u64);
    }
    Distribution::of(samples)?.context("nothing was synced")
}

/// Round trips at the instants of `schedule`, or one after the other; either way timed from the send.
fn echo_latency(schedule: Option<Schedule>) -> Result<Distribution> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let server = listener.accept()?.0;
    for end in [&client, &server] {
        end.set_nodelay(true)?;
        end.set_read_timeout(Some(ECHO_TIMEOUT))?;
    }
    let echoing = thread::spawn(move || echo(server));
    let mut message = Vec::new();
    frame::append(&mut message, frame::TEXT, &[b'x'; MESSAGE_BYTES], Some([1, 2, 3, 4]));
    let mut inbox = Inbox::default();
    let start = Instant::now();
    let mut samples = Vec::with_capacity(ECHOES);
    for number in 0..schedule.map_or(ECHOES, |schedule| schedule.events().min(ECHOES)) {
        if let Some(schedule) = schedule {
            thread::sleep(Duration::from_nanos(schedule.due(number)).saturating_sub(start.elapsed()));
        }
        let before = Instant::now();
        client.write_all(&message)?;
        inbox.next(&mut client)?.context("the echo went silent")?;
        samples.push(before.elapsed().as_nanos() as u64);
    }
    drop(client);
    echoing.join().map_err(|_| anyhow!("the echo panicked"))??;
    Distribution::of(samples)?.context("nothing was echoed")
}

fn echo(mut stream: TcpStream) -> Result<()> {
    let mut inbox = Inbox::default();
    let mut answer = Vec::new();
    while let Some(payload) = inbox.next(&mut stream)? {
        answer.clear();
        frame::append(&mut answer, frame::TEXT, &payload, None);
        stream.write_all(&answer)?;
    }
    Ok(())
}

/// Blocking reads of whole frames.
#[derive(Default)]
struct Inbox(Vec<u8>);

impl Inbox {
    fn next(&mut self, stream: &mut TcpStream) -> Result<Option<Vec<u8>>> {
        let mut chunk = [0; 4096];
        loop {
            if let Some(found) = frame::first(&self.0)? {
                let mut payload = self.0[found.payload.clone()].to_vec();
                if let Some(mask) = found.mask {
                    frame::unmask(&mut payload, mask);
                }
                self.0.drain(..found.payload.end);
                return Ok(Some(payload));
            }
            match stream.read(&mut chunk) {
                Ok(0) => return Ok(None),
                Ok(received) => self.0.extend_from_slice(&chunk[..received]),
                Err(failure) if failure.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(failure) => return Err(failure.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_comes_back_in_measurable_time() {
        let echo = echo_latency(None).expect("echoed");
        assert_eq!(echo.count, ECHOES as u64);
        let paced = echo_latency(Some(Schedule::new(50, 1))).expect("echoed");
        assert_eq!(paced.count, 50);
        assert!(echo.p50 > 0.0 && echo.p50 <= echo.p99);
    }
}
