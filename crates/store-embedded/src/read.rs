//! Reading events out of the log, each held against its checksum.
//!
//! What is asked for one after the other mostly lies side by side: events come in about the order of their times, and scans return
//! them in that order. So a scan reads a stretch of a log file at once where its events are close, and one event at a time where not.
//!
//! Must not know: why an event is read, or which comes next.

use std::io;

use bytes::Bytes;
use towpath_protocol::Event;
use towpath_store::{Error, Seq};

use crate::index::keys::Position;
use crate::log::segment::Segment;

/// Events are close with at most so many bytes between them: about what can be copied in the time of a system call.
const GAP_MAX: usize = 4 << 10;
/// Of a stretch, unless a single event is larger.
const BYTES_MAX: usize = 64 << 10;
/// How much longer than the last one a stretch is.
const GROWTH: usize = 4;

/// The event at `position` of `segment`.
pub(crate) fn read_event(segment: &Segment, seq: Seq, position: Position) -> Result<Event, Error> {
    let (at, len) = place(position);
    let json = segment.read(at, len).map_err(failed)?;
    genuine(segment, seq, position, json.into())
}

/// The stretch read last. Only for events that were committed before the first was read: what is behind them may have changed since.
#[derive(Debug, Default)]
pub(crate) struct Stretch {
    /// First sequence number and generation of its file.
    file: Option<(Seq, u32)>,
    at: u64,
    len: usize,
    /// Longer than the stretch where an earlier one was.
    buffer: Vec<u8>,
}

impl Stretch {
    /// The event at `position` of `segment`.
    pub(crate) fn event(&mut self, segment: &Segment, seq: Seq, position: Position) -> Result<Event, Error> {
        let (at, len) = place(position);
        let json = self.bytes(segment, at, len).map_err(failed)?;
        // A copy: whoever keeps an event must not keep what lies around it.
        let json = Bytes::copy_from_slice(json);
        genuine(segment, seq, position, json)
    }

    fn bytes(&mut self, segment: &Segment, at: u64, len: usize) -> io::Result<&[u8]> {
        let file = Some((segment.first_seq, segment.generation));
        let held = if self.file == file { self.held(at, len) } else { None };
        let from = match held {
            Some(from) => from,
            None => {
                let is_close = self.file == file && self.gap(at, len) <= GAP_MAX as u64;
                let wanted = if is_close { (self.len * GROWTH).min(BYTES_MAX) } else { 0 };
                self.file = None;
                self.read(segment, at, len, wanted.max(len))?;
                self.file = file;
                (at - self.at) as usize
            }
        };
        Ok(&self.buffer[from..from + len])
    }

    /// Where in the buffer it is.
    fn held(&self, at: u64, len: usize) -> Option<usize> {
        let from = usize::try_from(at.checked_sub(self.at)?).ok()?;
        (from.checked_add(len)? <= self.len).then_some(from)
    }

    /// Bytes between the stretch and something before or behind it.
    fn gap(&self, at: u64, len: usize) -> u64 {
        let end = self.at + self.len as u64;
        at.saturating_sub(end).max(self.at.saturating_sub(at + len as u64))
    }

