//! The contract of [`Bus`] as tests, for every crate that implements it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use towpath_protocol::SecretKey;
use towpath_store::{Run, Seq, Stored, StreamId};

use crate::{Bus, Listener, Message, PodId, Unreachable};

/// Nothing of the suite takes longer.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// How the suite gets at a bus.
pub trait Fixture {
    /// A fresh bus that nobody else uses.
    fn open() -> Self;

    /// Joins as `pod`; hears what others send.
    fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus>;

    /// Cuts all connections. The bus may come back by itself.
    fn cut(&self);
}

/// Writes down what it hears.
#[derive(Default)]
pub struct Ear {
    heard: Mutex<(Vec<Message>, usize)>,
    changed: Condvar,
}

impl Ear {
    /// Waits until `enough` of what was heard, and of how often the bus was resumed.
    pub fn wait(&self, what: &str, enough: impl Fn(&[Message], usize) -> bool) {
        let mut heard = self.heard.lock();
        while !enough(&heard.0, heard.1) {
            let timeout = self.changed.wait_for(&mut heard, WAIT_MAX);
            assert!(!timeout.timed_out() || enough(&heard.0, heard.1), "{what}: heard {:?}", heard.0);
        }
    }
}

impl Listener for Ear {
    fn heard(&self, message: Message) {
        self.heard.lock().0.push(message);
        self.changed.notify_all();
    }

    fn resumed(&self) {
        self.heard.lock().1 += 1;
        self.changed.notify_all();
    }

    fn lost(&self, _: &Unreachable) {}
}

fn message(seq: u64) -> Message {
    let key = SecretKey::from_bytes([1; 32]).expect("a small number is a key");
    let event = key.sign(seq, 1, &[], &seq.to_string(), &[0; 32]).into_event();
    let stored = vec![Stored { stream: StreamId(1), seq: Seq(seq), event }];
    let run = Run { stream: StreamId(1), first: Seq(seq), last: Seq(seq), stored };
    Message::Run { run, committed_at_us: seq }
}

fn joined<F: Fixture>(bus: &F, pod: u8) -> (Arc<Ear>, Box<dyn Bus>) {
    let ear = Arc::new(Ear::default());
    let end = bus.join([pod; 16], Arc::clone(&ear) as Arc<dyn Listener>);
    ear.wait("the bus can be heard", |_, resumed| resumed > 0);
    (ear, end)
}

/// In order, whole, and not by the sender.
pub fn what_one_sends_all_others_hear<F: Fixture>() {
    let bus = F::open();
    let (own, mut sender) = joined(&bus, 1);
    let ears = [joined(&bus, 2), joined(&bus, 3)];
    let sent: Vec<Message> = (1..=100).map(message).collect();
    sent.iter().for_each(|message| sender.send(message).expect("the bus is up"));
    for (ear, _) in &ears {
        ear.wait("all that was sent", |heard, _| heard == sent);
    }
    let (_, mut other) = joined(&bus, 4);
    other.send(&message(101)).expect("the bus is up");
    own.wait("only what others sent", |heard, _| heard == [message(101)]);
}

/// Listeners learn that something may have been lost, and hear again.
pub fn who_is_cut_off_is_told_and_hears_again<F: Fixture>() {
    let bus = F::open();
    let (_own, mut sender) = joined(&bus, 1);
    let (ear, _end) = joined(&bus, 2);
    bus.cut();
    ear.wait("it was told", |_, resumed| resumed > 1);
    // Its own end may need a few tries to come back.
    let mut seq = 1;
    while !ear.heard.lock().0.contains(&message(1_000)) {
        seq += 1;
        assert!(seq < 1_000, "the sender never comes back");
        let _ = sender.send(&message(seq)).and_then(|()| sender.send(&message(1_000)));
        let mut heard = ear.heard.lock();
        ear.changed.wait_for(&mut heard, Duration::from_millis(20));
    }
}

/// Makes every test of the suite a `#[test]` on the [`Fixture`] given.
#[macro_export]
macro_rules! bus_suite {
    ($fixture:ty) => {
        #[test]
        fn what_one_sends_all_others_hear() {
            $crate::suite::what_one_sends_all_others_hear::<$fixture>();
        }
        #[test]
        fn who_is_cut_off_is_told_and_hears_again() {
            $crate::suite::who_is_cut_off_is_told_and_hears_again::<$fixture>();
        }
    };
}
