//! Lease, log, bus and catch-up: `AckedIsDurable`, `CommitOrder` and `NothingMissed` across pods.
//!
//! ```text
//! pod ─▶ [requests on their way: late, twice, unanswered] ─▶ database: fence and place as the pod says? ─▶ log
//!  └─▶ [messages: lost, twice, in any order] ─▶ subscriber of another pod: the next in line? else reads the log
//! ```
//! Two pods and one stream, which the second may take from the first at any moment: leases are kept by clocks, and no clock is trusted.
//! A request that was sent may be carried out at any time later, or never; its answer may be lost.

use std::collections::BTreeSet;

use stateright::{Checker, Model, Property};

const PODS: usize = 2;
const EVENTS: u8 = 3;
const TAKE_OVERS_MAX: u8 = 2;
/// Sent again after no answer came.
const RETRIES_MAX: u8 = 1;
/// Each mistake shows within so many steps.
const MISTAKE_DEPTH: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Request {
    pod: usize,
    /// Stands for the token: a pod sends each event as one commit.
    event: u8,
    fence: u8,
    /// Where the pod believes the log to end.
    expected: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    event: u8,
    fence: u8,
    /// Whose turn it was.
    turn: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Message {
    place: usize,
    event: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Pod {
    /// The lease it believes in, and where it believes the log to end.
    lease: Option<(u8, usize)>,
    /// What it waits for.
    waits: Option<Request>,
    retries: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    pods: Vec<Pod>,
    requests: BTreeSet<Request>,
    fence: u8,
    log: Vec<Entry>,
    submitted: u8,
    acked: BTreeSet<u8>,
    /// Not yet said on the bus.
    unsaid: BTreeSet<Message>,
    bus: BTreeSet<Message>,
    /// The subscriber: how far it has read, and what it received.
    delivered: usize,
    received: Vec<u8>,
    take_overs: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Submit(usize),
    /// The database carries a request out, whether anybody still waits or not; the answer arrives or is lost.
    Execute(Request, bool),
    Retry(usize),
    /// A pod's patience ends: it must look where the log is before it commits again.
    GiveUp(usize),
    TakeOver(usize),
    Say(Message),
    Hear(Message),
    /// A message arrives and may arrive again.
    HearTwice(Message),
    Lose(Message),
    /// The subscriber looks at the end of the log.
    Look,
}

/// The protocol, or a mistake in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    Right,
    NoFence,
    NoToken,
    SkipsGaps,
    TrustsTheBus,
    NeverLooks,
    SaysBeforeTheCommit,
    AcksWithoutAnAnswer,
}

impl Model for Version {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut pods = vec![Pod::default(); PODS];
        pods[0].lease = Some((1, 0));
        vec![State {
            pods,
            requests: BTreeSet::new(),
            fence: 1,
            log: vec![],
            submitted: 0,
            acked: BTreeSet::new(),
            unsaid: BTreeSet::new(),
            bus: BTreeSet::new(),
            delivered: 0,
            received: vec![],
            take_overs: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for (number, pod) in state.pods.iter().enumerate() {
            match pod.waits {
                None if pod.lease.is_some() && state.submitted < EVENTS => actions.push(Action::Submit(number)),
                None => {}
                Some(_) => {
                    actions.push(Action::GiveUp(number));
                    if pod.retries < RETRIES_MAX {
                        actions.push(Action::Retry(number));
                    }
                }
            }
            if state.take_overs < TAKE_OVERS_MAX && pod.lease.is_none_or(|(fence, _)| fence != state.fence) {
                actions.push(Action::TakeOver(number));
            }
        }
        for request in &state.requests {
            actions.extend([true, false].map(|answered| Action::Execute(*request, answered)));
        }
        actions.extend(state.unsaid.iter().map(|message| Action::Say(*message)));
        for message in &state.bus {
            actions.extend([Action::Hear(*message), Action::HearTwice(*message), Action::Lose(*message)]);
        }
        if state.delivered < state.log.len() && *self != Self::NeverLooks {
            actions.push(Action::Look);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Submit(pod) => self.submit(&mut state, pod)?,
            Action::Execute(request, answered) => self.execute(&mut state, request, answered),
            Action::Retry(pod) => {
                state.pods[pod].retries += 1;
                let request = state.pods[pod].waits?;
                if !state.requests.insert(request) {
                    return None;
                }
            }
            Action::GiveUp(pod) => self.give_up(&mut state, pod)?,
            Action::TakeOver(pod) => {
                state.take_overs += 1;
                state.fence += 1;
                state.pods[pod] = Pod { lease: Some((state.fence, state.log.len())), ..Pod::default() };
            }
            Action::Say(message) => {
                state.unsaid.remove(&message);
                state.bus.insert(message);
            }
            Action::Hear(message) => {
                state.bus.remove(&message);
                self.hear(&mut state, message);
            }
            Action::HearTwice(message) => {
                self.hear(&mut state, message);
            }
            Action::Lose(message) => drop(state.bus.remove(&message)),
            Action::Look => catch_up(&mut state),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what is acknowledged is in the log, once", |_, state: &State| {
                state.acked.iter().all(|acked| state.log.iter().filter(|entry| entry.event == *acked).count() == 1)
            }),
            Property::always("nothing is in the log twice", |_, state: &State| {
                let events: BTreeSet<u8> = state.log.iter().map(|entry| entry.event).collect();
                events.len() == state.log.len()
            }),
            Property::always("nobody commits on a lease that another has taken", |_, state: &State| {
                state.log.iter().all(|entry| entry.fence == entry.turn)
            }),
            Property::always("what is delivered is the log, in its order, each once", |_, state: &State| {
                let log: Vec<u8> = state.log.iter().take(state.delivered).map(|entry| entry.event).collect();
                state.received == log
            }),
            Property::always("what is missing can still come", |version, state: &State| {
                let on_its_way = !state.bus.is_empty() || !state.unsaid.is_empty() || !state.requests.is_empty();
                let waits = state.pods.iter().any(|pod| pod.waits.is_some());
                let mut actions = Vec::new();
                version.actions(state, &mut actions);
                state.delivered == state.log.len() || on_its_way || waits || actions.contains(&Action::Look)
            }),
            Property::sometimes("a request of a lost lease comes too late", |_, state: &State| {
                state.fence > 1 && state.requests.iter().any(|request| request.fence < state.fence)
            }),
            Property::sometimes(
                "all is committed, acknowledged and delivered through two changes of hands",
                |_, state: &State| {
                    state.take_overs == TAKE_OVERS_MAX
                        && state.acked.len() == usize::from(EVENTS)
                        && state.received.len() == usize::from(EVENTS)
                },
            ),
        ]
    }
}

