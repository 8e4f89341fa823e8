//! A disk without room: writes are refused with a reason, reading goes on, and room is all it takes to recover.

use towpath_operations::*;

/// The most the key can ask for, and more than the disk has that the tests run on.
const FULL: &str = "[store]\nfree_bytes_min = 1_152_921_504_606_846_976";
/// Larger than what the log has in reserve for as many events as may still be taken.
const CONTENT_BYTES: usize = 200_000;
const TAKEN_MAX: usize = 20;

/// A relay that finds its disk full, a client of it, and the first event it has refused.
async fn full_relay() -> Result<(Relay, Client, Event)> {
    let mut relay = Relay::empty().await?;
    Client::connect(&relay).await?.store(&note("before").sign()).await?;
    relay.reload(FULL).await?;
    relay.restart().await?;
    let mut client = Client::connect(&relay).await?;
    let refused = first_refused(&mut client).await?;
    Ok((relay, client, refused))
}

/// Publishes until the disk is full: the log has some room in reserve.
async fn first_refused(client: &mut Client) -> Result<Event> {
    for number in 0..TAKEN_MAX {
        let event = long_note(number);
        let ack = client.publish(&event).await?;
        if !ack.accepted {
            ensure!(
                ack.message.starts_with("error: ") && ack.message.contains("disk"),
                "refused with {:?}",
                ack.message
            );
            return Ok(event);
        }
    }
    bail!("took {TAKEN_MAX} events on a full disk")
}

fn long_note(number: usize) -> Event {
    note(&format!("{number} {}", "x".repeat(CONTENT_BYTES))).sign()
}

#[tokio::test]
async fn a_full_disk_refuses_every_event_and_says_why() -> Result<()> {
    let (_relay, mut client, refused) = full_relay().await?;
    let ack = client.publish(&refused).await?;
    assert!(!ack.accepted && ack.message.starts_with("error: "), "{ack:?}");
    Ok(())
}

#[tokio::test]
async fn a_full_disk_is_still_read() -> Result<()> {
    let (_relay, mut client, refused) = full_relay().await?;
    let stored = client.query(json!({ "kinds": [1] })).await?;
    assert!(stored.iter().any(|event| event.content == "before"));
    assert!(!stored.contains(&refused));
    Ok(())
}

/// Balancers took a relay away that could be read, and as yet even written to.
#[tokio::test]
async fn a_full_disk_is_a_warning_of_readiness_that_names_the_setting() -> Result<()> {
    let (relay, _client, _refused) = full_relay().await?;
    let ready = http::get("/readyz").send(&relay).await?;
    assert_eq!(ready.status, 200, "{}", ready.body);
    assert!(ready.body.contains("\nwarning: ") && ready.body.contains("store.free_bytes_min"), "{}", ready.body);
    // Anybody may ask; where the folder is, only the log says.
    let folder = relay.data_dir()?.display().to_string();
    assert!(!ready.body.contains(&folder) && relay.log()?.contains(&folder), "{}", ready.body);
    eventually("free space is gauged", async || Ok(metric(&relay, "towpath_store_free_bytes").await? > 0.0)).await
}

#[tokio::test]
async fn what_a_full_disk_refused_is_not_delivered() -> Result<()> {
    let (_relay, mut client, refused) = full_relay().await?;
    client.req("live", json!({ "kinds": [1], "limit": 0 })).await?;
    client.publish(&refused).await?;
    // Ephemeral events need no disk and take the same way to the reader.
    client.req("ephemeral", json!({ "kinds": [20001] })).await?;
    client.store(&note("after it").kind(20001).sign()).await?;
    client.live("ephemeral").await?;
    assert!(!client.untaken().any(|message| is_about(message, "live")));
    Ok(())
}

#[tokio::test]
async fn an_event_refused_for_want_of_room_is_taken_when_there_is_some() -> Result<()> {
    let (mut relay, _client, refused) = full_relay().await?;
    relay.reload("").await?;
    relay.restart().await?;
    let ack = Client::connect(&relay).await?.publish(&refused).await?;
    assert!(ack.accepted && ack.message.is_empty(), "{ack:?}");
    Ok(())
}

/// What cannot be read is said to be so, and never to be nothing (`FailsClosed`).
#[tokio::test]
async fn a_log_that_cannot_be_read_is_an_error_and_not_an_empty_answer() -> Result<()> {
    let relay = Relay::empty().await?;
    let mut client = Client::connect(&relay).await?;
    let notes: Vec<Event> = (0..10).map(|number| note(&number.to_string()).sign()).collect();
    client.store_all(&notes).await?;
    for file in std::fs::read_dir(relay.data_dir()?.join("log"))? {
        std::fs::File::options().write(true).open(file?.path())?.set_len(0)?;
    }
    for filter in [json!({ "kinds": [1] }), json!({ "ids": [notes[0].id] }), json!({ "authors": [alice().pubkey()] })] {
        let answer = client.req("s", filter.clone()).await?;
        assert!(matches!(&answer.end, End::Closed(reason) if reason.starts_with("error: ")), "{filter}: {answer:?}");
        let count = client.count("c", filter.clone()).await?;
        assert!(count.as_ref().is_err_and(|reason| reason.starts_with("error: ")), "{filter}: {count:?}");
    }
    Ok(())
}
