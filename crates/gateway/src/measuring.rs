//! The wire format by itself, without sockets, for benchmarks and tests that count what it costs. Behind a feature: nothing else uses it.

use prometheus_client::metrics::gauge::Gauge;

use crate::decode::{Decoder, Item};
use crate::unfinished::Budget;
use crate::{Close, Frame, encode};

/// The receiving half of one connection.
#[derive(Debug)]
pub struct Receiver(Decoder);

impl Receiver {
    /// Of a connection that may send messages of so many bytes.
    pub fn new(message_bytes_max: usize) -> Self {
        Self(Decoder::new(message_bytes_max, false, Budget::new(usize::MAX, Gauge::default()).share()))
    }

    /// Takes what one read of a socket brought, and hands on every text that is whole.
    pub fn receive(&mut self, bytes: &[u8], mut text: impl FnMut(&str)) -> Result<(), Close> {
        self.0.receive(bytes);
        while let Some(item) = self.0.next()? {
            if let Item::Text(whole) = item {
                text(whole);
            }
        }
        Ok(())
    }
}

/// Appends `frame` as it goes to the socket, not compressed.
pub fn encode(frame: &Frame<'_>, out: &mut Vec<u8>) {
    encode::message(frame, false, out);
}
