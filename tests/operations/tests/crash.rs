//! SIGKILL under load, at random instants. Each round: several connections publish events that replace and delete each
//! other, the relay is killed after a random number of answers, starts again on what is on its disk, and must have kept
//! its promises. `TOWPATH_SEED` repeats a run's events and instants.

use std::env;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use towpath_operations::promises::{Holdings, acked_is_audited, acked_is_durable, delivered_is_committed, ok_order};
use towpath_operations::*;

const ROUNDS: usize = 20;
const PUBLISHERS: usize = 4;
const EVENTS_EACH: usize = 120;
/// Topics of addressable events: few, so that versions meet.
const TOPICS: [&str; 3] = ["lock", "weir", "quay"];

fn seed() -> Result<u64> {
    let seed = match env::var("TOWPATH_SEED") {
        Ok(seed) => seed.parse().context("TOWPATH_SEED is a number")?,
        Err(_) => rand::random(),
    };
    println!("TOWPATH_SEED={seed}");
    Ok(seed)
}

/// What one author publishes in one round, in an order in which old versions may follow new ones and targets may follow
/// their deletions. No two events have the same time, so which of them stays is known beforehand.
fn script(author: &Keys, rng: &mut StdRng) -> Vec<Event> {
    let beginning = now() - 10_000;
    let mut notes: Vec<Event> = Vec::new();
    let mut events = Vec::new();
    for step in 0..EVENTS_EACH {
        let draft = note(&step.to_string()).by(author).at(beginning + step as u64);
        let topic = TOPICS.choose(rng).expect("there are topics");
        let event = match rng.random_range(0..10) {
            0 | 1 => draft.kind(10_002).sign(),
            2 | 3 => draft.kind(30_000).tag(["d", topic]).sign(),
            4 if !notes.is_empty() => deletion_of(draft, notes.choose(rng).expect("not empty")),
            5 => draft.kind(5).tag(["a", &format!("30000:{}:{topic}", author.pubkey())]).sign(),
            _ => {
                notes.push(draft.sign());
                notes[notes.len() - 1].clone()
            }
        };
        events.push(event);
    }
    // Disorder among neighbours only, so that deletions and versions meet events that have been stored for a while, too.
    events.chunks_mut(12).for_each(|neighbours| neighbours.shuffle(rng));
    events
}

fn deletion_of(draft: EventBuilder, target: &Event) -> Event {
    draft.kind(5).tag(["e", &target.id]).sign()
}

/// Whether `by` replaces or deletes `other` (NIP-01, NIP-09).
fn removes(by: &Event, other: &Event) -> bool {
    if by.pubkey != other.pubkey || by.id == other.id || other.kind == 5 {
        return false;
    }
    match by.kind {
        5 if by.tag("a").is_some() => by.tag("a") == Some(&other.address()) && other.created_at <= by.created_at,
        5 => by.tag("e") == Some(&other.id),
        10_002 | 30_000 => by.address() == other.address() && other.created_at < by.created_at,
        _ => false,
    }
}

/// One round: who publishes what.
struct Round {
    authors: Vec<Keys>,
    scripts: Vec<Vec<Event>>,
}

/// What the clients saw of a round.
struct Seen {
    published: Vec<Published>,
    delivered: Vec<promises::EventId>,
}

impl Seen {
    fn acked(&self) -> usize {
        self.published.iter().map(|published| published.acked.len()).sum()
    }
}

impl Round {
    fn new(number: usize, rng: &mut StdRng) -> Self {
        let authors: Vec<Keys> = (0..PUBLISHERS).map(|place| Keys::numbered(number * PUBLISHERS + place)).collect();
        let scripts = authors.iter().map(|author| script(author, rng)).collect();
        Self { authors, scripts }
    }

    fn filter(&self) -> Value {
        json!({ "authors": self.authors.iter().map(Keys::pubkey).collect::<Vec<_>>() })
    }

