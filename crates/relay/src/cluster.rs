//! This pod among others: says what it commits, hears what they do, and looks into the log for what the bus lost.
//!
//! ```text
//! commit ─▶ announcer (a follower of the own stream) ─▶ bus ─▶ ear ─▶ delivery
//!                                                              watch: the log's end, now and then ─▶ delivery reads what is missing
//! ```
//! The bus is trusted with nothing: every gap is found by its numbers, and the end of the log is looked at twice a second, or every
//! few milliseconds while the bus is away. Must not know: which store or bus it is beyond their ports.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use parking_lot::{Condvar, Mutex};
use towpath_bus::{Bus, Listener, Message, PodId, Unreachable};
use towpath_bus_redis::{RedisBus, RedisEar, Server};
use towpath_deliver::Deliver;
use towpath_followers::{Follow, Follower};
use towpath_protocol::{Event, PublicKey};
use towpath_runtime::{Clock, Random, Thread};
use towpath_store::{Committed, Cursor, Delivery as _, Error, EventStore, Run, Seq, StreamId};
use towpath_store_postgres::PostgresStore;

use crate::metrics::Metrics;

/// The end of the log is looked at this often while the bus is up. What is found at one look is due at the next: within a second.
const LOOK_CALM: Duration = Duration::from_millis(500);
/// And while it is away: soon again after something was found, later and later after nothing was.
const LOOK_SOON: Duration = Duration::from_millis(10);
const LOOK_LATE: Duration = Duration::from_millis(200);
/// After the last commit the others are told where the stream ends, in case the last message was lost.
const PLACE_AFTER: Duration = Duration::from_millis(50);
/// Entries that nobody announced, as those of an import, are announced afterwards up to so many: the others have read them from the log.
const UNSAID_MAX: u64 = 1_024;
/// Ephemeral events on their way to the bus; more are dropped.
const EPHEMERAL_MAX: usize = 1_024;

/// Tells the others.
pub(crate) struct Announcer {
    follower: Follower,
    ephemeral: Ephemeral,
    watch: Arc<Watch>,
}

/// The queue of ephemeral events; taken away when the pod leaves.
type Ephemeral = Arc<Mutex<Option<SyncSender<Event>>>>;

impl Announcer {
    pub(crate) fn committed(&self, batch: &Committed, at: Instant) {
        self.follower.offer(batch.run.clone(), at);
    }

    /// Whether it is on its way: not if the bus is known to be away, though it may come back in time.
    pub(crate) fn ephemeral(&self, event: &Event) -> bool {
        let queued = self.ephemeral.lock().as_ref().is_some_and(|queue| queue.try_send(event.clone()).is_ok());
        queued && self.watch.is_bus_up()
    }
}

/// What ends with the relay, in this order.
pub(crate) struct Membership {
    follower: Follower,
    ephemeral: Ephemeral,
    threads: Vec<Thread>,
    ear: Option<RedisEar>,
    watch: Arc<Watch>,
    watching: Thread,
}

impl Membership {
    /// Has the others told everything that was committed, then hears no more. Blocks.
    pub(crate) fn leave(self) {
        self.follower.stop();
        *self.ephemeral.lock() = None;
        self.threads.into_iter().for_each(Thread::join);
        drop(self.ear);
        self.watch.stop();
        self.watching.join();
    }

    /// Knows whether the bus is up.
    pub(crate) fn watch(&self) -> Arc<Watch> {
        Arc::clone(&self.watch)
    }
}

/// What joining needs.
pub(crate) struct Join<'a> {
    pub(crate) store: &'a PostgresStore,
    pub(crate) relay: PublicKey,
    pub(crate) bus: Option<Server>,
    pub(crate) deliver: Deliver,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) random: &'a Random,
    pub(crate) metrics: &'a Metrics,
}

