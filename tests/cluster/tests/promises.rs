//! What the cluster promises, through the failure of each of its parts.
//!
//! Each test runs publishers and subscribers on all pods while something fails. Afterwards every acknowledged event is stored once, is
//! in the audit log, and reached every subscription that stayed, once and in its stream's order.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use towpath_cluster::*;
use tungstenite::protocol::frame::coding::CloseCode;

/// Acknowledgements between two blows: enough that every one falls into the middle of something.
const SOME: usize = 60;

fn urls(cluster: &Cluster, pods: &[usize]) -> Vec<String> {
    pods.iter().map(|pod| cluster.pods[*pod].url().to_owned()).collect()
}

/// Ends the load and checks everything there is to check.
async fn finish(cluster: &Cluster, load: Load) -> Result<()> {
    let filter = load.filter().clone();
    let report = load.stop().await?;
    let stored = everything(cluster, &filter).await?;
    report.check(&stored)?;
    let places = places(cluster).await?;
    for id in report.acked.iter().flatten() {
        ensure!(places.contains_key(id), "{id} was acknowledged and is in no audit log");
    }
    report.check_order(&places)
}

/// All that is stored of a load, as any pod that answers has it.
async fn everything(cluster: &Cluster, filter: &Value) -> Result<Vec<Event>> {
    let output = cluster.tool(&["query", &filter.to_string()]).await?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout)?.lines().map(|line| Ok(from_value(line.parse()?)?)).collect()
}

