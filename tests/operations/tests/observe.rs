//! What an operator sees: health, readiness, metrics, the log.

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
async fn metrics_come_in_the_format_of_prometheus() -> Result<()> {
    let relay = Relay::empty().await?;
    let response = http::get("/metrics").send(&relay).await?;
    assert_eq!(response.status, 200);
    let kind = response.header("content-type");
    assert!(kind.starts_with("application/openmetrics-text") || kind.starts_with("text/plain"), "{kind}");
    assert!(response.body.contains("# TYPE towpath_"));
    Ok(())
}

#[tokio::test]
async fn a_log_for_machines_is_json_line_by_line() -> Result<()> {
    let mut relay = Relay::builder().config_toml("[log]\nformat = \"json\"").start().await?;
    assert!(relay.terminate().await?.success());
    let log = relay.log()?;
    ensure!(!log.is_empty(), "nothing was logged");
    for line in log.lines() {
        serde_json::from_str::<Value>(line).with_context(|| format!("not JSON: {line}"))?;
    }
    Ok(())
}
