//! Subscriptions that open while others publish: no gap, no duplicate, no disorder.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;
use towpath_operations::promises::{EventId, commit_order, exact_handover, nothing_missed};
use towpath_operations::*;

const READERS: usize = 4;
const SUBSCRIPTIONS_EACH: usize = 15;
const PUBLISHERS: usize = 2;
/// The most a publisher publishes: below the `limit` of the filters, so that nothing stored is left out.
const EVENTS_MAX: usize = 2000;
const IN_FLIGHT: usize = 16;

/// A filter, and the same in words of our own.
struct Interest {
    filter: fn() -> Value,
    matches: fn(&Event) -> bool,
}

const INTERESTS: [Interest; 4] = [
    Interest { filter: || json!({ "kinds": [1, 7] }), matches: |_| true },
    Interest {
        filter: || json!({ "authors": [author(0).pubkey()] }),
        matches: |event| event.pubkey == author(0).pubkey(),
    },
    Interest { filter: || json!({ "#t": ["even"] }), matches: |event| event.tag("t") == Some("even") },
    Interest {
        filter: || json!({ "kinds": [7], "authors": [author(1).pubkey()], "#t": ["odd"] }),
        matches: |event| event.kind == 7 && event.pubkey == author(1).pubkey() && event.tag("t") == Some("odd"),
    },
];

fn author(number: usize) -> Keys {
    Keys::named(&format!("publisher {number}"))
}

/// What ends every subscription: the last event there is.
fn last() -> Event {
    note("the last").at(1).sign()
}

/// The `number`th event of a publisher.
fn event(publisher: usize, number: usize) -> Event {
    let topic = if number.is_multiple_of(2) { "even" } else { "odd" };
    let kind = if number.is_multiple_of(3) { 7 } else { 1 };
    note(&number.to_string()).by(&author(publisher)).kind(kind).tag(["t", topic]).sign()
}

/// Publishes until nobody opens subscriptions any more.
async fn publish(mut client: Client, publisher: usize, opening: Arc<AtomicUsize>) -> Result<Vec<Event>> {
    let mut events = Vec::new();
    while opening.load(Ordering::Relaxed) > 0 && events.len() < EVENTS_MAX {
        let more: Vec<Event> = (0..IN_FLIGHT).map(|more| event(publisher, events.len() + more)).collect();
        client.store_all(&more).await?;
        events.extend(more);
    }
    Ok(events)
}

/// What one subscription received.
#[derive(Default)]
struct Received {
    stored: Vec<EventId>,
    live: Vec<EventId>,
    past_eose: bool,
    ended: bool,
}

impl Received {
    fn take(&mut self, message: &Value, last: EventId) -> Result<()> {
        match message[0].as_str() {
            Some("EOSE") => self.past_eose = true,
            Some("EVENT") => match id(message[2]["id"].as_str().unwrap_or_default())? {
                id if id == last => self.ended = true,
                id if self.past_eose => self.live.push(id),
                id => self.stored.push(id),
            },
            _ => bail!("unexpected: {message}"),
        }
        Ok(())
    }
}

/// A connection and its subscriptions, named by their places.
struct Reader {
    client: Client,
    received: Vec<Received>,
    last: EventId,
}

impl Reader {
    async fn connect(relay: &Relay) -> Result<Self> {
        let mut client = Client::connect(relay).await?;
        client.challenge().await?;
        Ok(Self { client, received: Vec::new(), last: id(&last().id)? })
    }

    async fn open(&mut self, filter: Value) -> Result<()> {
        let place = self.received.len();
        self.received.push(Received::default());
        let mut filter = filter;
        filter["limit"] = json!(5000);
        self.client.open(&place.to_string(), json!([filter, { "ids": [last().id] }])).await?;
        self.read_until(|received| received[place].past_eose).await
    }

    /// Reads to the end of every subscription.
    async fn finish(mut self) -> Result<Vec<Received>> {
        self.read_until(|received| received.iter().all(|each| each.ended)).await?;
        Ok(self.received)
    }

    async fn read_until(&mut self, done: impl Fn(&[Received]) -> bool) -> Result<()> {
        while !done(&self.received) {
            let message = self.client.next_matching("a message", |_| true).await?;
            let place: usize =
                message[1].as_str().unwrap_or_default().parse().context("not one of our subscriptions")?;
            self.received[place].take(&message, self.last)?;
        }
        Ok(())
    }
}

/// Opens subscriptions of every interest, one after the other.
async fn subscribe(mut reader: Reader, opening: Arc<AtomicUsize>) -> Result<Vec<Received>> {
    for number in 0..SUBSCRIPTIONS_EACH {
        reader.open((INTERESTS[number % INTERESTS.len()].filter)()).await?;
    }
    opening.fetch_sub(1, Ordering::Relaxed);
    reader.finish().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_opens_under_load_gets_every_event_once_and_in_order() -> Result<()> {
    let relay = Relay::empty().await?;
    let mut witness = Reader::connect(&relay).await?;
    witness.open(json!({})).await?;
    let witness = tokio::spawn(witness.finish());

    let opening = Arc::new(AtomicUsize::new(READERS));
    let mut publishers = JoinSet::new();
    for number in 0..PUBLISHERS {
        publishers.spawn(publish(Client::connect(&relay).await?, number, Arc::clone(&opening)));
    }
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        readers.spawn(subscribe(Reader::connect(&relay).await?, Arc::clone(&opening)));
    }
    let published: Vec<Event> = publishers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?.concat();
    Client::connect(&relay).await?.store(&last()).await?;

    let commits = witness.await??.remove(0).live;
    nothing_missed(&ids(&published)?, &commits)?;
    for reader in readers.join_all().await {
        for (number, received) in reader?.iter().enumerate() {
            let interest = &INTERESTS[number % INTERESTS.len()];
            let matching = ids(published.iter().filter(|event| (interest.matches)(event)))?;
            exact_handover(&matching, &received.stored, &received.live)?;
            commit_order(&commits, &received.live)?;
        }
    }
    Ok(())
}
