//! Checkpoints: what the relay signs to stand by its log (C2SP tlog-checkpoint), as text and as a Nostr event.
//!
//! Owns: the texts, the events that carry them, and what makes one of them good. Must not know: when one is due.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use towpath_protocol::{Event, PublicKey, SecretKey, SubmittedEvent, VerifiedEvent, Verifier};

use crate::{Hash, Head};

/// The kind of the events that carry checkpoints; addressable, `d` is the stream, or `cluster`.
pub const KIND_CHECKPOINT: u16 = 36_962;
/// In the place of a stream: a checkpoint over the checkpoints of all streams.
const CLUSTER: &str = "cluster";

/// What a checkpoint is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// One stream's tree.
    Stream(u32),
    /// The heads of all streams, by stream.
    Cluster(Vec<(u32, Head)>),
}

/// A relay's statement of how far a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose it is.
    pub relay: PublicKey,
    /// What it is of.
    pub scope: Scope,
    /// Size and root. Of a cluster, the tree over the lines that name its streams.
    pub head: Head,
}

/// This is no checkpoint, or not a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a checkpoint: {0}")]
pub struct NotACheckpoint(&'static str);

impl Checkpoint {
    /// Of one stream.
    pub fn of_stream(relay: PublicKey, stream: u32, head: Head) -> Self {
        Self { relay, scope: Scope::Stream(stream), head }
    }

    /// Of all streams.
    pub fn of_cluster(relay: PublicKey, mut heads: Vec<(u32, Head)>) -> Self {
        heads.sort_unstable_by_key(|(stream, _)| *stream);
        let head = head_over(&heads);
        Self { relay, scope: Scope::Cluster(heads), head }
    }

    /// The name of the log.
    pub fn origin(&self) -> String {
        format!("{}/{}", self.relay, self.name())
    }

    /// What comes last in the origin, and the event's `d`.
    pub fn name(&self) -> String {
        match self.scope {
            Scope::Stream(stream) => stream.to_string(),
            Scope::Cluster(_) => CLUSTER.to_owned(),
        }
    }

    /// C2SP tlog-checkpoint: origin, size and root, a line each; of a cluster, a line for each stream behind them.
    pub fn text(&self) -> String {
        let Head { size, root } = self.head;
        let mut text = format!("{}\n{size}\n{}\n", self.origin(), base64(&root));
        if let Scope::Cluster(heads) = &self.scope {
            for line in heads.iter().map(line) {
                text.push_str(&line);
                text.push('\n');
            }
        }
        text
    }

    /// Reads a text. Signatures behind an empty line are not looked at.
    pub fn parse(text: &str) -> Result<Self, NotACheckpoint> {
        let body = text.split_once("\n\n").map_or(text, |(body, _)| body);
        let mut lines = body.strip_suffix('\n').unwrap_or(body).split('\n');
        let mut next = || lines.next().ok_or(NotACheckpoint("a line is missing"));
        let (origin, size, root) = (next()?, next()?, next()?);
        let head = Head { size: number(size)?, root: hash(root)? };
        let (relay, name) = origin.split_once('/').ok_or(NotACheckpoint("an unknown origin"))?;
        let relay = PublicKey::from_hex(relay).map_err(|_| NotACheckpoint("an unknown origin"))?;
        if name != CLUSTER {
            let stream = u32::try_from(number(name)?).map_err(|_| NotACheckpoint("an unknown stream"))?;
            return Ok(Self::of_stream(relay, stream, head));
        }
        let heads = lines.map(stream_head).collect::<Result<Vec<_>, _>>()?;
        if head != head_over(&heads) || !heads.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(NotACheckpoint("its root is not over its streams"));
        }
        Ok(Self { relay, scope: Scope::Cluster(heads), head })
    }

    /// What it says of a stream.
    pub fn head_of(&self, stream: u32) -> Option<Head> {
        match &self.scope {
            Scope::Stream(of) => (*of == stream).then_some(self.head),
            Scope::Cluster(heads) => heads.iter().find(|(of, _)| *of == stream).map(|(_, head)| *head),
        }
    }

    /// The streams it says something of.
    pub fn streams(&self) -> Vec<u32> {
        match &self.scope {
            Scope::Stream(stream) => vec![*stream],
            Scope::Cluster(heads) => heads.iter().map(|(stream, _)| *stream).collect(),
        }
    }

    /// The event that carries it, or its text with signatures, made at `created_at`.
    pub fn to_event(&self, secret: &SecretKey, text: &str, created_at: u64, aux: &[u8; 32]) -> VerifiedEvent {
        secret.sign(created_at, KIND_CHECKPOINT, &[&["d", &self.name()]], text, aux)
    }

    /// Reads an event that the relay has signed as far as the caller knows.
    pub fn of_event(event: &Event) -> Result<Self, NotACheckpoint> {
        if event.kind() != KIND_CHECKPOINT {
            return Err(NotACheckpoint("an event of another kind"));
        }
        let content = event.content().map_err(|_| NotACheckpoint("malformed content"))?;
        let checkpoint = Self::parse(&content)?;
        if checkpoint.relay != event.pubkey() {
            return Err(NotACheckpoint("somebody else's signature"));
        }
        if event.first_value("d").as_deref() != Some(&checkpoint.name()) {
            return Err(NotACheckpoint("a `d` of another log"));
        }
        Ok(checkpoint)
    }

    /// Reads an event and checks its signature.
    pub fn of_signed(event: SubmittedEvent, verifier: &Verifier) -> Result<Self, NotACheckpoint> {
        let event = verifier.verify(event).map_err(|_| NotACheckpoint("a bad signature"))?;
        Self::of_event(event.event())
    }
}

