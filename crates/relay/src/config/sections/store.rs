//! Where events are kept and how safely.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::codec::{Bytes, DiskBytes, Folder, Number, Optional, Seconds, StoreUrl, Switch};
use crate::config::setting::{Section, setting};

/// `[store]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Store {
    pub url: Option<String>,
    pub data: PathBuf,
    pub index_bytes_max: usize,
    pub segment_bytes: u32,
    pub sync: bool,
    pub checkpoint_idle: Duration,
    pub erase_after: Duration,
    pub dead_percent_max: u32,
    pub free_bytes_min: u64,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: None,
            data: PathBuf::from("./towpath-data"),
            index_bytes_max: 1 << 40,
            segment_bytes: 64 << 20,
            sync: true,
            checkpoint_idle: Duration::from_secs(5),
            erase_after: Duration::from_secs(24 * 3600),
            dead_percent_max: 50,
            free_bytes_min: 256 << 20,
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "store",
    what: "Where events are kept and how safely.",
    settings: &[
        setting!(
            store.url,
            Optional<StoreUrl>,
            "url",
            Restart,
            "A PostgreSQL database (15 or newer) that holds the events, shared by all pods: \
             postgres://user@host/database?sslmode=verify-full. Also `--store`. The settings below are for the \
             embedded store and have no effect then, but for `data`, which still holds the relay's key.",
            "One process needs no database: the data folder is the store.",
        ),
        setting!(
            store.data,
            Folder,
            "data",
            Restart,
            "The data folder: commit log, index and the relay's own key. Also `--data`.",
            "Beside where you started it, easy to find and to delete after a first try.",
        ),
        setting!(
            store.index_bytes_max, Bytes<67_108_864, 17_592_186_044_416>, "index_bytes_max", Restart,
            "The most the index may grow to. It reserves address space, not disk or memory.",
            "1 TiB: more than the index of a billion events, and free on a 64-bit machine.",
        ),
        setting!(
            store.segment_bytes, Number<1_048_576, 1_073_741_824>, "segment_bytes", Restart,
            "The commit log is a row of files; at this size the next one is begun.",
            "64 MiB: few files, and rewriting one to remove expired events is a short step.",
        ),
        setting!(
            store.sync,
            Switch,
            "sync",
            Restart,
            "Every commit waits for the disk before `OK true` is sent. With `false` a power failure loses \
             events that were acknowledged; only for data you can get again.",
            "An acknowledged event is a durable event.",
        ),
        setting!(
            store.checkpoint_idle, Seconds<1, 3600>, "checkpoint_idle_s", Restart,
            "The index is made durable after this long without a commit. After a crash, what came since is \
             replayed from the log.",
            "Soon enough that a relay which was quiet starts at once, and never while it is busy.",
        ),
        setting!(
            store.erase_after, Seconds<0, 31_536_000>, "erase_after_s", Restart,
            "The bytes of deleted, vanished and expired events are gone from disk after this long. They are \
             out of every answer at once.",
            "A day: log files are rewritten for many removals together, and nobody's wish waits for long.",
        ),
        setting!(
            store.dead_percent_max, Number<1, 99>, "dead_percent_max", Restart,
            "A log file is rewritten once this share of it, in percent, is of no more use.",
            "Half: a rewrite frees at least as much as it copies.",
        ),
        setting!(
            store.free_bytes_min, DiskBytes<0, 1_152_921_504_606_846_976>, "free_bytes_min", Restart,
            "With less free space than this the log takes no more of the disk. `/readyz` warns, and when the next log \
             file is needed, events are refused with `error:` until space returns. Reading goes on. A new data folder is \
             not begun.",
            "256 MiB: room for the index to settle and for removing expired events to make space.",
        ),
    ],
};
