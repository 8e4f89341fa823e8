//! What the process says on standard error.

use std::fmt;

use crate::config::codec::{OneOf, Word};
use crate::config::setting::{Section, setting};

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    pub format: Format,
    pub level: Level,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: Format::Text, level: Level::Info }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A line to read.
    Text,
    /// One JSON object a line.
    Json,
}

impl Word for Format {
    const WORDS: &'static [(&'static str, Self)] = &[("text", Self::Text), ("json", Self::Json)];
}

/// How important a line must be to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Only failures.
    Error,
    /// And what may become one.
    Warn,
    /// And what the relay is doing.
    Info,
    /// And how, for each connection.
    Debug,
    /// And every message.
    Trace,
}

/// As the configuration writes it.
impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::WORDS.iter().find(|(_, level)| level == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl Word for Level {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

pub(super) const SECTION: Section = Section {
    name: "log",
    what: "What the process writes to standard error.",
    settings: &[
        setting!(
            log.format,
            OneOf<Format>,
            "format",
            Restart,
            "\"text\" for people, \"json\" for a log collector.",
            "The first reader is a person.",
        ),
        setting!(
            log.level,
            OneOf<Level>,
            "level",
            Restart,
            "\"error\", \"warn\", \"info\", \"debug\" or \"trace\".",
            "Starts, stops and trouble, but nothing per message.",
        ),
    ],
};
