//! Whether an event may be committed, and what its commit will do.
//!
//! [`screen`] holds everything that needs no signature, so that refusals are cheap; [`authorise`] turns a genuine event into a
//! [`Write`]. A `Write` is data: the store applies all of it in one transaction and there is nothing to undo.

use std::collections::HashMap;

use serde_json::value::RawValue;
use towpath_protocol::{Address, Event, EventId, VerifiedEvent};

use crate::kinds::{Effect, Storage, kind_spec};
use crate::{GIFT_WRAPS, Policy, Principal, RelayUrl, Source};

/// What one deletion request may name.
pub const DELETION_TARGETS_MAX: usize = 4096;

/// Why an event is refused. Worded where it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// This kind cannot be published.
    Unpublishable,
    /// Dated too far in the future.
    TooFarAhead {
        /// Seconds allowed.
        max_s: u64,
    },
    /// Dated too far in the past.
    TooOld {
        /// Seconds allowed.
        max_s: u64,
    },
    /// Its expiration (NIP-40) is not a time.
    MalformedExpiration,
    /// It has expired.
    Expired,
    /// Not enough proof of work (NIP-13).
    Work {
        /// Its leading zero bits.
        bits: u32,
        /// Bits required.
        required: u8,
    },
    /// It committed to less work than required, however lucky its id is.
    WorkCommitment {
        /// Bits it aimed for.
        committed: u32,
        /// Bits required.
        required: u8,
    },
    /// Publishing needs authentication.
    AuthRequired,
    /// A protected event (NIP-70) on a connection that did not authenticate.
    ProtectedAnonymous,
    /// A protected event of somebody else.
    ProtectedOther,
    /// A repost that carries a protected event.
    RepostOfProtected,
    /// A deletion request (NIP-09) that names too much.
    TooManyTargets {
        /// Events and addresses allowed.
        max: usize,
    },
    /// A request to vanish (NIP-62) without any `relay` tag.
    VanishWithoutRelay,
    /// A request to vanish that names other relays only.
    VanishElsewhere,
}

/// How an event is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// For itself.
    Regular,
    /// As the newest under its address.
    Replaceable(Address),
    /// Not at all.
    Ephemeral,
}

/// What a deletion request (NIP-09) names. The store honours what belongs to its author and ignores the rest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeletionRequest {
    /// Single events.
    pub ids: Vec<EventId>,
    /// All versions up to the request's own `created_at`.
    pub addresses: Vec<Address>,
}

/// What a commit removes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removal {
    /// Nothing but superseded versions.
    None,
    /// What the request names.
    Delete(DeletionRequest),
    /// Everything of the author up to the event's `created_at`, and gift wraps addressed to them.
    Vanish,
}

/// A decided write. Only [`authorise`] makes one.
#[derive(Debug, Clone)]
pub struct Write {
    event: Event,
    placement: Placement,
    removal: Removal,
    expires_at: Option<u64>,
    source: Source,
}

impl Write {
    /// The event.
    pub fn event(&self) -> &Event {
        &self.event
    }

    /// How it is kept.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// What goes.
    pub fn removal(&self) -> &Removal {
        &self.removal
    }

    /// When it stops existing, in seconds since 1970 (NIP-40).
    pub fn expires_at(&self) -> Option<u64> {
        self.expires_at
    }

    /// Who handed it in.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Whether it is delivered and never stored.
    pub fn is_ephemeral(&self) -> bool {
        self.placement == Placement::Ephemeral
    }
}

/// The checks that need no signature, cheapest first.
pub fn screen(event: &Event, principal: &Principal, policy: &Policy, now: u64) -> Result<(), Denial> {
    let spec = kind_spec(event.kind());
    if spec.storage == Storage::Refused {
        return Err(Denial::Unpublishable);
    }
    let vanish = spec.effect == Effect::Vanish && policy.vanish;
    check_time(event, policy, now)?;
    // Everyone may ask to be forgotten, whatever else they may write (NIP-62).
    if !vanish {
        if policy.auth_to_write && !principal.is_authenticated() {
            return Err(Denial::AuthRequired);
        }
        check_age(event, policy, now)?;
        check_work(event, policy)?;
    }
    check_protection(event, spec.effect, principal)?;
    if spec.effect == Effect::Delete {
        check_targets(event)?;
    }
    if vanish {
        check_vanish(event, policy)?;
    }
    Ok(())
}

/// What committing a genuine, screened event means. `screen` is repeated so that no path can skip it.
pub fn authorise(
    event: VerifiedEvent,
    source: Source,
    principal: &Principal,
    policy: &Policy,
    now: u64,
) -> Result<Write, Denial> {
    screen(event.event(), principal, policy, now)?;
    Ok(plan(event, source, policy))
}

/// The write of an event that this relay accepted before: import of its own dumps, replay of its log.
pub fn plan(event: VerifiedEvent, source: Source, policy: &Policy) -> Write {
    let event = event.into_event();
    let spec = kind_spec(event.kind());
    let placement = match spec.storage {
        Storage::Replaceable => Placement::Replaceable(event.address(false)),
        Storage::Addressable => Placement::Replaceable(event.address(true)),
        Storage::Ephemeral => Placement::Ephemeral,
        Storage::Regular | Storage::Refused => Placement::Regular,
    };
    let removal = match spec.effect {
        Effect::Delete => Removal::Delete(deletion_request(&event)),
        Effect::Vanish if policy.vanish => Removal::Vanish,
        _ => Removal::None,
    };
    let expires_at = expiration(&event).ok().flatten();
    Write { event, placement, removal, expires_at, source }
}

