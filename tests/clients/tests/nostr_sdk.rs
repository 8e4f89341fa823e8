//! nostr-sdk: the most used client library for Rust.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nostr_sdk::prelude::*;
use tokio::sync::broadcast::Receiver;
use towpath_harness::{DEADLINE, Relay, within};

/// A relay that asks everybody who they are.
async fn restricted_relay() -> Result<Relay> {
    Relay::builder().config_toml("[auth]\nto_write = true\nto_read = true").start().await
}

async fn connect(relay: &Relay, client: Client) -> Result<Client> {
    client.add_relay(relay.url()).await?;
    client.try_connect_relay(relay.url(), DEADLINE).await?;
    Ok(client)
}

/// A client that signs, and authenticates when it is asked to.
async fn signing(relay: &Relay, keys: &Keys) -> Result<Client> {
    connect(relay, Client::new(keys.clone())).await
}

/// A client that has no keys and does not try to authenticate: an attempt without keys would end its queries.
async fn anonymous(relay: &Relay) -> Result<Client> {
    let options = ClientOptions::new().automatic_authentication(false);
    connect(relay, Client::builder().opts(options).build()).await
}

/// Publishes, and fails with the relay's reason unless it takes the event.
async fn publish(client: &Client, event: &Event) -> Result<()> {
    let output = client.send_event(event).await?;
    if let Some(reason) = output.failed.values().next() {
        bail!("{reason}");
    }
    ensure!(output.success.len() == 1, "published nowhere");
    Ok(())
}

/// Why the relay refuses an event.
async fn refusal(client: &Client, event: &Event) -> Result<String> {
    match publish(client, event).await {
        Ok(()) => bail!("taken: {event:?}"),
        Err(reason) => Ok(format!("{reason:#}")),
    }
}

async fn stored(client: &Client, filter: Filter) -> Result<Vec<Event>> {
    Ok(client.fetch_events(filter, DEADLINE).await?.into_iter().collect())
}

/// The next notification that `wanted` finds something in.
async fn next<T>(
    from: &mut Receiver<RelayPoolNotification>,
    what: &str,
    wanted: impl Fn(RelayPoolNotification) -> Option<T>,
) -> Result<T> {
    within(what, async {
        loop {
            if let Some(found) = wanted(from.recv().await?) {
                return Ok(found);
            }
        }
    })
    .await
}

/// Opens a subscription and waits until it is live.
async fn subscribe(client: &Client, filter: Filter) -> Result<Receiver<RelayPoolNotification>> {
    let mut notifications = client.notifications();
    let id = client.subscribe(filter, None).await?.val;
    let eose = |notification| match notification {
        RelayPoolNotification::Message { message: RelayMessage::EndOfStoredEvents(of), .. } if *of == id => Some(()),
        _ => None,
    };
    next(&mut notifications, "EOSE", eose).await?;
    Ok(notifications)
}

async fn next_event(from: &mut Receiver<RelayPoolNotification>) -> Result<Event> {
    let event = |notification| match notification {
        RelayPoolNotification::Event { event, .. } => Some(*event),
        _ => None,
    };
    next(from, "a live event", event).await
}

fn note(content: &str, keys: &Keys) -> Result<Event> {
    Ok(EventBuilder::text_note(content).sign_with_keys(keys)?)
}

fn seconds_ago(seconds: u64) -> Timestamp {
    Timestamp::now() - Duration::from_secs(seconds)
}

