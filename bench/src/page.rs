//! A run to look at: one self-contained page and the same charts as files, from artifacts alone. Measures nothing and judges
//! nothing.

mod axis;
mod chart;
mod charts;
mod format;
mod judged;
mod layout;
mod scene;
mod style;
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;

use crate::artifact::Artifact;
use crate::folder::{self, ARTIFACT, artifact_file};
use crate::verdict::{self, Excluded, Guardrail};
use scene::{Scene, Source};

const PAGE: &str = "report.html";

#[derive(Args)]
pub(crate) struct Options {
    /// Artifacts, or folders of runs that hold one; several stand side by side.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Where the page goes; beside the artifact, or into this folder when there are several.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Write every chart into this folder, too.
    #[arg(long)]
    svg: Option<PathBuf>,
    /// Judge by other limits than the session was judged by.
    #[arg(long)]
    guardrail: Option<PathBuf>,
}

/// Renders what lies at the paths.
pub(crate) fn report(options: &Options) -> Result<()> {
    let sources = options.paths.iter().map(|path| read(path)).collect::<Result<Vec<_>>>()?;
    let page = options.out.clone().unwrap_or_else(|| match options.paths.as_slice() {
        [path] => artifact_file(path).with_file_name(PAGE),
        _ => PAGE.into(),
    });
    let limits = options.guardrail.as_deref();
    let guardrail = match sources.as_slice() {
        [Source { artifact, .. }] => Guardrail::of(artifact, limits)?,
        // Side by side none is judged.
        _ => Guardrail::load(limits)?,
    };
    write(&sources, &guardrail, &page)?;
    println!("{}", page.display());
    if let Some(folder) = &options.svg {
        for file in write_charts(&sources, &guardrail, folder)? {
            println!("{}", file.display());
        }
    }
    Ok(())
}

/// Renders one session beside its artifact.
pub(crate) fn write_one(artifact: &Artifact, guardrail: &Guardrail, folder: &Path) -> Result<PathBuf> {
    let page = folder.join(PAGE);
    write(&[Source { label: label(folder), artifact: artifact.clone() }], guardrail, &page)?;
    Ok(page)
}

fn write(sources: &[Source], guardrail: &Guardrail, page: &Path) -> Result<()> {
    fs::write(page, render(sources, guardrail)).with_context(|| format!("cannot write {}", page.display()))
}

fn render(sources: &[Source], guardrail: &Guardrail) -> String {
    let judged = judge(sources, guardrail);
    layout::page(&Scene::of(sources, excluded(&judged)), &judged)
}

/// The runs that the judgement found void, if there is one.
fn excluded(judged: &layout::Judged) -> &[Excluded] {
    match judged {
        Some(Ok(judgement)) => &judgement.excluded,
        _ => &[],
    }
}

/// Of a session that set one arm against another.
fn judge(sources: &[Source], guardrail: &Guardrail) -> layout::Judged {
    let [Source { artifact, .. }] = sources else { return None };
    if !verdict::is_for_judging(artifact) {
        return None;
    }
    let artifacts = std::slice::from_ref(artifact);
    let judged = verdict::sides(artifacts).and_then(|(a, b)| verdict::judge(a, b, guardrail));
    Some(judged.map_err(|reason| format!("{reason:#}")))
}

fn write_charts(sources: &[Source], guardrail: &Guardrail, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let scene = Scene::of(sources, excluded(&judge(sources, guardrail)));
    let figures = scene.protocols.iter().flat_map(|protocol| charts::of_protocol(&scene, protocol));
    let write = |figure: charts::Figure| {
        let file = folder.join(&figure.chart.slug).with_extension("svg");
        fs::write(&file, figure.chart.standalone()).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    };
    figures.map(write).collect()
}

fn read(path: &Path) -> Result<Source> {
    let file = artifact_file(path);
    let named = if file.ends_with(ARTIFACT) { file.parent().unwrap_or(&file) } else { &file };
    Ok(Source { label: label(named), artifact: folder::read(path)? })
}

/// What a folder or a file is called without its path and its ending.
fn label(path: &Path) -> String {
    let absolute = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    absolute.file_stem().map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
}

#[cfg(test)]
mod sample;
#[cfg(test)]
mod tests;
