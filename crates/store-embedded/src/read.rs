//! Reading single events out of the log, each held against its checksum.

use bytes::Bytes;
use towpath_protocol::Event;
use towpath_store::{Error, Seq};

use crate::index::keys::Position;
use crate::log::segment::Segment;

/// The event at `position` of `segment`.
pub(crate) fn read_event(segment: &Segment, seq: Seq, position: Position) -> Result<Event, Error> {
    let at = u64::from(position.record) + u64::from(position.extent.offset);
    let json = segment.read(at, position.extent.len as usize).map_err(|e| Error::io("read an event", e))?;
    let name = || segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let damaged = || Error::Corrupt(format!("entry {seq} in log file {} is damaged", name()));
    if crc32c::crc32c(&json) != position.extent.crc {
        return Err(damaged());
    }
    Event::from_canonical(Bytes::from(json)).map_err(|_| damaged())
}
