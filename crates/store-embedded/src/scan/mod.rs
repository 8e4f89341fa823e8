//! Scans: from filters to events, a slice at a time.
//!
//! ```text
//! plan     each filter → streams over the index's order that narrows it most
//! stream   one prefix, newest first, a chunk of keys at a time
//! merge    all streams of all filters by moment; the same event from several is adjacent and taken once
//! cursor   loads, compares with the filters in full, counts limits
//! ```
//! Between slices a scan holds moments, never a snapshot of the index.

mod cursor;
mod merge;
mod plan;
mod stream;
mod view;

use std::sync::Arc;

use towpath_store::{Query, Scan};

use crate::Shared;
use crate::log::record::STREAM;

/// Opens a scan of what is committed by now, or less if the query says so.
pub(crate) fn open(shared: Arc<Shared>, query: Query) -> Box<dyn Scan> {
    let end = shared.last();
    let last = query.cursor.as_ref().map_or(end, |cursor| cursor.seq(STREAM).min(end));
    Box::new(cursor::Cursor::new(shared, query, last))
}
