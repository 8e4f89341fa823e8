//! The commit with its leaves and its checkpoints, under crashes: `AckedIsDurable` and `AckedIsAudited`.
//!
//! ```text
//! submit ─▶ queue ─▶ write (record with the root over all its leaves) ─▶ sync ─▶ ack, tree grows ─▶ index
//!              ▲                                                                     │
//!              └── checkpoint event ◀── sign (the head of the tree in memory) ◀──────┘
//! ```
//! A root is modelled as the leaves it is over: what a hash that nobody can forge amounts to. A kill or a power failure leaves of a
//! record that was written and not synced all or nothing (a torn one is dropped); a power failure also takes the index.

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property};

const EVENTS: u8 = 3;
const CHECKPOINTS_MAX: usize = 2;
const CRASHES_MAX: u8 = 2;
/// Steps within which a mistake shows; some have no end of states.
const MISTAKE_DEPTH: usize = 9;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Entry {
    Event(u8),
    /// Over so many entries.
    Checkpoint(usize),
}

/// What a batch puts on disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Record {
    entries: Vec<Entry>,
    root: Vec<Entry>,
}

/// The process; gone after a crash.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Memory {
    queue: Vec<Entry>,
    /// The leaves of the tree.
    tree: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    memory: Option<Memory>,
    durable: Vec<Record>,
    written: Option<Record>,
    /// Records that the index and the kept tree have.
    indexed: usize,
    /// What clients were told.
    acked: BTreeSet<u8>,
    /// What the relay has signed: roots that anybody may have kept.
    signed: Vec<Vec<Entry>>,
    crashes: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Submit(u8),
    Write,
    Sync,
    /// The disk refuses; the batch is taken back.
    Fail,
    Index,
    Sign,
    /// The record in flight is kept or not.
    Kill {
        kept: bool,
    },
    PowerLoss {
        kept: bool,
    },
    Recover,
}

/// The protocol, or a mistake in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Right,
    AcksAtTheWrite,
    /// The tree in memory grows at the write, so checkpoints may cover what is not durable.
    GrowsAtTheWrite,
    /// The leaf is written after the ack, by somebody else, as a chain beside the events would be.
    LeavesFollow,
    /// What the index lacks is not replayed.
    ForgetsTheTail,
}

impl State {
    fn log(&self) -> Vec<Entry> {
        self.durable.iter().flat_map(|record| record.entries.clone()).collect()
    }
}

impl Model for Version {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            memory: Some(Memory { queue: vec![], tree: vec![] }),
            durable: vec![],
            written: None,
            indexed: 0,
            acked: BTreeSet::new(),
            signed: vec![],
            crashes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let Some(memory) = &state.memory else {
            actions.push(Action::Recover);
            return;
        };
        let log = state.log();
        let known = |event| {
            let entry = Entry::Event(event);
            memory.queue.contains(&entry) || log.contains(&entry)
        };
        actions.extend((0..EVENTS).filter(|event| !known(*event)).map(Action::Submit));
        match state.written {
            Some(_) => actions.extend([Action::Sync, Action::Fail]),
            None if !memory.queue.is_empty() => actions.push(Action::Write),
            None => {}
        }
        if state.indexed < state.durable.len() {
            actions.push(Action::Index);
        }
        let waiting = memory.queue.iter().any(|entry| matches!(entry, Entry::Checkpoint(_)));
        if !waiting && state.signed.len() < CHECKPOINTS_MAX && !memory.tree.is_empty() {
            actions.push(Action::Sign);
        }
        if state.crashes < CRASHES_MAX {
            for kept in [false, true] {
                actions.extend([Action::Kill { kept }, Action::PowerLoss { kept }]);
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Recover => self.recover(&mut state),
            Action::Kill { kept } => crash(&mut state, kept),
            Action::PowerLoss { kept } => {
                crash(&mut state, kept);
                state.indexed = 0;
            }
            Action::Index => state.indexed += 1,
            Action::Submit(event) => state.memory.as_mut()?.queue.push(Entry::Event(event)),
            Action::Write => self.write(&mut state)?,
            Action::Sync => self.sync(&mut state)?,
            Action::Fail => {
                let record = state.written.take()?;
                state.memory.as_mut()?.queue.drain(..record.entries.len());
            }
            Action::Sign => {
                let memory = state.memory.as_mut()?;
                state.signed.push(memory.tree.clone());
                memory.queue.push(Entry::Checkpoint(memory.tree.len()));
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is acknowledged is durable, once", |_, state: &State| {
                let log = state.log();
                state.acked.iter().all(|acked| log.iter().filter(|entry| **entry == Entry::Event(*acked)).count() == 1)
            }),
            Property::always("every entry has its leaf in the tree, and nothing else has", |_, state: &State| {
                state.memory.as_ref().is_none_or(|memory| memory.tree == state.log())
            }),
            Property::always("every record carries the root over all before it", |_, state: &State| {
                let mut leaves = Vec::new();
                state.durable.iter().all(|record| {
                    leaves.extend(record.entries.clone());
                    record.root == leaves
                })
            }),
            Property::always("the log begins with whatever was signed", |_, state: &State| {
                let log = state.log();
                state.signed.iter().all(|signed| log.starts_with(signed))
            }),
            Property::sometimes("a crash in mid-commit loses what was not acknowledged", |_, state: &State| {
                state.crashes > 0 && state.memory.is_some() && state.log().is_empty()
            }),
            Property::sometimes("everything survives two crashes and is covered", |_, state: &State| {
                let covered = state.signed.last().is_some_and(|signed| signed.len() >= usize::from(EVENTS));
                state.crashes == CRASHES_MAX && state.acked.len() == usize::from(EVENTS) && covered
            }),
        ]
    }
}

