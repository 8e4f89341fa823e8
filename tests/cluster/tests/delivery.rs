//! What one pod takes, as the subscriptions on another one see it.

use towpath_cluster::*;

/// Subscriptions that open while events are published, one for each part of them.
const SUBSCRIPTIONS: usize = 11;
/// Events of a part. One more is published when all subscriptions are live.
const PART: usize = 50;

/// Has one client publish on a pod without a pause while others subscribe on another pod, each after `disturb`. What a subscription gets
/// before its `EOSE` is the beginning of what was published, newest first, and what it gets afterwards is the rest, in order.
async fn expect_exact_handover(cluster: &Cluster, disturb: impl Fn()) -> Result<()> {
    let [here, there] = [&cluster.pods[0], &cluster.pods[1]];
    let (beginning, count) = (now() - 10_000, PART * (SUBSCRIPTIONS + 1));
    let events: Vec<Event> =
        (0..count).map(|number| note(&number.to_string()).at(beginning + number as u64).sign()).collect();
    let filter = json!({ "authors": [events[0].pubkey], "limit": count });
    let mut publisher = Client::connect(here).await?;
    let mut readers = Vec::new();
    for _ in 0..SUBSCRIPTIONS {
        readers.push(Client::connect(there).await?);
    }

    for (reader, part) in readers.iter_mut().zip(events.chunks(PART)) {
        for event in part {
            publisher.send_json(json!(["EVENT", event])).await?;
        }
        // It is stored, and those behind it are on their way.
        let first = publisher.ack(&part[0].id).await?;
        ensure!(first.accepted, "{first:?}");
        disturb();
        reader.open("all", filter.clone()).await?;
    }
    let mut answers = Vec::new();
    for reader in &mut readers {
        answers.push(reader.stored("all").await?);
    }
    publisher.store_all(&events[count - PART..]).await?;

    for (number, (reader, answer)) in readers.iter_mut().zip(answers).enumerate() {
        let stored = answer.events.len();
        ensure!(matches!(answer.end, End::Eose(_)), "subscription {number}: {:?}", answer.end);
        ensure!(stored > number * PART, "subscription {number} found {stored} events: more were acknowledged");
        let is_beginning = answer.events.iter().rev().eq(events.iter().take(stored));
        ensure!(is_beginning, "subscription {number} found {:?}", answer.contents());
        for event in events.iter().skip(stored) {
            let live = reader.live("all").await?;
            ensure!(live == *event, "subscription {number} got {} in place of {}", live.content, event.content);
        }
        reader.expect_silence("all").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subscription_that_opens_while_another_pod_commits_gets_every_event_once_and_in_order() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    expect_exact_handover(&cluster, || {}).await
}

/// What the bus loses meanwhile is read from the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_subscription_that_opens_while_its_pod_loses_the_bus_gets_every_event_once_and_in_order() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    expect_exact_handover(&cluster, || cluster.to_redis[1].cut()).await
}

/// Nobody listens where it is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_ephemeral_event_is_taken_and_reaches_a_subscription_on_another_pod_and_is_stored_nowhere() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    let [here, there] = [&cluster.pods[0], &cluster.pods[1]];
    let (mut publisher, mut subscriber) = (Client::connect(here).await?, Client::connect(there).await?);
    subscriber.req("live", json!({ "kinds": [20_001] })).await?;
    // What the bus loses of this kind is in no log.
    for pod in [here, there] {
        eventually("the bus is heard", async || {
            let ready = http::get("/readyz").send(pod).await?;
            Ok(ready.status == 200 && !ready.body.contains("the bus is away"))
        })
        .await?;
    }
    let event = note("now or never").kind(20_001).sign();
    let ack = publisher.publish(&event).await?;
    ensure!(ack.accepted, "{ack:?}");
    let live = subscriber.live("live").await?;
    ensure!(live == event, "{live:?}");
    for client in [&mut publisher, &mut subscriber] {
        for filter in [json!({ "ids": [event.id] }), json!({ "kinds": [20_001] })] {
            let found = client.query(filter).await?;
            ensure!(found.is_empty(), "{found:?}");
        }
    }
    subscriber.expect_silence("live").await
}
