//! What can be typed, and the help that teaches it. No behaviour.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// A Nostr relay for teams of people and agents.
#[derive(Debug, Parser)]
#[command(
    version,
    args_conflicts_with_subcommands = true,
    max_term_width = 100,
    after_help = "\
Examples:
  towpath                                  serve on ws://127.0.0.1:7777, data in ./towpath-data
  towpath serve --listen 0.0.0.0:7777      serve everyone who can reach this machine
  towpath import < events.jsonl            bring events over from another relay
  towpath query '{\"kinds\":[1],\"limit\":5}'  the five newest notes
  towpath config example > towpath.toml    every setting, its default and the reason

`towpath help <command>` has examples for each command."
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Without a command: serve.
    #[command(flatten)]
    pub(crate) serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the relay until it is told to stop (SIGTERM or Ctrl-C).
    #[command(after_help = "\
Examples:
  towpath serve
  towpath serve --config towpath.toml
  towpath serve --listen 127.0.0.1:0 --data /tmp/try    any free port, a folder to throw away
  TOWPATH_LOG_LEVEL=debug towpath serve                 any key of the file, by environment

The relay reads its configuration again on SIGHUP and takes what is marked `reloadable`.")]
    Serve(ServeArgs),

    /// Read events, one JSON object a line, into the store of a relay that is not running.
    #[command(after_help = "\
Examples:
  towpath import < events.jsonl
  strfry export | towpath import
  towpath import events.jsonl --resume       go on where an interrupted import stopped

Every id and signature is checked. What is refused is counted by reason, with the first line of
each. Exit code 1: some lines were no genuine events; all others are in the store.")]
    Import(ImportArgs),

    /// Write stored events, one JSON object a line, in the order they were stored.
    #[command(after_help = "\
Examples:
  towpath export > events.jsonl
  towpath export --filter '{\"kinds\":[0,3]}' --output profiles.jsonl
  towpath export --since-seq 120000          what was stored after sequence number 120000

The last line on standard error names the sequence number to go on from. A data folder is one process's at a time: stop
the relay, or restore a `towpath backup` and export that.")]
    Export(ExportArgs),

    /// Print the stored events that match a filter, newest first, as a REQ would.
    #[command(after_help = "\
Examples:
  towpath query '{\"kinds\":[1],\"limit\":5}'
  towpath query '{\"authors\":[\"<64 hex>\"]}' '{\"#p\":[\"<64 hex>\"]}'    several filters: either matches
  towpath query '{\"kinds\":[0]}' | jq -r .content

A data folder is one process's at a time: stop the relay, or restore a `towpath backup` and ask that.")]
    Query(QueryArgs),

    /// Count what is stored: events by kind, sizes, sequence number.
    #[command(after_help = "\
Examples:
  towpath stats
  towpath stats --data /var/lib/towpath

A data folder is one process's at a time: stop the relay, or restore a `towpath backup` and count that.")]
    Stats(StoreArgs),

    /// Verify every stored event and every index entry of a relay that is not running.
    #[command(after_help = "\
Examples:
  towpath check
  towpath check --data /var/lib/towpath

Exit code 1: something is wrong; each problem is named on its own line.")]
    Check(CheckArgs),

    /// Verify, prove and export what the relay accepted, and in which order.
    #[command(after_help = "\
Examples:
  towpath audit verify                          the whole log of a relay that is not running
  towpath audit verify --url http://127.0.0.1:7777 --from checkpoint.json
  towpath audit prove <event id> > proof.json
  towpath audit check-proof proof.json --relay <64 hex>
  towpath audit export --since 2026-01-01 --output audit.jsonl

Keep a checkpoint now and then (`curl <relay>/audit/0/checkpoint.json`): whoever has one can tell later
whether the log was cut or rewritten, whatever the relay says.")]
    Audit(AuditArgs),

    /// Copy the data folder while the relay runs, or bring an earlier copy up to date.
    #[command(after_help = "\
Examples:
  towpath backup --to /backups/towpath
  towpath backup --data /var/lib/towpath --to /backups/towpath     again: only what is new is copied

The copy is the store as of one commit; the relay's key is in it, but for one that relay.key_file names. Of a database, use its own
tools (docs/cluster.md).")]
    Backup(BackupArgs),

    /// Make a data folder from a backup.
    #[command(after_help = "\
Examples:
  towpath restore --from /backups/towpath --data ./towpath-data
  towpath check --data ./towpath-data                              every id, signature and index entry")]
    Restore(RestoreArgs),

    /// Copy everything that is stored from one store to another: between a data folder and a database, either way.
    #[command(after_help = "\
Examples:
  towpath copy --from ./towpath-data --to postgres://towpath@db/towpath
  towpath copy --from postgres://towpath@db/towpath --to ./towpath-data

Run it again to copy what came since; it goes on where it was. At the end every event of the source is looked for
in the target, the numbers are compared, and the target's audit log is verified. Exit code 1: something differs.")]
    Copy(CopyArgs),

    /// Look at the pods of a cluster.
    #[command(after_help = "\
Examples:
  towpath cluster status --store postgres://towpath@db/towpath
  towpath cluster status --config towpath.toml

One line a stream: the pod that commits to it, how often it changed hands, its last entry, how far its audit
tree has been written down, and what is left of its lease. A stream without a pod is sealed.")]
    Cluster(ClusterArgs),

    /// Bring a database's tables up to this program's version, before its pods start.
    #[command(after_help = "\
Examples:
  towpath migrate --store postgres://towpath@db/towpath

Pods do it themselves at their start. A program that is older than the tables refuses them and says so.")]
    Migrate(StoreArgs),

    /// Ask a running relay whether it is ready; for container health checks.
    #[command(after_help = "\
