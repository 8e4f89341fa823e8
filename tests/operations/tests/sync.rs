//! What an `OK` stands on, as the kernel sees it.

use std::fs;

use tokio::process::Command;
use towpath_operations::*;

/// Writes down the calls that matter of all threads, with the names of their files.
const STRACE: &[&str] = &["-f", "-qq", "-y", "-s", "16", "-e", "trace=pwrite64,fdatasync,sendto"];

/// The beginning of an `OK` in what strace writes.
const OK: &str = r#"[\"OK\""#;

/// What a relay asks of the kernel, a call a line, while it stores notes: the last one's are all there.
async fn calls_for_notes(config: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("trace");
    let mut relay = Relay::builder().config_toml(config).start().await?;
    let mut strace = Command::new("strace");
    strace.args(STRACE).arg("-o").arg(&trace).arg("-p").arg(relay.pid()?.to_string()).kill_on_drop(true);
    let mut strace = strace.spawn().context("cannot start strace")?;
    let mut client = Client::connect(&relay).await?;
    let mut number = 0;
    // It is not there at once, nor for all threads at the same time.
    eventually("an answer is seen", async || {
        number += 1;
        client.store(&note(&number.to_string()).sign()).await?;
        Ok(fs::read_to_string(&trace).is_ok_and(|calls| calls.contains(OK)))
    })
    .await?;
    client.store(&note("the last one").sign()).await?;
    relay.terminate().await?;
    within("strace to have written everything down", async { Ok(strace.wait().await?) }).await?;
    Ok(fs::read_to_string(&trace)?.lines().map(str::to_owned).collect())
}

fn is_log_file(call: &str) -> bool {
    call.contains("/log/") && call.contains(".seg>")
}

/// Of what is done before the last `OK`, whether the log's last write is followed by a sync that succeeded.
fn is_synced_before_ok(calls: &[String]) -> Result<bool> {
    let ok = calls.iter().rposition(|call| call.contains(OK)).context("no OK was sent")?;
    let before = &calls[..ok];
    let written = before.iter().rposition(|call| call.contains("pwrite64(") && is_log_file(call));
    let written = written.context("nothing was written to the log")?;
    let begun = before[written..].iter().position(|call| call.contains("fdatasync(") && is_log_file(call));
    let ended = |call: &String| call.contains("fdatasync") && call.ends_with("= 0");
    Ok(begun.is_some_and(|begun| before[written + begun..].iter().any(ended)))
}

#[tokio::test]
async fn an_ok_leaves_when_the_log_is_synced() -> Result<()> {
    assert!(is_synced_before_ok(&calls_for_notes("").await?)?);
    assert!(!is_synced_before_ok(&calls_for_notes("[store]\nsync = false").await?)?, "it was told not to");
    Ok(())
}
