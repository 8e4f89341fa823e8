//! Who wants an event, and the frames that wait for a socket. `cargo bench -p towpath-deliver`

use std::sync::Arc;

use divan::counter::ItemsCount;
use divan::{AllocProfiler, Bencher, black_box};
use parking_lot::{Mutex, RwLock};
use towpath_deliver::{Budget, Deliver, IndexLimits, Item, Metrics, Outbox, Reader, Subscription};
use towpath_policy::{Policy, Principal};
use towpath_protocol::{Event, PublicKey, SecretKey, relay_message, wire};
use towpath_runtime::Live;
use towpath_store::{Cursor, Delivery};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    divan::main();
}

const ROOMY: usize = 1 << 40;
/// How many want what the author of `many` writes.
const MANY: usize = 100;

/// Live subscriptions, most of which want the notes of authors who never write.
struct World {
    deliver: Deliver,
    reader: Reader,
    budget: Arc<Budget>,
    /// Of the subscriptions that get something.
    outboxes: Vec<Arc<Outbox>>,
    subscriptions: Vec<Arc<Subscription>>,
}

impl World {
    fn new() -> Self {
        Self {
            deliver: Deliver::new(
                IndexLimits { postings_max: ROOMY, connection_postings_max: ROOMY },
                Metrics::default(),
            ),
            reader: Reader {
                principal: Arc::new(RwLock::new(Principal::anonymous())),
                policy: Live::new(Policy::default()),
            },
            budget: Arc::new(Budget::new(ROOMY, ROOMY, ROOMY >> 10, Metrics::default())),
            outboxes: Vec::new(),
            subscriptions: Vec::new(),
        }
    }

    fn outbox(&self) -> Arc<Outbox> {
        Arc::new(Outbox::new(Arc::clone(&self.budget)))
    }

    fn listen(&mut self, author: &PublicKey, outbox: &Arc<Outbox>) {
        let filter = wire::filter(&format!(r#"{{"kinds":[1],"authors":["{author}"]}}"#)).expect("a filter");
        let subscription = Subscription::new("feed".into(), vec![filter], self.reader.clone(), Arc::clone(outbox));
        let subscription = Arc::new(subscription);
        self.deliver.register(&subscription).expect("room");
        assert!(subscription.go_live(&Cursor::start(), relay_message::eose("feed", None), 0));
        self.subscriptions.push(subscription);
    }

    /// Each on a connection of its own, unlike the silent ones, which share one for the sake of memory.
    fn listen_to(&mut self, author: &PublicKey, listeners: usize) {
        for _ in 0..listeners {
            let outbox = self.outbox();
            self.listen(author, &outbox);
            self.outboxes.push(outbox);
        }
    }

    fn drain(&self) {
        self.outboxes.iter().for_each(|outbox| drop(take(outbox, usize::MAX)));
    }
}

/// Those who listen to others, one who listens to `one`, and many to `many`. Only the last is kept: the largest takes a second to make.
fn among(others: usize) -> Arc<World> {
    static LAST: Mutex<Option<(usize, Arc<World>)>> = Mutex::new(None);
    let mut last = LAST.lock();
    if let Some((_, world)) = last.as_ref().filter(|(size, _)| *size == others) {
        return Arc::clone(world);
    }
    *last = None;
    let mut world = World::new();
    let silent = world.outbox();
    for n in 0..others as u64 {
        let mut author = [0xff; 32];
        author[..8].copy_from_slice(&n.to_be_bytes());
        world.listen(&PublicKey::from_bytes(author), &silent);
    }
    drop(take(&silent, usize::MAX));
    world.listen_to(&author(1).public_key(), 1);
    world.listen_to(&author(2).public_key(), MANY);
    let world = Arc::new(world);
    *last = Some((others, Arc::clone(&world)));
    world
}

fn author(number: u8) -> SecretKey {
    SecretKey::from_bytes([number; 32]).expect("a small number is a key")
}

/// 200 bytes of content, and one tag of each of the usual kinds.
fn note(number: u8) -> Event {
    let id = "a1".repeat(32);
    author(number).sign(1_700_000_000, 1, &[&["e", &id], &["p", &id]], &"x".repeat(200), &[0; 32]).into_event()
}

fn take(outbox: &Outbox, bytes_max: usize) -> Vec<Item> {
    let mut items = Vec::new();
    let _ = outbox.take(bytes_max, |item| items.push(item));
    items
}

/// An event to the outboxes of all who want it, among so many who want others.
mod matching {
    use super::*;

    const OTHERS: [usize; 5] = [1, 100, 10_000, 100_000, 1_000_000];

    fn reaching(bencher: Bencher<'_, '_>, others: usize, author: u8, reached: usize) {
        let (world, note) = (among(others), note(author));
        bencher
            .with_inputs(|| world.drain())
            .bench_local_values(|()| assert_eq!(world.deliver.ephemeral(black_box(&note)), reached));
    }

    #[divan::bench(args = OTHERS)]
    fn none(bencher: Bencher<'_, '_>, others: usize) {
        reaching(bencher, others, 3, 0);
    }

    #[divan::bench(args = OTHERS)]
    fn one(bencher: Bencher<'_, '_>, others: usize) {
        reaching(bencher, others, 1, 1);
    }

    #[divan::bench(args = OTHERS)]
    fn one_hundred(bencher: Bencher<'_, '_>, others: usize) {
        reaching(bencher, others, 2, MANY);
    }
}

/// A subscription comes and goes, among so many.
#[divan::bench(args = [1, 100_000])]
fn subscribe_and_close(bencher: Bencher<'_, '_>, others: usize) {
    let world = among(others);
    let (outbox, key) = (world.outbox(), author(4).public_key());
    let filter = wire::filter(&format!(r#"{{"kinds":[1],"authors":["{key}"]}}"#)).expect("a filter");
    bencher.bench_local(|| {
        let reader = world.reader.clone();
        let subscription = Arc::new(Subscription::new("s".into(), vec![filter.clone()], reader, Arc::clone(&outbox)));
        world.deliver.register(&subscription).expect("room");
        world.deliver.unregister(&subscription);
    });
}

/// So many events that wait in an outbox, taken for its socket. The bytes are made by the gateway's `encode`.
#[divan::bench(args = [1, 16, 256])]
fn flush_events(bencher: Bencher<'_, '_>, frames: usize) {
    let (world, note) = (World::new(), note(1));
    let filled = || {
        let outbox = world.outbox();
        let subscription = Subscription::new("feed".into(), Vec::new(), world.reader.clone(), Arc::clone(&outbox));
        outbox.queue_stored(&Arc::new(subscription), std::iter::repeat_n(note.clone(), frames));
        outbox
    };
    bencher.counter(ItemsCount::new(frames)).with_inputs(filled).bench_local_refs(|outbox| {
        let items = take(outbox, usize::MAX);
        assert_eq!(items.len(), frames);
        items
    });
}

/// Answers queued and taken, one at a time, as when clients wait for each.
#[divan::bench]
fn flush_an_answer(bencher: Bencher<'_, '_>) {
    let (world, id) = (World::new(), "a1".repeat(32));
    let outbox = world.outbox();
    bencher.bench_local(|| {
        outbox.queue_urgent(relay_message::ok(&id, true, ""));
        take(&outbox, 64 * 1024)
    });
}
