//! The people of the tests, with fixed keys.
//!
//! Against a relay that outlives the test run (`RELAY_UNDER_TEST`) the keys differ from run to run:
//! what an earlier run stored would otherwise decide the outcome of this one.

use std::sync::LazyLock;
use std::time::{SystemTime, UNIX_EPOCH};

use secp256k1::{All, Keypair, Secp256k1, SecretKey};
use sha2::{Digest, Sha256};

use crate::relay::url_under_test;

pub(crate) static CURVE: LazyLock<Secp256k1<All>> = LazyLock::new(Secp256k1::new);

static SCOPE: LazyLock<String> = LazyLock::new(|| match url_under_test() {
    None => String::new(),
    Some(_) => {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}/{}", since_epoch.as_nanos(), std::process::id())
    }
});

/// A key pair.
#[derive(Debug, Clone, Copy)]
pub struct Keys {
    pair: Keypair,
}

impl Keys {
    /// The keys of the actor with this name: the same name has the same keys.
    pub fn named(name: &str) -> Self {
        let secret = Sha256::digest(format!("towpath test actor {name} {}", *SCOPE));
        let secret = SecretKey::from_byte_array(secret.into()).expect("a hash is a secret key");
        Self { pair: Keypair::from_secret_key(&CURVE, &secret) }
    }

    /// The keys of one of many nameless actors.
    pub fn numbered(number: usize) -> Self {
        Self::named(&number.to_string())
    }

    /// The public key as events carry it: 64 lowercase hex characters.
    pub fn pubkey(&self) -> String {
        const_hex::encode(self.pair.x_only_public_key().0.serialize())
    }

    /// The secret key as key files have it.
    pub fn secret_hex(&self) -> String {
        const_hex::encode(self.pair.secret_bytes())
    }

    /// A BIP-340 signature, the same for the same message.
    pub(crate) fn sign(&self, message: &[u8; 32]) -> String {
        const_hex::encode(CURVE.sign_schnorr_no_aux_rand(message, &self.pair).to_byte_array())
    }
}

/// Alice, who writes unless a test says otherwise.
pub fn alice() -> Keys {
    Keys::named("alice")
}

/// Bob, to whom things are addressed.
pub fn bob() -> Keys {
    Keys::named("bob")
}

/// Carol, whom none of it concerns.
pub fn carol() -> Keys {
    Keys::named("carol")
}
