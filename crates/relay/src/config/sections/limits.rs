//! The largest of everything a client may send or ask for.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::count;
use crate::config::codec::{Bytes, Count, Number, Seconds, SecondsOrNone};
use crate::config::setting::{Section, setting};

/// `[limits]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub message_bytes_max: usize,
    pub subscriptions_max: NonZeroUsize,
    pub filters_max: NonZeroUsize,
    pub limit_max: NonZeroUsize,
    pub limit_default: NonZeroUsize,
    pub subid_chars_max: NonZeroUsize,
    pub event_tags_max: NonZeroUsize,
    pub content_chars_max: NonZeroUsize,
    pub pow_bits_min: u32,
    pub created_at_ahead_max: Duration,
    /// How old an event may be; `None` is any age.
    pub created_at_behind_max: Option<Duration>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 512 << 10,
            subscriptions_max: count(1024),
            filters_max: count(256),
            limit_max: count(5000),
            limit_default: count(500),
            subid_chars_max: count(64),
            event_tags_max: count(10_000),
            content_chars_max: count(520_000),
            pow_bits_min: 0,
            created_at_ahead_max: Duration::from_secs(900),
            created_at_behind_max: None,
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "limits",
    what: "The largest of everything a client may send or ask for. NIP-11 announces all but \
           `filters_max`.",
    settings: &[
        setting!(
            limits.message_bytes_max, Bytes<1024, 16_777_216>, "message_bytes_max", Restart,
            "Bytes of one message, white space around it included. A longer one closes the connection.",
            "512 KiB: a follow list of seven thousand people fits.",
        ),
        setting!(
            limits.subscriptions_max,
            Count<100_000>,
            "subscriptions_max",
            Live,
            "Open subscriptions of one connection.",
            "More than clients that open one for every profile on screen use.",
        ),
        setting!(
            limits.filters_max,
            Count<10_000>,
            "filters_max",
            Live,
            "Filters of one REQ or COUNT.",
            "Clients send a hundred at once after they reconnect.",
        ),
        setting!(
            limits.limit_max,
            Count<100_000>,
            "limit_max",
            Live,
            "The most stored events one filter is answered with, whatever `limit` it asks for.",
            "A screen needs dozens, a backup asks again from where it stopped.",
        ),
        setting!(
            limits.limit_default,
            Count<100_000>,
            "limit_default",
            Live,
            "The `limit` of a filter that names none.",
            "Many screens of events; who wants more can say so.",
        ),
        setting!(
            limits.subid_chars_max,
            Count<256>,
            "subid_chars_max",
            Live,
            "Characters of a subscription id.",
            "What NIP-01 allows.",
        ),
        setting!(
            limits.event_tags_max,
            Count<1_000_000>,
            "event_tags_max",
            Live,
            "Tags of one event.",
            "More `p` tags than a message has room for, far fewer than the empty tags it has room for.",
        ),
        setting!(
            limits.content_chars_max,
            Count<16_777_216>,
            "content_chars_max",
            Live,
            "Characters of an event's content.",
            "What a message has room for beside the other fields.",
        ),
        setting!(
            limits.pow_bits_min, Number<0, 255>, "pow_bits_min", Live,
            "Proof of work (NIP-13) an event must show, in leading zero bits of its id. 0 asks for none.",
            "Few clients can do it; switch it on against a flood.",
        ),
        setting!(
            limits.created_at_ahead_max, Seconds<0, 315_360_000>, "created_at_ahead_max_s", Live,
            "How far in the future an event may be dated.",
            "15 minutes: clocks are wrong by minutes, and an event from next year would top every list.",
        ),
        setting!(
            limits.created_at_behind_max,
            SecondsOrNone<3_153_600_000>,
            "created_at_behind_max_s",
            Live,
            "How old an event may be when it is published. 0 is any age.",
            "Any age: people bring their history, and gift wraps are dated back on purpose.",
        ),
    ],
};
