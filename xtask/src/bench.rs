//! `cargo xtask bench` and `figures`: the load programme against the relay, both built for release.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};

use crate::step::{self, cargo, command, root};

/// What is measured when nothing else is asked for: the relay of this tree, by the standard workloads.
const COMPARE: [&str; 5] = ["compare", "--relay", "towpath=target/release/towpath", "--data", "target"];

/// The relay of this tree, under judgement.
const NOW: &str = "towpath-now=target/release/towpath";

const BEGIN: &str = "<!-- figures: written by `cargo xtask figures` -->\n";
const END: &str = "<!-- end of figures -->";

/// Where the load programme's report goes on behind what most readers come for.
const EVERYTHING: &str = "\nEverything that was measured:\n";

/// Runs the load programme with the arguments given, or its standard comparison; or, against a revision, judges this tree.
/// The exit code is the load programme's.
pub(crate) fn run(against: Option<&str>, arguments: &[String]) -> Result<ExitCode> {
    let Some(revision) = against else {
        build()?;
        if arguments.is_empty() {
            return measure(standard()?);
        }
        let mut bench = programme();
        bench.args(arguments);
        return measure(bench);
    };
    let (before, now) = (Revision::of(revision)?, Revision::of("HEAD")?);
    before.build()?;
    build()?;
    let mut bench = programme();
    bench.args(["ab", "--data", "target", "--commit-a", &before.commit, "--commit-b", &now.describe()?]);
    bench.args(["--a", &format!("towpath-{}={}", before.short(), before.relay()), "--b", NOW]);
    bench.args(arguments);
    measure(bench)
}

