//! SIGTERM: what is queued is finished, clients are told, and the next process takes over.

use std::path::Path;
use std::process::Stdio;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use towpath_operations::promises::{Holdings, acked_is_durable, ok_order};
use towpath_operations::*;
use tungstenite::protocol::frame::coding::CloseCode;

const PUBLISHERS: usize = 4;
const EVENTS_EACH: usize = 400;

/// Publishes on four connections, asks the relay to finish under way, and returns what was seen of it.
async fn cut_short(relay: &mut Relay) -> Result<Vec<Published>> {
    let (answered, mut answers) = mpsc::channel(PUBLISHERS * EVENTS_EACH);
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        let events: Vec<Event> =
            (0..EVENTS_EACH).map(|event| note(&event.to_string()).by(&Keys::numbered(number)).sign()).collect();
        let (client, answered) = (Client::connect(relay).await?, answered.clone());
        let tell = move || answered.try_send(()).expect("there is room for every answer");
        publishers.spawn(async move { Published::until_the_end(client, &events, tell).await });
    }
    for _ in 0..EVENTS_EACH {
        within("the next answer", async { answers.recv().await.context("no more answers") }).await?;
    }
    let status = relay.terminate().await?;
    ensure!(status.success(), "ended with {status}");
    publishers.join_all().await.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_finishing_relay_has_taken_it_commits_and_answers() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let published = cut_short(&mut relay).await?;
    relay.restart().await?;
    let authors: Vec<Keys> = (0..PUBLISHERS).map(Keys::numbered).collect();
    let stored = stored_of(&mut Client::connect(&relay).await?, &authors).await?;
    let acked = published.iter().map(|published| published.acked.len()).sum::<usize>();
    let holdings = Holdings::new(stored.iter().copied());
    for published in &published {
        ok_order(&published.sent, &published.answered)?;
        acked_is_durable(&published.acked, &holdings)?;
    }
    assert_eq!(stored.len(), acked, "events were committed and not answered");
    Ok(())
}

#[tokio::test]
async fn every_client_is_told_that_the_relay_restarts() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(&relay).await?);
    }
    assert!(relay.terminate().await?.success());
    for client in &mut clients {
        assert_eq!(client.disconnected().await?.context("no close frame")?.code, CloseCode::Restart);
    }
    Ok(())
}

#[tokio::test]
async fn a_relay_that_nobody_is_connected_to_ends_in_order_too() -> Result<()> {
    let mut relay = Relay::builder().config_toml("[audit]\ncheckpoint_interval_s = 3600").start().await?;
    Client::connect(&relay).await?.store(&note("signed at the end").sign()).await?;
    // Nothing is signed by a process that is killed, and nobody connects to the next one.
    relay.kill().await?;
    relay.restart().await?;
    assert!(relay.terminate().await?.success());
    let mut query = command()?;
    query.args(["query", r#"{"kinds":[36962]}"#, "--data"]).arg(relay.data_dir()?);
    let found = String::from_utf8(query.output().await?.stdout)?;
    assert_eq!(found.lines().count(), 2, "the checkpoints of the stream and of all streams: {found}");
    assert!(!relay.data_dir()?.join("draining").exists());
    Ok(())
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_hold_up_the_end() -> Result<()> {
    let mut relay = Relay::builder().config_toml("[server]\ndrain_deadline_s = 1").start().await?;
    let mut deaf = Client::connect(&relay).await?;
    deaf.open("all", json!({ "kinds": [1] })).await?;
    let mut publisher = Client::connect(&relay).await?;
    let long = "x".repeat(100_000);
    for number in 0..100 {
        publisher.store(&note(&format!("{number} {long}")).sign()).await?;
    }
    assert!(relay.terminate().await?.success());
    Ok(())
}

#[tokio::test]
async fn the_next_process_has_the_port_at_once() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    let event = note("before").sign();
    client.store(&event).await?;
    assert!(relay.terminate().await?.success());
    relay.restart().await?;
    let stored = stored_of(&mut Client::connect(&relay).await?, &[alice()]).await?;
    assert_eq!(stored.into_iter().collect::<Vec<_>>(), ids([&event])?);
    Ok(())
}

/// Starts another process on the port and folder of `old`, and finds in it what `old` had acked.
async fn take_over(address: &str, folder: &Path, acked: &Event) -> Result<()> {
    let mut next = command()?;
    let _next = next.args(["serve", "--listen", address, "--data"]).arg(folder).stdout(Stdio::null()).spawn()?;
    let url = format!("ws://{address}");
    eventually("the next process serves", async || Ok(Client::connect_to(&url).await.is_ok())).await?;
    let stored = Client::connect_to(&url).await?.query(json!({ "ids": [acked.id] })).await?;
    ensure!(stored == [acked.clone()], "the next process found {stored:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_process_takes_port_and_folder_over_while_the_old_one_drains() -> Result<()> {
    let mut old = Relay::empty().await?;
    let (address, folder) = (old.authority().to_owned(), old.data_dir()?);
    let event = note("before").sign();
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(Client::connect(&old).await?);
    }
    clients[0].store(&event).await?;
    // The clients are sent away one by one: when this one has gone, others are still there.
    let takeover = async {
        clients[0].disconnected().await?;
        take_over(&address, &folder, &event).await
    };
    let (status, takeover) = tokio::join!(old.terminate(), takeover);
    takeover?;
    assert!(status?.success());
    Ok(())
}

/// A proxy without a server behind it, or a paused pooler.
#[tokio::test]
async fn a_relay_that_waits_for_its_database_ends_when_it_is_told_to() -> Result<()> {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("postgres://u@{}/d?sslmode=disable", silent.local_addr()?);
    let home = tempfile::tempdir()?;
    let mut relay = command()?;
    relay
        .current_dir(home.path())
        .args(["serve", "--listen", "127.0.0.1:0", "--store", &url])
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let relay = relay.spawn()?;
    let _asking = within("it to ask the database", async { Ok(silent.accept().await?) }).await?;
    let pid = relay.id().context("it has ended")?.to_string();
    ensure!(tokio::process::Command::new("kill").args(["-s", "TERM", &pid]).status().await?.success());
    let ended = within("it to end", async { Ok(relay.wait_with_output().await?) }).await?;
    let told = String::from_utf8(ended.stderr)?;
    assert!(ended.status.code() == Some(1) && told.contains("told to stop"), "{}: {told}", ended.status);
    Ok(())
}
