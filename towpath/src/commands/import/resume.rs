//! Remembers how far an import of a file came, so that an interrupted one can go on.
//!
//! The record follows the commit: after a crash it may be behind the store, never ahead of it, and what
//! is read twice counts as stored already.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::chunk::Position;

const FILE_NAME: &str = "import.json";
const HEAD_BYTES: u64 = 128;

/// What is recorded of one input file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Progress {
    /// Which file.
    path: PathBuf,
    /// How it begins, to tell it from another one that has taken its name.
    head: String,
    /// The database, or nothing.
    #[serde(default)]
    target: String,
    byte: u64,
    line: u64,
}

/// The record of one input file, kept in the data folder. There is one, of the last import.
#[derive(Debug)]
pub(super) struct Journal {
    place: PathBuf,
    path: PathBuf,
    head: String,
    target: String,
}

impl Journal {
    /// `target` is the database that the events go to, and its schema, where that is not the data folder.
    pub(super) fn new(
        data: &Path,
        target: Option<(&str, Option<&str>)>,
        path: &Path,
        input: &mut File,
    ) -> io::Result<Self> {
        let named = |(url, schema): (&str, Option<&str>)| format!("{} {}", place_of(url), schema.unwrap_or_default());
        let target = target.map(named).unwrap_or_default().trim_end().to_owned();
        let mut head = Vec::new();
        input.take(HEAD_BYTES).read_to_end(&mut head)?;
        let head = String::from_utf8_lossy(&head).into_owned();
        Ok(Self { place: data.join(FILE_NAME), path: path.canonicalize()?, head, target })
    }

    /// Where the last import of the same file stopped.
    pub(super) fn position(&self, input: &mut File) -> anyhow::Result<Position> {
        let place = self.place.display();
        let text = fs::read(&self.place).with_context(|| format!("nothing to resume: cannot read {place}"))?;
        let progress: Progress = serde_json::from_slice(&text).with_context(|| format!("{place} is damaged"))?;
        ensure!(
            progress.path == self.path && progress.head == self.head,
            "nothing to resume: the last import was of {}, or the file has changed",
            progress.path.display()
        );
        ensure!(progress.target == self.target, "nothing to resume: the last import went to {:?}", progress.target);
        ensure!(
            ends_a_line(input, progress.byte)?,
            "nothing to resume: line {} does not end where it did",
            progress.line
        );
        Ok(Position { byte: progress.byte, line: progress.line })
    }

    pub(super) fn record(&self, position: Position) -> anyhow::Result<()> {
        let Position { byte, line } = position;
        let (path, head, target) = (self.path.clone(), self.head.clone(), self.target.clone());
        let progress = Progress { path, head, target, byte, line };
        let draft = self.place.with_extension("json.new");
        // With a database there need not be a data folder.
        fs::create_dir_all(self.place.parent().unwrap_or(Path::new(".")))
            .and_then(|()| fs::write(&draft, serde_json::to_vec(&progress)?))
            .and_then(|()| fs::rename(&draft, &self.place))
            .with_context(|| format!("cannot write {}", self.place.display()))
    }
}

/// What of a database's URL says where it is: no credentials.
fn place_of(url: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let place = base.rsplit_once('@').map_or(base, |(_, place)| place);
    let host = query.split('&').find_map(|pair| pair.strip_prefix("host="));
    host.map_or_else(|| place.to_owned(), |host| format!("{place} at {host}"))
}

/// Whether a line ends just before `byte`. The last line of a file may go without its newline.
fn ends_a_line(input: &mut File, byte: u64) -> io::Result<bool> {
    let len = input.metadata()?.len();
    if byte == 0 || byte == len {
        return Ok(true);
    }
    if byte > len {
        return Ok(false);
    }
    let mut last = [0];
    input.seek(SeekFrom::Start(byte - 1))?;
    input.read_exact(&mut last)?;
    Ok(last == *b"\n")
}
