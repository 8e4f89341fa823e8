//! The audit log over HTTP: checkpoints, tiles and proofs. The paths are specified in `docs/nips/audit.md`.
//!
//! ```text
//! /audit                                     what there is
//! /audit/<log>/checkpoint[.json]             the latest, of a stream or of `cluster`, as text or as its event
//! /audit/<stream>/tile/<level>/<index>       hashes (C2SP tlog-tiles)
//! /audit/<stream>/consistency?from=&to=      that one size is the beginning of another
//! /audit/inclusion/<event id>                that an event is in the log: for who may read the event
//! /audit/<stream>/entries?from=&count=       entries with their events: for auditors
//! ```
//! Must not know: how trees are kept, or when checkpoints are made.

use std::sync::Arc;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use towpath_audit::{LeafState, TILE_WIDTH, prove_consistency, root_at};
use towpath_gateway::{Resource, ResourceRequest};
use towpath_policy::{Principal, check_http_auth, has_expired, may_read};
use towpath_protocol::{Event, EventId, wire};
use towpath_store::{Entry, Seq, StoredTree, StreamId};

use crate::checkpoints::Signed;
use crate::limiter::{Asker, Class, counted_address};
use crate::node::Node;
use crate::proofs::{self, NoProof};

/// Requests that read the store at once; others wait, bounded by the edge's handshake time.
const AT_ONCE: usize = 4;
/// Entries in one answer.
const ENTRIES_MAX: usize = 1_000;
const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// Bounds what the pages cost.
pub(crate) struct AuditPages(Arc<Semaphore>);

impl Default for AuditPages {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

/// The page, if the path is one of ours.
pub(crate) async fn serve(node: &Arc<Node>, request: ResourceRequest) -> Option<Resource> {
    let rest = request.path.strip_prefix("/audit")?;
    if !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    Some(answer(node, &request, rest.trim_start_matches('/')).await.unwrap_or_else(Refusal::page))
}

async fn answer(node: &Arc<Node>, request: &ResourceRequest, path: &str) -> Result<Resource, Refusal> {
    if node.store.heads().is_empty() {
        return Err(Refusal(404, "this relay keeps no audit log".into()));
    }
    within_rate(node, request)?;
    let principal = principal(node, request).await?;
    let slots = Arc::clone(&node.audit_pages.0);
    let Ok(slot) = slots.acquire_owned().await else { return Err(Refusal(503, "shutting down".into())) };
    let (node, path, query) = (Arc::clone(node), path.to_owned(), request.query.clone());
    let page = tokio::task::spawn_blocking(move || {
        // Kept to the end, even if whoever asked has gone.
        let _slot = slot;
        Asked { node: &node, principal, query: &query }.page(&path)
    });
    page.await.unwrap_or_else(|_| Err(Refusal(500, "the page could not be made".into())))
}

/// By address, and before any signature is looked at.
fn within_rate(node: &Node, request: &ResourceRequest) -> Result<(), Refusal> {
    let config = node.config.get();
    let Some(address) = counted_address(&request.peer, &config.server.trusted_addresses) else { return Ok(()) };
    let asker = Asker { connection: None, address: Some(address), keys: &[] };
    let taken = node.limiter.take(Class::Query, 1.0, &asker, &config.rates, node.clock.instant());
    taken.map_err(|wait| Refusal(429, format!("too many requests: again in {} s", wait.as_secs() + 1)))
}

/// Who asks, by an `Authorization` header as NIP-98 has it; nobody without one.
async fn principal(node: &Node, request: &ResourceRequest) -> Result<Principal, Refusal> {
    let mut principal = Principal::anonymous();
    let Some(header) = &request.authorization else { return Ok(principal) };
    let refused = |why: &str| Refusal(401, format!("the Authorization header proves no key: {why}"));
    let event = match header.split_once(' ') {
        Some((scheme, event)) if scheme.eq_ignore_ascii_case("nostr") => event,
        _ => return Err(refused("it is not of the form `Nostr <base64>` (NIP-98)")),
    };
    let event = BASE64_STANDARD.decode(event.trim()).map_err(|_| refused("it is not base64"))?;
    let event = String::from_utf8(event).map_err(|_| refused("it is not text"))?;
    let limits = crate::build::message_limits(&node.config.get());
    let event = wire::event(&event, &limits).map_err(|error| refused(&error.to_string()))?;
    let event = node.ingest.verify_auth(event).await.ok_or_else(|| refused("bad signature"))?;
    let target = match request.query.as_str() {
        "" => request.path.clone(),
        query => format!("{}?{query}", request.path),
    };
    let key = check_http_auth(&event, &request.method, &target, &node.policy.get(), node.clock.unix_s());
    principal.add(key.map_err(|denial| refused(&format!("wrong {denial:?}").to_lowercase()))?);
    Ok(principal)
}

/// A status and why.
struct Refusal(u16, String);

impl Refusal {
    /// RFC 9457.
    fn page(self) -> Resource {
        let Self(status, detail) = self;
        resource(status, PROBLEM, json!({ "status": status, "detail": detail }).to_string())
    }
}

impl From<NoProof> for Refusal {
    fn from(reason: NoProof) -> Self {
        let status = match &reason {
            NoProof::Unknown | NoProof::NotCovered { .. } | NoProof::NoCheckpoint => 404,
            NoProof::Store(_) | NoProof::Damaged(_) => 500,
        };
        Self(status, reason.to_string())
    }
}

impl From<towpath_store::Error> for Refusal {
    fn from(error: towpath_store::Error) -> Self {
        tracing::error!(%error, "a page of the audit log could not be made");
        Self(500, "the store failed".into())
    }
}

fn resource(status: u16, kind: &'static str, content: String) -> Resource {
    Resource { status, kind, immutable: false, content: content.into() }
}

fn json_page(value: &Value) -> Resource {
    resource(200, JSON, value.to_string())
}

/// A request with all it takes to answer it. Blocks.
struct Asked<'a> {
    node: &'a Node,
    principal: Principal,
    query: &'a str,
}

