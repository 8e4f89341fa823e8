//! Keys as people pass them on: `npub1…` and `nsec1…` (NIP-19, BIP-173).

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
const CHECKSUM_LEN: usize = 6;

/// `bytes` as bech32 with the human-readable `prefix`.
pub(crate) fn encode(prefix: &str, bytes: &[u8]) -> String {
    let mut words = five_bit_words(bytes);
    words.extend(checksum(prefix, &words));
    let tail = words.iter().map(|word| char::from(ALPHABET[usize::from(*word)]));
    prefix.chars().chain(['1']).chain(tail).collect()
}

/// The bits of `bytes` in groups of five, the last one filled up with zeros.
fn five_bit_words(bytes: &[u8]) -> Vec<u8> {
    let mut words = Vec::with_capacity(bytes.len() * 8 / 5 + 1 + CHECKSUM_LEN);
    let (mut bits, mut bits_len) = (0_u32, 0);
    for byte in bytes {
        bits = (bits << 8 | u32::from(*byte)) & 0xfff;
        bits_len += 8;
        while bits_len >= 5 {
            bits_len -= 5;
            words.push((bits >> bits_len & 31) as u8);
        }
    }
    if bits_len > 0 {
        words.push((bits << (5 - bits_len) & 31) as u8);
    }
    words
}

fn checksum(prefix: &str, words: &[u8]) -> [u8; CHECKSUM_LEN] {
    let high = prefix.bytes().map(|byte| byte >> 5);
    let low = prefix.bytes().map(|byte| byte & 31);
    let expanded = high.chain([0]).chain(low).chain(words.iter().copied());
    let state = expanded.chain([0; CHECKSUM_LEN]).fold(1, step) ^ 1;
    std::array::from_fn(|index| (state >> (5 * (CHECKSUM_LEN - 1 - index)) & 31) as u8)
}

fn step(state: u32, word: u8) -> u32 {
    let top = state >> 25;
    let shifted = (state & 0x01ff_ffff) << 5 ^ u32::from(word);
    let feedback = GENERATOR.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1);
    feedback.fold(shifted, |state, (_, term)| state ^ term)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let pairs = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        pairs.collect::<Result<_, _>>().expect("hex")
    }

    #[test]
    fn the_examples_of_nip_19_are_encoded() {
        for (prefix, hex, expected) in [
            (
                "npub",
                "7e7e9c42a91bfef19fa929e5fda1b72e0ebc1a4c1141673e2794234d86addf4e",
                "npub10elfcs4fr0l0r8af98jlmgdh9c8tcxjvz9qkw038js35mp4dma8qzvjptg",
            ),
            (
                "nsec",
                "67dea2ed018072d675f5415ecfaed7d2597555e202d85b3d65ea4e58d2d92ffa",
                "nsec1vl029mgpspedva04g90vltkh6fvh240zqtv9k0t9af8935ke9laqsnlfe5",
            ),
        ] {
            assert_eq!(encode(prefix, &bytes(hex)), expected);
        }
    }
}
