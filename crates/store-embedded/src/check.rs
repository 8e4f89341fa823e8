//! Offline verification: the log against its checksums and signatures, and the index against the log.
//!
//! What is live is worked out from the log alone, so that the index is compared with something it had no part in.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use heed::RoTxn;
use towpath_audit::{HashSource as _, Node, Tree};
use towpath_protocol::{Event, SubmittedEvent, Verifier};
use towpath_store::{Error, Seq};

use crate::audit::{TreeFiles, has_committed_root, leaf_of};
use crate::index::apply::Logged;
use crate::index::keys::{Moment, Position, be64, pair, prefixes, tombstone};
use crate::index::rebuild::Removals;
use crate::index::{Index, Table, failed};
use crate::log::reader::{Step, Walk};
use crate::log::record::{Filed, Lasting, Record};
use crate::log::segment::Segment;
use crate::open::open;
use crate::{Config, Shared};

/// More problems than this are counted and not kept.
const PROBLEMS_MAX: usize = 1_000;

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct CheckReport {
    /// Log entries read.
    pub entries: u64,
    /// Events whose id and signature were checked.
    pub events: u64,
    /// Those of them that can be queried.
    pub live: u64,
    /// Index entries compared.
    pub index_entries: u64,
    /// What is wrong, at most a thousand.
    pub problems: Vec<Problem>,
    /// How much is wrong.
    pub problems_total: u64,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes of the log are not what was written; the rest of the file was not checked.
    #[error("log file {file} is damaged at byte {at}")]
    Damaged {
        /// The file.
        file: String,
        /// Where.
        at: u64,
    },
    /// Entries are missing.
    #[error("the log has no entries from {from} to {to}")]
    Gap {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// An event is not genuine.
    #[error("entry {seq}: {why}")]
    Forged {
        /// Its place.
        seq: Seq,
        /// What does not fit.
        why: String,
    },
    /// Entries are not what the audit tree was committed over.
    #[error("entries {from} to {to} are not what the audit tree was committed over")]
    Audit {
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// A hash of the audit tree is not that of its leaves.
    #[error("the audit tree has another hash, number {index} of level {level}, than the log's leaves")]
    TreeHash {
        /// Of which level.
        level: u8,
        /// Which one.
        index: u64,
    },
    /// A stored event cannot be found, or not rightly.
    #[error("entry {seq} is not, or wrongly, in the index table {table}")]
    NotIndexed {
        /// Its place.
        seq: Seq,
        /// The table.
        table: &'static str,
    },
    /// A table holds what belongs to no stored event.
    #[error("the index table {table} holds {found} entries where the log accounts for {expected}")]
    Count {
        /// The table.
        table: &'static str,
        /// How many there are.
        found: u64,
        /// How many there should be.
        expected: u64,
    },
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { entries, events, live, index_entries, problems_total, .. } = self;
        write!(
            f,
            "{entries} entries, {events} events verified, {live} stored, {index_entries} index entries compared: "
        )?;
        if *problems_total == 0 { f.write_str("no problems") } else { write!(f, "{problems_total} problems") }
    }
}

/// Opens the data folder (with recovery, as at a start) and verifies all of it. `progress` is told entries done and in all.
pub fn check(config: Config, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, Error> {
    let shared = open(config, &mut |_, _| ControlFlow::Continue(()))?;
    // What waits for upkeep would be rows that belong to nothing.
    while shared.vanish_some()? {}
    let report = shared.check(progress);
    shared.checkpoint()?;
    report
}

impl Shared {
    fn check(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<CheckReport, Error> {
        let files = self.log.files();
        let removals = Removals::readable(&files);
        let txn = self.index.read()?;
        let mut check = Check {
            index: &self.index,
            txn: &txn,
            removals,
            verifier: Verifier::new(),
            report: CheckReport::default(),
            expected: Expected::default(),
            tree: self.config.audit.then(Tree::new),
            tree_files: &self.tree_files,
        };
        let mut next_seq = Seq(1);
        for segment in files.iter() {
            if segment.first_seq > next_seq {
                check.problem(Problem::Gap { from: next_seq, to: Seq(segment.first_seq.0 - 1) });
                check.tree = None;
            }
            next_seq = check.segment(segment, &mut |done| progress(done, self.last().0))?;
        }
        check.counts()?;
        Ok(check.report)
    }
}

/// Rows there should be.
#[derive(Debug, Default)]
struct Expected {
    events: u64,
    orders: u64,
    addresses: u64,
    expiry: u64,
}

struct Check<'a> {
    index: &'a Index,
    txn: &'a RoTxn<'a>,
    removals: Removals,
    verifier: Verifier,
    report: CheckReport,
    expected: Expected,
    /// Until entries are missing, behind which no root can be known.
    tree: Option<Tree>,
    tree_files: &'a TreeFiles,
}

impl Check<'_> {
    fn problem(&mut self, problem: Problem) {
        self.report.problems_total += 1;
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(problem);
        }
    }

    /// Returns the sequence number after the file's last good record.
    fn segment(&mut self, segment: &Arc<Segment>, progress: &mut dyn FnMut(u64)) -> Result<Seq, Error> {
        let mut walk = Walk::new(Arc::clone(segment), 0);
        let mut next_seq = segment.first_seq;
        loop {
            match walk.step()? {
                Step::End => return Ok(next_seq),
                Step::Record(at, record) if record.header.first_seq == next_seq => {
                    next_seq = record.header.next_seq();
                    self.record(Logged { segment, at, record: &record })?;
                    progress(next_seq.0 - 1);
                }
                Step::Record(..) | Step::Damaged => {
                    let file = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    self.problem(Problem::Damaged { file, at: walk.at() });
                    self.tree = None;
                    return Ok(next_seq);
                }
            }
        }
    }

    /// The leaves of a record against the root it was committed with, and against the hashes kept of them.
    fn audit(&mut self, record: &Record) -> Result<(), Error> {
        let Some(mut tree) = self.tree.take() else { return Ok(()) };
        let mut nodes = Vec::new();
        for (seq, entry, _) in record.numbered() {
            tree.append(leaf_of(seq, record.header.committed_at_ms, entry).hash(), |node| nodes.push(node));
        }
        for Node { level, index, hash } in nodes {
            if self.tree_files.hashes(level, index, 1)? != [hash] {
                self.problem(Problem::TreeHash { level, index });
            }
        }
        if !has_committed_root(&tree, &record.header) {
            let (from, to) = (record.header.first_seq, Seq(record.header.next_seq().0 - 1));
            self.problem(Problem::Audit { from, to });
        }
        self.tree = Some(tree);
        Ok(())
    }

    fn record(&mut self, logged: Logged<'_>) -> Result<(), Error> {
        self.audit(logged.record)?;
        for (seq, entry, extent) in logged.record.numbered() {
            self.report.entries += 1;
            self.lasting(seq, &entry.lasting)?;
            let Some(filed) = entry.body.filed() else { continue };
            self.event(seq, &filed.event);
            if !self.removals.contain(seq, &filed.event) {
                self.live(seq, filed, logged.position(filed, extent))?;
            }
        }
        Ok(())
    }

    fn event(&mut self, seq: Seq, event: &Event) {
        self.report.events += 1;
        let genuine = SubmittedEvent::from_canonical(event.clone()).map_err(|e| e.to_string());
        let genuine = genuine.and_then(|event| self.verifier.verify(event).map_err(|e| e.to_string()));
        if let Err(why) = genuine {
            self.problem(Problem::Forged { seq, why });
        }
    }

    fn live(&mut self, seq: Seq, filed: &Filed, position: Position) -> Result<(), Error> {
        let event = &filed.event;
        let seq_key = seq.0.to_be_bytes();
        self.report.live += 1;
        self.expected.events += 1;
        self.compare(seq, "ids", self.index.ids, event.id().as_bytes(), |value| value == seq_key)?;
        self.compare(seq, "events", self.index.events, &seq_key, |value| value == position.to_bytes())?;
        let mut prefixes = prefixes(event);
        prefixes.sort_unstable();
        prefixes.dedup();
        self.expected.orders += prefixes.len() as u64;
        for prefix in prefixes {
            let key = prefix.at(Moment::of(event, seq));
            self.compare(seq, "orders", self.index.orders, key.as_bytes(), |_| true)?;
        }
        if let Some(at) = filed.expires_at {
            self.expected.expiry += 1;
            self.compare(seq, "expiry", self.index.expiry, &pair(at, seq.0), |_| true)?;
        }
        if let Some(address) = filed.filing.address_of(event) {
            self.expected.addresses += 1;
            let is_version = |value: &[u8]| value.ends_with(&seq_key);
            self.compare(seq, "addresses", self.index.addresses, &address.hash(), is_version)?;
        }
        Ok(())
    }

    fn lasting(&mut self, seq: Seq, lasting: &Lasting) -> Result<(), Error> {
        let reaches = |time: u64| move |value: &[u8]| be64(value, 0).is_some_and(|until| until >= time);
        match lasting {
            Lasting::None => {}
            Lasting::Deleted { by, created_at, ids, addresses } => {
                for id in ids {
                    self.compare(seq, "deleted", self.index.deleted, &tombstone(id.as_bytes(), by), |_| true)?;
                }
                for address in addresses {
                    let table = self.index.deleted_addresses;
                    self.compare(seq, "deleted_addresses", table, address, reaches(*created_at))?;
                }
            }
            Lasting::Vanished { who, until } => {
                self.compare(seq, "vanished", self.index.vanished, who.as_bytes(), reaches(*until))?;
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        seq: Seq,
        table: &'static str,
        rows: Table,
        key: &[u8],
        is_right: impl Fn(&[u8]) -> bool,
    ) -> Result<(), Error> {
        self.report.index_entries += 1;
        if !self.index.get(rows, self.txn, key)?.is_some_and(is_right) {
            self.problem(Problem::NotIndexed { seq, table });
        }
        Ok(())
    }

    /// Every row that should be there has been looked for; if there are more, some belong to nothing.
    fn counts(&mut self) -> Result<(), Error> {
        let (index, expected) = (self.index, &self.expected);
        let counts = [
            ("ids", index.ids, expected.events),
            ("events", index.events, expected.events),
            ("orders", index.orders, expected.orders),
            ("addresses", index.addresses, expected.addresses),
            ("expiry", index.expiry, expected.expiry),
        ];
        for (table, rows, expected) in counts {
            let found = rows.len(self.txn).map_err(failed("read the index"))?;
            if found != expected {
                self.problem(Problem::Count { table, found, expected });
            }
        }
        Ok(())
    }
}
