//! `towpath audit prove`: a proof that an event is in the log, checked before it is handed out.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use towpath_audit::ProofFile;
use towpath_protocol::{EventId, Verifier};

use super::remote::Remote;
use crate::args::AuditProveArgs;
use crate::settings::Environment;
use crate::store;

pub(crate) fn run(args: &AuditProveArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let id = EventId::from_hex(&args.id).with_context(|| format!("not an event id: {}", args.id))?;
    let (relay, text) = match &args.audited.url {
        Some(url) => {
            let remote = Remote::new(url, &args.audited)?;
            (remote.relay, remote.proof(&args.id)?)
        }
        None => {
            let config = super::config(&args.audited, environment)?;
            let relay = super::relay_of(&args.audited, &config)?;
            let store = store::open_existing(&config)?;
            (relay, towpath_relay::prove(&*store, relay, &id)?.to_json()?)
        }
    };
    let proved = ProofFile::parse(&text)?.check(&relay, &Verifier::new()).context("the proof does not hold")?;
    anyhow::ensure!(proved.leaf.event.is_some_and(|(of, _)| of == id), "the proof is of another event");
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}
