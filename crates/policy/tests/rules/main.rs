//! Every decision of the policy, in tables of cases.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod auth;
mod http_auth;
mod plan;
mod read;
mod screen;

use towpath_policy::{Policy, Principal, RelayUrl};
use towpath_protocol::{SecretKey, VerifiedEvent};

/// The time of every decision.
const NOW: u64 = 1_700_000_000;

fn key(secret: u8) -> SecretKey {
    SecretKey::from_bytes([secret; 32]).unwrap()
}

fn hex(secret: u8) -> String {
    key(secret).public_key().to_hex()
}

/// An event of the author with this secret.
fn event_of(secret: u8, at: u64, kind: u16, tags: &[&[&str]], content: &str) -> VerifiedEvent {
    key(secret).sign(at, kind, tags, content, &[0; 32])
}

/// An event of author 1, dated now.
fn event(kind: u16, tags: &[&[&str]], content: &str) -> VerifiedEvent {
    event_of(1, NOW, kind, tags, content)
}

/// Somebody who proved these secrets.
fn proved(secrets: &[u8]) -> Principal {
    let mut principal = Principal::anonymous();
    secrets.iter().for_each(|secret| principal.add(key(*secret).public_key()));
    principal
}

/// The default policy of a relay with a name.
fn policy() -> Policy {
    Policy { urls: vec![RelayUrl::parse("wss://relay.example.com").unwrap()], ..Policy::default() }
}
