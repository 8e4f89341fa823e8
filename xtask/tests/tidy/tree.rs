//! What every file of the tree keeps to.

use super::{assert_none, output, read, root};

/// Every file that is, or would be, under version control.
fn files() -> Vec<String> {
    let listed = output("git", &["ls-files", "--cached", "--others", "--exclude-standard"]);
    let mut files: Vec<String> = listed.lines().filter(|file| root().join(file).is_file()).map(str::to_owned).collect();
    files.sort();
    files.dedup();
    files
}

fn texts() -> impl Iterator<Item = (String, String)> {
    files()
        .into_iter()
        .filter_map(|file| Some((std::fs::read_to_string(root().join(&file)).ok()?, file)))
        .map(|(text, file)| (file, text))
}

#[test]
fn every_module_says_what_it_owns() {
    let sources = texts().filter(|(file, _)| file.ends_with(".rs"));
    let silent: Vec<_> = sources.filter(|(_, text)| !text.starts_with("//!")).map(|(file, _)| file).collect();
    assert_none("modules that do not open with `//!`", &silent);
}

#[test]
fn no_file_names_a_machine() {
    // Written in halves, so that this file passes its own rule.
    let places = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/ho", "me/"), concat!("art", "ifactory")];
    let mut offences = Vec::new();
    for (file, text) in texts() {
        let lines = text.lines().enumerate().filter(|(_, line)| places.iter().any(|place| line.contains(place)));
        offences.extend(lines.map(|(number, line)| format!("{file}:{}: {}", number + 1, line.trim())));
    }
    assert_none("lines that name a place on somebody's machine", &offences);
}

#[test]
fn lock_files_name_no_host_but_the_public_index() {
    let mut offences = Vec::new();
    for (file, text) in texts().filter(|(file, _)| file.ends_with("Cargo.lock")) {
        let sources = text.lines().filter(|line| {
            line.starts_with("source = ") && !line.contains("\"registry+https://github.com/rust-lang/crates.io-index\"")
        });
        offences.extend(sources.map(|line| format!("{file}: {line}")));
    }
    for (file, text) in texts().filter(|(file, _)| file.ends_with("package-lock.json")) {
        offences.extend(
            text.lines().filter(|line| line.contains("\"resolved\"")).map(|line| format!("{file}: {}", line.trim())),
        );
    }
    assert_none("packages locked to a host", &offences);
}

#[test]
fn continuous_integration_runs_what_a_developer_runs() {
    assert!(read(".ci/run").lines().any(|line| line == "exec cargo xtask test"));
}
