//! What is shipped for operators fits the relay that is shipped: every metric that dashboards and alerts name is there.

use std::collections::BTreeSet;

use towpath_operations::*;

fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    words.filter(|word| word.starts_with("towpath_")).map(str::to_owned).collect()
}

#[tokio::test]
async fn every_metric_that_dashboards_and_alerts_name_is_there() -> Result<()> {
    let relay = Relay::empty().await?;
    // A refusal, so that the family of refusals has a member.
    Client::connect(&relay).await?.publish_json(&json!({ "id": "x" })).await.ok();
    let metrics = names(&http::get("/metrics").send(&relay).await?.body);
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy");
    for file in ["grafana/towpath.json", "grafana/alerts.yaml", "helm/towpath/templates/scaling.yaml"] {
        for name in names(&std::fs::read_to_string(format!("{folder}/{file}"))?) {
            ensure!(metrics.contains(&name), "{file} names {name}, which the relay does not have");
        }
    }
    Ok(())
}