/// Joins the cluster whose database `store` is. Blocks.
pub(crate) fn join(join: Join<'_>) -> anyhow::Result<(Announcer, Membership)> {
    let Join { store, relay, bus, deliver, clock, random, metrics } = join;
    let (ours, cluster) = store.claim(&relay)?;
    ensure!(
        ours,
        "the database belongs to a relay with another key: pods of one relay share relay.key_file, and two relays need two \
         schemas (postgres.schema)"
    );
    let pod: PodId = random.bytes();
    let topic = format!("towpath:{cluster}");
    let watch = Arc::new(Watch::new(bus.is_some()));
    let ears = Arc::new(Ears {
        deliver: deliver.clone(),
        metrics: metrics.bus.clone(),
        clock: Arc::clone(&clock),
        watch: Arc::clone(&watch),
    });
    let end =
        |server: &Server| RedisBus::new(server.clone(), topic.clone(), pod, Arc::clone(&clock), metrics.bus.clone());
    let mut threads = Vec::new();
    let own = store.own_stream().unwrap_or_default();
    let name = format!("bus-{}", own.0);
    leave_the_past(store, &name, own)?;
    let speaker = Speaker { bus: bus.as_ref().map(end), clock: Arc::clone(&clock), last: None };
    let log = Arc::new(store.clone());
    let (follower, thread) = Follower::start(&name, own, log, speaker, Arc::clone(&clock), metrics.followers.clone())?;
    threads.push(thread);
    let ephemeral = match &bus {
        Some(server) => {
            let (queue, events) = sync_channel(EPHEMERAL_MAX);
            let end = end(server);
            threads.push(Thread::start("ephemeral", move || speak_ephemeral(end, &events))?);
            Some(queue)
        }
        None => None,
    };
    let ear = bus.map(|server| RedisEar::start(server, topic, pod, ears, Arc::clone(&clock), metrics.bus.clone()));
    let ear = ear.transpose().context("cannot start the bus")?;
    let watching = {
        let (watch, store) = (Arc::clone(&watch), store.clone());
        Thread::start("watch", move || watch.run(&store, &deliver))?
    };
    let ephemeral = Arc::new(Mutex::new(ephemeral));
    let announcer =
        Announcer { follower: follower.clone(), ephemeral: Arc::clone(&ephemeral), watch: Arc::clone(&watch) };
    Ok((announcer, Membership { follower, ephemeral, threads, ear, watch, watching }))
}

/// Lets the announcer called `name` begin at the end of `stream` if the place it last kept is long past.
fn leave_the_past(store: &dyn EventStore, name: &str, stream: StreamId) -> Result<(), Error> {
    let end = store.snapshot()?.seq(stream);
    let kept = store.follower(name)?;
    if kept.is_some_and(|kept| end.0.saturating_sub(kept.seq(stream).0) > UNSAID_MAX) {
        store.keep_follower(name, &Cursor::at(stream, end))?;
    }
    Ok(())
}

/// Says what was committed.
struct Speaker<B> {
    bus: Option<B>,
    clock: Arc<dyn Clock>,
    last: Option<(StreamId, Seq)>,
}

impl<B: Bus + 'static> Follow for Speaker<B> {
    /// What cannot be said is found in the log by those who miss it.
    fn take(&mut self, run: &Run, at: Instant) -> Result<(), Error> {
        if let Some(bus) = &mut self.bus {
            let age_us =
                u64::try_from(self.clock.instant().saturating_duration_since(at).as_micros()).unwrap_or(u64::MAX);
            let committed_at_us = self.clock.unix_us().saturating_sub(age_us);
            let message = Message::Run { run: run.clone(), committed_at_us };
            let _ = bus.send(&message);
            self.last = Some((run.stream, run.last));
        }
        Ok(())
    }

    fn idle(&mut self) {
        if let (Some(bus), Some((stream, last))) = (&mut self.bus, self.last.take()) {
            let _ = bus.send(&Message::Place { stream, last });
        }
    }

    fn idle_after(&self) -> Duration {
        PLACE_AFTER
    }
}

