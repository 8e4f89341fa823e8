//! Recorded events, one JSON object a line, published when they were recorded or some times as fast, and accounted for like any
//! others. Knows of kinds only which events nobody could find afterwards.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde::Deserialize;

use super::site::{Bench, Limits};
use crate::frame;
use crate::live::{self, Heading};
use crate::notes::{Note, Notes};
use crate::schedule::{Nanos, Schedule};
use crate::workload::{self, Pacing, Plan};

const EVENTS_MAX: usize = 1_000_000;
const SECONDS_MAX: f64 = 3_600.0;
const SECOND: f64 = 1e9;

#[derive(Args)]
pub(crate) struct Options {
    /// The recording; the relay must not know its events. They are published in the order of their `created_at`.
    #[arg(long)]
    file: PathBuf,
    /// So many times as fast as it was recorded.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    connections: u32,
    #[command(flatten)]
    bench: Bench,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    options.bench.check_repeatable()?;
    ensure!(options.speed.is_finite() && options.speed > 0.0, "a recording has no speed of {}", options.speed);
    let file = File::open(&options.file).with_context(|| format!("cannot read {}", options.file.display()))?;
    let recording = Recording::read(BufReader::new(file), options.speed)?;
    let seconds = recording.dues.last().map_or(0.0, |last| *last as f64 / SECOND);
    eprintln!(
        "{} events over {seconds:.0} s; {} lines left out: replaced, ephemeral, private or deletions, which nobody could \
         account for",
        recording.notes.len(),
        recording.left_out,
    );
    ensure!(seconds <= SECONDS_MAX, "that takes {seconds:.0} s, more than {SECONDS_MAX:.0}; replay it faster");
    let rounds = options.bench.rounds();
    let limits: Limits = vec![("TOWPATH_RATES_PUBLISH_PER_CONNECTION_PER_S", 0)];
    let setting = BTreeMap::from([
        ("file".to_owned(), options.file.display().to_string().into()),
        ("speed".to_owned(), options.speed.into()),
        ("connections".to_owned(), options.connections.into()),
        ("events".to_owned(), recording.notes.len().into()),
        ("left-out".to_owned(), recording.left_out.into()),
    ]);
    options.bench.take_turns("replay", &limits, setting, |site, round| {
        let arm = site.fresh()?;
        let plan = Plan {
            arm,
            publishers_at: &arm.pods[..1],
            subscribers_at: &arm.pods[..1],
            notes: &recording.notes,
            since: 0,
            pacing: Pacing::Open(Schedule::Recorded(recording.dues)),
            connections: options.connections as usize,
            subscribers: 0,
            has_background: false,
            method: &options.bench.method,
        };
        let heading =
            Heading { protocol: "replay", arm: &arm.name, round: (round, rounds), seconds: seconds.ceil() as u32 };
        let outcome = live::watch(heading, arm, |progress| workload::run(&plan, progress))?;
        Ok(vec![("replay", outcome)])
    })
}

/// What is published, and when.
pub(super) struct Recording {
    pub(super) notes: Notes,
    /// Read once and needed until the programme ends.
    pub(super) dues: &'static [Nanos],
    pub(super) left_out: usize,
}

#[derive(Deserialize)]
struct Line {
    #[serde(with = "const_hex")]
    id: [u8; 32],
    #[serde(with = "const_hex")]
    pubkey: [u8; 32],
    #[serde(with = "const_hex")]
    sig: [u8; 64],
    created_at: u64,
    kind: u16,
    tags: Vec<Vec<String>>,
}

/// Where one event of an author takes the place of another.
type Address = ([u8; 32], u16, String);

impl Line {
    fn address(&self) -> Option<Address> {
        let d = || self.tags.iter().find(|tag| tag.first().is_some_and(|name| name == "d"))?.get(1).cloned();
        match self.kind {
            0 | 3 | 10_000..=19_999 => Some((self.pubkey, self.kind, String::new())),
            30_000..=39_999 => Some((self.pubkey, self.kind, d().unwrap_or_default())),
            _ => None,
        }
    }

    /// Whether anybody who asks afterwards finds it, and all others.
    fn is_accountable(&self) -> bool {
        const DELETION: u16 = 5;
        const VANISH: u16 = 62;
        const PRIVATE: [u16; 2] = [4, 1_059];
        !matches!(self.kind, DELETION | VANISH | 20_000..=29_999) && !PRIVATE.contains(&self.kind)
    }
}

