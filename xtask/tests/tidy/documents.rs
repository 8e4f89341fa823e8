//! What the documents say of the tree is so.

use std::collections::BTreeSet;

use super::{assert_none, output, read, root};

/// The two commands of the README, and no third.
const COMMANDS: [&str; 2] = ["cargo run --release", "cargo xtask test"];

/// The lines of the section under this heading, up to the next heading of any level.
fn section(document: &str, heading: &str) -> Vec<String> {
    let text = read(document);
    let body = text.lines().skip_while(|line| *line != heading).skip(1);
    let lines: Vec<String> = body.take_while(|line| !line.starts_with("## ")).map(str::to_owned).collect();
    assert!(!lines.is_empty(), "{document} has no section {heading:?}");
    lines
}

/// What a line names in this repository: code between backticks that looks like a path, and the targets of links.
fn paths(line: &str) -> impl Iterator<Item = &str> {
    let code = line.split('`').skip(1).step_by(2).filter(|code| is_local(code));
    let links = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    code.chain(links).filter(|path| !path.contains([' ', ':', '#', '<', '*', '{', '…']))
}

#[test]
fn the_readme_has_two_commands() {
    let section = section("README.md", "## Two commands");
    let mut commands = Vec::new();
    let mut inside = false;
    for line in section {
        match line.starts_with("```") {
            true => inside = !inside,
            false if inside => commands.push(line.split(" #").next().unwrap().trim().to_owned()),
            false => {}
        }
    }
    assert_eq!(commands, COMMANDS);
}

#[test]
fn paths_in_documents_exist() {
    let mut offences = Vec::new();
    for document in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/nips.md", "docs/glossary.md"] {
        let text = read(document);
        let folder = root().join(document).parent().unwrap().to_owned();
        let exists = |path: &str| root().join(path).exists() || folder.join(path).exists();
        let missing = text.lines().flat_map(paths).filter(|path| !exists(path));
        offences.extend(missing.map(|path| format!("{document}: {path}")));
    }
    assert_none("paths that do not exist", &offences);
}

/// A promise whose test is gone is proved by nothing.
#[test]
fn tests_that_prove_promises_exist() {
    let table = section("ARCHITECTURE.md", "## Promises");
    let code = table.iter().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_name = |code: &&str| {
        code.contains('_') && code.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit())
    };
    let names: BTreeSet<&str> = code.filter(is_name).collect();
    assert!(names.len() > 10, "{names:?}");
    let is_missing = |name: &&&str| {
        let found = std::process::Command::new("git")
            .args([
                "grep",
                "--untracked",
                "--quiet",
                "--fixed-strings",
                &format!("fn {name}("),
                "--",
                "crates",
                "tests",
            ])
            .current_dir(root())
            .status();
        !found.unwrap().success()
    };
    let missing: Vec<String> = names.iter().filter(is_missing).map(|name| (*name).to_owned()).collect();
    assert_none("tests that the promises name and that do not exist", &missing);
}

/// The numbers in the first column of the table.
fn documented_nips() -> BTreeSet<u16> {
    let table = read("docs/nips.md");
    table.lines().filter_map(|line| line.strip_prefix("| ")?.split(' ').next()?.parse().ok()).collect()
}

/// The numbers between the brackets of `SUPPORTED_NIPS`, wherever the relay declares it.
fn advertised_nips() -> BTreeSet<u16> {
    let files = output("git", &["grep", "--untracked", "--files-with-matches", "const SUPPORTED_NIPS", "crates"]);
    let source = read(files.lines().next().unwrap());
    let (_, declaration) = source.split_once("const SUPPORTED_NIPS").unwrap();
    let (_, list) = declaration.split_once('=').unwrap();
    let numbers = list[..list.find(';').unwrap()].split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|number| number.parse().ok()).collect()
}

#[test]
fn documented_nips_are_the_advertised_ones() {
    assert_eq!(documented_nips(), advertised_nips());
}

#[test]
fn every_nip_names_its_code_and_its_conformance_tests() {
    let table = read("docs/nips.md");
    let rows = table.lines().filter(|line| line.starts_with("| ") && line.as_bytes()[2].is_ascii_digit());
    let incomplete = rows.filter(|row| !row.contains("`crates/") || !row.contains("`tests/conformance/tests/"));
    assert_none("rows without code or tests", &incomplete.map(str::to_owned).collect::<Vec<_>>());
}

/// Whether this is a path into a folder of this repository; other paths are the reader's own.
fn is_local(path: &str) -> bool {
    let folders = [".ci", ".config", "bench", "crates", "deploy", "docs", "fuzz", "tests", "towpath", "xtask"];
    path.split_once('/').is_some_and(|(first, _)| folders.contains(&first))
}
