//! What a session leaves behind, in one folder: the artifact, which everything else can be made from again; every histogram as a log; a
//! page to look at. Knows files, and of what is in them only the schema.

mod logs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::artifact::{Artifact, SCHEMA};
use crate::page;
use crate::verdict::Guardrail;

pub(crate) const ARTIFACT: &str = "artifact.json";

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
