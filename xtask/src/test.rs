//! `cargo xtask test`: from a fresh clone to every test, in the order that fails soonest.

use anyhow::Result;
use towpath_servers::Postgres;

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
    // One that many tests share, each in a schema of its own; tests that need another server or break it start their own.
    let postgres = Postgres::start()?;
    let mut test = cargo(&["nextest", "run", "--workspace"]);
    test.env("PATH", path).env("TEST_POSTGRES_URL", postgres.url());
    step::run("test", test)
}
