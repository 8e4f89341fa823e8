//! `cargo xtask bench` and `figures`: the load programme against the relay, both built for release.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::step::{self, cargo, root};

/// What is measured when nothing else is asked for: the relay of this tree, by the standard workloads.
const COMPARE: [&str; 5] = ["compare", "--relay", "towpath=target/release/towpath", "--data", "target"];

const BEGIN: &str = "<!-- figures: written by `cargo xtask figures` -->\n";
const END: &str = "<!-- end of figures -->";

/// Runs the load programme with the arguments given, or its standard comparison.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    build()?;
    let mut bench = programme();
    match arguments {
        [] => bench.args(COMPARE),
        given => bench.args(given),
    };
    step::run("measure", bench)
}

/// Runs the standard comparison, more relays beside it if given, and writes its report into the README.
pub(crate) fn figures(arguments: &[String]) -> Result<()> {
    build()?;
    let output =
        programme().args(COMPARE).args(arguments).stderr(Stdio::inherit()).output().context("cannot measure")?;
    ensure!(output.status.success(), "the measurement failed; the README is as it was");
    let readme = root().join("README.md");
    let text = replace(&fs::read_to_string(&readme)?, &String::from_utf8(output.stdout)?)?;
    fs::write(&readme, text).context("cannot write the README")
}

fn build() -> Result<()> {
    step::run("build for release", cargo(&["build", "--release", "--package", "towpath", "--package", "towpath-bench"]))
}

fn programme() -> Command {
    let mut programme = Command::new(root().join("target/release/towpath-bench"));
    programme.current_dir(root()).stdin(Stdio::null());
    programme
}

/// The document with what stands between the two marks replaced.
fn replace(document: &str, report: &str) -> Result<String> {
    let (before, rest) = document.split_once(BEGIN).context("the README has no place for figures")?;
    let (_, after) = rest.split_once(END).context("the README's figures do not end")?;
    Ok(format!("{before}{BEGIN}\n{}\n\n{END}{after}", report.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_replace_only_what_stands_between_the_marks() {
        let document = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let replaced = replace(&document, "new\n").unwrap();
        assert_eq!(replaced, format!("before\n{BEGIN}\nnew\n\n{END}\nafter\n"));
        assert!(replace("no marks", "new").is_err());
    }
}