#[tokio::test]
async fn a_published_event_is_stored_and_comes_back_as_it_was() -> Result<()> {
    let (relay, alice) = (Relay::empty().await?, Keys::generate());
    let client = signing(&relay, &alice).await?;
    let tags = [Tag::hashtag("sdk"), Tag::public_key(alice.public_key())];
    let event =
        EventBuilder::text_note("\u{1F6A3} \"quoted\"\n\t\\").tags(tags).allow_self_tagging().sign_with_keys(&alice)?;
    publish(&client, &event).await?;
    assert_eq!(stored(&anonymous(&relay).await?, Filter::new().id(event.id)).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn a_subscription_gets_what_is_published_after_it() -> Result<()> {
    let (relay, alice) = (Relay::empty().await?, Keys::generate());
    let reader = anonymous(&relay).await?;
    let mut notifications = subscribe(&reader, Filter::new().author(alice.public_key())).await?;
    let event = note("live", &alice)?;
    publish(&signing(&relay, &alice).await?, &event).await?;
    assert_eq!(next_event(&mut notifications).await?, event);
    Ok(())
}

#[tokio::test]
async fn filters_find_what_they_describe_newest_first() -> Result<()> {
    let (relay, alice) = (Relay::empty().await?, Keys::generate());
    let client = signing(&relay, &alice).await?;
    for (age, topic) in [(30, "water"), (20, "land"), (10, "water")] {
        let draft = EventBuilder::text_note(age.to_string()).tag(Tag::hashtag(topic));
        publish(&client, &draft.custom_created_at(seconds_ago(age)).sign_with_keys(&alice)?).await?;
    }
    let found = stored(&client, Filter::new().hashtag("water").kind(Kind::TextNote).since(seconds_ago(100))).await?;
    assert_eq!(found.iter().map(|event| event.content.as_str()).collect::<Vec<_>>(), ["10", "30"]);
    Ok(())
}

#[tokio::test]
async fn a_refusal_says_why() -> Result<()> {
    let (relay, alice) = (Relay::empty().await?, Keys::generate());
    let client = signing(&relay, &alice).await?;
    let future = Timestamp::now() + Duration::from_secs(100_000);
    let event = EventBuilder::text_note("tomorrow").custom_created_at(future).sign_with_keys(&alice)?;
    assert!(refusal(&client, &event).await?.starts_with("invalid: "));
    Ok(())
}

#[tokio::test]
async fn only_the_newest_version_of_a_profile_is_kept() -> Result<()> {
    let (relay, alice) = (Relay::empty().await?, Keys::generate());
    let client = signing(&relay, &alice).await?;
    for (age, name) in [(20, "old"), (10, "new"), (30, "older")] {
        let draft = EventBuilder::metadata(&Metadata::new().name(name)).custom_created_at(seconds_ago(age));
        publish(&client, &draft.sign_with_keys(&alice)?).await?;
    }
    let metadata = client.fetch_metadata(alice.public_key(), DEADLINE).await?.context("no profile")?;
    assert_eq!(metadata.name.as_deref(), Some("new"));
    Ok(())
}

#[tokio::test]
async fn a_deleted_event_is_gone_and_stays_away() -> Result<()> {
    let (relay, alice) = (Relay::empty().await?, Keys::generate());
    let client = signing(&relay, &alice).await?;
    let event = note("regretted", &alice)?;
    publish(&client, &event).await?;
    let deletion = EventBuilder::delete(EventDeletionRequest::new().id(event.id)).sign_with_keys(&alice)?;
    publish(&client, &deletion).await?;
    let anyone = anonymous(&relay).await?;
    assert!(stored(&anyone, Filter::new().id(event.id)).await?.is_empty());
    assert!(refusal(&anyone, &event).await?.starts_with("blocked: "));
    Ok(())
}

#[tokio::test]
async fn an_ephemeral_event_reaches_who_listens_and_is_not_stored() -> Result<()> {
    let (relay, alice) = (Relay::empty().await?, Keys::generate());
    let reader = anonymous(&relay).await?;
    let mut notifications = subscribe(&reader, Filter::new().kind(Kind::from(20001))).await?;
    let event = EventBuilder::new(Kind::from(20001), "typing").sign_with_keys(&alice)?;
    publish(&signing(&relay, &alice).await?, &event).await?;
    assert_eq!(next_event(&mut notifications).await?, event);
    assert!(stored(&anonymous(&relay).await?, Filter::new().id(event.id)).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_client_with_keys_authenticates_by_itself() -> Result<()> {
    let (relay, alice) = (restricted_relay().await?, Keys::generate());
    let client = signing(&relay, &alice).await?;
    let event = note("known", &alice)?;
    publish(&client, &event).await?;
    assert_eq!(stored(&client, Filter::new().id(event.id)).await?, [event]);
    Ok(())
}

#[tokio::test]
async fn a_client_without_keys_is_told_to_authenticate() -> Result<()> {
    let relay = restricted_relay().await?;
    let client = anonymous(&relay).await?;
    let reason = refusal(&client, &note("unknown", &Keys::generate())?).await?;
    assert!(reason.contains("auth"), "{reason}");
    Ok(())
}

#[tokio::test]
async fn a_private_message_is_for_its_recipient_alone() -> Result<()> {
    let relay = Relay::empty().await?;
    let [alice, bob, carol] = [(); 3].map(|()| Keys::generate());
    let rumor = EventBuilder::private_msg_rumor(bob.public_key(), "between us").build(alice.public_key());
    let sent = signing(&relay, &alice).await?.gift_wrap(&bob.public_key(), rumor, []).await?;
    let wraps = Filter::new().kind(Kind::GiftWrap);

    let carols = signing(&relay, &carol).await?;
    assert!(stored(&carols, wraps.clone()).await?.is_empty());

    let bobs = signing(&relay, &bob).await?;
    let found = stored(&bobs, wraps.pubkey(bob.public_key())).await?;
    assert_eq!(found.iter().map(|event| event.id).collect::<Vec<_>>(), [sent.val]);
    let gift = bobs.unwrap_gift_wrap(&found[0]).await?;
    assert_eq!((gift.sender, gift.rumor.content.as_str()), (alice.public_key(), "between us"));
    Ok(())
}
