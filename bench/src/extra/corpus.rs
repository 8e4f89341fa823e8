//! A year of a relay's life, made up from a seed: notes, replies, reposts, reactions, profiles, follow lists and articles of
//! authors of whom few are busy and many are quiet. Everything follows from the recipe, so that every relay and every
//! round gets the same events. Holds what an oracle needs and writes the rest as JSON lines; knows no relay.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::thread;

use anyhow::{Context, Result, ensure};
use clap::Args;
use secp256k1::{Keypair, Secp256k1, SignOnly};
use sha2::{Digest, Sha256};

use crate::notes::Id;

/// Ten million events are some gigabytes of lines and half a gigabyte of memory.
pub(super) const EVENTS_MAX: usize = 10_000_000;
const SECONDS_PER_YEAR: u64 = 365 * 86_400;
/// So many events come from one author on average.
const EVENTS_PER_AUTHOR: usize = 100;
/// Signed at one time; an event refers only to events of earlier blocks, whose ids are known.
const BLOCK: usize = 256;
const FOLLOWS_MIN: usize = 20;
const FOLLOWS_MAX: usize = 60;
const TOPICS: [&str; 12] =
    ["nostr", "rust", "canal", "weather", "music", "books", "chess", "garden", "trains", "bread", "maps", "radio"];

const NOTE: u16 = 1;
const PROFILE: u16 = 0;
const FOLLOW_LIST: u16 = 3;
const REPOST: u16 = 6;
const REACTION: u16 = 7;
const ARTICLE: u16 = 30_023;

#[derive(Args)]
pub(crate) struct Options {
    /// Events, up to 10 000 000.
    #[arg(long, default_value_t = 100_000)]
    events: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file to write.
    file: PathBuf,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    let file = File::create(&options.file).with_context(|| format!("cannot write {}", options.file.display()))?;
    let recipe = Recipe { seed: options.seed, events: options.events, until: super::midnight()? };
    let corpus = Corpus::write(&recipe, &mut BufWriter::new(file))?;
    println!("{} events of {} authors, {} bytes", corpus.facts.len(), corpus.authors.len(), corpus.bytes);
    Ok(true)
}

/// What a corpus follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recipe {
    pub(super) seed: u64,
    pub(super) events: usize,
    /// The newest event's time; the oldest is a year before.
    pub(super) until: u64,
}

/// What filters can ask of one event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fact {
    pub(super) id: Id,
    pub(super) created_at: u64,
    pub(super) author: u32,
    pub(super) kind: u16,
    /// The event an `e` tag names.
    pub(super) refers_to: Option<u32>,
    /// The author a `p` tag names; a follow list's are in `Corpus::follows`.
    pub(super) mentions: Option<u32>,
    topic: Option<u8>,
}

/// All events by number, oldest first.
pub(super) struct Corpus {
    pub(super) authors: Vec<[u8; 32]>,
    pub(super) facts: Vec<Fact>,
    /// By the number of a follow list's event.
    pub(super) follows: HashMap<u32, Vec<u32>>,
    pub(super) bytes: u64,
}

impl Corpus {
    /// Makes the events on all cores and writes one a line, in order of their time.
    pub(super) fn write(recipe: &Recipe, sink: &mut impl Write) -> Result<Self> {
        ensure!(recipe.events <= EVENTS_MAX, "{} events are more than a corpus holds ({EVENTS_MAX})", recipe.events);
        let secp = Secp256k1::signing_only();
        let author_count = (recipe.events / EVENTS_PER_AUTHOR).max(10);
        let keys =
            (0..author_count).map(|author| keypair(&secp, recipe.seed, author)).collect::<Result<Vec<Keypair>>>()?;
        let mut corpus = Self {
            authors: keys.iter().map(|key| key.x_only_public_key().0.serialize()).collect(),
            facts: Vec::with_capacity(recipe.events),
            follows: HashMap::new(),
            bytes: 0,
        };
        while corpus.facts.len() < recipe.events {
            let block = corpus.block(recipe, &secp, &keys)?;
            for Made { fact, follows, line } in block {
                if fact.kind == FOLLOW_LIST {
                    corpus.follows.insert(corpus.facts.len() as u32, follows);
                }
                corpus.facts.push(fact);
                corpus.bytes += line.len() as u64;
                sink.write_all(line.as_bytes()).context("cannot write the corpus")?;
            }
        }
        sink.flush().context("cannot write the corpus")?;
        Ok(corpus)
    }

