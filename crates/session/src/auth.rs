//! NIP-42 for one connection: one challenge, and every key proven with it.

use std::sync::Arc;

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
    principal: Arc<RwLock<Principal>>,
}

impl Auth {
    /// Nobody yet.
    pub fn new(challenge: String) -> Self {
        Self { challenge, principal: Arc::default() }
    }

    /// What the client was asked to sign.
    pub fn challenge(&self) -> &str {
        &self.challenge
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