fn speak_ephemeral(mut bus: RedisBus, events: &Receiver<Event>) {
    while let Ok(event) = events.recv() {
        let _ = bus.send(&Message::Ephemeral(event));
    }
}

/// Hears the others.
struct Ears {
    deliver: Deliver,
    metrics: towpath_bus::Metrics,
    clock: Arc<dyn Clock>,
    watch: Arc<Watch>,
}

impl Listener for Ears {
    fn heard(&self, message: Message) {
        match message {
            Message::Run { run, committed_at_us } => {
                let at = self.clock.instant_at(committed_at_us);
                self.metrics.lag.observe(self.clock.instant().saturating_duration_since(at).as_secs_f64());
                self.deliver.take(run, at);
            }
            Message::Place { stream, last } => drop(self.deliver.look(&Cursor::at(stream, last))),
            Message::Ephemeral(event) => drop(self.deliver.ephemeral(&event)),
        }
    }

    fn resumed(&self) {
        tracing::info!("the bus can be heard");
        self.watch.set_bus(true);
    }

    fn lost(&self, why: &Unreachable) {
        if self.watch.set_bus(false) {
            tracing::warn!(%why, "events of other pods are read from the database until the bus is back");
        }
    }
}

/// Looks at the end of the log.
pub(crate) struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    bus_configured: bool,
    bus_up: bool,
    look_now: bool,
    stopped: bool,
}

