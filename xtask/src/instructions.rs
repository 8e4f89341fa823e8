//! `cargo xtask instructions`: how many instructions an event costs, stage by stage and in a whole relay, counted by callgrind.
//!
//! Counts, unlike times, are the same on a busy machine and a quiet one; but an instruction that waits for memory counts like any
//! other, and what the kernel does for a system call does not count at all.

mod callgrind;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use self::callgrind::Counts;
use crate::step::{self, cargo, root};
use crate::tools;

/// Each stage by itself.
const STAGES: [&str; 4] = ["-p", "towpath-stages", "--bench", "instructions"];
/// What is counted of it, and nothing around it.
const COUNTED: &str = "--toggle-collect=*counted_stage*";

/// A relay and its client, as threads of one process.
const RELAY: [&str; 4] = ["-p", "towpath-relay", "--bench", "whole_relay"];
const RELAY_ROWS: [&str; 3] = ["relay: one at a time", "relay: the same, one subscriber", "relay: bursts of 32"];
/// The difference between twice as many and so many leaves the start and the warm-up out.
const RELAY_EVENTS: u64 = 512;

/// Valgrind has no SHA instructions, so what a processor does in some hundred is counted as several thousand.
/// Whichever of its functions is left when the compiler has made the others a part of it.
const SHA: &str = "sha2::sha256::";

/// Counts the stages whose name contains `only`, and the dearest `functions` of each.
pub(crate) fn run(only: Option<&str>, functions: usize) -> Result<()> {
    tools::ensure_valgrind()?;
    let folder = root().join("target/instructions");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let folder = folder.canonicalize()?;
    step::run("build", cargo(&[&["bench", "--no-run"][..], &STAGES, &RELAY].concat()))?;
    let wanted = |name: &str| only.is_none_or(|part| name.contains(part));
    println!("{:<40} {:>10} {:>10} {:>10}", "instructions per event", "all", "SHA-256", "the rest");
    for (number, (per, name)) in stages()?.iter().enumerate().filter(|(_, (_, name))| wanted(name)) {
        print(name, *per, &stage(&folder, number)?, functions);
    }
    for (number, name) in RELAY_ROWS.iter().enumerate().filter(|(_, name)| wanted(name)) {
        print(name, RELAY_EVENTS, &relay(&folder, number)?, functions);
    }
    println!("SHA-256 is counted as software; a processor with SHA instructions needs about a twentieth.");
    Ok(())
}

/// What one run of each stage is counted in, and its name.
fn stages() -> Result<Vec<(u64, String)>> {
    let output = cargo(&[&["bench", "--quiet"][..], &STAGES].concat()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "the stages cannot be listed");
    let listed = String::from_utf8(output.stdout)?;
    let row = |line: &str| {
        let (per, name) = line.split_once('\t').context("a stage without a name")?;
        Ok((per.parse()?, name.to_owned()))
    };
    listed.lines().map(row).collect()
}

fn stage(folder: &Path, number: usize) -> Result<Counts> {
    let out = folder.join(format!("stage-{number}"));
    callgrind(&out, &["--collect-atstart=no", COUNTED], &STAGES, &[&number.to_string()])?;
    Counts::read(&out)
}

/// All threads but the first, which is the client.
fn relay(folder: &Path, row: usize) -> Result<Counts> {
    let run = |events: u64| {
        let out = folder.join(format!("relay-{row}-{events}"));
        let threads = |folder: &Path| -> Result<Vec<PathBuf>> {
            let prefix = format!("{}-", out.file_name().unwrap_or_default().display());
            let files = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
            let of_thread =
                |file: &PathBuf| file.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix));
            Ok(files.into_iter().filter(of_thread).collect())
        };
        threads(folder)?.iter().try_for_each(fs::remove_file)?;
        callgrind(&out, &["--separate-threads=yes"], &RELAY, &[&row.to_string(), &events.to_string()])?;
        let mut counts = Counts::default();
        for file in threads(folder)?.iter().filter(|file| !file.to_string_lossy().ends_with("-01")) {
            counts.add(Counts::read(file)?);
        }
        Ok::<_, anyhow::Error>(counts)
    };
    Ok(run(2 * RELAY_EVENTS)?.without(&run(RELAY_EVENTS)?))
}

/// Runs a benchmark with these arguments under callgrind.
fn callgrind(out: &Path, options: &[&str], bench: &[&str], arguments: &[&str]) -> Result<()> {
    let valgrind = ["valgrind", "--quiet", "--tool=callgrind", "--compress-strings=no", "--compress-pos=no"];
    let file = format!("--callgrind-out-file={}", out.display());
    let words = valgrind.iter().chain(options).copied().chain([file.as_str()]);
    let runner: Vec<String> = words.map(|word| format!("{word:?}")).collect();
    let runner = format!("target.'cfg(all())'.runner=[{}]", runner.join(","));
    let mut command: Command = cargo(&["--config", &runner, "bench", "--quiet"]);
    let output = command.args(bench).arg("--").args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.success(), "{command:?} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn print(name: &str, per: u64, counts: &Counts, functions: usize) {
    let sha: u64 = counts.of(|function| function.contains(SHA));
    let all = counts.of(|_| true);
    println!("{name:<40} {:>10} {:>10} {:>10}", all / per, sha / per, (all - sha) / per);
    for (function, count) in counts.dearest(functions) {
        println!("{:>51}  {function}", count / per);
    }
}
