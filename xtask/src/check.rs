//! `cargo xtask check`: what must hold before a commit, without a running relay.

use anyhow::Result;

use crate::step::{self, cargo};
use crate::tools::{DENY, NEXTEST};

/// Runs the checks from the cheapest to the dearest.
pub(crate) fn run() -> Result<()> {
    DENY.ensure()?;
    NEXTEST.ensure()?;
    step::run("format", cargo(&["fmt", "--all", "--check"]))?;
    step::run("dependencies", cargo(&["deny", "--log-level", "error", "check", "bans", "licenses", "sources"]))?;
    let clippy = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"];
    step::run("lints", cargo(&clippy))?;
    let mut documentation = cargo(&["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"]);
    documentation.env("RUSTDOCFLAGS", "--deny warnings");
    step::run("documentation", documentation)?;
    // One run for both, so that the workspace is built with one set of features.
    let tests = ["nextest", "run", "--workspace", "--lib", "--bins", "--test", "tidy"];
    step::run("unit and tidy tests", cargo(&tests))
}