    fn block(&self, recipe: &Recipe, secp: &Secp256k1<SignOnly>, keys: &[Keypair]) -> Result<Vec<Made>> {
        let start = self.facts.len();
        let end = recipe.events.min(start + BLOCK);
        let workers = thread::available_parallelism().map_or(1, usize::from);
        let share = (end - start).div_ceil(workers).max(1);
        thread::scope(|scope| {
            let shares: Vec<_> = (start..end)
                .step_by(share)
                .map(|first| {
                    let numbers = first..end.min(first + share);
                    scope.spawn(move || numbers.map(|number| self.make(recipe, secp, keys, number)).collect::<Vec<_>>())
                })
                .collect();
            let joined = shares.into_iter().map(|share| share.join().ok());
            let made: Option<Vec<Vec<Made>>> = joined.collect();
            Ok(made.context("a signing thread failed")?.into_iter().flatten().collect())
        })
    }

    /// Event `number`; those of earlier blocks are known.
    fn make(&self, recipe: &Recipe, secp: &Secp256k1<SignOnly>, keys: &[Keypair], number: usize) -> Made {
        let mut dice = Dice::new(recipe.seed, number as u64);
        let shape = self.shape(&mut dice, recipe, number);
        let author = &keys[shape.fact.author as usize];
        let pubkey = const_hex::encode(self.authors[shape.fact.author as usize]);
        let tags = self.tags(&shape.fact, &shape.follows, number);
        let content = serde_json::Value::from(content(&mut dice, shape.fact.kind)).to_string();
        let Fact { created_at, kind, .. } = shape.fact;
        let canonical = format!(r#"[0,"{pubkey}",{created_at},{kind},{tags},{content}]"#);
        let id: Id = Sha256::digest(canonical).into();
        let signature = secp.sign_schnorr_no_aux_rand(&id, author).to_byte_array();
        let line = format!(
            "{{\"id\":\"{}\",\"pubkey\":\"{pubkey}\",\"created_at\":{created_at},\"kind\":{kind},\"tags\":{tags},\
             \"content\":{content},\"sig\":\"{}\"}}\n",
            const_hex::encode(id),
            const_hex::encode(signature),
        );
        Made { fact: Fact { id, ..shape.fact }, follows: shape.follows, line }
    }

    /// Every author's first two events are a profile and a follow list, and nobody replaces them, so that what is
    /// stored is what was sent, whatever the order.
    fn shape(&self, dice: &mut Dice, recipe: &Recipe, number: usize) -> Shape {
        let authors = self.authors.len();
        let mut fact = Fact {
            id: Id::default(),
            created_at: created_at(recipe, number),
            author: dice.skewed(authors) as u32,
            kind: NOTE,
            refers_to: None,
            mentions: None,
            topic: None,
        };
        let mut follows = Vec::new();
        // Spread over the year: newcomers come all the time.
        let step = (recipe.events / (2 * authors)).max(1);
        let introduction = number / step;
        if number.is_multiple_of(step) && introduction < 2 * authors {
            fact.author = (introduction / 2) as u32;
            fact.kind = if introduction.is_multiple_of(2) { PROFILE } else { FOLLOW_LIST };
            if fact.kind == FOLLOW_LIST {
                let wanted = FOLLOWS_MIN + dice.below(FOLLOWS_MAX - FOLLOWS_MIN);
                follows = (0..wanted).map(|_| dice.skewed(authors) as u32).collect();
                follows.sort_unstable();
                follows.dedup();
            }
            return Shape { fact, follows };
        }
        let earlier = number - number % BLOCK;
        let answers = |fact: &mut Fact, dice: &mut Dice| {
            if earlier > 0 {
                let target = earlier - 1 - dice.skewed(earlier);
                fact.refers_to = Some(target as u32);
                fact.mentions = Some(self.facts[target].author);
            }
        };
        // Two reactions of one instant could be the same event.
        match dice.below(if is_tie(number) { 60 } else { 100 }) {
            0..=34 => {}
            35..=59 => answers(&mut fact, dice),
            60..=91 => {
                fact.kind = REACTION;
                answers(&mut fact, dice);
            }
            92..=97 => {
                fact.kind = REPOST;
                answers(&mut fact, dice);
            }
            _ => fact.kind = ARTICLE,
        }
        let is_tagged = fact.kind == ARTICLE || fact.kind == NOTE && dice.below(100) < 15;
        fact.topic = is_tagged.then(|| dice.skewed(TOPICS.len()) as u8);
        Shape { fact, follows }
    }

    fn tags(&self, fact: &Fact, follows: &[u32], number: usize) -> String {
        let author = |author: u32| const_hex::encode(self.authors[author as usize]);
        let mut tags = Vec::new();
        if fact.kind == ARTICLE {
            tags.push(format!(r#"["d","article-{number}"]"#));
        }
        if let Some(target) = fact.refers_to {
            tags.push(format!(r#"["e","{}"]"#, const_hex::encode(self.facts[target as usize].id)));
        }
        tags.extend(fact.mentions.iter().chain(follows).map(|mentioned| format!(r#"["p","{}"]"#, author(*mentioned))));
        tags.extend(fact.topic.map(|topic| format!(r#"["t","{}"]"#, TOPICS[usize::from(topic)])));
        format!("[{}]", tags.join(","))
    }
}

struct Shape {
    fact: Fact,
    follows: Vec<u32>,
}

struct Made {
    fact: Fact,
    follows: Vec<u32>,
    line: String,
}

fn keypair(secp: &Secp256k1<SignOnly>, seed: u64, author: usize) -> Result<Keypair> {
    let secret = Sha256::digest(format!("towpath-bench corpus {seed} {author}"));
    Keypair::from_seckey_byte_array(secp, secret.into()).context("an author's key is out of range")
}

fn is_tie(number: usize) -> bool {
    number % 8 == 7
}

/// Evenly over the year, but for one in eight that shares the instant of its predecessor: ties are part of life.
fn created_at(recipe: &Recipe, number: usize) -> u64 {
    let number = if is_tie(number) { number - 1 } else { number } as u64;
    let events = recipe.events as u64;
    recipe.until - SECONDS_PER_YEAR + number * SECONDS_PER_YEAR / events.max(1)
}

fn content(dice: &mut Dice, kind: u16) -> String {
    let bytes = match kind {
        REACTION => return if dice.below(4) == 0 { "\u{1F919}".into() } else { "+".into() },
        REPOST => return String::new(),
        PROFILE => return format!(r#"{{"name":"{}","about":"{}"}}"#, words(dice, 12), words(dice, 120)),
        FOLLOW_LIST => return String::new(),
        ARTICLE => 1_000 + dice.below(4_000),
        _ => 20 + dice.skewed(700),
    };
    words(dice, bytes)
}

fn words(dice: &mut Dice, bytes: usize) -> String {
    let letters = (0..bytes).map(|_| match dice.below(32) {
        letter @ 0..26 => char::from(b'a' + letter as u8),
        _ => ' ',
    });
    letters.collect()
}

/// SplitMix64: the same numbers on every platform and in every version, which no library's generator promises.
pub(super) struct Dice(u64);

impl Dice {
    /// Each `number` has dice of its own, so that events can be made in any order.
    pub(super) fn new(seed: u64, number: u64) -> Self {
        let mut dice = Self(seed ^ number.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        dice.next();
        dice
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Evenly from zero to `end`, which is left out.
    pub(super) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// As `below`, with low numbers far more often: the first tenth comes about half of the time.
    pub(super) fn skewed(&mut self, end: usize) -> usize {
        let even = self.next() as f64 / u64::MAX as f64;
        ((even.powi(3) * end as f64) as usize).min(end.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECIPE: Recipe = Recipe { seed: 3, events: 3_000, until: 1_700_000_000 };

    fn made(recipe: &Recipe) -> (Corpus, String) {
        let mut lines = Vec::new();
        let corpus = Corpus::write(recipe, &mut lines).expect("written");
        (corpus, String::from_utf8(lines).expect("text"))
    }

    #[test]
    fn a_recipe_gives_the_same_lines_and_another_seed_others() {
        assert_eq!(made(&RECIPE).1, made(&RECIPE).1);
        assert_ne!(made(&RECIPE).1, made(&Recipe { seed: 4, ..RECIPE }).1);
    }

    #[test]
    fn every_line_is_an_event_as_its_fact_says_with_a_valid_signature() {
        let (corpus, lines) = made(&RECIPE);
        assert_eq!((lines.lines().count(), lines.len() as u64), (RECIPE.events, corpus.bytes));
        let secp = Secp256k1::verification_only();
        for (line, fact) in lines.lines().zip(&corpus.facts) {
            let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
            let signed = serde_json::json!([
                0,
                event["pubkey"],
                event["created_at"],
                event["kind"],
                event["tags"],
                event["content"]
            ]);
            let id: Id = Sha256::digest(signed.to_string()).into();
            assert_eq!((id, event["id"].as_str()), (fact.id, Some(const_hex::encode(id).as_str())));
            assert_eq!(event["created_at"], fact.created_at);
            let mut signature = [0; 64];
            const_hex::decode_to_slice(event["sig"].as_str().expect("a signature"), &mut signature).expect("hex");
            let author =
                secp256k1::XOnlyPublicKey::from_byte_array(corpus.authors[fact.author as usize]).expect("a key");
            let signature = secp256k1::schnorr::Signature::from_byte_array(signature);
            secp.verify_schnorr(&signature, &id, &author).expect("a valid signature");
        }
    }

    #[test]
    fn nothing_replaces_anything_and_every_kind_occurs() {
        let (corpus, _) = made(&RECIPE);
        let mut ids: Vec<Id> = corpus.facts.iter().map(|fact| fact.id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), RECIPE.events);
        for kind in [PROFILE, FOLLOW_LIST] {
            let mut authors: Vec<u32> =
                corpus.facts.iter().filter(|fact| fact.kind == kind).map(|fact| fact.author).collect();
            let events = authors.len();
            authors.sort_unstable();
            authors.dedup();
            assert_eq!((authors.len(), events), (corpus.authors.len(), corpus.authors.len()), "kind {kind}");
        }
        for kind in [NOTE, REPOST, REACTION, ARTICLE] {
            assert!(corpus.facts.iter().any(|fact| fact.kind == kind), "kind {kind}");
        }
        assert!(corpus.facts.is_sorted_by_key(|fact| fact.created_at));
        assert!(corpus.facts.windows(2).any(|pair| pair[0].created_at == pair[1].created_at));
    }

    #[test]
    fn a_few_authors_write_most() {
        let (corpus, _) = made(&RECIPE);
        let busiest = corpus.facts.iter().filter(|fact| (fact.author as usize) < corpus.authors.len() / 5).count();
        assert!(busiest > RECIPE.events / 2, "{busiest}");
        assert!(busiest < RECIPE.events);
    }
}
