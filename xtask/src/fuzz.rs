//! `cargo xtask fuzz`: coverage-guided search over the targets in `fuzz/fuzz_targets`, bounded in time.

use std::fs;

use anyhow::{Context, Result, bail};

use crate::step::{self, command, root, succeeds};
use crate::tools::FUZZ;

/// Runs the named target, or each in turn, for that many seconds; stops at the first that finds something.
pub(crate) fn run(target: Option<&str>, seconds: u32) -> Result<()> {
    if !succeeds(command("rustup", &["run", "nightly", "rustc", "--version"])) {
        bail!("fuzzing needs a nightly toolchain: rustup toolchain install nightly");
    }
    FUZZ.ensure()?;
    let targets = match target {
        Some(name) => vec![name.to_owned()],
        None => targets()?,
    };
    let bound = format!("-max_total_time={seconds}");
    for name in targets {
        let fuzz = ["run", "nightly", "cargo", "fuzz", "run", &name, "--", &bound];
        step::run(&format!("fuzz {name}"), command("rustup", &fuzz))?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>> {
    let folder = root().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}
