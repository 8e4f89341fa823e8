//! A message and its bytes.
//!
//! ```text
//! version 1 │ form 1 │ pod 16 │ …
//! form 1, a run       stream 4 │ first 8 │ last 8 │ committed at 8 │ count 4 │ (seq 8 │ length 4 │ canonical bytes)*
//! form 2, a place     stream 4 │ last 8
//! form 3, ephemeral   length 4 │ canonical bytes
//! ```
//! Integers are big-endian. Nothing follows.

use bytes::Bytes;
use towpath_protocol::Event;
use towpath_store::{Run, Seq, Stored, StreamId};

const VERSION: u8 = 1;
/// A longer run is sent as its place alone: the others read it from the store.
pub const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Which pod, for as long as it runs.
pub type PodId = [u8; 16];

/// What one pod tells the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// It committed this.
    Run {
        /// What.
        run: Run,
        /// When, in microseconds since 1970 by its clock.
        committed_at_us: u64,
    },
    /// The stream is this long, in case something was lost.
    Place {
        /// Which stream.
        stream: StreamId,
        /// Its last entry.
        last: Seq,
    },
    /// An event that is not stored.
    Ephemeral(Event),
}

/// These bytes are no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of this bus")]
pub struct Malformed;

impl Message {
    /// Its bytes, from `pod`. A run that is too long to send becomes its place.
    pub fn to_bytes(&self, pod: &PodId) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.push(VERSION);
        match self {
            Self::Run { run, committed_at_us } if bytes_of(run) <= MESSAGE_BYTES_MAX => {
                out.push(1);
                out.extend_from_slice(pod);
                push_run(&mut out, run, *committed_at_us);
            }
            Self::Run { run: Run { stream, last, .. }, .. } | Self::Place { stream, last } => {
                out.push(2);
                out.extend_from_slice(pod);
                out.extend_from_slice(&stream.0.to_be_bytes());
                out.extend_from_slice(&last.0.to_be_bytes());
            }
            Self::Ephemeral(event) => {
                out.push(3);
                out.extend_from_slice(pod);
                push_event(&mut out, event);
            }
        }
        out
    }

    /// Whether `pod` sent these bytes, if they are a message, without a look at what it says.
    pub fn is_from(pod: &PodId, bytes: &[u8]) -> bool {
        bytes.get(2..2 + pod.len()) == Some(&pod[..])
    }

    /// The pod and the message whose bytes these are. The events are not verified: whoever may write to the bus is trusted.
    pub fn from_bytes(bytes: &Bytes) -> Result<(PodId, Self), Malformed> {
        let mut fields = Fields { bytes, at: 0 };
        if fields.array::<1>()? != [VERSION] {
            return Err(Malformed);
        }
        let [form] = fields.array()?;
        let pod = fields.array()?;
        let message = match form {
            1 => fields.run()?,
            2 => Self::Place { stream: StreamId(fields.u32()?), last: Seq(fields.u64()?) },
            3 => Self::Ephemeral(fields.event()?),
            _ => return Err(Malformed),
        };
        if fields.at == bytes.len() { Ok((pod, message)) } else { Err(Malformed) }
    }
}

fn bytes_of(run: &Run) -> usize {
    run.stored.iter().map(|stored| stored.event.json().len() + 12).sum()
}

fn push_run(out: &mut Vec<u8>, run: &Run, committed_at_us: u64) {
    out.reserve(bytes_of(run) + 32);
    out.extend_from_slice(&run.stream.0.to_be_bytes());
    for number in [run.first.0, run.last.0, committed_at_us] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    // Bounded by the bytes of a message.
    out.extend_from_slice(&(run.stored.len() as u32).to_be_bytes());
    for stored in &run.stored {
        out.extend_from_slice(&stored.seq.0.to_be_bytes());
        push_event(out, &stored.event);
    }
}

fn push_event(out: &mut Vec<u8>, event: &Event) {
    let json = event.json();
    // An event is a WebSocket message at most.
    out.extend_from_slice(&(json.len() as u32).to_be_bytes());
    out.extend_from_slice(json);
}

