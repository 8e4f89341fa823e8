//! Messages to bytes: the sending half of RFC 6455. Many frames are written one after the other into one buffer.

use crate::deflate::{self, COMPRESS_BYTES_MIN};
use crate::{Close, Frame};

const FIN: u8 = 0x80;
const COMPRESSED: u8 = 0x40;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;
const PONG: u8 = 0xa;

/// The longest header: a server does not mask.
pub(crate) const HEADER_BYTES_MAX: usize = 10;
/// A control frame's body has room for 125 bytes, two of which are the code.
const REASON_BYTES_MAX: usize = 123;

/// Appends a message, compressed if `deflate` is agreed on and it pays.
pub(crate) fn message(frame: &Frame<'_>, deflate: bool, out: &mut Vec<u8>) {
    let length = frame.payload_len();
    let parts = frame.parts();
    if deflate && length >= COMPRESS_BYTES_MIN && compressed(&parts, out) {
        return;
    }
    header(FIN | TEXT, length, out);
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// The length is known only afterwards, so the body is written behind a gap for the longest header and moved up.
fn compressed(parts: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES_MAX]);
    let body = out.len();
    if !deflate::deflate(parts, out) {
        out.truncate(start);
        return false;
    }
    let end = out.len();
    let mut head = Vec::with_capacity(HEADER_BYTES_MAX);
    header(FIN | COMPRESSED | TEXT, end - body, &mut head);
    out[start..start + head.len()].copy_from_slice(&head);
    out.copy_within(body..end, start + head.len());
    out.truncate(start + head.len() + (end - body));
    true
}

pub(crate) fn ping(out: &mut Vec<u8>) {
    header(FIN | PING, 0, out);
}

pub(crate) fn pong(body: &[u8], out: &mut Vec<u8>) {
    header(FIN | PONG, body.len(), out);
    out.extend_from_slice(body);
}

pub(crate) fn close(close: &Close, out: &mut Vec<u8>) {
    let cut = close.reason.floor_char_boundary(REASON_BYTES_MAX);
    let reason = &close.reason.as_bytes()[..cut];
    header(FIN | CLOSE, 2 + reason.len(), out);
    out.extend_from_slice(&close.code.to_be_bytes());
    out.extend_from_slice(reason);
}

fn header(first: u8, length: usize, out: &mut Vec<u8>) {
    out.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(medium)) => {
            out.push(126);
            out.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}