    /// Publishes on a connection each, kills the relay at the `last`th answer and returns what was seen.
    async fn cut_short(&self, relay: &mut Relay, last: usize) -> Result<Seen> {
        let mut subscriber = Client::connect(relay).await?;
        subscriber.req("all", self.filter()).await?;
        let (answered, mut answers) = mpsc::channel(PUBLISHERS * EVENTS_EACH);
        let mut publishers = JoinSet::new();
        for events in &self.scripts {
            let (client, events, answered) = (Client::connect(relay).await?, events.clone(), answered.clone());
            let tell = move || answered.try_send(()).expect("there is room for every answer");
            publishers.spawn(async move { Published::until_the_end(client, &events, tell).await });
        }
        for number in 0..last {
            within("the next answer", async { answers.recv().await.context("no more answers") })
                .await
                .with_context(|| format!("after {number} of {last}"))?;
        }
        relay.kill().await?;
        subscriber.disconnected().await?;
        let delivered = subscriber.untaken().filter_map(|message| delivered(message, "all")).collect::<Result<_>>()?;
        let published = publishers.join_all().await.into_iter().collect::<Result<_>>()?;
        Ok(Seen { published, delivered })
    }

    /// What the store holds of this round, and what could have removed what.
    async fn holdings(&self, client: &mut Client) -> Result<Holdings> {
        let stored = stored_of(client, &self.authors).await?;
        let events: Vec<&Event> = self.scripts.iter().flatten().collect();
        let mut sent = ids(events.iter().copied())?;
        sent.retain(|id| stored.contains(id));
        ensure!(sent.len() == stored.len(), "the store holds events that nobody published");
        let mut holdings = Holdings::new(stored);
        for script in &self.scripts {
            for by in script {
                for other in script.iter().filter(|other| removes(by, other)) {
                    holdings.removes(id(&by.id)?, id(&other.id)?);
                }
            }
        }
        Ok(holdings)
    }
}

fn check(seen: &Seen, holdings: &Holdings) -> Result<()> {
    for published in &seen.published {
        ok_order(&published.sent, &published.answered)?;
        acked_is_durable(&published.acked, holdings)?;
    }
    Ok(delivered_is_committed(&seen.delivered, holdings)?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_or_delivered_is_lost_to_a_crash() -> Result<()> {
    let mut rng = StdRng::seed_from_u64(seed()?);
    let mut relay = Relay::empty().await?;
    let mut past = Vec::new();
    for number in 0..ROUNDS {
        let round = Round::new(number, &mut rng);
        let last = rng.random_range(1..PUBLISHERS * EVENTS_EACH);
        let seen = round.cut_short(&mut relay, last).await?;
        relay.restart().await?;
        let mut client = Client::connect(&relay).await?;
        check(&seen, &round.holdings(&mut client).await?).with_context(|| format!("round {number}"))?;
        println!("round {number}: killed at answer {last}, {} events acked by then", seen.acked());
        past.push((round, seen));
    }
    // What survived its own crash also survives those that follow.
    let mut client = Client::connect(&relay).await?;
    for (number, (round, seen)) in past.iter().enumerate() {
        check(seen, &round.holdings(&mut client).await?).with_context(|| format!("round {number}, at the end"))?;
    }
    let mut audited = Vec::new();
    for (round, seen) in &past {
        audited.push((&seen.published, round.holdings(&mut client).await?));
    }
    relay.terminate().await?;
    let leaves = leaves(&relay).await?;
    for (published, holdings) in audited {
        for Published { acked, duplicates, .. } in published {
            acked_is_audited(acked, duplicates, &leaves, &holdings)?;
        }
    }
    Ok(())
}

/// The events that the audit log names, once it has been verified.
async fn leaves(relay: &Relay) -> Result<Vec<promises::EventId>> {
    let data = relay.data_dir()?;
    let audit = async |what: &str| anyhow::Ok(command()?.args(["audit", what, "--data"]).arg(&data).output().await?);
    let verified = audit("verify").await?;
    ensure!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    let exported = String::from_utf8(audit("export").await?.stdout)?;
    let entries = exported.lines().map(|line| Ok(serde_json::from_str::<Value>(line)?));
    let entries = entries.collect::<Result<Vec<_>>>()?;
    entries.iter().filter_map(|entry| entry["event"].as_str()).map(id).collect()
}

#[tokio::test]
async fn one_crash_after_another_loses_nothing() -> Result<()> {
    let mut relay = Relay::empty().await?;
    let events: Vec<Event> = (0..300).map(|number| note(&number.to_string()).sign()).collect();
    Client::connect(&relay).await?.store_all(&events).await?;
    for _ in 0..5 {
        relay.kill().await?;
        relay.restart().await?;
    }
    let stored = stored_of(&mut Client::connect(&relay).await?, &[alice()]).await?;
    Ok(acked_is_durable(&ids(&events)?, &Holdings::new(stored))?)
}
