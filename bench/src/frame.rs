//! WebSocket frames (RFC 6455 section 5) as a load generator needs them: a frame is built once,
//! masked, before the clock starts, and read without copying. Knows no sockets.

use std::ops::Range;

use anyhow::{Result, ensure};

/// The largest frame taken from a relay; anything larger is a fault of the relay under test.
const PAYLOAD_BYTES_MAX: usize = 8 << 20;

pub(crate) const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
pub(crate) const CLOSE: u8 = 0x8;
pub(crate) const PING: u8 = 0x9;
pub(crate) const PONG: u8 = 0xA;

/// Where one frame lies in a buffer.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) last: bool,
    pub(crate) mask: Option<[u8; 4]>,
    pub(crate) payload: Range<usize>,
}

/// Appends a frame; `mask` is what a client must and a server must not have.
pub(crate) fn append(out: &mut Vec<u8>, opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) {
    let mask_bit = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    match payload.len() {
        short @ 0..=125 => out.push(mask_bit | short as u8),
        middle @ 126..=0xFFFF => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    out.extend(mask.iter().flatten());
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(mask) = mask {
        unmask(&mut out[start..], mask);
    }
}

/// Masking is its own inverse.
pub(crate) fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (byte, key) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= key;
    }
}

/// The first frame of `bytes`, or `None` until all of it is there.
pub(crate) fn first(bytes: &[u8]) -> Result<Option<Frame>> {
    let &[start, length, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let (length_bytes, payload_bytes) = match length & 0x7F {
        126 => (2, rest.first_chunk().map(|raw| usize::from(u16::from_be_bytes(*raw)))),
        127 => (8, rest.first_chunk().map(|raw| u64::from_be_bytes(*raw) as usize)),
        short => (0, Some(usize::from(short))),
    };
    let Some(payload_bytes) = payload_bytes else {
        return Ok(None);
    };
    ensure!(start & 0x70 == 0, "the relay used an extension nobody offered");
    ensure!(payload_bytes <= PAYLOAD_BYTES_MAX, "the relay sent a frame of {payload_bytes} bytes");

    let mut payload_start = 2 + length_bytes;
    let mut mask = None;
    if length & 0x80 != 0 {
        let Some(key) = bytes[payload_start..].first_chunk() else {
            return Ok(None);
        };
        mask = Some(*key);
        payload_start += 4;
    }
    let payload = payload_start..payload_start + payload_bytes;
    let complete = payload.end <= bytes.len();
    Ok(complete.then_some(Frame { opcode: start & 0x0F, last: start & 0x80 != 0, mask, payload }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_at_every_length_form() {
        for length in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000] {
            for mask in [None, Some([1, 2, 3, 250])] {
                let payload: Vec<u8> = (0..length).map(|at| at as u8).collect();
                let mut bytes = Vec::new();
                append(&mut bytes, TEXT, &payload, mask);
                let frame = first(&bytes).expect("readable").expect("complete");
                assert_eq!((frame.opcode, frame.last, frame.mask), (TEXT, true, mask));
                let mut read = bytes[frame.payload].to_vec();
                if let Some(mask) = mask {
                    unmask(&mut read, mask);
                }
                assert_eq!(read, payload);
            }
        }
    }

    #[test]
    fn a_frame_cut_short_is_awaited() {
        let mut bytes = Vec::new();
        append(&mut bytes, TEXT, &[7; 300], Some([9; 4]));
        for cut in 0..bytes.len() {
            assert_eq!(first(&bytes[..cut]).expect("no fault"), None);
        }
    }

    #[test]
    fn an_absurd_length_is_refused_before_it_is_awaited() {
        assert!(first(&[0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0]).is_err());
    }
}
