//! The statements once more, of pods: PostgreSQL has their events, and Redis is their bus.

use std::process::Command;

use towpath_conformance::*;
use towpath_servers::{Postgres, Redis};

/// Tests that run at one time: few, because those of whoever runs this one go on beside them.
const AT_ONCE: &str = "2";

/// Not so where there may be other pods: somebody may listen there, and nothing ephemeral is called mute.
const OF_A_RELAY_ALONE: [&str; 4] = [
    "an_ephemeral_event_that_nobody_hears_is_mute",
    "listeners_to_something_else_do_not_count",
    "a_mute_event_can_be_sent_again_when_somebody_listens",
    "whoever_asks_in_between_hears_what_comes_in_between",
];

/// Those that no store has a part in, and these here.
const OF_NO_STORE: [&str; 5] = ["edge::", "nip11::", "nip13::", "rates::", "pods::"];

/// Runs tests of this binary whose every relay is a pod, alone in a schema of its own: those in `modules`, or all, but for `others`.
fn expect_true_of_pods(modules: &[&str], others: &[&str]) -> Result<()> {
    let (postgres, redis) = (Postgres::start()?, Redis::start()?);
    let mut suite = Command::new(std::env::current_exe()?);
    suite.env_remove("RELAY_UNDER_TEST").env("RELAY_STORE", postgres.url()).env("RELAY_BUS", redis.url());
    suite.args(["--quiet", "--test-threads", AT_ONCE]).args(modules);
    suite.args(OF_A_RELAY_ALONE.iter().chain(others).flat_map(|name| ["--skip", *name]));
    let output = suite.output().context("cannot run the tests again")?;
    let (told, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{told}{error}");
    let there_were_pods = "select 1 / count(*) from pg_namespace where nspname like 'relay%'";
    ensure!(postgres.psql("towpath", there_were_pods)?, "no relay was a pod: {told}{error}");
    Ok(())
}

#[test]
fn the_statements_of_nip_01_are_true_of_pods() -> Result<()> {
    expect_true_of_pods(&["nip01::"], &[])
}

#[test]
fn the_other_statements_about_what_is_stored_are_true_of_pods() -> Result<()> {
    expect_true_of_pods(&[], &[&OF_NO_STORE[..], &["nip01::"]].concat())
}
