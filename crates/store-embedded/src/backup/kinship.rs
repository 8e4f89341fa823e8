//! Whether a backup is of this log: as it was at some time, or before something in it was erased. Only reads.
//!
//! A record's header says when it was committed, which entries it has and, with an audit tree, the root over all before; erasing keeps it.

use std::io::ErrorKind;
use std::sync::Arc;

use towpath_store::Error;

use super::{Listing, failed, open};
use crate::log::reader::{Step, Walk};
use crate::log::record::Header;
use crate::log::segment::Segment;

/// Of a file that is there already whole, so much of its end is compared.
const TAIL_BYTES: u64 = 64 << 10;

/// An error if the backup `there` is not of the log `files`; false if the log was rewritten meanwhile.
pub(super) fn check(files: &Listing, there: &Listing) -> Result<bool, Error> {
    let newest = there.last_key_value().map(|(first, _)| *first);
    for (first, kept) in there {
        let Some(target) = open(*first, kept)? else { continue };
        if !matches!(Walk::new(Arc::clone(&target), 0).step()?, Step::Record(..)) {
            // Nothing to lose.
            continue;
        }
        let Some(file) = files.get(first) else {
            return Err(other_log(&target, &format!("the log has no file that begins with entry {first}")));
        };
        if file.0 < kept.0 {
            return Err(other_log(&target, "of the log, an older state of this file is there"));
        }
        let Some(source) = open(*first, file)? else { return Ok(false) };
        let is_whole = Some(*first) != newest && file.0 == kept.0 && source.len() == target.len();
        if !(is_whole && ends_alike(&source, &target)?) {
            compare(&source, &target)?;
        }
    }
    Ok(true)
}

/// Every record of `target` must be the record of `source` that is as far from the beginning.
fn compare(source: &Arc<Segment>, target: &Arc<Segment>) -> Result<(), Error> {
    let (mut ours, mut kept) = (Walk::new(Arc::clone(source), 0), Walk::new(Arc::clone(target), 0));
    let is_same_file = source.generation == target.generation;
    while let Step::Record(_, kept) = kept.step()? {
        let entry = kept.header.first_seq;
        match ours.step()? {
            Step::Record(_, ours) if is_alike(&ours.header, &kept.header, is_same_file) => {}
            Step::Record(..) => return Err(other_log(target, &format!("the log has another commit at entry {entry}"))),
            Step::End | Step::Damaged => {
                return Err(other_log(target, &format!("the log ends before entry {entry}, which is in the backup")));
            }
        }
    }
    Ok(())
}

fn is_alike(ours: &Header, kept: &Header, is_same_file: bool) -> bool {
    let what = |header: &Header| (header.stream, header.first_seq, header.entries, header.committed_at_ms, header.root);
    let bytes = |header: &Header| (header.payload_bytes, header.crc);
    what(ours) == what(kept) && (!is_same_file || bytes(ours) == bytes(kept))
}

fn ends_alike(source: &Segment, target: &Segment) -> Result<bool, Error> {
    let from = target.len().saturating_sub(TAIL_BYTES);
    let length = TAIL_BYTES.min(target.len()) as usize;
    let read = |segment: &Segment| segment.read_at_most(from, length).map_err(failed("read the log"));
    Ok(read(source)? == read(target)?)
}

/// It may be the last copy of what it is of.
fn other_log(target: &Segment, why: &str) -> Error {
    let why = format!("{}: {why}; back up to another folder, or remove this backup", target.path.display());
    Error::io("back the log up", std::io::Error::new(ErrorKind::AlreadyExists, why))
}
