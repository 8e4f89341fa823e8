//! Reads what callgrind writes: instructions by function, without those of the functions it calls.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Instructions by function.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts(HashMap<String, u64>);

impl Counts {
    /// From a file with whole names and whole line numbers.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(Self::parse(&text))
    }

    /// A line is a position and a count, of the function named last; behind `calls=` it is what the called one used, which is counted
    /// there.
    fn parse(text: &str) -> Self {
        let mut counts = Self::default();
        let (mut function, mut called) = ("", false);
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("fn=") {
                // A function within itself is marked with its depth.
                function = name.rsplit_once('\'').map_or(name, |(name, _)| name);
            } else if line.starts_with("calls=") {
                called = true;
            } else if let Some(count) = cost(line)
                && !std::mem::take(&mut called)
            {
                *counts.0.entry(function.to_owned()).or_default() += count;
            }
        }
        counts
    }

    pub(super) fn add(&mut self, others: Self) {
        for (function, count) in others.0 {
            *self.0.entry(function).or_default() += count;
        }
    }

    /// What is more here than in a shorter run.
    pub(super) fn without(mut self, shorter: &Self) -> Self {
        for (function, count) in &mut self.0 {
            *count = count.saturating_sub(shorter.0.get(function).copied().unwrap_or_default());
        }
        self
    }

    /// Of the functions that are meant.
    pub(super) fn of(&self, is_meant: impl Fn(&str) -> bool) -> u64 {
        self.0.iter().filter(|(function, _)| is_meant(function)).map(|(_, count)| count).sum()
    }

    /// The functions that use most, in order.
    pub(super) fn dearest(&self, functions: usize) -> Vec<(&str, u64)> {
        let mut all: Vec<(&str, u64)> = self.0.iter().map(|(function, count)| (function.as_str(), *count)).collect();
        all.sort_by_key(|(function, count)| (std::cmp::Reverse(*count), *function));
        all.truncate(functions);
        all
    }
}

fn cost(line: &str) -> Option<u64> {
    let (position, count) = line.split_once(' ')?;
    position.parse::<u64>().ok()?;
    count.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = "version: 1\npositions: line\nevents: Ir\nsummary: 35\n\n\
        fl=a.rs\nfn=outer\n1 10\nfi=b.rs\n7 5\nfe=a.rs\ncfn=inner\ncalls=2 30\n2 20\n3 1\n\n\
        fl=b.rs\nfn=inner\n30 8\nfn=inner'2\n30 12\n\ntotals: 35\n";

    #[test]
    fn a_function_is_charged_for_what_it_does_itself() {
        let counts = Counts::parse(PROFILE);
        assert_eq!(counts.dearest(9), [("inner", 20), ("outer", 16)]);
        assert_eq!(counts.of(|_| true), 36);
        assert_eq!(counts.of(|function| function.starts_with("in")), 20);
    }

    #[test]
    fn a_longer_run_without_a_shorter_one_is_the_difference() {
        let mut twice = Counts::parse(PROFILE);
        twice.add(Counts::parse(PROFILE));
        assert_eq!(twice.without(&Counts::parse(PROFILE)), Counts::parse(PROFILE));
    }
}
