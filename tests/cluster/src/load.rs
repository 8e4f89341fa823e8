//! Publishers and subscribers on all pods, and what they saw.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use towpath_harness::{Client, Event, Keys, Value, json, note};

/// Events that a publisher has under way.
const IN_FLIGHT: usize = 8;
/// Between two events of one publisher: a steady trickle, so that a round lasts as long as its faults.
const PACE: Duration = Duration::from_millis(4);

/// Author and id of what a subscription received, in order.
type Received = Arc<Mutex<Vec<(String, String)>>>;

/// A load that runs until it is stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicUsize>,
    publishers: Vec<JoinHandle<Result<Vec<String>>>>,
    subscribers: Vec<(JoinHandle<Result<()>>, Received)>,
    filter: Value,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    /// Ids that were answered with `OK true`, by publisher.
    pub acked: Vec<Vec<String>>,
    /// Author and id of what each subscription received that stayed to the end, in order.
    pub received: Vec<Vec<(String, String)>>,
}

impl Load {
    /// A publisher on each of `publish`, who goes on elsewhere when their pod fails, and a subscription on each of `subscribe`, which
    /// must stay. `round` makes the authors differ.
    pub async fn start(publish: &[String], subscribe: &[String], round: usize) -> Result<Self> {
        let (stop, acked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let authors: Vec<Keys> = (0..publish.len()).map(|n| Keys::numbered(1_000 + round * 16 + n)).collect();
        let filter = json!({ "authors": authors.iter().map(Keys::pubkey).collect::<Vec<_>>() });
        let mut subscribers = Vec::new();
        for url in subscribe {
            let mut client = Client::connect_to(url).await?;
            client.req("all", filter.clone()).await?;
            let received = Received::default();
            let into = Arc::clone(&received);
            let reading = tokio::spawn(async move {
                loop {
                    let event = client.live("all").await?;
                    into.lock().push((event.pubkey, event.id));
                }
            });
            subscribers.push((reading, received));
        }
        let publishers = authors.into_iter().enumerate().map(|(number, author)| {
            let mut urls = publish.to_vec();
            urls.rotate_left(number);
            tokio::spawn(publisher(author, urls, Arc::clone(&stop), Arc::clone(&acked)))
        });
        let publishers = publishers.collect();
        Ok(Self { stop, acked, publishers, subscribers, filter })
    }

    /// How many events were acknowledged so far.
    pub fn acked(&self) -> usize {
        self.acked.load(Ordering::SeqCst)
    }

    /// Waits until `more` events have been acknowledged.
    pub async fn advance(&self, more: usize) -> Result<()> {
        let enough = self.acked() + more;
        towpath_harness::eventually("more events are acknowledged", async || Ok(self.acked() >= enough)).await
    }

    /// Stops publishing, waits until every subscription has what was acknowledged, and tells.
    pub async fn stop(self) -> Result<Report> {
        self.stop.store(true, Ordering::SeqCst);
        let mut acked = Vec::new();
        for publisher in self.publishers {
            acked.push(publisher.await??);
        }
        let all: HashSet<&String> = acked.iter().flatten().collect();
        let mut received = Vec::new();
        for (number, (reading, seen)) in self.subscribers.into_iter().enumerate() {
            let has_all = async || {
                ensure!(!reading.is_finished(), "subscription {number} was closed");
                let seen = seen.lock();
                let ids: HashSet<&String> = seen.iter().map(|(_, id)| id).collect();
                Ok(all.iter().all(|id| ids.contains(*id)))
            };
            let waited = towpath_harness::eventually("a subscription receives everything", has_all).await;
            waited.with_context(|| format!("subscription {number}: {} of {}", seen.lock().len(), all.len()))?;
            reading.abort();
            received.push(seen.lock().clone());
        }
        Ok(Report { acked, received })
    }

    /// Matches what this load publishes.
    pub fn filter(&self) -> &Value {
        &self.filter
    }
}

impl Report {
    /// Each acknowledged event once in each subscription, and each author's events in the order of their commits, as `log` has them.
    pub fn check(&self, stored: &[Event]) -> Result<()> {
        let ids: HashSet<&str> = stored.iter().map(|event| event.id.as_str()).collect();
        ensure!(ids.len() == stored.len(), "an event is stored twice");
        for id in self.acked.iter().flatten() {
            ensure!(ids.contains(id.as_str()), "{id} was acknowledged and is not stored");
        }
        for (number, received) in self.received.iter().enumerate() {
            let mut once = HashSet::new();
            for (_, id) in received {
                ensure!(once.insert(id.as_str()), "subscription {number} received {id} twice");
                ensure!(ids.contains(id.as_str()), "subscription {number} received {id}, which is not stored");
            }
            for id in self.acked.iter().flatten() {
                ensure!(once.contains(id.as_str()), "subscription {number} missed {id}");
            }
        }
        Ok(())
    }

    /// Every subscription saw one stream's commits in their order. `places` are stream and seq by id.
    pub fn check_order(&self, places: &HashMap<String, (u64, u64)>) -> Result<()> {
        for (number, received) in self.received.iter().enumerate() {
            let mut reached: HashMap<u64, u64> = HashMap::new();
            for (_, id) in received {
                let (stream, seq) = places.get(id).with_context(|| format!("{id} is in no audit log"))?;
                let last = reached.insert(*stream, *seq).unwrap_or(0);
                ensure!(last < *seq, "subscription {number} received {id} of stream {stream} after a later one");
            }
        }
        Ok(())
    }
}

/// Publishes until told to stop; what is not answered is sent again, elsewhere if need be. Returns what was acknowledged.
async fn publisher(
    author: Keys,
    urls: Vec<String>,
    stop: Arc<AtomicBool>,
    acked: Arc<AtomicUsize>,
) -> Result<Vec<String>> {
    let mut done = Vec::new();
    let mut pending: Vec<Event> = Vec::new();
    let mut number = 0;
    for url in urls.iter().cycle() {
        if stop.load(Ordering::SeqCst) && pending.is_empty() {
            return Ok(done);
        }
        let Ok(mut client) = Client::connect_to(url).await else {
            tokio::time::sleep(PACE).await;
            continue;
        };
        // On an error: another pod, with what has no answer yet.
        let _ = session(&mut client, &author, &mut pending, &mut done, &mut number, &stop, &acked).await;
    }
    Ok(done)
}

async fn session(
    client: &mut Client,
    author: &Keys,
    pending: &mut Vec<Event>,
    done: &mut Vec<String>,
    number: &mut usize,
    stop: &AtomicBool,
    acked: &AtomicUsize,
) -> Result<()> {
    for event in pending.iter() {
        client.send_json(json!(["EVENT", event])).await?;
    }
    loop {
        while pending.len() < IN_FLIGHT && !stop.load(Ordering::SeqCst) {
            *number += 1;
            let event = note(&number.to_string()).by(author).sign();
            client.send_json(json!(["EVENT", event])).await?;
            pending.push(event);
            tokio::time::sleep(PACE).await;
        }
        if pending.is_empty() {
            return Ok(());
        }
        let answer = client.next_matching("OK", |message| message[0] == "OK").await?;
        let id = answer[1].as_str().context("an OK names its event")?.to_owned();
        ensure!(answer[2] == true, "refused: {}", answer[3]);
        pending.retain(|event| event.id != id);
        done.push(id);
        acked.fetch_add(1, Ordering::SeqCst);
    }
}
