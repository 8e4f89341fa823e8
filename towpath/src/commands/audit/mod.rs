//! `towpath audit`: what the relay accepted, verified, proved and exported.

mod check_proof;
mod export;
mod prove;
mod remote;
mod verify;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use towpath_protocol::{PublicKey, SecretKey};
use towpath_relay::config::Config;
use towpath_relay::identity::Identity;
use towpath_store::EventStore;

use crate::args::{AuditAction, AuditArgs, AuditedArgs};
use crate::settings::{self, Environment};

pub(crate) fn run(args: &AuditArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    match &args.action {
        AuditAction::Verify(args) => verify::run(args, environment),
        AuditAction::Prove(args) => prove::run(args, environment),
        AuditAction::CheckProof(args) => check_proof::run(args),
        AuditAction::Export(args) => export::run(args, environment),
    }
}

/// Whether the log of every stream comes to its tree; problems are printed.
pub(super) fn is_whole(store: &dyn EventStore) -> anyhow::Result<bool> {
    // Checkpoints are not asked for: the log has just begun.
    let nobody = PublicKey::from_bytes([0; 32]);
    let reports = verify::verify(store, nobody, &[], false)?;
    for (stream, report) in &reports {
        report.problems.iter().for_each(|problem| eprintln!("audit log, stream {stream}: {problem}"));
    }
    Ok(reports.iter().all(|(_, report)| report.problems_total == 0))
}

/// Whose log it is, for a data folder: its own key unless another one is asked for.
fn relay_of(args: &AuditedArgs, config: &Config) -> anyhow::Result<PublicKey> {
    if let Some(relay) = &args.relay {
        return public_key(relay);
    }
    if let Some(path) = &config.relay.key_file {
        let identity = Identity::at(path)?.with_context(|| format!("{} is not there", path.display()))?;
        return Ok(identity.public_key());
    }
    let folder = &config.store.data;
    let identity = Identity::load(folder)?.with_context(|| {
        format!("there is no relay key in {}: say with --relay whose checkpoints to look for", folder.display())
    })?;
    Ok(identity.public_key())
}

fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    PublicKey::from_hex(text).with_context(|| format!("not a public key: {text} (64 lowercase hexadecimal characters)"))
}

fn secret_key(path: &Path) -> anyhow::Result<SecretKey> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut bytes = [0; 32];
    let decoded = const_hex::decode_to_slice(text.trim(), &mut bytes).ok();
    let secret = decoded.and_then(|()| SecretKey::from_bytes(bytes));
    secret.with_context(|| format!("{} holds no secret key (64 hexadecimal characters)", path.display()))
}

fn config(args: &AuditedArgs, environment: &Environment) -> anyhow::Result<Config> {
    Ok(settings::of_store(&args.store, environment)?.config)
}
