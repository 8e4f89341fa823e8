//! What an import came to.

use std::collections::BTreeMap;
use std::fmt;

use super::judge::{LeftOut, Reason};
use super::pipeline::Committed;

/// Counts, and for each reason the first line it happened on.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stored: u64,
    left_out: BTreeMap<Reason, Group>,
}

#[derive(Debug)]
struct Group {
    lines: u64,
    first_line: u64,
    first_detail: String,
}

impl Tally {
    pub(super) fn add(&mut self, committed: &Committed) {
        self.stored += committed.stored;
        for left_out in &committed.left_out {
            self.add_left_out(left_out);
        }
    }

    fn add_left_out(&mut self, left_out: &LeftOut) {
        let group = self.left_out.entry(left_out.reason).or_insert_with(|| Group {
            lines: 0,
            first_line: left_out.line,
            first_detail: left_out.detail.clone(),
        });
        group.lines += 1;
        // Outcomes of the commit come after the refusals of the same chunk.
        if left_out.line < group.first_line {
            group.first_line = left_out.line;
            group.first_detail.clone_from(&left_out.detail);
        }
    }

    pub(super) fn stored(&self) -> u64 {
        self.stored
    }

    /// Lines that were refused, not counting what was merely of no use.
    pub(super) fn refused(&self) -> u64 {
        self.left_out.iter().filter(|(reason, _)| reason.is_fault()).map(|(_, group)| group.lines).sum()
    }

    /// Whether every line was a genuine event.
    pub(super) fn is_clean(&self) -> bool {
        self.refused() == 0
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>10} stored", self.stored)?;
        for (reason, group) in &self.left_out {
            write!(f, "{:>10} {} (first on line {}", group.lines, reason.name(), group.first_line)?;
            match group.first_detail.as_str() {
                "" => writeln!(f, ")")?,
                detail => writeln!(f, ": {detail})")?,
            }
        }
        Ok(())
    }
}
