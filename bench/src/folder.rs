//! What a session leaves behind, in one folder: the artifact, which everything else can be made from again; every histogram as a log; a
//! page to look at. Knows files, and of what is in them only the schema.

mod logs;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use time::OffsetDateTime;

use crate::artifact::{Artifact, SCHEMA};
use crate::page;
use crate::verdict::Guardrail;

pub(crate) const ARTIFACT: &str = "artifact.json";

/// Where a session is kept unless its command line says: `target/bench/20261125T154312Z-ab`, so that folders sort by when they were
/// made.
pub(crate) fn usual(command: &str, unix_time: u64) -> PathBuf {
    let began = OffsetDateTime::from(UNIX_EPOCH + Duration::from_secs(unix_time));
    let (year, month, day) = (began.year(), u8::from(began.month()), began.day());
    let (hour, minute, second) = (began.hour(), began.minute(), began.second());
    let name = format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z-{command}");
    Path::new("target/bench").join(name)
}

/// All of it. Returns where the page is.
pub(crate) fn write(folder: &Path, artifact: &Artifact, guardrail: &Guardrail) -> Result<PathBuf> {
    keep(folder, artifact)?;
    logs::write(folder, artifact)?;
    page::write_one(artifact, guardrail, folder)
}

/// The artifact alone, while the session goes on.
pub(crate) fn keep(folder: &Path, artifact: &Artifact) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let file = folder.join(ARTIFACT);
    fs::write(&file, serde_json::to_string(artifact)? + "\n")
        .with_context(|| format!("cannot write {}", file.display()))
}

/// What a session left behind, by its file or its folder.
pub(crate) fn read(path: &Path) -> Result<Artifact> {
    let file = artifact_file(path);
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let artifact: Artifact =
        serde_json::from_str(&text).with_context(|| format!("{} is no artifact", file.display()))?;
    ensure!(
        artifact.schema <= SCHEMA,
        "{} is of schema {}, and this programme knows only {SCHEMA}",
        file.display(),
        artifact.schema
    );
    Ok(artifact)
}

/// An artifact by its file or its folder.
pub(crate) fn artifact_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(ARTIFACT) } else { path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folders_name_is_its_time_and_what_was_run() {
        assert_eq!(usual("ab", 951_782_399), Path::new("target/bench/20000228T235959Z-ab"));
    }
}
