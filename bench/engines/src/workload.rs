//! The events every engine is given: the shape of a relay's traffic, reproducible from an event's number alone.
//!
//! Knows nothing of engines. Invariant: event `n` is the same for every engine, so all of them store the same bytes.

use std::fmt::Write;

const AUTHORS: u64 = 1_000;
/// Kind 1 takes most of the traffic; the others share the rest evenly and each has enough for the read benchmark.
const OTHER_KINDS: [u16; 8] = [0, 3, 6, 7, 9, 1_111, 9_735, 30_023];
const STARTED_AT: u64 = 1_700_000_000;
const WORDS: [&str; 16] = [
    "water", "lock", "barge", "towpath", "the", "horse", "a", "bridge", "and", "upstream", "of", "gate", "slow",
    "canal", "with", "rope",
];
const CONTENT_BYTES: usize = 140;

/// An event as the committer receives it: checked, with its canonical bytes.
pub(crate) struct Event {
    pub(crate) id: [u8; 32],
    pub(crate) author: [u8; 32],
    pub(crate) kind: u16,
    pub(crate) created_at: u64,
    pub(crate) tag: [u8; 32],
    pub(crate) json: Vec<u8>,
}

/// Builds event number `n`, about 550 bytes of JSON.
pub(crate) fn event(n: u64) -> Event {
    let mut random = Random::seeded(n);
    let id = random.bytes();
    let author = author(random.below(AUTHORS));
    let kind = if random.below(10) < 6 { 1 } else { other_kind(random.below(8)) };
    // Ten events a second with a minute of jitter: nearly in order, as clients' clocks are.
    let created_at = STARTED_AT + n / 10 + random.below(60);
    let tag = random.bytes();
    let json = json(&id, &author, kind, created_at, &tag, &mut random).into_bytes();
    Event { id, author, kind, created_at, tag, json }
}

/// An author that has stored events, for the read benchmark.
pub(crate) fn author(number: u64) -> [u8; 32] {
    Random::seeded((number % AUTHORS) ^ (0xa07 << 48)).bytes()
}

/// A kind that has stored events, for the read benchmark.
pub(crate) fn other_kind(number: u64) -> u16 {
    OTHER_KINDS[(number % 8) as usize]
}

fn json(id: &[u8], author: &[u8], kind: u16, created_at: u64, tag: &[u8], random: &mut Random) -> String {
    let mut json = String::with_capacity(576);
    json.push_str("{\"id\":\"");
    push_hex(&mut json, id);
    json.push_str("\",\"pubkey\":\"");
    push_hex(&mut json, author);
    write!(json, "\",\"created_at\":{created_at},\"kind\":{kind},\"tags\":[[\"e\",\"")
        .expect("writing to a string cannot fail");
    push_hex(&mut json, tag);
    json.push_str("\"]],\"content\":\"");
    let content_end = json.len() + CONTENT_BYTES;
    while json.len() < content_end {
        json.push_str(WORDS[random.below(16) as usize]);
        json.push(' ');
    }
    json.push_str("\",\"sig\":\"");
    push_hex(&mut json, &random.bytes());
    push_hex(&mut json, &random.bytes());
    json.push_str("\"}");
    json
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)].into());
        text.push(DIGITS[usize::from(byte & 15)].into());
    }
}

/// SplitMix64: small, fast, and the same everywhere.
struct Random(u64);

impl Random {
    fn seeded(seed: u64) -> Self {
        let mut random = Self(seed);
        Self(random.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&self.next().to_be_bytes());
        }
        bytes
    }
}
