//! `cargo xtask metrics`: how long files and functions are, crate by crate. A gauge to read, not a gate.
//!
//! Lines are physical lines before the first `#[cfg(test)]`; only `src` folders count. A function ends at the
//! closing brace indented like its `fn`, which holds for formatted source.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::step::root;

/// How many of the longest functions are named below the table.
const NAMED_FUNCTIONS: usize = 5;

/// The sizes found under one `src` folder, or under all of them.
#[derive(Default)]
struct Sizes {
    files: Vec<usize>,
    functions: Vec<Function>,
}

#[derive(Clone)]
struct Function {
    lines: usize,
    name: String,
    file: PathBuf,
}

/// Prints one row a crate, one for them all, and the longest functions by name.
pub(crate) fn run() -> Result<()> {
    println!("{:<16} {:^29}   {:^21}", "", "files", "functions");
    println!(
        "{:<16} {:>6} {:>6} {:>6} {:>8}   {:>5} {:>5} {:>8}",
        "", "count", "median", "p90", "longest", "p90", "p99", "longest"
    );
    let mut all = Sizes::default();
    for folder in source_folders()? {
        let mut sizes = Sizes::default();
        collect(&folder, &mut sizes)?;
        print_row(folder.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or("?"), &mut sizes);
        all.files.append(&mut sizes.files);
        all.functions.append(&mut sizes.functions);
    }
    print_row("all", &mut all);
    println!();
    for function in all.functions.iter().rev().take(NAMED_FUNCTIONS) {
        println!("{:>4} {} ({})", function.lines, function.name, function.file.display());
    }
    Ok(())
}

/// The `src` folder of every package of the workspace.
fn source_folders() -> Result<Vec<PathBuf>> {
    let mut packages = list(&root().join("crates"))?;
    packages.extend(["towpath", "bench", "xtask", "tests/harness", "tests/conformance"].map(|name| root().join(name)));
    Ok(packages.into_iter().map(|package| package.join("src")).filter(|source| source.is_dir()).collect())
}

fn collect(folder: &Path, sizes: &mut Sizes) -> Result<()> {
    for path in list(folder)? {
        if path.is_dir() {
            collect(&path, sizes)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            measure(&path, sizes)?;
        }
    }
    Ok(())
}

fn measure(path: &Path, sizes: &mut Sizes) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines: Vec<&str> = text.lines().take_while(|line| !line.trim_start().starts_with("#[cfg(test)]")).collect();
    sizes.files.push(lines.len());
    let file = path.strip_prefix(root()).unwrap_or(path);
    sizes.functions.extend(functions(&lines).map(|(name, lines)| Function { lines, name, file: file.to_owned() }));
    Ok(())
}

/// Name and length of every function with a body that spans lines.
fn functions<'a>(lines: &'a [&'a str]) -> impl Iterator<Item = (String, usize)> + 'a {
    lines.iter().enumerate().filter_map(move |(start, line)| {
        let name = function_name(line.trim_start())?;
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = lines[start..].iter().position(|line| line.strip_prefix(indent).is_some_and(|rest| rest == "}"))?;
        // A signature without a body, as in a trait, ends before any brace does.
        let declared_only = lines[start..start + end].iter().find(|line| line.ends_with(['{', ';']))?.ends_with(';');
        (!declared_only).then_some((name, end + 1))
    })
}

fn function_name(line: &str) -> Option<String> {
    let before = line.find("fn ")?;
    let qualifiers = line[..before].split_whitespace();
    let is_item = qualifiers.into_iter().all(|word| {
        word.starts_with("pub")
            || word.ends_with(')')
            || matches!(word, "const" | "async" | "unsafe" | "extern" | "\"C\"")
    });
    let name: String = line[before + 3..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (is_item && !name.is_empty()).then_some(name)
}

fn print_row(name: &str, sizes: &mut Sizes) {
    sizes.files.sort_unstable();
    sizes.functions.sort_by_key(|function| function.lines);
    let functions: Vec<usize> = sizes.functions.iter().map(|function| function.lines).collect();
    println!(
        "{:<16} {:>6} {:>6} {:>6} {:>8}   {:>5} {:>5} {:>8}",
        name,
        sizes.files.len(),
        percentile(&sizes.files, 50),
        percentile(&sizes.files, 90),
        percentile(&sizes.files, 100),
        percentile(&functions, 90),
        percentile(&functions, 99),
        percentile(&functions, 100),
    );
}

/// The smallest of the sorted values that `percent` of them do not exceed; 0 when there is none.
fn percentile(sorted: &[usize], percent: usize) -> usize {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_from_their_signature_to_their_brace() {
        let source = "pub(crate) async fn one(\n    a: u8,\n) -> u8 {\n    a\n}\n\ntrait T {\n    fn declared(&self);\n    fn two() {\n        1;\n    }\n}";
        let lines: Vec<&str> = source.lines().collect();
        let found: Vec<_> = functions(&lines).collect();
        assert_eq!(found, [("one".to_owned(), 5), ("two".to_owned(), 3)]);
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        assert_eq!([50, 90, 100].map(|percent| percentile(&[1, 2, 3, 4], percent)), [2, 4, 4]);
        assert_eq!(percentile(&[], 50), 0);
    }
}
