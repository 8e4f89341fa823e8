//! A judgement as text for a terminal. Decides nothing.

use std::fmt::Write;

use super::{Direction, Excluded, Judged, Judgement, Kept, Unit, Verdict};

const MIB: f64 = 1_048_576.0;

impl Judgement {
    /// The table of measures, the promises, what was left out, and the verdict in the last line.
    pub(crate) fn table(&self) -> String {
        let mut text = format!("B = {}, judged against A = {}\n\n", self.b, self.a);
        if let Some((a, b)) = &self.unlike {
            let _ = writeln!(text, "An OK does not mean the same: A is {a}, B is {b}.\n");
        }
        if !self.is_paired {
            text.push_str(
                "The arms were measured in two sessions: what changed between them is part of the difference.\n\n",
            );
        }
        let heading = format!("change ({:.0} % sure)", self.confidence * 100.0);
        let heading = ["", "measure", "A", "B", &heading, "limit", "rounds", ""].map(str::to_owned);
        let rows = std::iter::once(heading).chain(self.measures.iter().map(row));
        text.push_str(&aligned(&rows.collect::<Vec<_>>()));
        text.push('\n');
        text.push_str(&aligned(&self.promises.iter().map(promise_row).collect::<Vec<_>>()));
        self.write_left_out(&mut text);
        let _ = writeln!(text, "\n{}", self.sentence());
        text
    }

    fn write_left_out(&self, text: &mut String) {
        if !self.not_asked.is_empty() {
            let _ = writeln!(text, "\nNot asked for: {}.", self.not_asked.join("; "));
        }
        if !self.excluded.is_empty() {
            let _ = writeln!(text, "\nVoid, and not counted:");
        }
        for Excluded { round, arm, protocol, reason, .. } in &self.excluded {
            let _ = writeln!(text, "  round {round}, {arm}, {protocol}: {reason}");
        }
    }

    /// The verdict, and how many of the measures and promises came to which.
    pub(crate) fn sentence(&self) -> String {
        let verdicts = || {
            let measures = self.measures.iter().map(|judged| judged.verdict);
            measures.chain(self.promises.iter().map(|kept| kept.verdict))
        };
        let count = |verdict| verdicts().filter(|each| *each == verdict).count();
        let all = verdicts().count();
        let [passed, failed, open] = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive].map(count);
        format!("{}: {passed} of {all} passed, {failed} failed, {open} inconclusive", self.verdict.word())
    }
}

fn row(judged: &Judged) -> [String; 8] {
    let Judged { protocol, name, unit, verdict, rounds, a, b, change, limit, remark } = judged;
    let shown = |value: &Option<f64>| value.map_or_else(|| "-".to_owned(), |value| unit.show(value));
    let interval = change
        .map(|change| format!("{} ({} to {})", percent(change.estimate), percent(change.low), percent(change.high)));
    let direction = change.map_or("", |change| match change.direction {
        Direction::Better => "better",
        Direction::Worse => "worse",
        Direction::NoneShown => "",
    });
    [
        verdict.word().to_owned(),
        format!("{protocol}: {name}"),
        shown(a),
        shown(b),
        interval.unwrap_or_else(|| "-".to_owned()),
        limit.map_or_else(|| "-".to_owned(), percent),
        rounds.to_string(),
        [direction, remark.as_deref().unwrap_or_default()]
            .into_iter()
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("; "),
    ]
}

fn promise_row(kept: &Kept) -> [String; 3] {
    let Kept { name, verdict, broken_by_a, broken_by_b, runs } = kept;
    let found = format!("A broke it {broken_by_a} times, B {broken_by_b} times in {runs} runs");
    [verdict.word().to_owned(), name.clone(), found]
}

impl Verdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }
}

/// A change, with its sign.
pub(crate) fn percent(part: f64) -> String {
    let percent = part * 100.0;
    if percent.abs() < 10.0 { format!("{percent:+.1} %") } else { format!("{percent:+.0} %") }
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Microseconds if value >= 1e3 => format!("{:.2} ms", value / 1e3),
            Self::Microseconds => format!("{value:.0} us"),
            Self::Bytes => format!("{:.1} MiB", value / MIB),
            Self::PerSecond => format!("{value:.0} /s"),
            Self::Other => format!("{value:.2}"),
        }
    }
}

/// Columns as wide as their widest cell; the first two and the last to the left, figures to the right.
fn aligned<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for row in rows {
        let cell = |(column, cell): (usize, &String)| match column {
            column if column < 2 || column + 1 == COLUMNS => format!("{cell:<0$}", width(column)),
            column => format!("{cell:>0$}", width(column)),
        };
        let line = row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
