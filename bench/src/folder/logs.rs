//! A session's histograms as HdrHistogram interval logs, one file for each arm, protocol and latency and one interval for each run, for
//! every tool that reads them. Knows the files, not what they mean.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result};
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::artifact::{Artifact, Distribution};
use crate::verdict;

const NANOS_PER_MILLI: f64 = 1e6;
/// Near the beginning of every log of ours.
const COMMENT: &str = "Nanoseconds; the maxima in milliseconds. One interval for each run.";

/// One interval: when it began after the session did, how long it took, what it is called.
struct Interval<'a> {
    began: Duration,
    took: Duration,
    tag: String,
    distribution: &'a Distribution,
}

pub(super) fn write(folder: &Path, artifact: &Artifact) -> Result<()> {
    let mut files: BTreeMap<String, Vec<Interval<'_>>> = BTreeMap::new();
    let is_for_judging = verdict::is_for_judging(artifact);
    for run in &artifact.runs {
        let Some(outcome) = &run.outcome else { continue };
        let [began, took] = [run.when.began_s, run.when.took_s].map(Duration::from_secs_f64);
        // Only a session's runs are all of the kind that can be objected to.
        let is_void = outcome.void.is_some() || is_for_judging && verdict::objection(artifact, run).is_some();
        let void = if is_void { "-void" } else { "" };
        for (name, distribution) in &outcome.latencies {
            let tag = format!("round-{}{void}", run.round);
            let file = format!("{}.{}.{name}.hlog", plain(&run.arm), run.protocol);
            files.entry(file).or_default().push(Interval { began, took, tag, distribution });
        }
    }
    remove_old(folder)?;
    for (file, intervals) in files {
        let path = folder.join(file);
        let created = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        write_log(BufWriter::new(created), artifact.unix_time, &intervals)
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Those of an earlier session in the same folder, which would be taken for this one's.
fn remove_old(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let is_log = path.extension().is_some_and(|extension| extension == "hlog");
        if is_log && fs::read_to_string(&path).is_ok_and(|text| text.contains(COMMENT)) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

fn write_log(mut file: impl Write, unix_time: u64, intervals: &[Interval<'_>]) -> Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let start = UNIX_EPOCH + Duration::from_secs(unix_time);
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment(COMMENT)
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NANOS_PER_MILLI)
        .begin_log_with(&mut file, &mut serializer)?;
    for Interval { began, took, tag, distribution } in intervals {
        log.write_histogram(&distribution.histogram()?, *began, *took, Tag::new(tag))?;
    }
    Ok(file.flush()?)
}

/// A name that is one path component whatever it holds.
fn plain(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{Outcome, Run, When};
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;

    #[test]
    fn a_log_is_read_back_by_any_reader_of_interval_logs() {
        let distribution = Distribution::of([1_000_000, 2_000_000]).expect("bounds").expect("samples");
        let interval = |seconds, tag: &str| Interval {
            began: Duration::from_secs(seconds),
            took: Duration::from_secs(1),
            tag: tag.into(),
            distribution: &distribution,
        };
        let mut bytes = Vec::new();
        write_log(&mut bytes, 1_700_000_000, &[interval(0, "round-1"), interval(9, "round-2")]).expect("written");
        let entries: Vec<_> = IntervalLogIterator::new(&bytes).collect::<Result<_, _>>().expect("readable");
        let intervals: Vec<_> = entries
            .iter()
            .filter_map(|entry| match entry {
                LogEntry::Interval(interval) => Some(interval),
                _ => None,
            })
            .collect();
        let tags: Vec<_> = intervals.iter().filter_map(|interval| interval.tag()).map(|tag| tag.to_string()).collect();
        assert_eq!(tags, ["round-1", "round-2"]);
        assert_eq!(intervals[1].start_timestamp(), Duration::from_secs(9));
        let encoded = BASE64_STANDARD.decode(intervals[0].encoded_histogram()).expect("base64");
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut encoded.as_slice()).expect("a histogram");
        assert_eq!(read, distribution.histogram().expect("a histogram"));
    }

    #[test]
    fn a_run_that_nobody_judges_is_void_when_it_says_so() {
        let latency = Distribution::of([1_000_000]).expect("bounds").expect("a sample");
        let run = |round, void: Option<&str>| {
            let latencies = [("query".to_owned(), latency.clone())].into();
            let outcome = Outcome { void: void.map(str::to_owned), latencies, ..Outcome::default() };
            Run::ended(round, "x", "query", Ok(outcome), When::default())
        };
        let runs = vec![run(1, None), run(2, Some("the generator was late"))];
        let artifact = Artifact { runs, ..Artifact::begin(&BTreeMap::<String, u32>::new(), None).expect("begun") };
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &artifact).expect("written");
        let log = std::fs::read_to_string(folder.path().join("x.query.query.hlog")).expect("a log");
        assert!(log.contains("Tag=round-1,") && log.contains("Tag=round-2-void,"), "{log}");
    }

    #[test]
    fn logs_of_an_earlier_session_go_and_those_of_others_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let session = |arm: &str| {
            let ack = Distribution::of([1_000_000]).expect("bounds").expect("a sample");
            let outcome = Outcome { latencies: [("ack".to_owned(), ack)].into(), ..Outcome::default() };
            let runs = vec![Run::ended(1, arm, "publish", Ok(outcome), When::default())];
            Artifact { runs, ..Artifact::begin(&BTreeMap::<String, u32>::new(), None).expect("begun") }
        };
        fs::write(folder.path().join("other.hlog"), "somebody else's").expect("written");
        write(folder.path(), &session("old")).expect("written");
        write(folder.path(), &session("new")).expect("written");
        let is_there = |file: &str| folder.path().join(file).is_file();
        assert!(is_there("new.publish.ack.hlog") && is_there("other.hlog") && !is_there("old.publish.ack.hlog"));
    }

    #[test]
    fn a_relays_name_makes_no_folders() {
        assert_eq!(plain("towpath-../v1 new"), "towpath-___v1_new");
    }
}