    /// Reads `wanted` bytes or what there is of them, among them the `len` at `at`. The scan goes on in the direction in which those are.
    fn read(&mut self, segment: &Segment, at: u64, len: usize, wanted: usize) -> io::Result<()> {
        let from = if at < self.at { (at + len as u64).saturating_sub(wanted as u64) } else { at };
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let read = segment.read_up_to(from, &mut self.buffer[..wanted])?;
        (self.at, self.len) = (from, read);
        self.held(at, len).map(drop).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

fn place(position: Position) -> (u64, usize) {
    (u64::from(position.record) + u64::from(position.extent.offset), position.extent.len as usize)
}

fn genuine(segment: &Segment, seq: Seq, position: Position, json: Bytes) -> Result<Event, Error> {
    let name = || segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let damaged = || Error::Corrupt(format!("entry {seq} in log file {} is damaged", name()));
    if crc32c::crc32c(&json) != position.extent.crc {
        return Err(damaged());
    }
    Event::from_canonical(json).map_err(|_| damaged())
}

fn failed(error: io::Error) -> Error {
    Error::io("read an event", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Disk;

    const FILE_BYTES: usize = 300 << 10;
    const EVENT_BYTES: usize = 600;

    /// A log file of bytes in which every place looks different.
    fn file(dir: &tempfile::TempDir, first_seq: u64) -> (Segment, Vec<u8>) {
        let bytes: Vec<u8> = (0..FILE_BYTES as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        let path = dir.path().join(first_seq.to_string());
        let segment = Segment::create(path, Seq(first_seq), 0).unwrap();
        segment.append(&bytes[first_seq as usize..], 0, &Disk::new(false, 0)).unwrap();
        (segment, bytes[first_seq as usize..].to_vec())
    }

    /// Reads events at `places`, each `EVENT_BYTES` long. How many stretches that took, and the longest.
    fn read(segment: &Segment, bytes: &[u8], places: impl Iterator<Item = usize>) -> (usize, usize) {
        let (mut stretch, mut stretches) = (Stretch::default(), Vec::new());
        for at in places {
            let read = stretch.bytes(segment, at as u64, EVENT_BYTES).unwrap();
            assert_eq!(read, &bytes[at..at + EVENT_BYTES], "at {at}");
            stretches.push((stretch.at, stretch.len));
        }
        stretches.dedup();
        (stretches.len(), stretches.iter().map(|(_, len)| *len).max().unwrap_or_default())
    }

    #[test]
    fn events_side_by_side_are_read_at_once_in_either_direction() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, bytes) = file(&dir, 0);
        let places = || (0..FILE_BYTES / EVENT_BYTES).map(|n| n * EVENT_BYTES);
        assert_eq!(read(&segment, &bytes, places()), (8, BYTES_MAX));
        assert_eq!(read(&segment, &bytes, places().rev()), (8, BYTES_MAX));
        let apart = |gap| (0..20).map(move |n| n * (EVENT_BYTES + gap));
        assert_eq!(read(&segment, &bytes, apart(GAP_MAX)), (5, BYTES_MAX));
        assert_eq!(read(&segment, &bytes, apart(GAP_MAX + 1)), (20, EVENT_BYTES));
        assert_eq!(read(&segment, &bytes, [0, 600, 200_000, 1_200].into_iter()), (4, GROWTH * EVENT_BYTES));
    }

    #[test]
    fn whatever_is_asked_for_in_whatever_order_is_what_the_file_has() {
        let dir = tempfile::tempdir().unwrap();
        let files = [file(&dir, 0), file(&dir, 7)];
        let mut stretch = Stretch::default();
        let (mut random, mut at) = (1_u64, 0_usize);
        for _ in 0..20_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (step, len, which) = ((random >> 33) as usize % 6_000, (random >> 20) as usize % 2_000, random >> 60);
            let (segment, bytes) = &files[usize::from(which == 0)];
            // Mostly a little further down, now and then a little up or from the end again.
            at = if which == 1 { at + step } else { at.checked_sub(step).unwrap_or(bytes.len()) };
            at = at.min(bytes.len() - len);
            assert_eq!(stretch.bytes(segment, at as u64, len).unwrap(), &bytes[at..at + len], "{len} at {at}");
        }
    }

    #[test]
    fn what_the_file_does_not_have_is_an_error_and_costs_the_next_read_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (segment, bytes) = file(&dir, 0);
        let mut stretch = Stretch::default();
        for at in [0, 600] {
            stretch.bytes(&segment, at, EVENT_BYTES).unwrap();
        }
        let beyond = stretch.bytes(&segment, (FILE_BYTES - 10) as u64, EVENT_BYTES).unwrap_err();
        assert_eq!(beyond.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(stretch.bytes(&segment, 600, EVENT_BYTES).unwrap(), &bytes[600..1_200]);
    }
}
