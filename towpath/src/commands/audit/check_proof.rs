//! `towpath audit check-proof`: offline, with nothing but the file and the relay's public key.

use std::fs;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use towpath_audit::{ProofFile, source_name};
use towpath_protocol::Verifier;

use crate::args::AuditCheckProofArgs;

pub(crate) fn run(args: &AuditCheckProofArgs) -> anyhow::Result<ExitCode> {
    let relay = super::public_key(&args.relay)?;
    let text = fs::read_to_string(&args.file).with_context(|| format!("cannot read {}", args.file.display()))?;
    let proved = ProofFile::parse(&text).and_then(|file| file.check(&relay, &Verifier::new()));
    let proved = proved.with_context(|| format!("{} proves nothing", args.file.display()))?;
    let (leaf, mut output) = (proved.leaf, std::io::stdout().lock());
    writeln!(output, "the relay {relay} has this in its audit log:")?;
    if let Some((id, kind)) = leaf.event {
        let genuine = if proved.event.is_some() { "in the file, genuine" } else { "not in the file" };
        writeln!(output, "event      {id} of kind {kind} ({genuine})")?;
    }
    if let Some(actor) = leaf.actor {
        writeln!(output, "by         {actor}")?;
    }
    writeln!(output, "action     {}, from a {}", leaf.action.name(), leaf.source.map_or("clock", source_name))?;
    writeln!(output, "place      stream {}, index {}", leaf.stream, leaf.seq - 1)?;
    writeln!(output, "committed  {}", date(leaf.committed_at_ms / 1_000)?)?;
    writeln!(
        output,
        "checkpoint {} entries, signed {}, root {}",
        proved.head.size,
        date(proved.signed_at)?,
        proved.head.root
    )?;
    Ok(ExitCode::SUCCESS)
}

/// In UTC (RFC 3339).
fn date(unix_s: u64) -> anyhow::Result<String> {
    let date = OffsetDateTime::from_unix_timestamp(i64::try_from(unix_s)?)?;
    Ok(date.format(&Rfc3339)?)
}
