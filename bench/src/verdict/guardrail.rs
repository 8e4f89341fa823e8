//! What is judged and by which margins: the shape of `bench/guardrail.toml`. Knows names and limits, not how anything is measured.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::bootstrap;
use crate::account::Accounts;
use crate::artifact::Artifact;

/// The limits that ship with the programme.
const STANDARD: &str = include_str!("../../guardrail.toml");

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Guardrail {
    pub(crate) confidence: f64,
    pub(crate) rounds_min: usize,
    #[serde(rename = "measure")]
    pub(crate) measures: Vec<Measure>,
    #[serde(rename = "promise")]
    pub(crate) promises: Vec<Promise>,
}

/// A figure that may be worse only so far.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Measure {
    pub(crate) name: String,
    pub(crate) protocol: String,
    /// Either a latency and its percentile, or a figure.
    latency: Option<String>,
    percentile: Option<f64>,
    figure: Option<String>,
    pub(crate) better: Better,
    /// The part of A's figure that B may be worse by.
    pub(crate) margin: f64,
    /// How much B may be worse by in any case, in the figure's unit.
    pub(crate) floor: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    Lower,
    Higher,
}

/// Where in an outcome a measure's number is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Source<'a> {
    Percentile(&'a str, f64),
    Figure(&'a str),
}

/// Counts that must be zero.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Promise {
    pub(crate) name: String,
    accounts: Vec<Account>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Account {
    Lost,
    StoredTwice,
    AnsweredTwice,
    DeliveredTwice,
    Undelivered,
}

impl Guardrail {
    /// From a file, or the limits that ship with the programme.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self> {
        let name = path.unwrap_or(Path::new("bench/guardrail.toml"));
        Self::parse(&Self::text(path)?).with_context(|| name.display().to_string())
    }

    /// The same, as they are written.
    pub(crate) fn text(path: Option<&Path>) -> Result<String> {
        let Some(path) = path else { return Ok(STANDARD.to_owned()) };
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// From a file, or what the session itself was judged by; one that does not say is judged by what ships with the programme.
    pub(crate) fn of(artifact: &Artifact, path: Option<&Path>) -> Result<Self> {
        match &artifact.guardrail {
            Some(text) if path.is_none() => Self::parse(text).context("the guardrail of the artifact"),
            _ => Self::load(path),
        }
    }

    pub(crate) fn parse(text: &str) -> Result<Self> {
        let guardrail: Self = toml::from_str(text)?;
        let Self { confidence, rounds_min, .. } = guardrail;
        ensure!((0.5..1.0).contains(&confidence), "confidence = {confidence} is not from 0.5 to below 1");
        let needed = bootstrap::rounds_needed(confidence);
        ensure!(
            rounds_min >= needed,
            "rounds-min = {rounds_min}: a confidence of {confidence} needs at least {needed}"
        );
        for measure in &guardrail.measures {
            measure.check().with_context(|| format!("measure {:?} of {}", measure.name, measure.protocol))?;
        }
        for (number, measure) in guardrail.measures.iter().enumerate() {
            let is_twice = guardrail.measures[..number].iter().any(|other| other.label() == measure.label());
            ensure!(!is_twice, "measure {:?} is there twice", measure.label());
        }
        for promise in &guardrail.promises {
            ensure!(!promise.accounts.is_empty(), "promise {:?} names no accounts", promise.name);
        }
        Ok(guardrail)
    }
}

impl Measure {
    fn check(&self) -> Result<()> {
        match (&self.latency, self.percentile, &self.figure) {
            (Some(_), Some(percentile), None) => {
                ensure!((0.0..=100.0).contains(&percentile), "percentile = {percentile} is not from 0 to 100");
            }
            (None, None, Some(_)) => {}
            _ => bail!("needs either `latency` with `percentile`, or `figure`"),
        }
        let Self { margin, floor, .. } = self;
        ensure!((0.0..1.0).contains(margin), "margin = {margin} is not from 0 to below 1");
        ensure!(*floor >= 0.0 && floor.is_finite(), "floor = {floor} is not a number from 0");
        Ok(())
    }

    pub(crate) fn source(&self) -> Source<'_> {
        match (&self.latency, self.percentile, &self.figure) {
            (Some(latency), Some(percentile), _) => Source::Percentile(latency, percentile),
            (_, _, figure) => Source::Figure(figure.as_deref().unwrap_or_default()),
        }
    }

    /// What tells it from every other measure.
    pub(crate) fn label(&self) -> String {
        format!("{}: {}", self.protocol, self.name)
    }
}

