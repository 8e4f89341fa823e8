//! The audit log from the operator's side: verified, proved and exported by command, and watched while the relay runs.

use std::path::PathBuf;
use std::process::Output;

use towpath_operations::*;

/// Checkpoints as often as can be, and a background that is soon through.
const QUICK: &str = "[audit]\ncheckpoint_leaves = 1\nverify_per_second = 1_000_000\n";

/// What a record of the log starts with.
const RECORD: [u8; 4] = [0xF5, b'T', b'P', 0xFF];

/// What `towpath audit …` says and how it ends.
struct Told {
    code: i32,
    stdout: String,
    stderr: String,
}

async fn audit(arguments: &[&str]) -> Result<Told> {
    let Output { status, stdout, stderr } = command()?.arg("audit").args(arguments).output().await?;
    let code = status.code().context("ended by a signal")?;
    Ok(Told { code, stdout: String::from_utf8(stdout)?, stderr: String::from_utf8(stderr)? })
}

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path that is no text")
}

/// A relay that has stopped, its data, and a checkpoint that somebody kept; with so many notes in the log.
async fn stopped(notes: usize) -> Result<(Relay, PathBuf, tempfile::NamedTempFile, Vec<Event>)> {
    let mut relay = Relay::builder().config_toml(QUICK).start().await?;
    let events: Vec<Event> = (0..notes).map(|n| note(&n.to_string()).tag(["h", "team"]).sign()).collect();
    // The first alone, so that the log has more than one record.
    let mut client = Client::connect(&relay).await?;
    client.store(&events[0]).await?;
    client.store_all(&events[1..]).await?;
    let covered = notes as f64;
    eventually("a checkpoint covers them", async || {
        let overview = http::get("/audit").send(&relay).await?.json()?;
        Ok(overview["streams"][0]["checkpoint"].as_f64().is_some_and(|size| size >= covered))
    })
    .await?;
    let kept = tempfile::NamedTempFile::new()?;
    std::fs::write(&kept, http::get("/audit/0/checkpoint.json").send(&relay).await?.body)?;
    relay.terminate().await?;
    let data = relay.data_dir()?;
    Ok((relay, data, kept, events))
}

fn log_file(data: &std::path::Path) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(data.join("log"))?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "seg"));
    files.pop().context("no log file")
}

#[tokio::test]
async fn a_good_log_verifies_against_its_folder_and_against_a_kept_checkpoint() -> Result<()> {
    let (_relay, data, kept, _) = stopped(20).await?;
    let told = audit(&["verify", "--data", text(&data)?, "--from", text(kept.path())?]).await?;
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    assert!(told.stdout.contains("no problems") && told.stdout.starts_with("stream 0: "), "{}", told.stdout);
    Ok(())
}

#[tokio::test]
async fn a_log_that_was_cut_off_is_found_by_whoever_kept_a_checkpoint() -> Result<()> {
    let (_relay, data, kept, _) = stopped(20).await?;
    // As somebody with access to the disk would do it: the last records are gone, and the index is made anew.
    let file = log_file(&data)?;
    let bytes = std::fs::read(&file)?;
    let starts = bytes.windows(RECORD.len()).enumerate().filter(|(_, window)| *window == RECORD);
    let cut = starts.map(|(at, _)| at).nth(1).context("a log of one record")?;
    std::fs::write(&file, &bytes[..cut])?;
    std::fs::remove_dir_all(data.join("index"))?;
    let alone = audit(&["verify", "--data", text(&data)?]).await?;
    assert_eq!(alone.code, 0, "nothing in the folder tells: {}{}", alone.stdout, alone.stderr);
    let told = audit(&["verify", "--data", text(&data)?, "--from", text(kept.path())?]).await?;
    assert!(
        told.code == 1 && told.stdout.contains("truncated: the relay has signed"),
        "{}{}",
        told.stdout,
        told.stderr
    );
    Ok(())
}

#[tokio::test]
async fn a_running_relay_is_verified_from_afar() -> Result<()> {
    let (mut relay, _, kept, events) = stopped(300).await?;
    relay.restart().await?;
    let told = audit(&["verify", "--url", relay.url(), "--from", text(kept.path())?]).await?;
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    assert!(told.stderr.contains("name the one you know with --relay"), "{}", told.stderr);
    let proof = audit(&["prove", &events[7].id, "--url", relay.url()]).await?;
    assert_eq!(proof.code, 0, "{}", proof.stderr);
    let other = audit(&["verify", "--url", relay.url(), "--relay", &alice().pubkey()]).await?;
    assert!(other.code == 1 && other.stderr.contains("the checkpoint is signed by"), "{}", other.stderr);
    Ok(())
}

#[tokio::test]
async fn an_auditor_verifies_every_event_from_afar() -> Result<()> {
    let key = tempfile::NamedTempFile::new()?;
    std::fs::write(&key, format!("{:064x}", 3))?;
    // The public key of the secret 3.
    let auditor = "f9308a019258c31049344f85f89d5229b531c845836f99b08601f113bce036f9";
    let relay = Relay::builder().config_toml(&format!("{QUICK}auditors = [\"{auditor}\"]\n")).start().await?;
    let events: Vec<Event> = (0..30).map(|n| note(&n.to_string()).sign()).collect();
    Client::connect(&relay).await?.store_all(&events).await?;
    eventually("a checkpoint covers them", async || {
        let overview = http::get("/audit").send(&relay).await?.json()?;
        Ok(overview["streams"][0]["checkpoint"].as_u64().is_some_and(|size| size >= 30))
    })
    .await?;
    let told = audit(&["verify", "--url", &relay.http_url(), "--key-file", text(key.path())?]).await?;
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    assert!(!told.stdout.contains("(0 with their event"), "{}", told.stdout);
    Ok(())
}