impl Watch {
    fn new(bus_configured: bool) -> Self {
        let state = State { bus_configured, bus_up: false, look_now: true, stopped: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    /// For `/readyz`, if something costs latency.
    pub(crate) fn warning(&self) -> Option<String> {
        let state = self.state.lock();
        (state.bus_configured && !state.bus_up)
            .then(|| "degraded: the bus is away, events of other pods are read from the database".to_owned())
    }

    fn is_bus_up(&self) -> bool {
        self.state.lock().bus_up
    }

    /// Whether that is news.
    fn set_bus(&self, up: bool) -> bool {
        let mut state = self.state.lock();
        state.look_now = true;
        self.changed.notify_all();
        std::mem::replace(&mut state.bus_up, up) != up
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }

    fn run(&self, store: &PostgresStore, deliver: &Deliver) {
        let (mut pause, mut seen) = (LOOK_SOON, Cursor::start());
        while let Some(on_its_way) = self.wait(pause) {
            // Before the end is looked up, which must have all of it.
            let delivered = deliver.delivered();
            let behind = match store.snapshot() {
                Ok(end) => {
                    end_if_lost(&delivered, &end);
                    deliver.look(&due(on_its_way, &mut seen, end))
                }
                Err(error) => {
                    tracing::debug!(%error, "the end of the log cannot be seen");
                    false
                }
            };
            pause = if behind { LOOK_SOON } else { (pause * 2).min(LOOK_LATE) };
        }
    }

    /// Until it is time to look, at most `pause` while the bus is away; whether the bus was up all the while, so that what has not come
    /// yet may be on its way. `None` if it is time to end.
    fn wait(&self, pause: Duration) -> Option<bool> {
        let mut state = self.state.lock();
        let pause = if state.bus_up { LOOK_CALM } else { pause };
        if !state.look_now && !state.stopped {
            self.changed.wait_for(&mut state, pause);
        }
        let changed = std::mem::take(&mut state.look_now);
        (!state.stopped).then_some(state.bus_up && !changed)
    }
}

/// How much of a log with this `end` must have come: all of it, or, if the rest may be `on_its_way`, what the last look has `seen`. What
/// was just committed would be read from the log for nothing.
fn due(on_its_way: bool, seen: &mut Cursor, end: Cursor) -> Cursor {
    let before = std::mem::replace(seen, end.clone());
    if on_its_way { before } else { end }
}

/// Ends the process if what was `delivered` is not in the log any more: another database took the place of the one that had it, without
/// its last commits. What this pod knows of the log is not so then, and what comes in their place it would take for known. A restart
/// begins with what is there.
fn end_if_lost(delivered: &Cursor, end: &Cursor) {
    if let Some((stream, seq)) = lost(delivered, end) {
        let (stream, delivered, end) = (stream.0, seq.0, end.seq(stream).0);
        tracing::error!(stream, delivered, end, "the database lost what it had committed; this pod ends");
        std::process::abort();
    }
}

/// A stream that does not go as far as it was delivered, and how far that was.
fn lost(delivered: &Cursor, end: &Cursor) -> Option<(StreamId, Seq)> {
    delivered.places().find(|(stream, seq)| !end.covers(*stream, *seq))
}

#[cfg(test)]
mod tests {
    use towpath_protocol::SecretKey;
    use towpath_runtime::ManualClock;
    use towpath_store::memory::MemoryStore;

    use super::*;

    #[test]
    fn what_the_bus_may_still_bring_is_due_one_look_later_and_all_at_once_when_it_came_back_or_is_away() {
        let end = |seq| Cursor::at(StreamId(3), Seq(seq));
        let mut seen = Cursor::start();
        let looks = [(false, 5), (true, 7), (true, 9), (false, 11), (true, 13)];
        let due = looks.map(|(on_its_way, seq)| due(on_its_way, &mut seen, end(seq)));
        assert_eq!(due, [5, 5, 7, 11, 11].map(end));
    }

    #[test]
    fn it_is_time_to_look_at_all_when_the_bus_comes_or_goes() {
        let watch = Watch::new(true);
        let soon = Duration::ZERO;
        assert_eq!([watch.wait(soon), watch.wait(soon)], [Some(false); 2], "it is not up yet");
        watch.set_bus(true);
        assert_eq!(watch.wait(soon), Some(false), "it has just come");
        watch.set_bus(false);
        assert_eq!([watch.wait(soon), watch.wait(soon)], [Some(false); 2]);
        watch.stop();
        assert_eq!(watch.wait(soon), None);
    }

    #[test]
    fn an_ephemeral_event_is_on_its_way_while_the_bus_is_up_and_has_room() {
        struct Silence;
        impl Follow for Silence {
            fn take(&mut self, _: &Run, _: Instant) -> Result<(), Error> {
                Ok(())
            }
        }
        let (store, clock) = (Arc::new(MemoryStore::new()), Arc::new(ManualClock::at(0)));
        let (follower, thread) =
            Follower::start("bus-0", StreamId(0), store, Silence, clock, Default::default()).unwrap();
        let (queue, _events) = sync_channel(2);
        let (ephemeral, watch) = (Arc::new(Mutex::new(Some(queue))), Arc::new(Watch::new(true)));
        let announcer = Announcer { follower, ephemeral, watch };
        let event = SecretKey::from_bytes([1; 32]).unwrap().sign(1, 20_001, &[], "", &[0; 32]).into_event();
        assert!(!announcer.ephemeral(&event), "the bus is not up yet");
        announcer.watch.set_bus(true);
        assert!(announcer.ephemeral(&event));
        assert!(!announcer.ephemeral(&event), "two wait");
        announcer.follower.stop();
        thread.join();
    }

    #[test]
    fn a_log_is_lost_that_ends_before_what_was_delivered_of_a_stream_and_no_other() {
        let mut delivered = Cursor::at(StreamId(3), Seq(100));
        delivered.advance(StreamId(7), Seq(5));
        let end = |third, seventh| {
            let mut end = Cursor::at(StreamId(7), Seq(seventh));
            end.advance(StreamId(3), Seq(third));
            end
        };
        assert_eq!(lost(&delivered, &end(100, 5)), None);
        assert_eq!(lost(&delivered, &end(101, 9)), None);
        assert_eq!(lost(&delivered, &end(97, 9)), Some((StreamId(3), Seq(100))));
        assert_eq!(lost(&delivered, &Cursor::at(StreamId(3), Seq(100))), Some((StreamId(7), Seq(5))));
    }
}