fn measure(mut bench: Command) -> Result<ExitCode> {
    eprintln!("\n── measure");
    let status = bench.status().with_context(|| format!("cannot start {bench:?}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map(ExitCode::from).with_context(|| format!("the measurement was ended: {status}"))
}

/// A commit of this repository.
struct Revision {
    commit: String,
}

impl Revision {
    fn of(name: &str) -> Result<Self> {
        let commit = git(&["rev-parse", "--verify", "--quiet", "--end-of-options", &format!("{name}^{{commit}}")]);
        Ok(Self { commit: commit.with_context(|| format!("{name} is no revision of this repository"))? })
    }

    fn short(&self) -> &str {
        &self.commit[..self.commit.len().min(12)]
    }

    /// The commit, and whether the tree has changed since.
    fn describe(&self) -> Result<String> {
        let is_changed = !git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Ok(format!("{}{}", self.commit, if is_changed { " and changes" } else { "" }))
    }

    /// Where it is built, from the workspace root on.
    fn folder(&self) -> String {
        format!("target/bench/build-{}", self.short())
    }

    /// Its relay, from where the load programme runs: the way there may have spaces, at which a command is split.
    fn relay(&self) -> String {
        format!("{}/release/towpath", self.folder())
    }

    /// Builds the relay as it was, in a tree and a build folder that share nothing with this one; the build folder stays, because
    /// the next comparison is likely to be with the same revision.
    fn build(&self) -> Result<()> {
        let root = root().canonicalize()?;
        let tree = Worktree::add(root.join("target/bench/worktrees").join(self.short()), &self.commit)?;
        let target = root.join(self.folder());
        let mut build = cargo(&["build", "--release", "--locked", "--package", "towpath"]);
        build.current_dir(&tree.0).env("CARGO_TARGET_DIR", &target);
        step::run(&format!("build {} for release", self.short()), build)
    }
}

/// A checkout beside this one; it goes when this is dropped.
struct Worktree(PathBuf);

impl Worktree {
    fn add(folder: PathBuf, commit: &str) -> Result<Self> {
        let tree = Self(folder);
        // One that a killed run left behind.
        tree.remove();
        git(&["worktree", "add", "--force", "--detach", &tree.0.to_string_lossy(), commit])?;
        Ok(tree)
    }

    fn remove(&self) {
        let path = self.0.to_string_lossy();
        step::succeeds(command("git", &["worktree", "remove", "--force", &path]));
    }
}

impl Drop for Worktree {
    fn drop(&mut self) {
        self.remove();
    }
}

/// What git prints, without the end of the line.
fn git(arguments: &[&str]) -> Result<String> {
    let output = command("git", arguments).output().context("cannot start git")?;
    ensure!(output.status.success(), "git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

/// Where a comparison for the README leaves everything that was measured.
const FIGURES: &str = "target/figures";
/// The charts of it that the README shows; they are kept in `docs/charts`.
const CHARTS: [&str; 2] = ["publish-ack.svg", "same-pod-last-delivery.svg"];

/// Runs the standard comparison, more relays beside it if given, and writes its report into the README and its charts beside it.
pub(crate) fn figures(arguments: &[String]) -> Result<()> {
    build()?;
    let mut bench = standard()?;
    bench.args(["--out", FIGURES]).args(arguments);
    let output = bench.stderr(Stdio::inherit()).output().context("cannot measure")?;
    let text = String::from_utf8(output.stdout)?;
    ensure!(output.status.success() || only_others_failed(&text), "the measurement failed; the README is as it was");
    let mut report = programme();
    let charts = root().join(FIGURES).join("charts");
    report.args(["report", FIGURES, "--svg"]).arg(&charts).stdout(Stdio::null());
    step::run("draw", report)?;
    let kept = root().join("docs/charts");
    fs::create_dir_all(&kept)?;
    for chart in CHARTS {
        fs::copy(charts.join(chart), kept.join(chart)).with_context(|| format!("{chart} was not drawn"))?;
    }
    let readme = root().join("README.md");
    let document = replace(&fs::read_to_string(&readme)?, &folded(&text)?)?;
    fs::write(&readme, document).context("cannot write the README")
}

fn build() -> Result<()> {
    step::run("build for release", cargo(&["build", "--release", "--package", "towpath", "--package", "towpath-bench"]))
}

/// The standard comparison, on the record as that of this revision.
fn standard() -> Result<Command> {
    let mut bench = programme();
    bench.args(COMPARE).args(["--commit", &format!("towpath={}", Revision::of("HEAD")?.describe()?)]);
    Ok(bench)
}

/// Told what it was built from, where this tree is a checkout.
fn programme() -> Command {
    let mut programme = Command::new(root().join("target/release/towpath-bench"));
    programme.current_dir(root()).stdin(Stdio::null());
    if let Ok(commit) = Revision::of("HEAD").and_then(|now| now.describe()) {
        programme.env("BENCH_COMMIT", commit);
    }
    programme
}

/// Whether all that went wrong is that another relay failed a run, as the report then says. This one has to keep its promises.
fn only_others_failed(report: &str) -> bool {
    let mut failed = report.lines().filter(|line| line.starts_with("- FAILED: ")).peekable();
    let clean = |line: &str| line.starts_with("| towpath | ") && line.contains(" | 0 | 0 | 0 | 0 / 0 / 0 | 0 | ");
    failed.peek().is_some() && failed.all(|line| !line.contains(", towpath,")) && report.lines().any(clean)
}

/// The report with all but its first part folded away, as GitHub shows it.
fn folded(report: &str) -> Result<String> {
    let (first, everything) = report.split_once(EVERYTHING).context("the report has no part to fold away")?;
    let summary = "<summary>Everything that was measured</summary>";
    Ok(format!("{}\n\n<details>\n{summary}\n\n{}\n\n</details>", first.trim(), everything.trim()))
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
    fn a_run_that_another_relay_failed_does_not_spoil_the_figures() {
        let accounts = |refused: u32| format!("| towpath | 9 | 9 | 9 | {refused} | 0 | 0 | 0 / 0 / 0 | 0 | 0 |\n");
        let failed = |relay: &str| format!("- FAILED: round 3, {relay}, 1000/s: it ended\n");
        assert!(only_others_failed(&(accounts(0) + &failed("other"))));
        assert!(!only_others_failed(&(accounts(0) + &failed("other") + &failed("towpath"))));
        assert!(!only_others_failed(&(accounts(1) + &failed("other"))));
        assert!(!only_others_failed(&accounts(0)));
    }

    #[test]
    fn a_revision_is_a_commit_whatever_it_is_called() {
        let head = Revision::of("HEAD").unwrap();
        assert_eq!((head.commit.len(), head.short().len()), (40, 12));
        assert_eq!(Revision::of(head.short()).unwrap().commit, head.commit);
        assert!(head.describe().unwrap().starts_with(&head.commit));
        let refusal = format!("{:#}", Revision::of("--help").err().unwrap());
        assert!(refusal.contains("--help is no revision"), "{refusal}");
    }

    #[test]
    fn a_checkout_with_a_space_in_its_path_does_not_split_the_command() {
        let relay = Revision::of("HEAD").unwrap().relay();
        assert!(relay.starts_with("target/") && !relay.contains(' '), "{relay}");
    }

    #[test]
    fn a_worktree_has_the_revision_and_goes_when_it_is_dropped() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("tree");
        let tree = Worktree::add(folder.clone(), "HEAD").unwrap();
        assert!(folder.join("Cargo.toml").is_file());
        drop(tree);
        assert!(!folder.exists());
        assert!(!git(&["worktree", "list"]).unwrap().contains(&*folder.to_string_lossy()));
    }

    #[test]
    fn a_report_is_folded_behind_what_most_readers_come_for() {
        let folded = folded("head\n\n| a |\n\nEverything that was measured:\n\n| b |\n\n- c\n").unwrap();
        let summary = "<details>\n<summary>Everything that was measured</summary>";
        assert_eq!(folded, format!("head\n\n| a |\n\n{summary}\n\n| b |\n\n- c\n\n</details>"));
        assert!(super::folded("head\n").is_err());
        let report = include_str!("../../bench/src/report.rs");
        assert!(report.contains(&format!("{:?}", EVERYTHING.trim())), "the load programme has another word for it");
    }

    #[test]
    fn figures_replace_only_what_stands_between_the_marks() {
        let document = format!("before\n{BEGIN}old\n{END}\nafter\n");
        let replaced = replace(&document, "new\n").unwrap();
        assert_eq!(replaced, format!("before\n{BEGIN}\nnew\n\n{END}\nafter\n"));
        assert!(replace("no marks", "new").is_err());
    }
}
