//! permessage-deflate (RFC 7692) without context takeover in either direction.
//!
//! A message is compressed and decompressed in one go, so a connection keeps nothing: the two contexts (about 300 KiB)
//! belong to the thread and are reset for every message. Decompression stops at the first byte over the limit.

use std::cell::RefCell;

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

/// Messages below this are sent as they are: resetting a context costs more than a short message saves.
pub(crate) const COMPRESS_BYTES_MIN: usize = 1024;

/// What a sync flush ends with; left out on the wire.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// First guess of a decompressed size, and the least it grows by.
const GROW_BYTES: usize = 4096;

thread_local! {
    static COMPRESS: RefCell<Option<Compress>> = const { RefCell::new(None) };
    static DECOMPRESS: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// Why a message cannot be decompressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum InflateError {
    TooBig,
    Invalid,
}

/// Decompresses a message of at most `bytes_max` bytes.
pub(crate) fn inflate(message: &[u8], bytes_max: usize) -> Result<Vec<u8>, InflateError> {
    DECOMPRESS.with_borrow_mut(|context| {
        let context = context.get_or_insert_with(|| Decompress::new(false));
        context.reset(false);
        let mut out = Vec::new();
        for part in [message, &TAIL] {
            if inflate_part(context, part, &mut out, bytes_max)? == Status::StreamEnd {
                break;
            }
        }
        Ok(out)
    })
}

fn inflate_part(
    context: &mut Decompress,
    part: &[u8],
    out: &mut Vec<u8>,
    bytes_max: usize,
) -> Result<Status, InflateError> {
    let mut rest = part;
    loop {
        if out.len() == out.capacity() {
            // One byte over the limit is room enough to know that there is more.
            let room = (bytes_max + 1).saturating_sub(out.len());
            out.reserve_exact(out.len().max(GROW_BYTES).min(room));
        }
        let (read, written) = (context.total_in(), out.len());
        let status = context.decompress_vec(rest, out, FlushDecompress::Sync).map_err(|_| InflateError::Invalid)?;
        if out.len() > bytes_max {
            return Err(InflateError::TooBig);
        }
        let consumed = usize::try_from(context.total_in() - read).unwrap_or(rest.len());
        rest = &rest[consumed..];
        if status == Status::StreamEnd || (rest.is_empty() && out.len() < out.capacity()) {
            return Ok(status);
        }
        if consumed == 0 && out.len() == written {
            return Err(InflateError::Invalid);
        }
    }
}

/// Appends the compressed form of the message to `out`. False, and `out` as it was, if that is not shorter.
pub(crate) fn deflate(message: &[&[u8]], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let plain: usize = message.iter().map(|part| part.len()).sum();
    let shorter = COMPRESS.with_borrow_mut(|context| {
        let context = context.get_or_insert_with(|| Compress::new(Compression::fast(), false));
        context.reset();
        // Reserving the plain length means: whoever would need more is not worth compressing.
        out.reserve_exact(plain);
        let last = message.len().saturating_sub(1);
        message.iter().enumerate().all(|(index, part)| {
            let flush = if index == last { FlushCompress::Sync } else { FlushCompress::None };
            deflate_part(context, part, out, flush, start + plain)
        })
    });
    if shorter && out.ends_with(&TAIL) {
        out.truncate(out.len() - TAIL.len());
        return true;
    }
    out.truncate(start);
    false
}

/// False if the output would grow to `end` bytes.
fn deflate_part(context: &mut Compress, part: &[u8], out: &mut Vec<u8>, flush: FlushCompress, end: usize) -> bool {
    let mut rest = part;
    loop {
        let read = context.total_in();
        let Ok(_) = context.compress_vec(rest, out, flush) else { return false };
        let consumed = usize::try_from(context.total_in() - read).unwrap_or(rest.len());
        rest = &rest[consumed..];
        if out.len() >= end || out.len() == out.capacity() {
            return false;
        }
        if rest.is_empty() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deflated(text: &str) -> Vec<u8> {
        let mut out = b"kept".to_vec();
        let (a, b) = text.as_bytes().split_at(text.len() / 3);
        assert!(deflate(&[a, b, b""], &mut out));
        out.split_off(4)
    }

    #[test]
    fn what_goes_in_comes_out() {
        for repeat in [1, 20, 5_000] {
            let text = "a note about tow paths; ".repeat(40 * repeat);
            let packed = deflated(&text);
            assert!(packed.len() < text.len() / 5);
            assert_eq!(inflate(&packed, text.len()).as_deref(), Ok(text.as_bytes()));
        }
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let packed = deflated(&"0".repeat(50_000_000));
        assert!(packed.len() < 1_000_000);
        assert_eq!(inflate(&packed, 512 * 1024), Err(InflateError::TooBig));
        let exact = deflated(&"0".repeat(10_000));
        assert!(inflate(&exact, 10_000).is_ok());
        assert_eq!(inflate(&exact, 9_999), Err(InflateError::TooBig));
    }

    #[test]
    fn rubbish_is_invalid_and_does_no_harm_to_the_next() {
        assert_eq!(inflate(&[0xff; 64], 1000), Err(InflateError::Invalid));
        let packed = deflated(&"fine ".repeat(300));
        let _ = inflate(&packed[..packed.len() / 2], 10_000);
        assert_eq!(inflate(&packed, 1500).as_deref(), Ok("fine ".repeat(300).as_bytes()));
    }

    /// Bytes without a pattern, the same in every run.
    fn noise() -> impl Iterator<Item = u8> {
        let step = |state: &u64| Some(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
        std::iter::successors(Some(7), step).map(|state: u64| state.to_be_bytes()[0])
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let noise: Vec<u8> = noise().take(3000).collect();
        let mut out = b"kept".to_vec();
        assert!(!deflate(&[&noise], &mut out));
        assert_eq!(out, b"kept");
    }
}
