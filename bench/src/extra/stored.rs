//! The corpus in a file, to fill relays from, and what is asked of those that have it. Judges answers by the oracle; knows no
//! workload.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use super::ask::{Asked, Request};
use super::corpus::{self, Corpus};
use super::load::{self, Loaded};
use super::oracle::{Fault, Oracle, Question};
use crate::account::Accounts;
use crate::caretaker::Folder;
use crate::client::Target;
use crate::notes::Id;
use crate::workload::verify;

/// Drawn and framed before the clock starts, then asked over and over.
const QUESTIONS: usize = 14_000;
/// No multiple of the number of classes, so that every class has its turn.
const SAMPLE_EVERY: usize = 19;
const SAMPLES_MAX: usize = 300;

/// Events, their lines, and questions on them.
pub(super) struct Stored {
    pub(super) corpus: Corpus,
    pub(super) questions: Vec<Question>,
    pub(super) requests: Vec<Request>,
    lines: PathBuf,
    /// What the lines are in.
    _folder: Folder,
}

impl Stored {
    /// Signs the events into a file inside `data`, which goes when this is dropped.
    pub(super) fn make(data: &Path, seed: u64, events: usize) -> Result<Self> {
        ensure!(events > 0, "there is nothing to ask for without events");
        let folder = Folder::new_in(data)?;
        let lines = folder.path().join("events.jsonl");
        eprintln!("signing {events} events");
        let recipe = corpus::Recipe { seed, events, until: super::midnight()? };
        let corpus = Corpus::write(&recipe, &mut BufWriter::new(File::create(&lines)?))?;
        let questions: Vec<Question> = (0..QUESTIONS).map(|number| Question::draw(&corpus, seed, number)).collect();
        let frame = |(number, question): (usize, &Question)| {
            let is_sampled = number % SAMPLE_EVERY == 0 && number / SAMPLE_EVERY < SAMPLES_MAX;
            Request::new(number, &question.filter(&corpus), is_sampled)
        };
        let requests = questions.iter().enumerate().map(frame).collect();
        Ok(Self { corpus, questions, requests, lines, _folder: folder })
    }

    /// The events, one a line.
    pub(super) fn path(&self) -> &Path {
        &self.lines
    }

    /// What of the events is there, once; none of them replaces another. They count as acknowledged.
    pub(super) fn account(&self, target: &Target) -> Result<Accounts> {
        let ids: Vec<Id> = self.corpus.facts.iter().map(|fact| fact.id).collect();
        let found = verify::times_found(target, &ids, &ids)?;
        let count = |is_meant: fn(u32) -> bool| found.values().filter(|times| is_meant(**times)).count();
        let all = ids.len();
        let (lost, stored_twice) = (count(|times| times == 0), count(|times| times > 1));
        Ok(Accounts {
            planned: all,
            sent: all,
            acked: all,
            stored: all - lost,
            lost,
            stored_twice,
            ..Accounts::default()
        })
    }

    /// Publishes everything; a refusal is a failure, and so is an event that the relay had.
    pub(super) fn publish(&self, target: &Target) -> Result<Loaded> {
        let loaded = load::publish(target, BufReader::new(File::open(self.path())?))?;
        ensure!(
            loaded.known == 0,
            "the relay had {} of {} events: those were looked up, not written",
            loaded.known,
            loaded.sent
        );
        ensure!(
            loaded.refused == 0,
            "the relay refused {} of {} events: {}",
            loaded.refused,
            loaded.sent,
            loaded.complaint.unwrap_or_default()
        );
        Ok(loaded)
    }
}

/// What the oracle says of the sample.
#[derive(Debug, Default)]
pub(super) struct Checked {
    pub(super) checked: usize,
    pub(super) wrong: usize,
    /// Right but for the order within one instant.
    pub(super) ties: usize,
    pub(super) first_fault: Option<String>,
}

impl Checked {
    pub(super) fn of(stored: &Stored, asked: &Asked) -> Self {
        let oracle = Oracle::new(&stored.corpus);
        let mut found = Self::default();
        let finished = |request: usize| asked.answers.get(request).is_some_and(|answer| answer.finished.is_some());
        for (request, answer) in asked.samples.iter().filter(|(request, _)| finished(*request)) {
            let question = &stored.questions[*request];
            found.checked += 1;
            match oracle.judge(question, answer) {
                Ok(()) => {}
                Err(Fault::TieOrder { .. }) => found.ties += 1,
                Err(fault) => {
                    found.wrong += 1;
                    let filter: String = question.filter(&stored.corpus).chars().take(200).collect();
                    found.first_fault.get_or_insert_with(|| format!("{fault:?} in the answer to {filter}"));
                }
            }
        }
        found
    }
}
