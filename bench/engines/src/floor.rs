//! The floor under every engine: what one append made durable costs on this disk, by how the file was prepared.
//!
//! Knows nothing of events or engines. Decides one thing: whether the commit log should preallocate, and how.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::fs::{FallocateFlags, OFlags};

use crate::report::{self, Latency, Table};

/// Room prepared ahead by the preallocating variants; a segment of the commit log would be this large.
const SEGMENT_BYTES: u64 = 64 << 20;

/// How the file looks before the first append.
#[derive(Clone, Copy)]
enum Preparation {
    /// Empty: every append moves the end of the file, which `fdatasync` must then journal.
    Growing,
    /// Extents reserved but marked unwritten: the first write of each block changes its extent, journalled as well.
    Fallocated,
    /// Zeros written and synced once: an append touches data blocks alone.
    ZeroFilled,
    /// As `ZeroFilled`, written with `O_DSYNC`: one system call for the write and its sync.
    ZeroFilledDsync,
    /// Grows by zero-filled steps of 1 MiB written just ahead, whose cost falls into the tail.
    ZeroFilledInSteps,
}

const PREPARATIONS: [(Preparation, &str); 5] = [
    (Preparation::Growing, "plain growing file"),
    (Preparation::Fallocated, "fallocate'd 64 MiB"),
    (Preparation::ZeroFilled, "zero-filled 64 MiB"),
    (Preparation::ZeroFilledDsync, "zero-filled 64 MiB, O_DSYNC"),
    (Preparation::ZeroFilledInSteps, "zero-filled in 1 MiB steps"),
];

/// How much to measure.
pub(crate) struct Plan {
    pub(crate) rounds: usize,
    pub(crate) per_round: Duration,
    pub(crate) append_sizes: Vec<usize>,
}

/// Measures every preparation at every append size, interleaved over the rounds, and prints one table.
pub(crate) fn run(directory: &Path, plan: &Plan) -> Result<()> {
    let mut table = Table::new(&["append + sync", "bytes", "p50", "p99", "p99.9", "syncs/s", "prepared in"]);
    for &size in &plan.append_sizes {
        let mut rounds: Vec<Vec<Round>> = PREPARATIONS.iter().map(|_| Vec::new()).collect();
        for _ in 0..plan.rounds {
            for (index, (preparation, _)) in PREPARATIONS.iter().enumerate() {
                rounds[index].push(measure(directory, *preparation, size, plan.per_round)?);
            }
        }
        for (measured, (_, name)) in rounds.iter().zip(PREPARATIONS) {
            let median = |value: fn(&Round) -> f64| report::median(measured.iter().map(value));
            table.row([
                name.to_owned(),
                size.to_string(),
                report::duration_us(median(|round| round.latency.p50_us)),
                report::duration_us(median(|round| round.latency.p99_us)),
                report::duration_us(median(|round| round.latency.p999_us)),
                report::count(median(|round| round.rate)),
                report::duration_us(median(|round| round.preparation_us)),
            ]);
        }
    }
    table.print();
    Ok(())
}

struct Round {
    latency: Latency,
    rate: f64,
    preparation_us: f64,
}

fn measure(directory: &Path, preparation: Preparation, size: usize, duration: Duration) -> Result<Round> {
    let path = directory.join("floor");
    let begun = Instant::now();
    let file = prepare(&path, preparation)?;
    let preparation_us = begun.elapsed().as_secs_f64() * 1e6;
    let appended = append_for(&file, preparation, size, duration);
    remove(path)?;
    let (latencies, rate) = appended?;
    Ok(Round { latency: Latency::of(&latencies), rate, preparation_us })
}

fn prepare(path: &Path, preparation: Preparation) -> Result<File> {
    let mut options = OpenOptions::new();
    options.create_new(true).read(true).write(true);
    if matches!(preparation, Preparation::ZeroFilledDsync) {
        options.custom_flags(OFlags::DSYNC.bits().cast_signed());
    }
    let file = options.open(path).with_context(|| format!("create {}", path.display()))?;
    match preparation {
        Preparation::Growing | Preparation::ZeroFilledInSteps => {}
        Preparation::Fallocated => rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, SEGMENT_BYTES)?,
        Preparation::ZeroFilled | Preparation::ZeroFilledDsync => fill_with_zeros(&file, 0, SEGMENT_BYTES)?,
    }
    file.sync_all()?;
    Ok(file)
}

fn fill_with_zeros(file: &File, from: u64, to: u64) -> Result<()> {
    let zeros = vec![0; 1 << 20];
    for offset in (from..to).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    Ok(())
}

/// Appends back to back until the time or the segment is used up.
fn append_for(
    file: &File,
    preparation: Preparation,
    size: usize,
    duration: Duration,
) -> Result<(report::Histogram, f64)> {
    const STEP_BYTES: u64 = 1 << 20;
    let record = vec![0x5a; size];
    let mut latencies = report::histogram()?;
    let (mut offset, mut filled) = (0, 0);
    let begun = Instant::now();
    while begun.elapsed() < duration && offset + (size as u64) <= SEGMENT_BYTES {
        let sent = Instant::now();
        if matches!(preparation, Preparation::ZeroFilledInSteps) && offset + size as u64 > filled {
            fill_with_zeros(file, filled, filled + STEP_BYTES)?;
            filled += STEP_BYTES;
        }
        file.write_all_at(&record, offset)?;
        if !matches!(preparation, Preparation::ZeroFilledDsync) {
            file.sync_data()?;
        }
        offset += size as u64;
        latencies.record(report::micros(sent.elapsed()))?;
    }
    let rate = latencies.len() as f64 / begun.elapsed().as_secs_f64();
    Ok((latencies, rate))
}

/// Removes the file and lets the disk settle, so that no round pays for the one before it.
fn remove(path: PathBuf) -> Result<()> {
    std::fs::remove_file(path)?;
    rustix::fs::sync();
    std::thread::sleep(Duration::from_millis(100));
    Ok(())
}
