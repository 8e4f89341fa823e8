//! Runs one command of a recipe: says what it does, from the workspace root, and stops the recipe when it fails.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The workspace root, wherever `cargo xtask` was typed.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A command with its arguments, run in the workspace root.
pub(crate) fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root());
    command
}

/// `cargo` with these arguments, by the toolchain that runs this programme.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command("cargo", arguments)
}

/// Runs the command and fails when it does, naming the step and how long it took.
pub(crate) fn run(title: &str, mut command: Command) -> Result<()> {
    eprintln!("\n── {title}");
    let started = Instant::now();
    let status = command.stdin(Stdio::null()).status().with_context(|| format!("{title}: cannot start {command:?}"))?;
    if !status.success() {
        bail!("{title} failed ({status}): {command:?}");
    }
    eprintln!("── {title}: {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

/// Whether the command starts and succeeds; its output is not shown.
pub(crate) fn succeeds(mut command: Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