#[tokio::test]
async fn a_proof_is_checked_with_nothing_but_the_relays_key() -> Result<()> {
    let (_relay, data, kept, events) = stopped(20).await?;
    let key: Value = serde_json::from_str(&std::fs::read_to_string(&kept)?)?;
    let key = key["pubkey"].as_str().context("no key")?.to_owned();
    let proof = audit(&["prove", &events[3].id, "--data", text(&data)?]).await?;
    assert_eq!(proof.code, 0, "{}", proof.stderr);
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(&file, &proof.stdout)?;
    let told = audit(&["check-proof", text(file.path())?, "--relay", &key]).await?;
    assert!(told.code == 0 && told.stdout.contains(&events[3].id), "{}{}", told.stdout, told.stderr);
    let other = audit(&["check-proof", text(file.path())?, "--relay", &alice().pubkey()]).await?;
    assert!(other.code == 1 && other.stderr.contains("signed by"), "{}", other.stderr);
    std::fs::write(&file, proof.stdout.replace("team", "tean"))?;
    let forged = audit(&["check-proof", text(file.path())?, "--relay", &key]).await?;
    assert!(forged.code == 1 && forged.stderr.contains("not genuine"), "{}", forged.stderr);
    Ok(())
}

#[tokio::test]
async fn an_export_goes_on_where_it_was_cut_and_keeps_to_its_range() -> Result<()> {
    let (_relay, data, _kept, events) = stopped(20).await?;
    let folder = tempfile::tempdir()?;
    let (whole, cut) = (folder.path().join("whole.jsonl"), folder.path().join("cut.jsonl"));
    assert_eq!(audit(&["export", "--data", text(&data)?, "--output", text(&whole)?]).await?.code, 0);
    let lines = std::fs::read_to_string(&whole)?;
    assert!(!lines.contains("content"), "never what events say");
    std::fs::write(&cut, &lines[..lines.len() / 2])?;
    let told = audit(&["export", "--data", text(&data)?, "--output", text(&cut)?, "--resume"]).await?;
    assert_eq!(told.code, 0, "{}", told.stderr);
    assert_eq!(std::fs::read_to_string(&cut)?, lines);
    let of_group = audit(&["export", "--data", text(&data)?, "--group", "team"]).await?;
    assert_eq!(of_group.stdout.lines().count(), events.len());
    let nothing = audit(&["export", "--data", text(&data)?, "--until", "2001-01-01"]).await?;
    assert_eq!((nothing.code, nothing.stdout.as_str()), (0, ""));
    let nonsense = audit(&["export", "--data", text(&data)?, "--since", "yesterday"]).await?;
    assert!(nonsense.code == 1 && nonsense.stderr.contains("not a time"), "{}", nonsense.stderr);
    Ok(())
}

#[tokio::test]
async fn damage_done_to_a_running_relays_log_is_a_warning_and_a_metric() -> Result<()> {
    let relay = Relay::builder().config_toml(QUICK).start().await?;
    Client::connect(&relay).await?.store(&note("what shall be changed").sign()).await?;
    let verified = async || metric(&relay, "towpath_audit_verified_total").await;
    eventually("a round is through", async || Ok(verified().await? >= 1.0)).await?;
    assert_eq!(metric(&relay, "towpath_audit_problems").await?, 0.0);
    assert_eq!(http::get("/readyz").send(&relay).await?.body, "ready\n");
    let file = log_file(&relay.data_dir()?)?;
    let mut bytes = std::fs::read(&file)?;
    let at = bytes.windows(7).position(|window| window == b"changed").context("the note is not in the log")?;
    bytes[at] = b'C';
    std::fs::write(&file, bytes)?;
    eventually("it is noticed", async || Ok(metric(&relay, "towpath_audit_problems").await? > 0.0)).await?;
    let ready = http::get("/readyz").send(&relay).await?;
    assert!(ready.status == 200 && ready.body.contains("warning: the audit log does not verify"), "{ready:?}");
    Ok(())
}

#[tokio::test]
async fn an_import_of_ones_own_export_begins_a_log_of_its_own() -> Result<()> {
    let (_relay, data, _kept, events) = stopped(20).await?;
    let folder = tempfile::tempdir()?;
    let dump = folder.path().join("dump.jsonl");
    let mut relay = Relay::builder().config_toml(QUICK).start().await?;
    relay.terminate().await?;
    let fresh = relay.data_dir()?;
    std::fs::remove_dir_all(&fresh)?;
    let run = async |arguments: &[&str]| anyhow::Ok(command()?.args(arguments).output().await?.status.success());
    assert!(run(&["export", "--data", text(&data)?, "--output", text(&dump)?]).await?);
    std::fs::create_dir(&fresh)?;
    std::fs::copy(data.join("relay.key"), fresh.join("relay.key"))?;
    assert!(run(&["import", text(&dump)?, "--data", text(&fresh)?]).await?);
    let told = audit(&["verify", "--data", text(&fresh)?]).await?;
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    relay.restart().await?;
    Client::connect(&relay).await?.store(&note("the first of its own").sign()).await?;
    eventually("it signs checkpoints of its own", async || {
        let overview = http::get("/audit").send(&relay).await?.json()?;
        Ok(overview["streams"][0]["checkpoint"].as_u64().is_some_and(|size| size > events.len() as u64))
    })
    .await?;
    relay.terminate().await?;
    let told = audit(&["verify", "--data", text(&fresh)?]).await?;
    assert_eq!(told.code, 0, "{}{}", told.stdout, told.stderr);
    Ok(())
}
