//! What the relay itself published before.

use std::sync::Arc;

use towpath_protocol::{Event, Filter, PublicKey, Set};
use towpath_store::{Budget, Error, EventStore, FilterLimit, Progress, Query};

/// More than there are streams and other addresses of one kind.
const EVENTS_MAX: u64 = 10_000;

/// The newest event of `kind` by `author` under each address. Blocks.
pub(crate) fn newest(store: &dyn EventStore, author: PublicKey, kind: u16) -> Result<Vec<Event>, Error> {
    let filter =
        Filter { authors: Some(Set::new(vec![author])), kinds: Some(Set::new(vec![kind])), ..Filter::default() };
    let filters = Arc::new([(filter, FilterLimit::newest(EVENTS_MAX))]);
    let mut scan = store.scan(Query { filters, cursor: None, visible: Arc::new(|_| true) })?;
    let (mut found, budget) = (Vec::new(), Budget { events_max: 1_000, bytes_max: 8 << 20, spent: &|| false });
    while scan.next(budget, &mut found)? == Progress::More {}
    Ok(found.into_iter().map(|stored| stored.event).collect())
}