/// Where the verified audit log has each event.
async fn places(cluster: &Cluster) -> Result<HashMap<String, (u64, u64)>> {
    let verified = cluster.tool(&["audit", "verify"]).await?;
    let (told, error) = (String::from_utf8_lossy(&verified.stdout), String::from_utf8_lossy(&verified.stderr));
    ensure!(verified.status.success(), "{told}{error}");
    let exported = cluster.tool(&["audit", "export"]).await?;
    ensure!(exported.status.success(), "{}", String::from_utf8_lossy(&exported.stderr));
    let mut places = HashMap::new();
    for line in String::from_utf8(exported.stdout)?.lines() {
        let entry: Value = line.parse()?;
        let (Some(id), Some(stream), Some(index)) =
            (entry["event"].as_str(), entry["stream"].as_u64(), entry["index"].as_u64())
        else {
            continue;
        };
        places.insert(id.to_owned(), (stream, index + 1));
    }
    Ok(places)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn events_of_every_pod_reach_the_subscriptions_of_all() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let load = Load::start(&urls(&cluster, &[0, 1, 2]), &urls(&cluster, &[0, 1, 2]), 0).await?;
    load.advance(5 * SOME).await?;
    finish(&cluster, load).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn deliveries_are_timed_by_whose_commits_they_were() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    let [here, there] = [&cluster.pods[0], &cluster.pods[1]];
    let (mut publisher, mut subscriber) = (Client::connect(here).await?, Client::connect(there).await?);
    for client in [&mut publisher, &mut subscriber] {
        client.req("live", json!({ "kinds": [1] })).await?;
    }
    publisher.store(&note("timed").sign()).await?;
    for (client, pod, committed_by) in [(publisher, here, "this_pod"), (subscriber, there, "other_pod")] {
        let mut client = client;
        client.live("live").await?;
        // The frame may be here before it is counted there.
        eventually("only this delivery is counted", async || {
            let text = http::get("/metrics").send(pod).await?.body;
            let counts = text.lines().filter(|line| line.contains("delivery_seconds_count") && !line.ends_with(" 0"));
            let counts: Vec<&str> = counts.collect();
            Ok(counts == [format!(r#"towpath_delivery_seconds_count{{committed_by="{committed_by}"}} 1"#)])
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bus_that_is_killed_cut_held_and_full_of_holes_costs_time_only() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load::start(&urls(&cluster, &[0, 1, 2]), &urls(&cluster, &[0, 1, 2]), 0).await?;
    load.advance(SOME).await?;
    cluster.redis.crash()?;
    load.advance(SOME).await?;
    tokio::task::block_in_place(|| cluster.redis.restart())?;
    load.advance(SOME).await?;
    for proxy in &cluster.to_redis {
        proxy.cut();
    }
    cluster.to_redis[1].set(Fault::BlackHole);
    cluster.to_redis[2].set(Fault::CutAfter(2_000));
    load.advance(SOME).await?;
    cluster.to_redis[1].set(Fault::None);
    cluster.to_redis[2].set(Fault::Delay(Duration::from_millis(30)));
    load.advance(SOME).await?;
    finish(&cluster, load).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_database_that_restarts_and_is_cut_off_in_mid_commit_loses_nothing() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load::start(&urls(&cluster, &[0, 1, 2]), &urls(&cluster, &[0, 1, 2]), 0).await?;
    load.advance(SOME).await?;
    for _ in 0..10 {
        cluster.to_postgres.iter().for_each(Proxy::cut);
        load.advance(SOME / 3).await?;
    }
    cluster.to_postgres[0].set(Fault::CutAfter(5_000));
    load.advance(SOME).await?;
    cluster.to_postgres[0].set(Fault::None);
    cluster.postgres.crash()?;
    tokio::task::block_in_place(|| cluster.postgres.restart())?;
    load.advance(SOME).await?;
    finish(&cluster, load).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pods_that_are_killed_and_come_back_lose_nothing_and_disturb_nobody() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    let load = Load::start(&urls(&cluster, &[0, 1, 2]), &urls(&cluster, &[0]), 0).await?;
    for pod in [1, 2, 1] {
        load.advance(SOME).await?;
        cluster.pods[pod].kill().await?;
        load.advance(SOME).await?;
        cluster.pods[pod].restart().await?;
    }
    load.advance(SOME).await?;
    finish(&cluster, load).await
}

/// Its lease runs out while it sleeps; another pod seals its stream.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pod_that_slept_through_its_lease_commits_to_another_stream() -> Result<()> {
    let cluster = Cluster::start(3).await?;
    let load = Load::start(&urls(&cluster, &[0, 1, 2]), &urls(&cluster, &[0, 2]), 0).await?;
    load.advance(SOME).await?;
    cluster.pods[1].signal("STOP").await?;
    eventually("the sleeper's stream is sealed", async || {
        let status = cluster.tool(&["cluster", "status"]).await?;
        Ok(String::from_utf8(status.stdout)?.contains("sealed"))
    })
    .await?;
    cluster.pods[1].signal("CONT").await?;
    load.advance(SOME).await?;
    // It serves as before, from a stream that is its own.
    let mut client = Client::connect(&cluster.pods[1]).await?;
    eventually("the sleeper takes events again", async || {
        Ok(client.publish(&note("awake").by(&Keys::numbered(99)).sign()).await?.accepted)
    })
    .await?;
    finish(&cluster, load).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rolling_restart_under_load_loses_and_repeats_nothing() -> Result<()> {
    let mut cluster = Cluster::start(3).await?;
    // The last pod is restarted as the others are, so nobody subscribes there.
    for pod in 0..3 {
        let stays: Vec<usize> = (0..3).filter(|other| *other != pod).collect();
        let load = Load::start(&urls(&cluster, &[0, 1, 2]), &urls(&cluster, &stays), pod).await?;
        load.advance(SOME).await?;
        cluster.pods[pod].terminate().await?;
        load.advance(SOME).await?;
        cluster.pods[pod].restart().await?;
        load.advance(SOME).await?;
        finish(&cluster, load).await?;
    }
    Ok(())
}

/// Blows at random; `TOWPATH_SEED` repeats them and `TOWPATH_ROUNDS` has more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_order_of_failures_breaks_a_promise() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>()).transpose();
    let seed = number("TOWPATH_SEED")?.unwrap_or_else(rand::random);
    let rounds = number("TOWPATH_ROUNDS")?.unwrap_or(3);
    println!("TOWPATH_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut cluster = Cluster::start(3).await?;
    for round in 0..rounds {
        // Pod 0 is never killed: its subscription must stay.
        let load = Load::start(&urls(&cluster, &[0, 1, 2]), &urls(&cluster, &[0]), round as usize).await?;
        for _ in 0..random.random_range(3..8) {
            load.advance(random.random_range(5..SOME)).await?;
            blow(&mut cluster, &load, &mut random).await?;
        }
        heal(&mut cluster).await?;
        load.advance(SOME).await?;
        finish(&cluster, load).await.with_context(|| format!("round {round} of TOWPATH_SEED={seed}"))?;
    }
    Ok(())
}

async fn blow(cluster: &mut Cluster, load: &Load, random: &mut StdRng) -> Result<()> {
    let pod = random.random_range(0..3);
    let faults =
        [Fault::None, Fault::Delay(Duration::from_millis(15)), Fault::CutAfter(random.random_range(1..40_000))];
    let fault = faults[random.random_range(0..faults.len())];
    match random.random_range(0..9) {
        0 => cluster.to_postgres[pod].cut(),
        1 => cluster.to_redis[pod].cut(),
        2 => cluster.to_redis[pod].set([fault, Fault::BlackHole, Fault::Refuse][random.random_range(0..3)]),
        3 => cluster.to_postgres[pod].set(fault),
        4 => {
            cluster.redis.crash()?;
            tokio::task::block_in_place(|| cluster.redis.restart())?;
        }
        5 => {
            cluster.postgres.crash()?;
            tokio::task::block_in_place(|| cluster.postgres.restart())?;
        }
        6 | 7 if pod > 0 => {
            // A pod that cannot reach the database does not start.
            cluster.to_postgres[pod].set(Fault::None);
            cluster.pods[pod].restart().await?;
        }
        8 if pod > 0 => {
            cluster.pods[pod].signal("STOP").await?;
            load.advance(random.random_range(1..SOME)).await?;
            cluster.pods[pod].signal("CONT").await?;
        }
        _ => {}
    }
    Ok(())
}

async fn heal(cluster: &mut Cluster) -> Result<()> {
    cluster.to_postgres.iter().chain(&cluster.to_redis).for_each(|proxy| proxy.set(Fault::None));
    Ok(())
}

/// How many commits a pod has sent to the database.
async fn commits_sent(pod: &Relay) -> Result<u64> {
    let text = http::get("/metrics").send(pod).await?.body;
    let count = text.lines().find_map(|line| line.strip_prefix("towpath_postgres_commit_round_trips_total "));
    Ok(count.context("commits are not counted")?.trim().parse()?)
}

/// It hangs up on nobody, so nothing fails: what is waited for just never comes. The pod waited for it, and its clients were cut off.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pod_that_is_told_to_stop_while_the_database_is_silent_ends_in_time_and_its_clients_are_told() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let mut pod = cluster.pod(0)?.env("TOWPATH_SERVER_DRAIN_DEADLINE_S", "1").start().await?;
    let mut client = Client::connect(&pod).await?;
    let [before, unanswered] = ["before", "unanswered"].map(|text| note(text).sign());
    client.store(&before).await?;
    let sent = commits_sent(&pod).await?;
    cluster.to_postgres[0].set(Fault::BlackHole);
    client.send_json(json!(["EVENT", unanswered])).await?;
    eventually("a commit is under way", async || Ok(commits_sent(&pod).await? > sent)).await?;

    let status = pod.terminate().await?;
    ensure!(!status.success(), "it ended as if everything had been answered");
    let close = client.disconnected().await?.context("no close frame")?;
    ensure!(close.code == CloseCode::Restart, "{close:?}");

    cluster.to_postgres[0].set(Fault::None);
    pod.restart().await?;
    let mut client = Client::connect(&pod).await?;
    ensure!(client.publish(&unanswered).await?.accepted, "it is not taken at another try");
    ensure!(client.query(json!({ "ids": [before.id] })).await? == [before], "what was acknowledged is lost");
    Ok(())
}

/// As after a failover to a server that had not got everything. What comes in place of what was lost they would have taken for known.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pods_whose_database_lost_what_they_delivered_end_and_say_so() -> Result<()> {
    let cluster = Cluster::start(2).await?;
    let [here, there] = [&cluster.pods[0], &cluster.pods[1]];
    let (mut publisher, mut subscriber) = (Client::connect(here).await?, Client::connect(there).await?);
    subscriber.req("live", json!({ "kinds": [1] })).await?;
    for number in 0..3 {
        publisher.store(&note(&number.to_string()).sign()).await?;
        subscriber.live("live").await?;
    }
    let lose = "update towpath.streams set last_seq = last_seq - 2 where last_seq > 2";
    ensure!(tokio::task::block_in_place(|| cluster.postgres.psql("towpath", lose))?, "not accepted: {lose}");
    for pod in [here, there] {
        eventually("the pod ends", async || {
            let has_ended = Client::connect(pod).await.is_err();
            Ok(has_ended && pod.log()?.contains("lost what it had committed"))
        })
        .await?;
    }
    Ok(())
}

/// The database knows whose it is, and says so before anything is stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_pod_with_another_key_is_refused() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let foreign = tempfile::NamedTempFile::new()?;
    std::fs::write(&foreign, Keys::numbered(8).secret_hex())?;
    let path = foreign.path().to_str().context("the path is text")?;
    let refused = cluster.pod(0)?.env("TOWPATH_RELAY_KEY_FILE", path).start().await;
    let error = format!("{:#}", refused.err().context("it started")?);
    ensure!(error.contains("belongs to a relay with another key"), "{error}");
    Ok(())
}

/// What was deleted, replaced and asked to be forgotten comes along as it works there; the second copy brings only what came since.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_store_moves_into_a_database_and_back() -> Result<()> {
    let cluster = Cluster::start(1).await?;
    let home = tempfile::tempdir()?;
    let folder = |name: &str| home.path().join(name).display().to_string();
    let mut relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    let author = Keys::numbered(1);
    let notes: Vec<Event> = (0..50).map(|n| note(&n.to_string()).by(&author).at(now() - 100 + n).sign()).collect();
    client.store_all(&notes).await?;
    client.store(&note("").by(&author).kind(5).tag(["e", &notes[3].id]).sign()).await?;
    for version in 0..3 {
        client.store(&note(&version.to_string()).by(&author).kind(0).at(now() - 10 + version).sign()).await?;
    }
    relay.terminate().await?;
    let data = relay.data_dir()?.display().to_string();
    let url = cluster.postgres.url();
    copy(&cluster, &data, &url).await?;
    let told = copy(&cluster, &data, &url).await?;
    ensure!(told.contains("0 events copied"), "{told}");
    copy(&cluster, &url, &folder("again")).await?;
    let filter = json!({ "authors": [author.pubkey()] });
    let there = everything(&cluster, &filter).await?;
    ensure!(there.len() == 51 && !there.iter().any(|event| event.id == notes[3].id), "{} events", there.len());
    // What was deleted stays deleted in the new house.
    let mut client = Client::connect(&cluster.pods[0]).await?;
    ensure!(!client.publish(&notes[3]).await?.accepted, "a deleted event came back");
    Ok(())
}

async fn copy(cluster: &Cluster, from: &str, to: &str) -> Result<String> {
    let output = cluster.command(&["copy", "--from", from, "--to", to]).await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success() && told.contains("complete and verified"), "{told}");
    Ok(told)
}
