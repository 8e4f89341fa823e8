//! Bytes to messages: the receiving half of RFC 6455, as a state machine without I/O.
//!
//! Invariants: a frame's length is checked when its header is there, before its body is buffered; memory grows with
//! the bytes received, never with the bytes announced; when everything was consumed nothing is kept. What is kept is
//! counted in the connection's share, but for the last read, which may be all that comes.

use std::ops::Range;

use crate::Close;
use crate::deflate::{self, InflateError};
use crate::unfinished::Share;

const CONTROL_BYTES_MAX: usize = 125;

/// Something the client sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Text(&'a str),
    Ping(&'a [u8]),
    Pong,
    /// The client closes, with this code if it gave one.
    Close(Option<u16>),
}

/// Decodes one connection's frames.
#[derive(Debug)]
pub(crate) struct Decoder {
    message_bytes_max: usize,
    deflate: bool,
    /// Received; what lies before `start` is consumed.
    buffer: Vec<u8>,
    start: usize,
    /// The fragments of the open message, or the message that was returned last.
    message: Vec<u8>,
    open: Option<Fragmented>,
    held: Share,
}

/// A message whose last fragment has not come.
#[derive(Debug, Clone, Copy)]
struct Fragmented {
    compressed: bool,
}

/// A frame that is there in full, unmasked.
#[derive(Debug)]
struct Frame {
    fin: bool,
    compressed: bool,
    opcode: Opcode,
    body: Range<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Text,
    Binary,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

fn protocol_error(reason: &'static str) -> Close {
    Close::new(1002, reason)
}

impl Decoder {
    pub(crate) fn new(message_bytes_max: usize, deflate: bool, held: Share) -> Self {
        Decoder { message_bytes_max, deflate, buffer: Vec::new(), start: 0, message: Vec::new(), open: None, held }
    }

    /// Takes bytes from the socket. Call [`Decoder::next`] until it has nothing before receiving more.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next item, or none until more bytes come. After an error the stream cannot be read any further.
    pub(crate) fn next(&mut self) -> Result<Option<Item<'_>>, Close> {
        if self.open.is_none() {
            self.message = Vec::new();
        }
        loop {
            let Some(frame) = self.frame()? else {
                self.give_back();
                self.settle()?;
                return Ok(None);
            };
            if frame.opcode.is_control() {
                return self.control(frame).map(Some);
            }
            let first = self.first_or_continued(&frame)?;
            if frame.fin {
                return self.finish(frame, first).map(Some);
            }
            self.message.extend_from_slice(&self.buffer[frame.body]);
            self.open = Some(first);
        }
    }

    /// Drops everything, for a connection whose client is not listened to any more.
    pub(crate) fn forget(&mut self) {
        (self.buffer, self.start, self.message, self.open) = (Vec::new(), 0, Vec::new(), None);
        // Nothing is never too much.
        let _ = self.settle();
    }

