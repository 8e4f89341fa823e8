//! A running relay's audit log over HTTP: what `docs/nips/audit.md` specifies, from the other side.

use std::path::PathBuf;

use anyhow::{Context, bail};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;
use towpath_audit::{Checkpoint, Hash, Leaf, LeafState, Report, TILE_WIDTH};
use towpath_policy::KIND_HTTP_AUTH;
use towpath_protocol::{Event, Limits, PublicKey, SecretKey, Verifier, wire};
use towpath_runtime::{Clock, SystemClock};

use super::verify::{ReadEntry, Take, verify_entries, with_late};
use crate::args::AuditedArgs;
use crate::progress;

/// A page of entries is larger than anything else that is fetched.
const BYTES_MAX: u64 = 64 << 20;
/// Entries asked for at once.
const ENTRIES_AT_ONCE: u64 = 1_000;

/// A relay.
pub(super) struct Remote {
    agent: ureq::Agent,
    base: String,
    /// Whom checkpoints must be signed by.
    pub(super) relay: PublicKey,
    key: Option<SecretKey>,
    key_file: Option<PathBuf>,
}

impl Remote {
    pub(super) fn new(url: &str, args: &AuditedArgs) -> anyhow::Result<Self> {
        let base = url.trim_end_matches('/');
        let base = base.strip_prefix("ws").map_or_else(|| base.to_owned(), |rest| format!("http{rest}"));
        anyhow::ensure!(base.starts_with("http"), "not the address of a relay: {url}");
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
        let key = args.key_file.as_deref().map(super::secret_key).transpose()?;
        let nobody = PublicKey::from_bytes([0; 32]);
        let mut remote = Self { agent, base, relay: nobody, key, key_file: args.key_file.clone() };
        remote.relay = match &args.relay {
            Some(relay) => super::public_key(relay)?,
            None => {
                let relay = super::public_key(remote.overview()?["relay"].as_str().unwrap_or_default())?;
                eprintln!("the relay says that its key is {relay}; name the one you know with --relay");
                relay
            }
        };
        Ok(remote)
    }

