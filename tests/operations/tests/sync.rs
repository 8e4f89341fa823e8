//! What an `OK` stands on, as the kernel sees it.

use towpath_operations::*;

/// Writes down the calls that matter, with the names of their files, and leaves the relay its own process.
const STRACE: &[&str] = &["strace", "-D", "-f", "-qq", "-y", "-s", "16", "-e", "trace=pwrite64,fdatasync,sendto,write"];

/// Starts a relay, stores a note, ends the relay; what it asked of the kernel meanwhile, a call a line.
async fn calls_for_a_note(config: &str) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("trace").display().to_string();
    let mut relay = Relay::builder().config_toml(config).under(&[STRACE, &["-o", &trace]].concat()).start().await?;
    Client::connect(&relay).await?.store(&note("synced").sign()).await?;
    relay.terminate().await?;
    eventually("the relay's last call is written down", async || {
        Ok(std::fs::read_to_string(&trace)?.contains("\\\"OK\\\""))
    })
    .await?;
    Ok(std::fs::read_to_string(&trace)?.lines().map(str::to_owned).collect())
}

fn is_log_file(call: &str) -> bool {
    call.contains("/log/") && call.contains(".seg>")
}

/// Of what is done before the `OK`, whether the log's last write is followed by a sync that succeeded.
fn is_synced_before_ok(calls: &[String]) -> Result<bool> {
    let ok = calls.iter().position(|call| call.contains("\\\"OK\\\"")).context("no OK was sent")?;
    let before = &calls[..ok];
    let written = before.iter().rposition(|call| call.contains("pwrite64(") && is_log_file(call));
    let written = written.context("nothing was written to the log")?;
    let begun = before[written..].iter().position(|call| call.contains("fdatasync(") && is_log_file(call));
    let ended = |call: &String| call.contains("fdatasync") && call.ends_with("= 0");
    Ok(begun.is_some_and(|begun| before[written + begun..].iter().any(ended)))
}

#[tokio::test]
async fn an_ok_leaves_when_the_log_is_synced() -> Result<()> {
    assert!(is_synced_before_ok(&calls_for_a_note("").await?)?);
    assert!(!is_synced_before_ok(&calls_for_a_note("[store]\nsync = false").await?)?, "it was told not to");
    Ok(())
}