    /// Memory is given back whenever the client has been heard out: most connections are idle most of the time. The
    /// beginning of a next message keeps room for itself and not for what came before it.
    fn give_back(&mut self) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.buffer.shrink_to(2 * self.buffer.len());
            self.start = 0;
        }
    }

    /// Has the share say what is held: memory, not bytes received, which may be half of it.
    fn settle(&mut self) -> Result<(), Close> {
        self.held.hold(self.buffer.capacity() + self.message.capacity())
    }

    /// Parses and unmasks the next frame if all of it is there.
    fn frame(&mut self) -> Result<Option<Frame>, Close> {
        let bytes = &self.buffer[self.start..];
        let [first, second, ..] = *bytes else { return Ok(None) };
        let opcode = opcode(first & 0x0f)?;
        let (fin, compressed) = (first & 0x80 != 0, first & 0x40 != 0);
        if first & 0x30 != 0 || (compressed && !self.deflate) {
            return Err(protocol_error("reserved bits are set"));
        }
        if second & 0x80 == 0 {
            return Err(protocol_error("client frames must be masked"));
        }
        let Some((length, length_bytes)) = length(second & 0x7f, &bytes[2..])? else { return Ok(None) };
        self.check(opcode, fin, compressed, length)?;
        // `check` bounds the length by `message_bytes_max`, a usize.
        let (length, head) = (length as usize, 2 + length_bytes + 4);
        if bytes.len() < head + length {
            return Ok(None);
        }
        let mask = [bytes[head - 4], bytes[head - 3], bytes[head - 2], bytes[head - 1]];
        let body = self.start + head..self.start + head + length;
        unmask(&mut self.buffer[body.clone()], mask);
        self.start = body.end;
        Ok(Some(Frame { fin, compressed, opcode, body }))
    }

    /// Everything that can be refused by the header alone.
    fn check(&self, opcode: Opcode, fin: bool, compressed: bool, length: u64) -> Result<(), Close> {
        if opcode.is_control() {
            if !fin || compressed || length > CONTROL_BYTES_MAX as u64 {
                return Err(protocol_error("a control frame must be short, whole and uncompressed"));
            }
            return Ok(());
        }
        if opcode == Opcode::Binary {
            return Err(Close::new(1003, "only text messages are understood"));
        }
        if length > (self.message_bytes_max - self.message.len().min(self.message_bytes_max)) as u64 {
            return Err(too_big());
        }
        Ok(())
    }

    fn first_or_continued(&self, frame: &Frame) -> Result<Fragmented, Close> {
        match (frame.opcode, self.open) {
            (Opcode::Continuation, Some(_)) if frame.compressed => Err(protocol_error("reserved bits are set")),
            (Opcode::Continuation, Some(open)) => Ok(open),
            (Opcode::Continuation, None) => Err(protocol_error("there is no message to continue")),
            (_, Some(_)) => Err(protocol_error("the message before is not finished")),
            (_, None) => Ok(Fragmented { compressed: frame.compressed }),
        }
    }

    /// Completes the message that `frame` ends.
    fn finish(&mut self, frame: Frame, message: Fragmented) -> Result<Item<'_>, Close> {
        let whole = self.open.take().is_none();
        if !whole {
            self.message.extend_from_slice(&self.buffer[frame.body.clone()]);
        }
        if message.compressed {
            let packed = if whole { &self.buffer[frame.body] } else { &self.message };
            self.message = deflate::inflate(packed, self.message_bytes_max).map_err(|error| match error {
                InflateError::TooBig => too_big(),
                InflateError::Invalid => Close::new(1007, "the compressed message is damaged"),
            })?;
            // It may be many times what was received, and stays while the relay is at it.
            self.settle()?;
            return text(&self.message);
        }
        text(if whole { &self.buffer[frame.body] } else { &self.message })
    }

    fn control(&self, frame: Frame) -> Result<Item<'_>, Close> {
        let body = &self.buffer[frame.body];
        match frame.opcode {
            Opcode::Ping => Ok(Item::Ping(body)),
            Opcode::Close => close_code(body).map(Item::Close),
            _ => Ok(Item::Pong),
        }
    }
}

fn too_big() -> Close {
    Close::new(1009, "the message is too big")
}

fn text(bytes: &[u8]) -> Result<Item<'_>, Close> {
    std::str::from_utf8(bytes).map(Item::Text).map_err(|_| Close::new(1007, "the message is not UTF-8"))
}

fn opcode(bits: u8) -> Result<Opcode, Close> {
    Ok(match bits {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xa => Opcode::Pong,
        _ => return Err(protocol_error("unknown opcode")),
    })
}

