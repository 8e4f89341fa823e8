//! NIP-45's registers, computed a second time as the text puts it: on strings of bits.

use sha2::{Digest, Sha256};
use towpath_protocol::{HyperLogLog, PublicKey, SecretKey, wire};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Keys that look random, and some with long runs of zeros.
fn keys() -> Vec<PublicKey> {
    let random = (0u32..500).map(|n| Sha256::digest(n.to_be_bytes()).into());
    let zeros = (0..32).map(|at| {
        let mut key = [0; 32];
        key[at] = 1 << (at % 8);
        key
    });
    random.chain(zeros).chain([[0; 32], [255; 32]]).map(PublicKey::from_bytes).collect()
}

fn registers(offset: usize, keys: &[PublicKey]) -> Vec<u8> {
    let mut registers = vec![0; 256];
    for key in keys {
        let bits: String = key.as_bytes()[offset + 1..].iter().map(|byte| format!("{byte:08b}")).collect();
        let value = bits.chars().take_while(|bit| *bit == '0').count() as u8 + 1;
        let register = &mut registers[key.as_bytes()[offset] as usize];
        *register = value.max(*register);
    }
    registers
}

#[test]
fn the_offset_comes_from_the_first_tag_condition() {
    let key = SecretKey::from_bytes([1; 32]).unwrap().public_key().to_hex();
    let offset_in = |hex: &str| u8::from_str_radix(&hex[32..33], 16).unwrap() as usize + 8;
    let hashed = |text: &str| offset_in(&hex(&Sha256::digest(text)));
    for (filter, offset) in [
        ("{}".to_owned(), None),
        (r#"{"kinds":[1]}"#.to_owned(), None),
        (r##"{"#t":[]}"##.to_owned(), None),
        (format!(r##"{{"kinds":[3],"#p":["{key}"]}}"##), Some(offset_in(&key))),
        (format!(r##"{{"#e":["{}"]}}"##, "0123456789abcdef".repeat(4)), Some(8)),
        (format!(r##"{{"#e":["{}"]}}"##, "f".repeat(64)), Some(23)),
        (format!(r##"{{"#a":["30023:{key}:d:d"]}}"##), Some(offset_in(&key))),
        (r##"{"#t":["nostr"]}"##.to_owned(), Some(hashed("nostr"))),
        (r##"{"#t":["zebra","ant"],"#d":["x"]}"##.to_owned(), Some(hashed("zebra"))),
        (format!(r##"{{"#t":["{}"]}}"##, key.to_uppercase()), Some(hashed(&key.to_uppercase()))),
        (r##"{"#t":[""]}"##.to_owned(), Some(hashed(""))),
    ] {
        assert_eq!(wire::filter(&filter).unwrap().hll_offset(), offset, "{filter}");
    }
}

#[test]
fn registers_are_those_of_the_text_at_every_offset() {
    let keys = keys();
    for offset in 8..=23 {
        let mut hll = HyperLogLog::new(offset);
        keys.iter().for_each(|key| hll.add(key));
        assert_eq!(hll.to_hex(), hex(&registers(offset, &keys)), "offset {offset}");
    }
}

#[test]
fn counting_an_author_twice_changes_nothing() {
    let keys = keys();
    let (mut once, mut twice) = (HyperLogLog::new(8), HyperLogLog::new(8));
    keys.iter().for_each(|key| once.add(key));
    keys.iter().chain(keys.iter().rev()).for_each(|key| twice.add(key));
    assert_eq!(once, twice);
    assert_eq!(HyperLogLog::new(8).to_hex(), "00".repeat(256));
}
