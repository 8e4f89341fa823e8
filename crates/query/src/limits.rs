//! From a client's filters to a query: limits and what is visible.

use std::sync::Arc;

use towpath_protocol::{Event, Filter};
use towpath_store::FilterLimit;

/// How many stored events one filter may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Without a `limit`.
    pub limit_default: u64,
    /// At most, whatever the `limit`.
    pub limit_max: u64,
}

/// The filters with their limits: the client's, clamped, or the default.
pub fn with_limits(filters: &[Filter], limits: QueryLimits) -> Arc<[(Filter, FilterLimit)]> {
    let limit = |filter: &Filter| filter.limit.unwrap_or(limits.limit_default).min(limits.limit_max);
    filters.iter().map(|filter| (filter.clone(), FilterLimit { events_max: limit(filter) })).collect()
}

/// Whether `event` has not expired by `now` (NIP-40). Expired events are deleted soon, but not at that very second.
pub fn visible_at(event: &Event, now: u64) -> bool {
    // Almost no event expires: look for the word before reading the tags.
    if !event.as_str().contains("\"expiration\"") {
        return true;
    }
    let expires_at = event.first_value("expiration").and_then(|at| at.parse::<u64>().ok());
    expires_at.is_none_or(|at| at > now)
}
