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

#[cfg(test)]
mod tests {
    use towpath_protocol::{SecretKey, wire};

    use super::*;

    #[test]
    fn a_limit_is_the_clients_clamped_or_the_default() {
        let limits = QueryLimits { limit_default: 500, limit_max: 5000 };
        for (filter, expected) in [
            ("{}", 500),
            (r#"{"limit":0}"#, 0),
            (r#"{"limit":1}"#, 1),
            (r#"{"limit":501}"#, 501),
            (r#"{"limit":5000}"#, 5000),
            (r#"{"limit":5001}"#, 5000),
            (r#"{"limit":18446744073709551615}"#, 5000),
        ] {
            let parsed = [wire::filter(filter).unwrap()];
            let limited = with_limits(&parsed, limits);
            let [parsed] = parsed;
            assert_eq!(*limited, [(parsed, FilterLimit { events_max: expected })], "{filter}");
        }
        let each = with_limits(&[wire::filter("{}").unwrap(), wire::filter(r#"{"limit":2}"#).unwrap()], limits);
        assert_eq!(each.iter().map(|(_, limit)| limit.events_max).collect::<Vec<_>>(), [500, 2]);
        let low = QueryLimits { limit_default: 500, limit_max: 10 };
        assert_eq!(with_limits(&[Filter::default()], low)[0].1.events_max, 10, "the default is clamped too");
    }

    #[test]
    fn an_event_is_visible_until_it_expires() {
        let key = SecretKey::from_bytes([1; 32]).unwrap();
        for (tags, content, expected) in [
            (&[][..], "", true),
            (&[], "\"expiration\" is only a word here", true),
            (&[&["t", "expiration"][..]], "", true),
            (&[&["expiration", "1001"]], "", true),
            (&[&["expiration", "1000"]], "", false),
            (&[&["expiration", "0"]], "", false),
            (&[&["t", "x"], &["expiration", "999", "more"]], "", false),
            (&[&["expiration", "2000"], &["expiration", "1"]], "", true),
            (&[&["expiration", "99999999999999999999999"]], "", true),
        ] {
            let event = key.sign(1, 1, tags, content, &[0; 32]).into_event();
            assert_eq!(visible_at(&event, 1000), expected, "{event:?}");
        }
    }
}
