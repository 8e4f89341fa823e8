//! What a client's message may contain. Checked while parsing, before anything is allocated for the part at hand.

/// Bounds on messages, events and filters; the relay information document (NIP-11) states the same numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Filters in one REQ or COUNT.
    pub filters_max: usize,
    /// Characters (Unicode scalar values) of a subscription id; NIP-01 says 64.
    pub subscription_id_chars_max: usize,
    /// Tags of one event.
    pub event_tags_max: usize,
    /// Characters (Unicode scalar values) of one event's content.
    pub content_chars_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { filters_max: 256, subscription_id_chars_max: 64, event_tags_max: 20_000, content_chars_max: 512 * 1024 }
    }
}

/// Text of a client's that is said back to it is bounded: at most 128 bytes, cut at a character.
pub(crate) fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(128)]
}
