//! From the bytes of a frame to a decided write.

use std::hint::black_box;

use towpath_gateway::measuring::Receiver;
use towpath_policy::{self as policy, Policy, Principal, Source};
use towpath_protocol::{ClientMessage, Event, Limits, SubmittedEvent, VerifiedEvent, Verifier, wire};

use super::fixture::{NOW, message};
use super::{EVENTS, Notes, Stage};

/// Anything that takes one input to one output.
struct Step<I, O, M, F> {
    make: M,
    step: F,
    inputs: Vec<I>,
    outputs: Vec<O>,
}

impl<I, O, M: FnMut(&mut Notes) -> Vec<I>, F: FnMut(I) -> O> Stage for Step<I, O, M, F> {
    fn prepare(&mut self, notes: &mut Notes) {
        self.outputs.clear();
        self.inputs = (self.make)(notes);
        self.outputs.reserve(self.inputs.len());
    }

    fn run(&mut self) {
        for input in self.inputs.drain(..) {
            self.outputs.push(black_box((self.step)(input)));
        }
    }
}

fn step<I: 'static, O: 'static>(
    make: impl FnMut(&mut Notes) -> Vec<I> + 'static,
    step: impl FnMut(I) -> O + 'static,
) -> Box<dyn Stage> {
    Box::new(Step { make, step, inputs: Vec::new(), outputs: Vec::new() })
}

/// A text frame as a client sends it, masked.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short message");
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![0x81, 0x80 | 126];
    bytes.extend(length.to_be_bytes());
    bytes.extend(mask);
    bytes.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

pub(super) fn decode() -> Box<dyn Stage> {
    let mut receiver = Receiver::new(512 * 1024);
    let frames = |notes: &mut Notes| notes.plain(EVENTS).iter().map(|event| frame(&message(event))).collect();
    step(frames, move |frame: Vec<u8>| {
        receiver.receive(&frame, |text| assert!(black_box(text).len() > 400)).expect("a text");
        frame
    })
}

fn parse_all(texts: impl FnMut(&mut Notes) -> Vec<String> + 'static) -> Box<dyn Stage> {
    let limits = Limits::default();
    step(texts, move |text: String| {
        let parsed = wire::client_message(&text, &limits);
        assert!(matches!(parsed, Ok(ClientMessage::Event(_))));
        // The text is the caller's.
        (parsed, text)
    })
}

pub(super) fn parse() -> Box<dyn Stage> {
    parse_all(|notes| notes.plain(EVENTS).iter().map(message).collect())
}

/// Two events and two people named.
pub(super) fn parse_reply() -> Box<dyn Stage> {
    let (one, other) = ("a1".repeat(32), "b2".repeat(32));
    parse_all(move |notes| {
        let root: &[&str] = &["e", &one, "wss://relay.example.com", "root"];
        let reply: &[&str] = &["e", &other, "wss://relay.example.com", "reply"];
        notes.sign(EVENTS, &[root, reply, &["p", &one], &["p", &other]]).iter().map(message).collect()
    })
}

pub(super) fn id_hash() -> Box<dyn Stage> {
    step(|notes| notes.plain(EVENTS), |event: Event| SubmittedEvent::from_canonical(event).expect("its id"))
}

pub(super) fn screen() -> Box<dyn Stage> {
    let (policy, anyone) = (Policy::default(), Principal::anonymous());
    step(
        |notes| notes.submitted(EVENTS),
        move |event: SubmittedEvent| {
            policy::screen(event.unverified(), &anyone, &policy, NOW).expect("welcome");
            event
        },
    )
}

/// Of one author, who is known from the second on.
pub(super) fn verify() -> Box<dyn Stage> {
    let verifier = Verifier::new();
    step(|notes| notes.submitted(EVENTS), move |event| verifier.verify(event).expect("genuine"))
}

pub(super) fn authorise() -> Box<dyn Stage> {
    let (policy, anyone) = (Policy::default(), Principal::anonymous());
    let verified = |notes: &mut Notes| notes.submitted(EVENTS).into_iter().map(VerifiedEvent::trusted).collect();
    step(verified, move |event| policy::authorise(event, Source::Client, &anyone, &policy, NOW).expect("welcome"))
}