Examples:
  towpath health                               where TOWPATH_CONFIG and the other variables say it listens
  towpath health --url http://127.0.0.1:7777

Exit code 1: it is not, or does not answer.")]
    Health(HealthArgs),

    /// Explain, check and show the configuration.
    #[command(after_help = "\
Examples:
  towpath config example > towpath.toml
  towpath config check --config towpath.toml
  towpath config show --config towpath.toml    what is in force, and who set it")]
    Config(ConfigArgs),

    /// Show or make the relay's own key.
    #[command(after_help = "\
Examples:
  towpath keys                   the public key, as hex and npub
  towpath keys generate          make the key before the first start
  towpath keys --reveal          the secret key too, for a backup")]
    Keys(KeysArgs),
}

/// Where the configuration comes from; every command takes these.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct StoreArgs {
    /// Configuration file [environment: TOWPATH_CONFIG; without one every key has its default]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Data folder [default: ./towpath-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,

    /// PostgreSQL database instead of the data folder: postgres://user@host/database
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
}

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Address and port [default: 127.0.0.1:7777]
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,

    /// Redis or Valkey, where the pods of a cluster hear of each other: redis://host:port
    #[arg(long, value_name = "URL")]
    pub(crate) bus: Option<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// File to read; standard input without it
    #[arg(value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Trust the signatures; only for an export of your own. Ids are checked all the same
    #[arg(long)]
    pub(crate) no_verify: bool,

    /// Go on after the last line an interrupted import of the same file stored
    #[arg(long, requires = "input")]
    pub(crate) resume: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Only events that match this filter, which has no `limit`
    #[arg(long, value_name = "JSON")]
    pub(crate) filter: Option<String>,

    /// Only events stored after this sequence number; of a data folder, not of a database
    #[arg(long, value_name = "SEQ", default_value_t = 0)]
    pub(crate) since_seq: u64,

    /// File to write; standard output without it
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct QueryArgs {
    /// Filters as a REQ has them; without a `limit` every match is printed
    #[arg(value_name = "FILTER", required = true)]
    pub(crate) filters: Vec<String>,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditArgs {
    #[command(subcommand)]
    pub(crate) action: AuditAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditAction {
    /// Check every leaf against its event, and the tree against every checkpoint
    Verify(AuditVerifyArgs),
    /// Write a proof that an event is in the log, for anybody to check offline
    Prove(AuditProveArgs),
    /// Check a proof with nothing but the relay's public key
    CheckProof(AuditCheckProofArgs),
    /// Write the log, one JSON object an entry, without the contents of events
    Export(AuditExportArgs),
}

/// A data folder, or a relay.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct AuditedArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// A running relay, as http(s) or ws(s), instead of a data folder
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "config", "store"])]
    pub(crate) url: Option<String>,

    /// The relay's public key, in hex [default: that of the data folder, or the one the relay names]
    #[arg(long, value_name = "KEY")]
    pub(crate) relay: Option<String>,

    /// A file with your secret key, in hex, to prove to the relay who you are (NIP-98)
    #[arg(long, value_name = "FILE", requires = "url")]
    pub(crate) key_file: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditVerifyArgs {
    #[command(flatten)]
    pub(crate) audited: AuditedArgs,

    /// A checkpoint that was kept: the log must still begin with what it covers. An event or its text
    #[arg(long, value_name = "FILE")]
    pub(crate) from: Vec<PathBuf>,

    /// Do not check the signatures of events
    #[arg(long)]
    pub(crate) no_signatures: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditProveArgs {
    /// The event
    #[arg(value_name = "EVENT-ID")]
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) audited: AuditedArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditCheckProofArgs {
    /// The proof
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The public key of the relay that is said to have accepted the event, in hex
    #[arg(long, value_name = "KEY")]
    pub(crate) relay: String,
}

#[derive(Debug, clap::Args)]
pub(crate) struct AuditExportArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Only entries committed since then: a date such as 2026-01-31 (UTC), or seconds since 1970
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,

    /// Only entries committed before then
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,

    /// Only entries of this group
    #[arg(long, value_name = "ID")]
    pub(crate) group: Option<String>,

    /// File to write; standard output without it
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Go on behind the last entry in the output file
    #[arg(long, requires = "output")]
    pub(crate) resume: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print the documented file: every key, its default, the reason
    Example,
    /// Report everything that is wrong, each with its place
    Check(ServeArgs),
    /// Print the values in force and where each was set
    Show(ServeArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct BackupArgs {
    /// Folder of the backup; made if it is not there
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RestoreArgs {
    /// Folder of the backup
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

#[derive(Debug, clap::Args)]
pub(crate) struct CopyArgs {
    /// Data folder or postgres:// URL to read
    #[arg(long, value_name = "STORE")]
    pub(crate) from: String,

    /// Data folder or postgres:// URL to write
    #[arg(long, value_name = "STORE")]
    pub(crate) to: String,

    /// Configuration file for everything else
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct HealthArgs {
    /// The relay's address [default: that of the configuration, on this machine]
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,

    /// Configuration file [environment: TOWPATH_CONFIG]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    #[command(subcommand)]
    pub(crate) action: ClusterAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterAction {
    /// Print every stream, its pod and its lease
    Status(StoreArgs),
}

#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    pub(crate) action: Option<KeysAction>,

    #[command(flatten)]
    pub(crate) show: KeysShowArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeysAction {
    /// Print the relay's public key
    Show(KeysShowArgs),
    /// Make the relay's key, if it has none yet
    Generate(StoreArgs),
}

#[derive(Debug, clap::Args)]
pub(crate) struct KeysShowArgs {
    #[command(flatten)]
    pub(crate) store: StoreArgs,

    /// Print the secret key as well; whoever has it can speak as the relay
    #[arg(long)]
    pub(crate) reveal: bool,
}
