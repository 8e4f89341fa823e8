//! NIP-42 for one connection: one challenge, and every key proven with it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use towpath_policy::{AuthDenial, Policy, Principal, check_auth};
use towpath_protocol::VerifiedEvent;

/// A challenge from 16 random bytes.
pub fn new_challenge(random: [u8; 16]) -> String {
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The state of one connection.
#[derive(Debug)]
pub struct Auth {
    challenge: String,
    sent: AtomicBool,
    principal: Arc<RwLock<Principal>>,
}

impl Auth {
    /// Nobody yet.
    pub fn new(challenge: String) -> Self {
        Self { challenge, sent: AtomicBool::new(false), principal: Arc::default() }
    }

    /// What the client has to sign, the first time it is asked for: one challenge a connection, sent once.
    pub fn unsent_challenge(&self) -> Option<&str> {
        (!self.sent.swap(true, Ordering::AcqRel)).then_some(&self.challenge)
    }

    /// Who is asking; shared, so that keys proven later count for what began earlier.
    pub fn principal(&self) -> &Arc<RwLock<Principal>> {
        &self.principal
    }

    /// Whether any key was proven.
    pub fn is_authenticated(&self) -> bool {
        self.principal.read().is_authenticated()
    }

    /// Adds the key that `event` proves to those proven before.
    pub fn prove(&self, event: &VerifiedEvent, policy: &Policy, now: u64) -> Result<(), AuthDenial> {
        let key = check_auth(event, &self.challenge, policy, now)?;
        self.principal.write().add(key);
        Ok(())
    }
}
