//! From a client's filters to a query: limits.

use std::sync::Arc;

use towpath_protocol::Filter;
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
    filters.iter().map(|filter| (filter.clone(), limit_of(filter, limits))).collect()
}

/// What a client asks for is what it gets (NIP-01). Where the relay cuts an answer short, it does not cut through a second, which no
/// client that pages by date would get past (NIP-67).
fn limit_of(filter: &Filter, limits: QueryLimits) -> FilterLimit {
    let events_max = filter.limit.unwrap_or(limits.limit_default).min(limits.limit_max);
    let ties_max = if filter.limit == Some(events_max) { 0 } else { limits.limit_max };
    FilterLimit { events_max, ties_max }
}

#[cfg(test)]
mod tests {
    use towpath_protocol::wire;

    use super::*;

    #[test]
    fn a_limit_is_the_clients_clamped_or_the_default() {
        let limits = QueryLimits { limit_default: 500, limit_max: 5000 };
        for (filter, events_max, ties_max) in [
            ("{}", 500, 5000),
            (r#"{"limit":0}"#, 0, 0),
            (r#"{"limit":1}"#, 1, 0),
            (r#"{"limit":501}"#, 501, 0),
            (r#"{"limit":5000}"#, 5000, 0),
            (r#"{"limit":5001}"#, 5000, 5000),
            (r#"{"limit":18446744073709551615}"#, 5000, 5000),
        ] {
            let parsed = [wire::filter(filter).unwrap()];
            let limited = with_limits(&parsed, limits);
            let [parsed] = parsed;
            assert_eq!(*limited, [(parsed, FilterLimit { events_max, ties_max })], "{filter}");
        }
        let each = with_limits(&[wire::filter("{}").unwrap(), wire::filter(r#"{"limit":2}"#).unwrap()], limits);
        assert_eq!(each.iter().map(|(_, limit)| limit.events_max).collect::<Vec<_>>(), [500, 2]);
        let low = QueryLimits { limit_default: 500, limit_max: 10 };
        assert_eq!(with_limits(&[Filter::default()], low)[0].1.events_max, 10, "the default is clamped too");
    }
}