/// A line for each stream, and the tree over the lines.
fn head_over(heads: &[(u32, Head)]) -> Head {
    let mut tree = crate::Tree::new();
    for line in heads.iter().map(line) {
        tree.append(Hash::of_leaf(line.as_bytes()), |_| ());
    }
    tree.head()
}

fn line((stream, head): &(u32, Head)) -> String {
    format!("{stream} {} {}", head.size, base64(&head.root))
}

fn stream_head(line: &str) -> Result<(u32, Head), NotACheckpoint> {
    let mut words = line.split(' ');
    let (Some(stream), Some(size), Some(root), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err(NotACheckpoint("a malformed stream"));
    };
    let stream = u32::try_from(number(stream)?).map_err(|_| NotACheckpoint("an unknown stream"))?;
    Ok((stream, Head { size: number(size)?, root: hash(root)? }))
}

/// Decimal, without leading zeroes, as there is one way to write a number.
fn number(text: &str) -> Result<u64, NotACheckpoint> {
    let number: u64 = text.parse().map_err(|_| NotACheckpoint("a malformed number"))?;
    if number.to_string() == text { Ok(number) } else { Err(NotACheckpoint("a malformed number")) }
}

fn base64(hash: &Hash) -> String {
    BASE64_STANDARD.encode(hash.0)
}

fn hash(text: &str) -> Result<Hash, NotACheckpoint> {
    let bytes = BASE64_STANDARD.decode(text).map_err(|_| NotACheckpoint("a malformed root"))?;
    bytes.try_into().map(Hash).map_err(|_| NotACheckpoint("a malformed root"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretKey {
        SecretKey::from_bytes([7; 32]).unwrap()
    }

    fn head(size: u64) -> Head {
        Head { size, root: Hash::of_leaf(&size.to_be_bytes()) }
    }

    #[test]
    fn texts_are_read_as_they_were_written() {
        let relay = secret().public_key();
        let of_stream = Checkpoint::of_stream(relay, 3, head(20));
        assert_eq!(of_stream.text(), format!("{relay}/3\n20\n{}\n", base64(&head(20).root)));
        let of_cluster = Checkpoint::of_cluster(relay, vec![(7, head(70)), (3, head(30))]);
        assert_eq!(of_cluster.text().lines().count(), 5);
        assert_eq!((of_cluster.head_of(7), of_cluster.head_of(4)), (Some(head(70)), None));
        for checkpoint in [of_stream, of_cluster] {
            assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint.clone()));
            let signed = format!("{}\n— name abc\n", checkpoint.text());
            assert_eq!(Checkpoint::parse(&signed), Ok(checkpoint));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        let relay = secret().public_key();
        let good = Checkpoint::of_cluster(relay, vec![(3, head(30)), (7, head(70))]).text();
        let bad = [
            String::new(),
            "\n\n".into(),
            good.replace("3 30", "3 31"),
            good.replace("3 30", "3 030"),
            good.replace("3 30", "3  30"),
            good.replace("/cluster", "/1a"),
            good.replace("/cluster", ""),
            format!("{relay}/1\n+5\n{}\n", base64(&head(5).root)),
            format!("{relay}/1\n5\n{}\n", base64(&head(5).root).replace('=', "")),
            format!("{relay}/4294967296\n5\n{}\n", base64(&head(5).root)),
        ];
        for text in bad {
            assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_event_is_the_relays_own_and_of_the_log_it_names() {
        let (secret, relay) = (secret(), secret().public_key());
        let checkpoint = Checkpoint::of_stream(relay, 3, head(20));
        let event = checkpoint.to_event(&secret, &checkpoint.text(), 100, &[0; 32]);
        assert_eq!(Checkpoint::of_event(event.event()), Ok(checkpoint.clone()));
        let other = SecretKey::from_bytes([8; 32]).unwrap();
        let lies = [
            checkpoint.to_event(&other, &checkpoint.text(), 100, &[0; 32]),
            secret.sign(100, KIND_CHECKPOINT, &[&["d", "4"]], &checkpoint.text(), &[0; 32]),
            secret.sign(100, 1, &[&["d", "3"]], &checkpoint.text(), &[0; 32]),
        ];
        for lie in lies {
            assert!(Checkpoint::of_event(lie.event()).is_err(), "{:?}", lie.event());
        }
    }
}