impl Recording {
    pub(super) fn read(lines: impl BufRead, speed: f64) -> Result<Self> {
        let mut events: Vec<(Line, Note)> = Vec::new();
        let mut left_out = 0;
        for (number, text) in lines.lines().enumerate() {
            let text = text.context("cannot read the recording")?;
            let line: Line = serde_json::from_str(&text).with_context(|| format!("line {} is no event", number + 1))?;
            if !line.is_accountable() {
                left_out += 1;
                continue;
            }
            ensure!(events.len() < EVENTS_MAX, "there are more than {EVENTS_MAX} events");
            let note = Note { id: line.id, author: line.pubkey, signature: line.sig, frame: framed(&text, &line) };
            events.push((line, note));
        }
        ensure!(!events.is_empty(), "the recording has no events");
        // Of one instant, the lowest id is the newest.
        events.sort_by_key(|(line, _)| (line.created_at, std::cmp::Reverse(line.id)));
        let newest: HashMap<Address, [u8; 32]> =
            events.iter().filter_map(|(line, _)| Some((line.address()?, line.id))).collect();
        let before = events.len();
        events.retain(|(line, _)| line.address().is_none_or(|address| newest[&address] == line.id));
        left_out += before - events.len();
        let instants: Vec<u64> = events.iter().map(|(line, _)| line.created_at).collect();
        let notes = Notes::of(events.into_iter().map(|(_, note)| note).collect());
        Ok(Self { notes, dues: dues(&instants, speed).leak(), left_out })
    }
}

fn framed(text: &str, line: &Line) -> Box<[u8]> {
    let mut framed = Vec::with_capacity(text.len() + 24);
    let mask = [line.sig[0], line.sig[1], line.sig[2], line.sig[3]];
    frame::append(&mut framed, frame::TEXT, format!(r#"["EVENT",{text}]"#).as_bytes(), Some(mask));
    framed.into()
}

/// A recording knows seconds only: the events of one are spread over it.
fn dues(created_at: &[u64], speed: f64) -> Vec<Nanos> {
    let Some(start) = created_at.first() else { return Vec::new() };
    let of_second = |second: &[u64]| -> Vec<f64> {
        let offset = (second[0] - start) as f64;
        (0..second.len()).map(|nth| offset + nth as f64 / second.len() as f64).collect()
    };
    let seconds = created_at.chunk_by(|a, b| a == b).flat_map(of_second);
    seconds.map(|second| (second * SECOND / speed) as Nanos).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(id: u8, author: u8, created_at: u64, kind: u16, tags: &str) -> String {
        let hex = |byte: u8, bytes: usize| const_hex::encode(vec![byte; bytes]);
        format!(
            r#"{{"id":"{}","pubkey":"{}","created_at":{created_at},"kind":{kind},"tags":{tags},"content":"","sig":"{}"}}"#,
            hex(id, 32),
            hex(author, 32),
            hex(id, 64),
        )
    }

    fn read(lines: &[String], speed: f64) -> Recording {
        Recording::read(lines.join("\n").as_bytes(), speed).expect("a recording")
    }

    fn ids(recording: &Recording) -> Vec<u8> {
        recording.notes.all.iter().map(|note| note.id[0]).collect()
    }

    #[test]
    fn events_are_due_as_they_were_recorded_and_one_second_is_spread() {
        let lines =
            [line(1, 9, 100, 1, "[]"), line(3, 9, 104, 1, "[]"), line(2, 9, 104, 1, "[]"), line(4, 9, 110, 1, "[]")];
        let recording = read(&lines, 1.0);
        assert_eq!(ids(&recording), [1, 3, 2, 4]);
        assert_eq!(recording.dues, [0, 4_000_000_000, 4_500_000_000, 10_000_000_000]);
        assert_eq!(read(&lines, 10.0).dues, [0, 400_000_000, 450_000_000, 1_000_000_000]);
    }

    #[test]
    fn a_recording_in_any_order_is_replayed_in_order() {
        let lines = [line(2, 9, 105, 1, "[]"), line(1, 9, 100, 1, "[]")];
        assert_eq!(ids(&read(&lines, 1.0)), [1, 2]);
    }

    #[test]
    fn what_nobody_could_find_afterwards_is_left_out_and_counted() {
        let lines = [
            line(1, 9, 100, 0, "[]"),
            line(2, 9, 101, 0, "[]"),
            line(3, 8, 100, 0, "[]"),
            line(4, 9, 100, 30_023, r#"[["d","a"]]"#),
            line(5, 9, 101, 30_023, r#"[["d","b"]]"#),
            line(6, 9, 102, 30_023, r#"[["d","a"]]"#),
            line(7, 9, 100, 20_001, "[]"),
            line(8, 9, 100, 5, "[]"),
            line(9, 9, 100, 1_059, "[]"),
            line(10, 9, 100, 1, "[]"),
        ];
        let recording = read(&lines, 1.0);
        let mut kept = ids(&recording);
        kept.sort_unstable();
        assert_eq!((kept, recording.left_out), (vec![2, 3, 5, 6, 10], 5));
    }

    #[test]
    fn of_two_profiles_of_one_second_the_lower_id_stays() {
        assert_eq!(ids(&read(&[line(1, 9, 100, 0, "[]"), line(2, 9, 100, 0, "[]")], 1.0)), [1]);
    }

    #[test]
    fn a_line_that_is_no_event_is_named() {
        let failure = Recording::read(&b"{}"[..], 1.0).err().expect("no event");
        assert!(failure.to_string().contains("line 1"), "{failure}");
    }
}