impl Promise {
    pub(crate) fn broken(&self, accounts: &Accounts) -> u64 {
        let count = |account: &Account| match account {
            Account::Lost => accounts.lost as u64,
            Account::StoredTwice => accounts.stored_twice as u64,
            Account::AnsweredTwice => accounts.answered_twice as u64,
            Account::DeliveredTwice => accounts.delivered_twice,
            Account::Undelivered => accounts.undelivered as u64,
        };
        self.accounts.iter().map(count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "confidence = 0.95\nrounds-min = 6\npromise = []\n";

    fn refusal(text: &str) -> String {
        format!("{:#}", Guardrail::parse(text).expect_err("refused"))
    }

    fn measure(lines: &str) -> String {
        format!("{HEAD}[[measure]]\nname = \"ack\"\nprotocol = \"publish\"\n{lines}")
    }

    #[test]
    fn the_limits_that_ship_cover_what_the_guardrail_promises() {
        let guardrail = Guardrail::load(None).expect("sound");
        let sources: Vec<_> = guardrail.measures.iter().map(|m| (m.protocol.as_str(), m.source())).collect();
        for needed in [
            ("publish", Source::Percentile("ack", 99.0)),
            ("publish", Source::Percentile("ack", 99.9)),
            ("same-pod", Source::Percentile("first-delivery", 99.0)),
            ("cross-pod", Source::Percentile("first-delivery", 99.0)),
            ("same-pod", Source::Figure("relay-resident-bytes")),
            ("peak", Source::Figure("events-per-s")),
            ("peak", Source::Figure("relay-cpu-us-per-event")),
        ] {
            assert!(sources.contains(&needed), "{needed:?}");
        }
        let broken = Accounts { lost: 1, delivered_twice: 2, undelivered: 4, ..Accounts::default() };
        let counts: Vec<_> = guardrail.promises.iter().map(|promise| promise.broken(&broken)).collect();
        assert_eq!(counts, [1, 2, 4]);
    }

    #[test]
    fn a_mistake_is_named() {
        let figure = "figure = \"x\"\nbetter = \"lower\"\nfloor = 0.0\n";
        for (text, complaint) in [
            ("confidence = 0.95\nrounds-min = 5\nmeasure = []\npromise = []".to_owned(), "needs at least 6"),
            ("confidence = 95.0\nrounds-min = 6\nmeasure = []\npromise = []".to_owned(), "confidence = 95"),
            (measure(&format!("{figure}margin = 10.0")), "margin = 10 is not from 0 to below 1"),
            (measure(&format!("{figure}margin = 0.1\nlatency = \"ack\"")), "either `latency` with `percentile`"),
            (measure(&format!("{figure}margin = 0.1\nmargine = 0.1")), "unknown field `margine`"),
            (measure("latency = \"ack\"\npercentile = 999.0\nbetter = \"lower\"\nfloor = 0.0\nmargin = 0.1"), "999"),
            (measure(&figure.replace("lower", "smaller")), "unknown variant `smaller`"),
            (format!("{HEAD}[[measure]]\nname = \"ack\""), "missing field `protocol`"),
        ] {
            let refusal = refusal(&text);
            assert!(refusal.contains(complaint), "{refusal}");
        }
    }

    #[test]
    fn a_measure_that_is_there_twice_is_refused() {
        let one = measure("figure = \"x\"\nbetter = \"lower\"\nfloor = 0.0\nmargin = 0.1\n");
        let twice = format!("{one}{}", one.strip_prefix(HEAD).expect("the head"));
        assert!(refusal(&twice).contains("there twice"));
    }
}
