//! What an operator sees: health, readiness, metrics, the log.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use towpath_operations::*;

#[tokio::test]
async fn a_serving_relay_is_healthy_and_ready() -> Result<()> {
    let relay = Relay::empty().await?;
    for path in ["/healthz", "/readyz"] {
        assert_eq!(http::get(path).send(&relay).await?.status, 200, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn every_stage_of_an_event_is_timed() -> Result<()> {
    let relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    client.req("live", json!({ "kinds": [1] })).await?;
    client.store(&note("timed").sign()).await?;
    client.live("live").await?;
    let stages = ["parse", "ingest_verify", "ingest_queue_wait", "ingest_commit", "ingest_ack", "query_stored"];
    for stage in stages {
        assert!(metric(&relay, &format!("towpath_{stage}_seconds_count")).await? >= 1.0, "{stage}");
    }
    eventually("delivery is timed", async || {
        Ok(metric(&relay, r#"towpath_delivery_seconds_count{committed_by="this_pod"}"#).await? >= 1.0)
    })
    .await
}

#[tokio::test]
async fn refusals_are_counted_by_reason() -> Result<()> {
    let relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    client.publish(&note("from the future").at(now() + 100_000).sign()).await?;
    let count = metric(&relay, r#"towpath_refusals_total{prefix="invalid"}"#).await?;
    assert_eq!(count, 1.0);
    Ok(())
}

#[tokio::test]
async fn queues_and_connections_are_gauged() -> Result<()> {
    let relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    client.req("live", json!([{ "kinds": [1] }, { "kinds": [7] }])).await?;
    assert_eq!(metric(&relay, "towpath_live_filters").await?, 2.0);
    let queues = ["commit_queue_events", "commit_queue_bytes", "outbox_queued_bytes", "gateway_unfinished_bytes"];
    for gauge in queues.map(|queue| format!("towpath_{queue}")) {
        assert_eq!(metric(&relay, &gauge).await?, 0.0, "{gauge}");
    }
    client.close("live").await?;
    eventually("the filters are gone", async || Ok(metric(&relay, "towpath_live_filters").await? == 0.0)).await
}

#[tokio::test]
async fn what_waits_for_the_index_is_gauged() -> Result<()> {
    let relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    let gauge = async || metric(&relay, "towpath_store_unindexed").await;
    // One event waits for others for a while; how soon somebody asks is up to the machine.
    let mut number = 0;
    eventually("one is seen waiting", async || {
        number += 1;
        client.store(&note(&format!("lone {number}")).sign()).await?;
        Ok(gauge().await? > 0.0)
    })
    .await?;
    eventually("it is indexed", async || Ok(gauge().await? == 0.0)).await
}

#[tokio::test]
async fn metrics_come_in_the_format_of_prometheus() -> Result<()> {
    let relay = Relay::empty().await?;
    let response = http::get("/metrics").send(&relay).await?;
    assert_eq!(response.status, 200);
    let kind = response.header("content-type");
    assert!(kind.starts_with("application/openmetrics-text") || kind.starts_with("text/plain"), "{kind}");
    assert!(response.body.contains("# TYPE towpath_"));
    Ok(())
}

/// A relay on `folder` whose log is for machines.
fn serve_with_json_log(folder: &Path) -> Result<Command> {
    let mut serve = command()?;
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder).env("TOWPATH_LOG_FORMAT", "json");
    serve.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(serve)
}

/// What a line of such a log says.
fn message(line: &str) -> Result<String> {
    let line: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    Ok(line["fields"]["message"].as_str().unwrap_or_default().to_owned())
}

/// Its start was on standard output alone, and why it could not start was no JSON.
#[tokio::test]
async fn a_log_for_machines_is_json_line_by_line_from_the_address_to_the_end() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut relay = serve_with_json_log(folder.path())?.spawn()?;
    let mut log = BufReader::new(relay.stderr.take().context("no standard error")?).lines();
    within("the relay to listen", async {
        while let Some(line) = log.next_line().await? {
            if message(&line)?.starts_with("listening on ws://127.0.0.1:") {
                return Ok(());
            }
        }
        bail!("the relay ended without saying where it listens")
    })
    .await?;
    let second = within("the second to give up", async { Ok(serve_with_json_log(folder.path())?.output().await?) });
    let second = second.await?;
    let reasons = String::from_utf8(second.stderr)?.lines().map(message).collect::<Result<Vec<_>>>()?;
    assert!(!second.status.success() && reasons.concat().contains("in use by another process"), "{reasons:?}");

    let pid = relay.id().context("the relay has ended")?.to_string();
    ensure!(Command::new("kill").args(["-s", "TERM", &pid]).status().await?.success(), "it cannot be told to stop");
    within("the relay to finish", async {
        while let Some(line) = log.next_line().await? {
            message(&line)?;
        }
        let mut printed = String::new();
        relay.stdout.take().context("no standard output")?.read_to_string(&mut printed).await?;
        ensure!(printed.is_empty() && relay.wait().await?.success(), "it printed {printed:?}");
        Ok(())
    })
    .await
}

/// It ended as soon as it had started.
#[tokio::test]
async fn a_relay_serves_though_nothing_takes_what_it_prints() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let full = std::fs::File::options().write(true).open("/dev/full")?;
    let mut serve = command()?;
    serve.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path()).stdout(full).stderr(Stdio::piped());
    let mut relay = serve.spawn()?;
    let mut log = BufReader::new(relay.stderr.take().context("no standard error")?).lines();
    within("the relay to say so", async {
        while let Some(line) = log.next_line().await? {
            if line.contains("standard output") {
                return Ok(());
            }
        }
        bail!("it ended")
    })
    .await?;
    let pid = relay.id().context("the relay has ended")?.to_string();
    ensure!(Command::new("kill").args(["-s", "TERM", &pid]).status().await?.success(), "it cannot be told to stop");
    let status = within("the relay to finish", async { Ok(relay.wait().await?) }).await?;
    ensure!(status.success(), "ended with {status}");
    Ok(())
}

/// With a proxy on the same machine, where the relay listens on loopback, everybody was refused and nothing said why.
#[tokio::test]
async fn a_relay_without_a_url_says_once_that_its_clients_come_through_a_proxy() -> Result<()> {
    let relay = Relay::empty().await?;
    Client::connect(&relay).await?;
    let warnings = || -> Result<usize> { Ok(relay.log()?.matches("relay.url is not set").count()) };
    assert_eq!(warnings()?, 0);
    for _ in 0..2 {
        let upgrade = http::handshake("/").header("X-Forwarded-For", "203.0.113.9").send(&relay).await?;
        assert_eq!(upgrade.status, 101);
    }
    assert_eq!(warnings()?, 1);
    Ok(())
}

/// A shell allows 1 024 files, of which nobody heard before that many clients had come.
#[tokio::test]
async fn a_relay_takes_what_files_it_may_have_and_says_if_they_are_too_few() -> Result<()> {
    let relay = Relay::empty().await?;
    let towpath = command()?;
    // It ends by itself: when it has the port, it finds the folder in use.
    let serve = "ulimit -Sn 64 && ulimit -Hn 300 && exec \"$0\" serve --listen 127.0.0.1:0 --data \"$1\"";
    let mut limited = Command::new("sh");
    limited.args(["-c", serve]).arg(towpath.as_std().get_program()).arg(relay.data_dir()?);
    for (name, value) in towpath.as_std().get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let said = within("the process to give up", async { Ok(limited.output().await?) }).await?;
    let said = String::from_utf8(said.stderr)?;
    assert!(said.contains("limit=300") && said.contains("server.connections_max"), "{said}");
    Ok(())
}