fn check_time(event: &Event, policy: &Policy, now: u64) -> Result<(), Denial> {
    let created_at = event.created_at();
    if created_at > now.saturating_add(policy.created_at_ahead_max_s) {
        return Err(Denial::TooFarAhead { max_s: policy.created_at_ahead_max_s });
    }
    match expiration(event)? {
        Some(at) if at <= now => Err(Denial::Expired),
        _ => Ok(()),
    }
}

fn check_age(event: &Event, policy: &Policy, now: u64) -> Result<(), Denial> {
    match policy.created_at_behind_max_s {
        Some(max_s) if event.created_at() < now.saturating_sub(max_s) && !GIFT_WRAPS.contains(&event.kind()) => {
            Err(Denial::TooOld { max_s })
        }
        _ => Ok(()),
    }
}

/// The first `expiration` tag. Malformed values are refused rather than ignored: the author meant the event to go.
fn expiration(event: &Event) -> Result<Option<u64>, Denial> {
    let Some(text) = event.first_value("expiration") else { return Ok(None) };
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !all_digits {
        return Err(Denial::MalformedExpiration);
    }
    Ok(Some(text.parse().unwrap_or(u64::MAX)))
}

/// When the event expires, in Unix seconds (NIP-40). Almost none does: the word is looked for before the tags are read.
pub fn expires_at(event: &Event) -> Option<u64> {
    event.as_str().contains("\"expiration\"").then(|| expiration(event).ok().flatten()).flatten()
}

/// Whether the event has passed its expiration.
pub fn has_expired(event: &Event, now: u64) -> bool {
    expires_at(event).is_some_and(|at| at <= now)
}

fn check_work(event: &Event, policy: &Policy) -> Result<(), Denial> {
    let required = policy.pow_bits_min;
    if required == 0 {
        return Ok(());
    }
    let bits = leading_zero_bits(&event.id());
    if bits < u32::from(required) {
        return Err(Denial::Work { bits, required });
    }
    let nonce = event.tags().find(|tag| tag.name() == "nonce");
    let committed = nonce.and_then(|tag| tag.elements().nth(2)).and_then(|target| target.parse::<u32>().ok());
    match committed {
        Some(committed) if committed < u32::from(required) => Err(Denial::WorkCommitment { committed, required }),
        _ => Ok(()),
    }
}

fn leading_zero_bits(id: &EventId) -> u32 {
    let mut bits = 0;
    for byte in id.as_bytes() {
        bits += byte.leading_zeros();
        if *byte != 0 {
            break;
        }
    }
    bits
}

fn check_protection(event: &Event, effect: Effect, principal: &Principal) -> Result<(), Denial> {
    if is_protected(event) && !principal.is(&event.pubkey()) {
        let authenticated = principal.is_authenticated();
        return Err(if authenticated { Denial::ProtectedOther } else { Denial::ProtectedAnonymous });
    }
    if effect == Effect::Repost && carries_protected(event) {
        return Err(Denial::RepostOfProtected);
    }
    Ok(())
}

fn is_protected(event: &Event) -> bool {
    event.tags().any(|tag| tag.elements().eq(["-"]))
}

/// Whether or not it is whole: without its signature it says as much. It is read as leniently as clients do: of what is there twice the
/// last counts, and what is no tag hides none.
fn carries_protected(repost: &Event) -> bool {
    let Ok(content) = repost.content() else { return false };
    let Ok(carried) = serde_json::from_str::<HashMap<String, &RawValue>>(&content) else { return false };
    let tags = carried.get("tags").and_then(|tags| serde_json::from_str::<Vec<&RawValue>>(tags.get()).ok());
    let is_mark = |tag: &&RawValue| serde_json::from_str::<Vec<String>>(tag.get()).is_ok_and(|tag| tag == ["-"]);
    tags.is_some_and(|tags| tags.iter().any(is_mark))
}

/// One entry of the audit log says all that a request deleted.
fn check_targets(event: &Event) -> Result<(), Denial> {
    let targets = event.tags().filter(|tag| matches!(tag.name().as_ref(), "e" | "a")).count();
    if targets > DELETION_TARGETS_MAX { Err(Denial::TooManyTargets { max: DELETION_TARGETS_MAX }) } else { Ok(()) }
}

fn check_vanish(event: &Event, policy: &Policy) -> Result<(), Denial> {
    let mut named = false;
    for tag in event.tags().filter(|tag| tag.name() == "relay") {
        named = true;
        let url = tag.value().unwrap_or_default();
        let here = url == "ALL_RELAYS" || RelayUrl::parse(&url).is_some_and(|url| policy.urls.contains(&url));
        if here {
            return Ok(());
        }
    }
    Err(if named { Denial::VanishElsewhere } else { Denial::VanishWithoutRelay })
}

fn deletion_request(event: &Event) -> DeletionRequest {
    let mut request = DeletionRequest::default();
    for tag in event.tags() {
        let Some(value) = tag.value() else { continue };
        match tag.name().as_ref() {
            "e" => request.ids.extend(EventId::from_hex(&value)),
            "a" => request.addresses.extend(Address::parse(&value).and_then(replaceable_address)),
            _ => {}
        }
    }
    request
}

/// The address as events of its kind are filed under; `None` for kinds that are not replaced. Plain replaceables have no `d`.
fn replaceable_address(address: Address) -> Option<Address> {
    match kind_spec(address.kind).storage {
        Storage::Addressable => Some(address),
        Storage::Replaceable => Some(Address { d: "".into(), ..address }),
        _ => None,
    }
}