fn crash(state: &mut State, kept: bool) {
    state.crashes += 1;
    state.memory = None;
    if let Some(record) = state.written.take().filter(|_| kept) {
        state.durable.push(record);
    }
}

impl Version {
    fn write(self, state: &mut State) -> Option<()> {
        let memory = state.memory.as_mut()?;
        let root = [&memory.tree[..], &memory.queue].concat();
        if self == Self::GrowsAtTheWrite {
            memory.tree.clone_from(&root);
        }
        let entries = memory.queue.clone();
        let root = if self == Self::LeavesFollow { memory.tree.clone() } else { root };
        state.written = Some(Record { entries: entries.clone(), root });
        if self == Self::AcksAtTheWrite {
            ack(&entries, &mut state.acked);
        }
        Some(())
    }

    fn sync(self, state: &mut State) -> Option<()> {
        let record = state.written.take()?;
        ack(&record.entries, &mut state.acked);
        let memory = state.memory.as_mut()?;
        // What came after the write waits for the next.
        memory.queue.drain(..record.entries.len());
        if self != Self::LeavesFollow {
            memory.tree.clone_from(&record.root);
        }
        state.durable.push(record);
        Some(())
    }

    /// Takes the kept tree up where it is and replays what it lacks; without one, all of the log.
    fn recover(self, state: &mut State) {
        let replayed = if self == Self::ForgetsTheTail { state.indexed } else { state.durable.len() };
        let tree = state.durable[..replayed].iter().flat_map(|record| record.entries.clone()).collect();
        state.indexed = state.durable.len();
        state.memory = Some(Memory { queue: vec![], tree });
    }
}

fn ack(entries: &[Entry], acked: &mut BTreeSet<u8>) {
    acked.extend(entries.iter().filter_map(|entry| match entry {
        Entry::Event(event) => Some(*event),
        Entry::Checkpoint(_) => None,
    }));
}

#[test]
fn no_crash_at_any_instant_breaks_a_promise() {
    let checker = Version::Right.checker().spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn every_mistake_is_found_out() {
    for (mistake, broken) in [
        (Version::AcksAtTheWrite, "what is acknowledged is durable, once"),
        (Version::GrowsAtTheWrite, "the log begins with whatever was signed"),
        (Version::LeavesFollow, "every record carries the root over all before it"),
        (Version::ForgetsTheTail, "every entry has its leaf in the tree, and nothing else has"),
    ] {
        let checker = mistake.checker().target_max_depth(MISTAKE_DEPTH).spawn_bfs().join();
        assert!(checker.discovery(broken).is_some(), "{mistake:?} breaks nothing");
    }
}
