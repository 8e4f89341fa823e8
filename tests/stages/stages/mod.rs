//! The stages of an event, each by itself on one thread, so that what it costs can be counted: instructions and allocations.
//!
//! The pieces are the relay's own; what joins them (tasks, queues, sockets) is not here. Inputs are made before a stage runs and
//! outputs are kept until it is prepared again, so that a run is the stage and nothing else.

mod fixture;
mod incoming;
mod outgoing;
mod stored;
mod submit;

pub(crate) use fixture::Notes;

/// One step of an event's way.
pub(crate) trait Stage {
    /// Makes the inputs of one run and forgets the outputs of the last. Runs are alike, but no event comes twice.
    fn prepare(&mut self, notes: &mut Notes);

    /// Takes the inputs through the stage.
    fn run(&mut self);
}

/// A stage, what it is called, and what one run of it is counted in.
pub(crate) struct Counted {
    /// As in ARCHITECTURE.md, where it has a name there.
    pub(crate) name: &'static str,
    /// Events, or frames, in one run.
    pub(crate) per: u32,
    /// Makes it, with whatever it needs around it.
    pub(crate) make: fn(&mut Notes) -> Box<dyn Stage>,
}

/// Events that go through a stage in one run. A multiple of every batch.
pub(crate) const EVENTS: u32 = 256;

const fn counted(name: &'static str, per: u32, make: fn(&mut Notes) -> Box<dyn Stage>) -> Counted {
    Counted { name, per, make }
}

/// All of them, in the order of an event's way.
pub(crate) const ALL: &[Counted] = &[
    counted("decode a frame", EVENTS, |_| incoming::decode()),
    counted("parse, id hash included", EVENTS, |_| incoming::parse()),
    counted("parse a reply with four tags", EVENTS, |_| incoming::parse_reply()),
    counted("id hash alone", EVENTS, |_| incoming::id_hash()),
    counted("screen", EVENTS, |_| incoming::screen()),
    counted("look the id up", EVENTS, stored::known),
    counted("verify", EVENTS, |_| incoming::verify()),
    counted("authorise", EVENTS, |_| incoming::authorise()),
    counted("submit: all of these up to the queue", EVENTS, |_| submit::submit(1)),
    counted("submit bursts of 32", EVENTS, |_| submit::submit(32)),
    counted("commit, batches of 1", EVENTS, |_| stored::commit(1)),
    counted("commit, batches of 16", EVENTS, |_| stored::commit(16)),
    counted("commit, batches of 256", EVENTS, |_| stored::commit(256)),
    counted("ack: word, queue, encode", EVENTS, |_| outgoing::ack()),
    counted("match, nobody listens", EVENTS, |_| outgoing::matching(0)),
    counted("match, 20 000 listen to others", EVENTS, |_| outgoing::matching(20_000)),
    counted("match and queue for one", EVENTS, |_| outgoing::deliver(1)),
    counted("match and queue for 100, each", EVENTS * 100, |_| outgoing::deliver(100)),
    counted("match, pass and encode for 8, each", EVENTS * 8, |_| outgoing::passing(8)),
    counted("flush frames one at a time", EVENTS, |_| outgoing::flushing(1)),
    counted("flush frames 64 at a time", EVENTS, |_| outgoing::flushing(64)),
    counted("scan 500 events of a kind, each", stored::SCANNED, stored::scan),
];