/// The length of the body and the bytes it was written in beyond the second byte of the header.
fn length(short: u8, rest: &[u8]) -> Result<Option<(u64, usize)>, Close> {
    let (length, bytes, least) = match short {
        126 => match rest {
            [a, b, ..] => (u64::from(u16::from_be_bytes([*a, *b])), 2, 126),
            _ => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(long) => (u64::from_be_bytes(*long), 8, 1 << 16),
            None => return Ok(None),
        },
        short => (u64::from(short), 0, 0),
    };
    if length < least || length > i64::MAX as u64 {
        return Err(protocol_error("the frame's length is not written in the shortest way"));
    }
    Ok(Some((length, bytes)))
}

/// Eight bytes at a time: the compiler makes vector instructions of it.
fn unmask(body: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = body.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// Reads a close frame: nothing, or a code a client may send and a reason in UTF-8.
fn close_code(body: &[u8]) -> Result<Option<u16>, Close> {
    let (code, reason) = match body {
        [] => return Ok(None),
        [high, low, reason @ ..] => (u16::from_be_bytes([*high, *low]), reason),
        _ => return Err(protocol_error("the close frame is cut off")),
    };
    if std::str::from_utf8(reason).is_err() {
        return Err(Close::new(1007, "the reason is not UTF-8"));
    }
    match code {
        1000..=1003 | 1007..=1014 | 3000..=4999 => Ok(Some(code)),
        _ => Err(protocol_error("the close code is not one to send")),
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::gauge::Gauge;

    use super::*;
    use crate::unfinished::Budget;

    fn decoder(message_bytes_max: usize, deflate: bool) -> Decoder {
        Decoder::new(message_bytes_max, deflate, Budget::new(usize::MAX, Gauge::default()).share())
    }

    /// Everything a stream of bytes says when it comes in pieces of `step` bytes.
    fn heard(bytes: &[u8], step: usize) -> Vec<String> {
        let mut decoder = decoder(1000, true);
        let mut heard = Vec::new();
        for piece in bytes.chunks(step) {
            decoder.receive(piece);
            loop {
                match decoder.next() {
                    Ok(Some(item)) => heard.push(format!("{item:?}")),
                    Ok(None) => break,
                    Err(close) => {
                        heard.push(format!("{close:?}"));
                        return heard;
                    }
                }
            }
        }
        heard
    }

    fn frame(first: u8, body: &[u8]) -> Vec<u8> {
        let mask = [9, 8, 7, 6];
        let mut bytes = vec![first, 0x80 | body.len() as u8];
        bytes.extend(mask);
        bytes.extend(body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// Bytes without a pattern, the same in every run.
    fn noise(seed: u64) -> impl Iterator<Item = u8> {
        let step = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        std::iter::successors(Some(seed), step).map(|state: u64| state.to_be_bytes()[0])
    }

    #[test]
    fn where_the_stream_is_cut_makes_no_difference() {
        let stream = [
            frame(0x81, b"one"),
            frame(0x01, b"tw"),
            frame(0x89, b"ping"),
            frame(0x80, b"o"),
            frame(0x81, &[b'x'; 100]),
            frame(0x88, b"\x03\xe8"),
        ]
        .concat();
        let whole = heard(&stream, stream.len());
        assert_eq!(whole.len(), 5);
        for step in 1..stream.len() {
            assert_eq!(heard(&stream, step), whole, "in pieces of {step}");
        }
    }

    #[test]
    fn any_bytes_are_understood_or_refused_alike_however_they_come() {
        for seed in 0..20_000 {
            let mut bytes: Vec<u8> = noise(seed).take(64).collect();
            // Most noise is refused at its first bit; a plausible start gets further.
            bytes[0] = [0x81, 0x01, 0xc1, 0x41, 0x80, 0x89, 0x88][seed as usize % 7];
            bytes[1] = 0x80 | (bytes[1] % 32);
            let whole = heard(&bytes, bytes.len());
            assert_eq!(heard(&bytes, 1), whole, "seed {seed}");
            assert_eq!(heard(&bytes, 7), whole, "seed {seed}");
        }
    }

    #[test]
    fn nothing_is_kept_between_messages() {
        let mut decoder = decoder(1000, false);
        decoder.receive(&[frame(0x01, &[b'a'; 90]), frame(0x80, &[b'b'; 90])].concat());
        assert!(matches!(decoder.next(), Ok(Some(Item::Text(text))) if text.len() == 180));
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!((decoder.buffer.capacity(), decoder.message.capacity()), (0, 0));
    }

    #[test]
    fn memory_follows_what_was_received_not_what_was_announced() {
        let mut decoder = decoder(100_000_000, false);
        decoder.receive(&[&[0x81, 0xff][..], &90_000_000u64.to_be_bytes(), &[0; 4]].concat());
        assert_eq!(decoder.next(), Ok(None));
        assert!(decoder.buffer.capacity() < 1000);
    }

    /// A frame too long for a length of one byte; masked with zeroes, which leave the body as it is.
    fn long_frame(first: u8, body: &[u8]) -> Vec<u8> {
        let length = match u16::try_from(body.len()) {
            Ok(medium) => [&[0x80 | 126][..], &medium.to_be_bytes()].concat(),
            Err(_) => [&[0x80 | 127][..], &(body.len() as u64).to_be_bytes()].concat(),
        };
        [&[first][..], &length, &[0; 4], body].concat()
    }

    const ROOM: usize = 200_000;

    /// A decoder beside one that holds nearly all the room there is.
    fn crowded() -> (Decoder, Share, Gauge) {
        let gauge = Gauge::default();
        let budget = Budget::new(ROOM, gauge.clone());
        let mut other = budget.share();
        other.hold(ROOM - 1000).expect("room");
        (Decoder::new(1_000_000, true, budget.share()), other, gauge)
    }

    #[test]
    fn a_message_that_comes_in_one_read_is_never_too_much() {
        let (mut decoder, _other, gauge) = crowded();
        decoder.receive(&long_frame(0x81, &[b'a'; 100_000]));
        assert!(matches!(decoder.next(), Ok(Some(Item::Text(text))) if text.len() == 100_000));
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(gauge.get(), ROOM as i64 - 1000);
    }

    #[test]
    fn half_a_frame_open_fragments_and_what_is_inflated_are_counted() {
        let whole = long_frame(0x81, &[b'a'; 100_000]);
        let half = whole[..70_000].to_vec();
        let fragments = long_frame(0x01, &[b'a'; 70_000]);
        let mut packed = Vec::new();
        assert!(deflate::deflate(&["a note; ".repeat(20_000).as_bytes()], &mut packed));
        assert!(packed.len() > 125);
        for bytes in [half, fragments, long_frame(0xc1, &packed)] {
            let (mut decoder, other, gauge) = crowded();
            decoder.receive(&bytes);
            assert_eq!(decoder.next().expect_err("no room").code, 1013);
            decoder.forget();
            assert_eq!(gauge.get(), ROOM as i64 - 1000);
            drop(other);
            assert_eq!(gauge.get(), 0);
        }
    }

    #[test]
    fn what_is_held_is_given_back_with_the_message_and_with_the_connection() {
        let gauge = Gauge::default();
        let mut decoder = Decoder::new(1_000_000, true, Budget::new(ROOM, gauge.clone()).share());
        let whole = long_frame(0x81, &[b'a'; 100_000]);
        decoder.receive(&whole[..70_000]);
        assert_eq!(decoder.next(), Ok(None));
        assert!(gauge.get() >= 70_000);
        decoder.receive(&[&whole[70_000..], &whole[..10]].concat());
        assert!(matches!(decoder.next(), Ok(Some(Item::Text(_)))));
        assert_eq!(decoder.next(), Ok(None));
        assert!((10..100).contains(&gauge.get()), "the beginning of the next one keeps {}", gauge.get());
        drop(decoder);
        assert_eq!(gauge.get(), 0);
    }
}