    fn overview(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_slice(&self.get("/audit")?)?)
    }

    /// The proof of an event, as a file.
    pub(super) fn proof(&self, id: &str) -> anyhow::Result<String> {
        Ok(String::from_utf8(self.get(&format!("/audit/inclusion/{id}"))?)?)
    }

    /// Every stream up to its latest checkpoint: with a key, which must be an auditor's, entry by entry; without one by hashes.
    pub(super) fn verify(&self, kept: &[Checkpoint], signatures: bool) -> anyhow::Result<Vec<(u32, Report)>> {
        let overview = self.overview()?;
        let streams = overview["streams"].as_array().context("the relay names no streams")?;
        let number = |stream: &Value| stream["stream"].as_u64().and_then(|number| u32::try_from(number).ok());
        let streams: Option<Vec<u32>> = streams.iter().map(number).collect();
        let mut reports = Vec::new();
        for stream in streams.context("the relay names a stream that is none")? {
            reports.push((stream, self.verify_stream(stream, kept, signatures)?));
        }
        Ok(reports)
    }

    fn verify_stream(&self, stream: u32, kept: &[Checkpoint], signatures: bool) -> anyhow::Result<Report> {
        let latest = self.checkpoint(stream)?;
        let size = latest.head.size;
        let known: Vec<Checkpoint> = kept.iter().cloned().chain([latest]).collect();
        let hashes = |level, first, count| self.hashes(stream, level, first, count);
        let bar = progress::entries(size);
        let report = with_late(stream, self.relay, &known, |verification| {
            let verification = verify_entries(verification, &hashes, signatures, |take| {
                let mut from = 0;
                while from < size {
                    from += match self.key {
                        Some(_) => self.take_entries(stream, from, size, take)?,
                        None => self.take_hashes(stream, from, size, take)?,
                    };
                    bar.set_position(from);
                }
                Ok(())
            })?;
            Ok(verification.finish(None))
        })?;
        bar.finish_and_clear();
        Ok(report)
    }

    fn checkpoint(&self, stream: u32) -> anyhow::Result<Checkpoint> {
        let event = String::from_utf8(self.get(&format!("/audit/{stream}/checkpoint.json"))?)?;
        let checkpoint = Checkpoint::of_signed(wire::event(&event, &Limits::default())?, &Verifier::new())?;
        anyhow::ensure!(checkpoint.relay == self.relay, "the checkpoint is signed by {}", checkpoint.relay);
        Ok(checkpoint)
    }

    /// One tile of leaf hashes. How many they were.
    fn take_hashes(&self, stream: u32, from: u64, size: u64, take: &mut Take<'_>) -> anyhow::Result<u64> {
        let count = (size - from).min(TILE_WIDTH);
        let hashes = self.hashes(stream, 0, from, usize::try_from(count)?)?;
        for (hash, index) in hashes.into_iter().zip(from..) {
            take(ReadEntry { seq: index + 1, committed_at_ms: 0, leaf: LeafState::Erased(hash), event: None })?;
        }
        Ok(count)
    }

    /// One page of entries. How many they were.
    fn take_entries(&self, stream: u32, from: u64, size: u64, take: &mut Take<'_>) -> anyhow::Result<u64> {
        let count = (size - from).min(ENTRIES_AT_ONCE);
        let page: Value =
            serde_json::from_slice(&self.get(&format!("/audit/{stream}/entries?from={from}&count={count}"))?)?;
        let entries =
            page["entries"].as_array().filter(|entries| !entries.is_empty()).context("a page without entries")?;
        for entry in entries {
            take(entry_of(entry)?)?;
        }
        Ok(entries.len() as u64)
    }

    /// From the tiles that hold them.
    fn hashes(&self, stream: u32, level: u8, first: u64, count: usize) -> anyhow::Result<Vec<Hash>> {
        let mut hashes = Vec::with_capacity(count);
        while hashes.len() < count {
            let at = first + hashes.len() as u64;
            let (tile, offset) = (at / TILE_WIDTH, at % TILE_WIDTH);
            let width = (offset + (count - hashes.len()) as u64).min(TILE_WIDTH);
            let bytes = self.get(&format!("/audit/{stream}/tile/{level}/{}", tile_path(tile, width)))?;
            let found = bytes.as_chunks().0.iter().skip(usize::try_from(offset)?).map(|hash| Hash(*hash));
            let before = hashes.len();
            hashes.extend(found);
            if hashes.len() == before {
                bail!("a tile of level {level} lacks hashes");
            }
        }
        hashes.truncate(count);
        Ok(hashes)
    }

    fn get(&self, target: &str) -> anyhow::Result<Vec<u8>> {
        let url = format!("{}{target}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(key) = &self.key {
            let tags: [&[&str]; 2] = [&["u", &url], &["method", "GET"]];
            let event = key.sign(SystemClock.unix_s(), KIND_HTTP_AUTH, &tags, "", &rand::random());
            request =
                request.header("Authorization", format!("Nostr {}", BASE64_STANDARD.encode(event.event().as_str())));
        }
        let mut response = request.call().with_context(|| format!("cannot reach {url}"))?;
        let body = response.body_mut().with_config().limit(BYTES_MAX).read_to_vec()?;
        let status = response.status();
        if !status.is_success() {
            let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
            let detail = problem["detail"].as_str().unwrap_or("no reason given").to_owned();
            let whose =
                self.key_file.as_ref().map_or(String::new(), |path| format!(" with the key in {}", path.display()));
            bail!("{url}{whose}: {status}: {detail}");
        }
        Ok(body)
    }
}

fn tile_path(index: u64, width: u64) -> String {
    let mut path = format!("{:03}", index % 1_000);
    let mut rest = index / 1_000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1_000);
        rest /= 1_000;
    }
    if width < TILE_WIDTH { format!("{path}.p/{width}") } else { path }
}

fn entry_of(entry: &Value) -> anyhow::Result<ReadEntry> {
    let number = |name: &str| entry[name].as_u64().with_context(|| format!("an entry without `{name}`"));
    let leaf = match entry["leaf"].as_str() {
        Some(leaf) => {
            LeafState::Whole(Leaf::from_bytes(&const_hex::decode(leaf).ok().context("a leaf that is no hex")?)?)
        }
        None => LeafState::Erased(entry["hash"].as_str().context("an entry without leaf and hash")?.parse()?),
    };
    let event = entry.get("event").map(event_of).transpose()?;
    Ok(ReadEntry { seq: number("seq")?, committed_at_ms: number("committed_at_ms")?, leaf, event })
}

/// Its id and its signature are checked with the others.
fn event_of(event: &Value) -> anyhow::Result<Event> {
    let limits = Limits { event_tags_max: usize::MAX, content_chars_max: usize::MAX, ..Limits::default() };
    Ok(wire::event(&event.to_string(), &limits)?.unverified().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_asked_for_as_c2sp_names_them() {
        assert_eq!(tile_path(0, 256), "000");
        assert_eq!(tile_path(7, 17), "007.p/17");
        assert_eq!(tile_path(1_234_067, 256), "x001/x234/067");
        assert_eq!(tile_path(1_000, 1), "x001/000.p/1");
    }
}
