//! `cargo xtask test`: from a fresh clone to every test, in the order that fails soonest.

use anyhow::Result;

use crate::step::{self, cargo, command};
use crate::tools::{self, NEXTEST};

/// Installs what is missing and runs every test; the last line is the test runner's own summary.
pub(crate) fn run() -> Result<()> {
    tools::ensure_system()?;
    NEXTEST.ensure()?;
    let npm = ["ci", "--prefix", "tests/clients-js", "--no-audit", "--no-fund", "--ignore-scripts"];
    let path = tools::path_with_node()?;
    let mut install = command("npm", &npm);
    install.env("PATH", &path);
    step::run("install the JavaScript clients", install)?;
    // The black-box tests start the relay's binary, so it must exist first. Built with the tests, it shares their crates.
    let build = ["build", "--workspace", "--bins", "--tests"];
    step::run("build", cargo(&build))?;
    step::run("test the documentation", cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    let mut test = cargo(&["nextest", "run", "--workspace"]);
    test.env("PATH", path);
    step::run("test", test)
}
