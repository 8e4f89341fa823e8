//! The tour of the README, run as a reader would: the first block starts the relay, the others are typed into a shell. The
//! relay is killed where the reader is told to, before the first command that reads the store itself.
//!
//! Three things differ from a reader's terminal: the relay's address is a free one, `cargo run --release --` is the binary
//! the test recipe has built, and `npm ci`, which the recipe has run, is not run again beside other tests.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use towpath_harness::Relay;

const START: &str = "cargo run --release";
/// How commands begin that open the store, which a running relay has to itself.
const READS_THE_STORE: &str = "cargo run --release -- ";
const ADDRESS: &str = "127.0.0.1:7777";

/// What the shell is told about the two commands that differ.
const STAND_INS: &str = r#"
set -euo pipefail
cargo() { [ "$1 $2 $3" = "run --release --" ] && shift 3 && "$RELAY_BINARY" "$@"; }
npm() { [ "$*" = "ci --prefix tests/clients-js" ]; }
"#;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The shell blocks of the tour, in order.
fn blocks() -> Result<Vec<String>> {
    let readme = std::fs::read_to_string(root().join("README.md"))?;
    let (_, tour) = readme.split_once("## A five-minute tour\n").context("the README has no tour")?;
    let tour = tour.split("\n## ").next().unwrap_or(tour);
    let blocks = tour.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    Ok(blocks.map(|block| block.trim().to_owned()).collect())
}

/// The relay's binary, in the build folder this test is in.
fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    Ok(test.ancestors().nth(2).context("the test is in no build folder")?.join("towpath"))
}

/// Types a block into a shell and returns what it prints.
fn type_in(block: &str, relay: &Relay, home: &Path) -> Result<String> {
    let script = format!("{STAND_INS}\n{}", block.replace(ADDRESS, relay.authority()));
    let mut shell = Command::new("bash");
    shell.args(["-c", &script]).current_dir(home).env("RELAY_BINARY", binary()?).stdin(Stdio::null());
    let output = shell.output().context("cannot start a shell")?;
    ensure!(output.status.success(), "{block}\n{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[tokio::test]
async fn the_tour_of_the_readme_works() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let home = tempfile::tempdir()?;
    symlink(root().join("tests"), home.path().join("tests"))?;
    symlink(relay.data_dir()?, home.path().join("towpath-data"))?;

    let blocks = blocks()?;
    ensure!(blocks.first().is_some_and(|block| block == START), "the tour does not begin by starting the relay");
    let mut printed = String::new();
    let mut running = true;
    for block in &blocks[1..] {
        if running && block.contains(READS_THE_STORE) {
            relay.kill().await?;
            running = false;
        }
        printed.push_str(&type_in(block, &relay, home.path())?);
    }

    ensure!(printed.contains("\"supported_nips\""), "the relay did not say what it offers: {printed}");
    let exported = std::fs::read_to_string(home.path().join("notes.jsonl"))?;
    for place in [&printed, &exported] {
        ensure!(place.contains("\"content\":\"Hello from the towpath\""), "the note is missing: {place}");
    }
    Ok(())
}