impl Asked<'_> {
    fn page(&self, path: &str) -> Result<Resource, Refusal> {
        match path.split('/').collect::<Vec<_>>()[..] {
            [""] => Ok(self.overview()),
            ["inclusion", id] => self.inclusion(id),
            [log, "checkpoint"] => Ok(resource(200, "text/plain; charset=utf-8", self.checkpoint(log)?.text())),
            [log, "checkpoint.json"] => Ok(resource(200, JSON, self.checkpoint(log)?.event.as_str().to_owned())),
            [stream, "consistency"] => self.consistency(self.stream(stream)?),
            [stream, "entries"] => self.entries(self.stream(stream)?),
            [stream, "tile", level, ref index @ ..] => self.tile(self.stream(stream)?, level, index),
            _ => Err(nothing_here()),
        }
    }

    fn overview(&self) -> Resource {
        let streams: Vec<Value> = self.node.store.heads().iter().map(|(stream, head)| {
            let checkpoint = self.node.checkpoints.latest(&stream.0.to_string());
            json!({
                "stream": stream.0,
                "size": head.size,
                "root": head.root.to_string(),
                "checkpoint": checkpoint.as_ref().map(|signed| signed.checkpoint.head.size),
                "verifier_key": checkpoint.and_then(|signed| self.node.checkpoints.verifier_key(&signed.checkpoint)),
            })
        }).collect();
        json_page(&json!({ "relay": self.node.own_key.to_hex(), "streams": streams }))
    }

    fn checkpoint(&self, log: &str) -> Result<Signed, Refusal> {
        self.node.checkpoints.latest(log).ok_or_else(|| Refusal(404, "there is no such checkpoint yet".into()))
    }

    fn stream(&self, name: &str) -> Result<(StreamId, u64), Refusal> {
        let heads = self.node.store.heads();
        let found = heads.into_iter().find(|(stream, _)| stream.0.to_string() == name);
        found.map(|(stream, head)| (stream, head.size)).ok_or_else(|| Refusal(404, "there is no such stream".into()))
    }

    /// A proof up to the latest checkpoint. Who may not read the event learns no more than who asks for one that never was.
    fn inclusion(&self, id: &str) -> Result<Resource, Refusal> {
        let id = EventId::from_hex(id).map_err(|_| Refusal(400, "an event id has 64 hexadecimal characters".into()))?;
        if self.node.policy.get().auth_to_read && !self.principal.is_authenticated() {
            return Err(Refusal(401, "reading needs authentication (NIP-98)".into()));
        }
        let entry = proofs::entry_of(&*self.node.store, &id)?;
        if !entry.record.event().is_some_and(|event| self.may_see(event)) {
            return Err(NoProof::Unknown.into());
        }
        let Signed { checkpoint, event: signed } =
            self.node.checkpoints.latest(&entry.stream.0.to_string()).ok_or(NoProof::NoCheckpoint)?;
        let proof = proofs::proof_of(&*self.node.store, &entry, checkpoint.head, &signed)?;
        Ok(resource(200, JSON, proof.to_json().map_err(NoProof::from)?))
    }

    /// As in an answer to a REQ, but for auditors.
    fn may_see(&self, event: &Event) -> bool {
        let readable = || may_read(event, &self.principal, &self.node.policy.get());
        !has_expired(event, self.node.clock.unix_s()) && (self.is_auditor() || readable())
    }

    fn is_auditor(&self) -> bool {
        let config = self.node.config.get();
        self.principal.keys().iter().any(|key| config.audit.auditors.contains(key))
    }

    fn consistency(&self, (stream, size): (StreamId, u64)) -> Result<Resource, Refusal> {
        let (from, to) = (self.number("from")?, self.number_or("to", size)?);
        if from > to || to > size {
            return Err(Refusal(400, format!("sizes must be in order, and the log has {size} entries")));
        }
        let tree = StoredTree { store: &*self.node.store, stream };
        let path: Vec<String> = prove_consistency(&tree, from, to)?.iter().map(ToString::to_string).collect();
        let (old, new) = (root_at(&tree, from)?, root_at(&tree, to)?);
        let heads =
            json!({ "from": from, "to": to, "old_root": old.to_string(), "new_root": new.to_string(), "path": path });
        Ok(json_page(&heads))
    }

    /// `index` as C2SP tlog-tiles writes it: groups of three digits, all but the last marked with an `x`, and for a tile that is not
    /// full `.p/<width>`.
    fn tile(&self, (stream, size): (StreamId, u64), level: &str, index: &[&str]) -> Result<Resource, Refusal> {
        let (level, index, width) = parse_tile(level, index).ok_or_else(nothing_here)?;
        let full = size >> (8 * u32::from(level)) >= index.saturating_add(1).saturating_mul(TILE_WIDTH);
        let count = usize::try_from(width.unwrap_or(TILE_WIDTH)).map_err(|_| nothing_here())?;
        let hashes = self.node.store.tree_hashes(stream, level, index.saturating_mul(TILE_WIDTH), count)?;
        let content: Vec<u8> = hashes.ok_or_else(nothing_here)?.iter().flat_map(|hash| hash.0).collect();
        let immutable = full || width.is_some();
        Ok(Resource { status: 200, kind: "application/octet-stream", immutable, content: content.into() })
    }

    fn entries(&self, (stream, size): (StreamId, u64)) -> Result<Resource, Refusal> {
        if !self.is_auditor() {
            return Err(Refusal(403, "entries are for auditors, who authenticate (NIP-98)".into()));
        }
        let (from, count) = (self.number("from")?, self.number_or("count", ENTRIES_MAX as u64)?);
        if from >= size {
            return Err(Refusal(404, format!("the log has {size} entries")));
        }
        let count = usize::try_from(count).unwrap_or(ENTRIES_MAX).clamp(1, ENTRIES_MAX);
        let entries = proofs::entries_from(&*self.node.store, stream, Seq(from + 1), count)?;
        let entries = entries.iter().map(entry_json).collect::<Result<Vec<Value>, _>>();
        let entries = entries.map_err(|error| Refusal(500, error.to_string()))?;
        Ok(json_page(&json!({ "from": from, "entries": entries })))
    }

    fn number(&self, name: &str) -> Result<u64, Refusal> {
        let wrong = || Refusal(400, format!("`{name}` must be a number"));
        self.given(name).ok_or_else(wrong)?.parse().map_err(|_| wrong())
    }

    fn number_or(&self, name: &str, default: u64) -> Result<u64, Refusal> {
        if self.given(name).is_none() { Ok(default) } else { self.number(name) }
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
    }
}

