//! From a client's JSON to a [`SubmittedEvent`]: one pass over the text, strings copied once into canonical form, id checked.
//!
//! Must not know: signatures (see `verify`), time, or which kinds are welcome.

use std::ops::Range;

use crate::event::{Event, Fields, MalformedEvent};
use crate::ids::{EventId, HexError, PublicKey, decode_hex};
use crate::json::{JsonError, JsonStr, Scanner};
use crate::limits::Limits;

/// Why a text is not an event. The wording is part of the protocol's `invalid:` refusals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEvent {
    /// Not JSON, or not of the expected shape.
    #[error("{0}")]
    Json(#[from] JsonError),
    /// A field is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// `id`, `pubkey` or `sig` is not lowercase hex of its length.
    #[error("{0} must be lowercase hex of its exact length")]
    Hex(&'static str),
    /// `kind` or `created_at` is not an integer in range.
    #[error("{0} must be an integer within {1}")]
    Range(&'static str, &'static str),
    /// A tag is empty or holds something other than strings.
    #[error("tags must be non-empty arrays of strings")]
    Tag,
    /// More tags than allowed.
    #[error("more than {0} tags")]
    TooManyTags(usize),
    /// Content longer than allowed.
    #[error("content is longer than {0} characters")]
    ContentTooLong(usize),
    /// The id is not the hash of the event.
    #[error("id does not match the event")]
    WrongId,
}

/// An event as a client sent it: well-formed, canonical, its id correct. Its signature is unchecked.
#[derive(Debug, Clone)]
pub struct SubmittedEvent(Event);

impl SubmittedEvent {
    /// The event, of which only form and id are known to be right.
    pub fn unverified(&self) -> &Event {
        &self.0
    }

    pub(crate) fn into_event(self) -> Event {
        self.0
    }

    /// For events that a store or a dump holds already: checks the id again.
    pub fn from_canonical(event: Event) -> Result<Self, InvalidEvent> {
        let (tags, content) = event.signed_parts().map_err(|MalformedEvent| JsonError::End)?;
        let fields = Fields { pubkey: event.pubkey(), created_at: event.created_at(), kind: event.kind() };
        if id_matches(&event.id(), &fields, tags, content) { Ok(Self(event)) } else { Err(InvalidEvent::WrongId) }
    }
}

/// Parses one event object, the whole of `text`.
pub fn parse_event(text: &str, limits: &Limits) -> Result<SubmittedEvent, InvalidEvent> {
    let mut scanner = Scanner::new(text);
    let event = scan_event(&mut scanner, limits)?;
    scanner.end()?;
    Ok(event)
}

/// The values of the known keys so far. Of a repeated key the last counts, as in every JSON library; other keys are dropped.
#[derive(Default)]
struct Draft {
    id: Option<EventId>,
    pubkey: Option<PublicKey>,
    created_at: Option<u64>,
    kind: Option<u16>,
    sig: Option<[u8; 64]>,
    /// Where they are in `parts`.
    tags: Option<Range<usize>>,
    content: Option<Range<usize>>,
    /// Tags and content in canonical form, as they come.
    parts: String,
}

/// Parses the event object that comes next and leaves `scanner` behind it.
pub(crate) fn scan_event(scanner: &mut Scanner<'_>, limits: &Limits) -> Result<SubmittedEvent, InvalidEvent> {
    // Canonical form is at most as long.
    let mut draft = Draft { parts: String::with_capacity(scanner.rest().len()), ..Draft::default() };
    scanner.expect(b'{')?;
    let mut more = !scanner.accept(b'}');
    while more {
        let key = scanner.key()?;
        draft.take(&key, scanner, limits)?;
        more = scanner.another(b'}')?;
    }
    draft.finish()
}

impl Draft {
    fn take(&mut self, key: &str, scanner: &mut Scanner<'_>, limits: &Limits) -> Result<(), InvalidEvent> {
        match key {
            "id" => self.id = Some(EventId::from_bytes(hex(scanner, "id")?)),
            "pubkey" => self.pubkey = Some(PublicKey::from_bytes(hex(scanner, "pubkey")?)),
            "sig" => self.sig = Some(hex(scanner, "sig")?),
            "created_at" => self.created_at = Some(integer(scanner, "created_at", "0 to 2^63")?),
            "kind" => self.kind = Some(integer(scanner, "kind", "0 to 65535")?),
            "tags" => self.tags = Some(self.part(|parts| tags(scanner, limits, parts))?),
            "content" => self.content = Some(self.part(|parts| content(scanner.string()?, limits, parts))?),
            _ => scanner.skip_value()?,
        }
        Ok(())
    }

    /// Where it is what `push` appends.
    fn part(
        &mut self,
        push: impl FnOnce(&mut String) -> Result<(), InvalidEvent>,
    ) -> Result<Range<usize>, InvalidEvent> {
        let start = self.parts.len();
        push(&mut self.parts)?;
        Ok(start..self.parts.len())
    }

    fn finish(self) -> Result<SubmittedEvent, InvalidEvent> {
        let id = self.id.ok_or(InvalidEvent::Missing("id"))?;
        let fields = Fields {
            pubkey: self.pubkey.ok_or(InvalidEvent::Missing("pubkey"))?,
            created_at: self.created_at.ok_or(InvalidEvent::Missing("created_at"))?,
            kind: self.kind.ok_or(InvalidEvent::Missing("kind"))?,
        };
        let sig = self.sig.ok_or(InvalidEvent::Missing("sig"))?;
        let tags = &self.parts[self.tags.ok_or(InvalidEvent::Missing("tags"))?];
        let content = &self.parts[self.content.ok_or(InvalidEvent::Missing("content"))?];
        if !id_matches(&id, &fields, tags, content) {
            return Err(InvalidEvent::WrongId);
        }
        Ok(SubmittedEvent(Event::assemble(id, &fields, tags, content, &sig)))
    }
}

fn hex<const N: usize>(scanner: &mut Scanner<'_>, field: &'static str) -> Result<[u8; N], InvalidEvent> {
    // Digits hold no quote and no escape: no need to look for them first.
    if let Some(bytes) = scanner.string_of(2 * N, |text| decode_hex(text).ok()) {
        return Ok(bytes);
    }
    let plain = scanner.string()?.plain().ok_or(InvalidEvent::Hex(field))?;
    decode_hex(plain).map_err(|HexError| InvalidEvent::Hex(field))
}

/// Timestamps stop at 2^63 because that is where other implementations' integers do.
fn integer<T: TryFrom<i64>>(
    scanner: &mut Scanner<'_>,
    field: &'static str,
    range: &'static str,
) -> Result<T, InvalidEvent> {
    let out_of_range = InvalidEvent::Range(field, range);
    let number = scanner.integer().map_err(|_| out_of_range.clone())?;
    let number = i64::try_from(number).ok().filter(|n| *n >= 0).ok_or_else(|| out_of_range.clone())?;
    T::try_from(number).map_err(|_| out_of_range)
}

fn content(text: JsonStr<'_>, limits: &Limits, out: &mut String) -> Result<(), InvalidEvent> {
    if text.push_canonical(out)? > limits.content_chars_max {
        return Err(InvalidEvent::ContentTooLong(limits.content_chars_max));
    }
    Ok(())
}

fn tags(scanner: &mut Scanner<'_>, limits: &Limits, out: &mut String) -> Result<(), InvalidEvent> {
    out.push('[');
    let mut count = 0;
    scanner.expect(b'[').map_err(|_| InvalidEvent::Tag)?;
    let mut more = !scanner.accept(b']');
    while more {
        count += 1;
        if count > limits.event_tags_max {
            return Err(InvalidEvent::TooManyTags(limits.event_tags_max));
        }
        tag(scanner, out)?;
        more = scanner.another(b']')?;
        out.push_str(if more { "," } else { "" });
    }
    out.push(']');
    Ok(())
}

fn tag(scanner: &mut Scanner<'_>, out: &mut String) -> Result<(), InvalidEvent> {
    scanner.expect(b'[').map_err(|_| InvalidEvent::Tag)?;
    out.push('[');
    loop {
        if scanner.peek() != Some(b'"') {
            return Err(InvalidEvent::Tag);
        }
        scanner.string()?.push_canonical(out)?;
        if !scanner.another(b']')? {
            break;
        }
        out.push(',');
    }
    out.push(']');
    Ok(())
}

/// Whether `id` is the hash of the event, under either reading of NIP-01 for control characters that have no short escape:
/// escaped as `\u00xx`, as every JSON library writes them, or verbatim, as the text says.
fn id_matches(id: &EventId, fields: &Fields, tags: &str, content: &str) -> bool {
    if fields.id(tags.as_bytes(), content.as_bytes()) == *id {
        return true;
    }
    let has_long_escape = tags.contains("\\u00") || content.contains("\\u00");
    has_long_escape && fields.id(&verbatim(tags), &verbatim(content)) == *id
}

/// Canonical JSON with `\u00xx` replaced by the bare control character.
fn verbatim(canonical: &str) -> Vec<u8> {
    let bytes = canonical.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let used = match rest {
            [b'\\', b'u', b'0', b'0', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit =
                    |hex: u8| (hex as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
                out.push(digit(*high) << 4 | digit(*low));
                6
            }
            [b'\\', _, ..] => {
                out.extend_from_slice(&rest[..2]);
                2
            }
            _ => {
                out.push(rest[0]);
                1
            }
        };
        at += used;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_escapes_of_control_characters_are_made_verbatim() {
        for (canonical, expected) in [
            (r"a\u0000\u001fb", "a\u{0}\u{1f}b"),
            (r"\\u0000", r"\\u0000"),
            (r"\n\u0007", "\\n\u{7}"),
            // Damaged bytes of a store come here too, when it is checked: a fuzzed one broke a character in two.
            (r"\u000é0", r"\u000é0"),
            (r"\u00", r"\u00"),
            ("\\", "\\"),
        ] {
            assert_eq!(verbatim(canonical), expected.as_bytes(), "{canonical}");
        }
    }
}