impl Version {
    fn submit(self, state: &mut State, pod: usize) -> Option<()> {
        let (fence, expected) = state.pods[pod].lease?;
        let request = Request { pod, event: state.submitted, fence, expected };
        state.submitted += 1;
        state.requests.insert(request);
        state.pods[pod].waits = Some(request);
        state.pods[pod].retries = 0;
        match self {
            Self::SaysBeforeTheCommit => drop(state.unsaid.insert(Message { place: expected, event: request.event })),
            Self::AcksWithoutAnAnswer => drop(state.acked.insert(request.event)),
            _ => {}
        }
        Some(())
    }

    fn execute(self, state: &mut State, request: Request, answered: bool) {
        state.requests.remove(&request);
        let done = state.log.iter().position(|entry| entry.event == request.event);
        let place = match done {
            Some(place) if self != Self::NoToken => Some(place),
            _ => {
                let fits = self == Self::NoToken || request.expected == state.log.len();
                let may = (request.fence == state.fence || self == Self::NoFence) && fits;
                may.then(|| {
                    state.log.push(Entry { event: request.event, fence: request.fence, turn: state.fence });
                    state.log.len() - 1
                })
            }
        };
        let pod = &mut state.pods[request.pod];
        if !answered || pod.waits != Some(request) {
            return;
        }
        pod.waits = None;
        match place {
            Some(place) => {
                pod.lease = Some((request.fence, place + 1));
                state.acked.insert(request.event);
                state.unsaid.insert(Message { place, event: request.event });
            }
            None => pod.lease = None,
        }
    }

    /// Its clients are told that it failed, though it may yet be carried out: then it is in the log unacknowledged.
    fn give_up(self, state: &mut State, pod: usize) -> Option<()> {
        let (fence, end) = (state.fence, state.log.len());
        let pod = &mut state.pods[pod];
        pod.waits = None;
        pod.lease = pod.lease.filter(|(own, _)| *own == fence).map(|(own, _)| (own, end));
        Some(())
    }

    fn hear(self, state: &mut State, message: Message) {
        let Message { place, event } = message;
        if place < state.delivered && self != Self::TrustsTheBus {
            return;
        }
        if place > state.delivered && self != Self::SkipsGaps {
            catch_up(state);
            return;
        }
        state.received.push(event);
        state.delivered = state.delivered.max(place + 1);
    }
}

fn catch_up(state: &mut State) {
    state.received.extend(state.log[state.delivered..].iter().map(|entry| entry.event));
    state.delivered = state.log.len();
}

#[test]
fn no_pause_loss_or_change_of_hands_breaks_a_promise() {
    let checker = Version::Right.checker().spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn every_mistake_is_found_out() {
    let delivered = "what is delivered is the log, in its order, each once";
    for (mistake, broken) in [
        (Version::NoFence, "nobody commits on a lease that another has taken"),
        (Version::NoToken, "nothing is in the log twice"),
        (Version::SkipsGaps, delivered),
        (Version::TrustsTheBus, delivered),
        (Version::NeverLooks, "what is missing can still come"),
        (Version::SaysBeforeTheCommit, delivered),
        (Version::AcksWithoutAnAnswer, "what is acknowledged is in the log, once"),
    ] {
        let checker = mistake.checker().target_max_depth(MISTAKE_DEPTH).spawn_bfs().join();
        assert!(checker.discovery(broken).is_some(), "{mistake:?} breaks nothing");
    }
}