/// Fields being taken from the front; events share the message's bytes.
struct Fields<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Fields<'_> {
    fn take(&mut self, count: usize) -> Result<Bytes, Malformed> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len()).ok_or(Malformed)?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        self.take(N)?[..].try_into().map_err(|_| Malformed)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    fn event(&mut self) -> Result<Event, Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        Event::from_canonical(self.take(length)?).map_err(|_| Malformed)
    }

    fn run(&mut self) -> Result<Message, Malformed> {
        let stream = StreamId(self.u32()?);
        let (first, last, committed_at_us) = (Seq(self.u64()?), Seq(self.u64()?), self.u64()?);
        let count = self.u32()?;
        let (mut stored, mut before) = (Vec::new(), Seq(first.0.checked_sub(1).ok_or(Malformed)?));
        for _ in 0..count {
            let seq = Seq(self.u64()?);
            if seq <= before || seq > last {
                return Err(Malformed);
            }
            before = seq;
            stored.push(Stored { stream, seq, event: self.event()? });
        }
        Ok(Message::Run { run: Run { stream, first, last, stored }, committed_at_us })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use towpath_protocol::SecretKey;

    use super::*;

    fn event(content: &str) -> Event {
        let key = SecretKey::from_bytes([1; 32]).unwrap();
        key.sign(1_700_000_000, 1, &[&["t", "x"]], content, &[0; 32]).into_event()
    }

    fn run(seqs: &[u64], last: u64) -> Message {
        let stream = StreamId(7);
        let stored = seqs.iter().map(|seq| Stored { stream, seq: Seq(*seq), event: event(&seq.to_string()) }).collect();
        Message::Run { run: Run { stream, first: Seq(5), last: Seq(last), stored }, committed_at_us: 1_700_000_000_123 }
    }

    #[test]
    fn every_message_comes_out_as_it_went_in() {
        let place = Message::Place { stream: StreamId(u32::MAX), last: Seq(u64::MAX) };
        for message in [run(&[], 5), run(&[5, 6, 9], 9), place, Message::Ephemeral(event("now"))] {
            let bytes = Bytes::from(message.to_bytes(&[3; 16]));
            assert_eq!(Message::from_bytes(&bytes), Ok(([3; 16], message)));
            assert!(Message::is_from(&[3; 16], &bytes) && !Message::is_from(&[4; 16], &bytes));
        }
    }

    #[test]
    fn a_run_that_is_too_long_becomes_its_place() {
        let long = event(&"x".repeat(MESSAGE_BYTES_MAX));
        let stored = vec![Stored { stream: StreamId(0), seq: Seq(1), event: long }];
        let run = Run { stream: StreamId(0), first: Seq(1), last: Seq(1), stored };
        let bytes = Bytes::from(Message::Run { run, committed_at_us: 0 }.to_bytes(&[0; 16]));
        assert_eq!(Message::from_bytes(&bytes).unwrap().1, Message::Place { stream: StreamId(0), last: Seq(1) });
    }

    #[test]
    fn bytes_cut_off_or_added_anywhere_are_no_message() {
        let whole = run(&[5, 6], 6).to_bytes(&[3; 16]);
        for end in 0..whole.len() {
            assert_eq!(Message::from_bytes(&Bytes::copy_from_slice(&whole[..end])), Err(Malformed), "{end}");
        }
        assert_eq!(Message::from_bytes(&Bytes::from([&whole[..], &[0]].concat())), Err(Malformed));
    }

    #[test]
    fn a_run_whose_events_are_out_of_order_or_range_is_no_message() {
        for bad in [run(&[6, 5], 6), run(&[5, 5], 6), run(&[7], 6), run(&[4], 6)] {
            assert_eq!(Message::from_bytes(&Bytes::from(bad.to_bytes(&[3; 16]))), Err(Malformed), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Message::from_bytes(&Bytes::from(bytes));
        }
    }
}
