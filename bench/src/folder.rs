//! What a session leaves behind, in one folder: the artifact, which everything else can be made from again; every histogram as a log; a
//! page to look at. Knows files, not what is in them.

mod logs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::artifact::Artifact;
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

/// An artifact by its file or its folder.
pub(crate) fn artifact_file(path: &Path) -> PathBuf {
    if path.is_dir() { path.join(ARTIFACT) } else { path.to_owned() }
}