fn nothing_here() -> Refusal {
    Refusal(404, "there is nothing here".into())
}

fn parse_tile(level: &str, index: &[&str]) -> Option<(u8, u64, Option<u64>)> {
    let level: u8 = level.parse().ok().filter(|level| *level < 8)?;
    let (groups, width) = match index {
        [groups @ .., last, width] if last.ends_with(".p") => {
            let width: u64 = width.parse().ok().filter(|width| (1..TILE_WIDTH).contains(width))?;
            ([groups, &[last.trim_end_matches(".p")]].concat(), Some(width))
        }
        groups => (groups.to_vec(), None),
    };
    let (last, rest) = groups.split_last()?;
    let digits = |group: &str| {
        (group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit())).then(|| group.parse::<u64>().ok())?
    };
    let mut number = 0_u64;
    for group in rest {
        number = number.checked_mul(1_000)?.checked_add(digits(group.strip_prefix('x')?)?)?;
    }
    Some((level, number.checked_mul(1_000)?.checked_add(digits(last)?)?, width))
}

fn entry_json(entry: &Entry) -> serde_json::Result<Value> {
    let mut line = json!({ "seq": entry.seq.0, "committed_at_ms": entry.committed_at_ms });
    match &entry.leaf {
        LeafState::Whole(leaf) => line["leaf"] = const_hex::encode(leaf.to_bytes()).into(),
        LeafState::Erased(hash) => line["hash"] = hash.to_string().into(),
    }
    if let Some(event) = entry.record.event() {
        line["event"] = serde_json::from_str(event.as_str())?;
    }
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_named_as_c2sp_has_it() {
        let parse = |level: &str, index: &str| parse_tile(level, &index.split('/').collect::<Vec<_>>());
        assert_eq!(parse("0", "000"), Some((0, 0, None)));
        assert_eq!(parse("1", "x001/x234/067"), Some((1, 1_234_067, None)));
        assert_eq!(parse("0", "x001/002.p/17"), Some((0, 1_002, Some(17))));
        for (level, index) in [
            ("8", "000"),
            ("-1", "000"),
            ("0", ""),
            ("0", "0"),
            ("0", "x000"),
            ("0", "001/002"),
            ("0", "x01/002"),
            ("0", "000.p"),
            ("0", "000.p/0"),
            ("0", "000.p/256"),
            ("0", "+01"),
            ("0", "000/"),
        ] {
            assert_eq!(parse(level, index), None, "{level}/{index}");
        }
    }
}
