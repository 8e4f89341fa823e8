//! Offline verification: the log against its checksums and signatures, and the index against the log.
//!
//! What is live is worked out from the log alone, so that the index is compared with something it had no part in.

use std::collections::BTreeMap;
use std::fmt;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;

use heed::RoTxn;
use towpath_audit::{HashSource as _, Node, Tree};
use towpath_protocol::{SubmittedEvent, Verifier};
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
/// Records wait until there are so many entries, because signatures are checked together.
const GROUP_ENTRIES: usize = 64;
/// Or until they are so long.
const GROUP_BYTES: usize = 4 << 20;

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

/// Records, with their places in the file, whose events' signatures are checked together.
#[derive(Debug, Default)]
struct Group {
    records: Vec<(u32, Record)>,
    entries: usize,
    bytes: usize,
}

impl Group {
    fn push(&mut self, at: u32, record: Record) {
        self.entries += record.entries.len();
        self.bytes += record.header.record_bytes();
        self.records.push((at, record));
    }

    fn is_full(&self) -> bool {
        self.entries >= GROUP_ENTRIES || self.bytes >= GROUP_BYTES
    }
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
        let (mut next_seq, mut group) = (segment.first_seq, Group::default());
        loop {
            match walk.step()? {
                Step::Record(at, record) if record.header.first_seq == next_seq => {
                    next_seq = record.header.next_seq();
                    group.push(at, record);
                    if group.is_full() {
                        self.group(segment, mem::take(&mut group), progress)?;
                    }
                }
                end => {
                    self.group(segment, group, progress)?;
                    if !matches!(end, Step::End) {
                        let file = segment.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                        self.problem(Problem::Damaged { file, at: walk.at() });
                        self.tree = None;
                    }
                    return Ok(next_seq);
                }
            }
        }
    }

    fn group(&mut self, segment: &Segment, group: Group, progress: &mut dyn FnMut(u64)) -> Result<(), Error> {
        let forged = self.forged(&group);
        for (at, record) in &group.records {
            self.record(Logged { segment, at: *at, record }, &forged)?;
            progress(record.header.next_seq().0 - 1);
        }
        Ok(())
    }

    /// Which events are not genuine, and why: to be told when it is their turn, in the order of the log.
    fn forged(&mut self, group: &Group) -> BTreeMap<Seq, String> {
        let (mut forged, mut submitted) = (BTreeMap::new(), Vec::new());
        for (seq, entry, _) in group.records.iter().flat_map(|(_, record)| record.numbered()) {
            let Some(filed) = entry.body.filed() else { continue };
            self.report.events += 1;
            match SubmittedEvent::from_canonical(filed.event.clone()) {
                Ok(event) => submitted.push((event, seq)),
                Err(error) => {
                    forged.insert(seq, error.to_string());
                }
            }
        }
        let verified = self.verifier.verify_all(submitted).into_iter();
        forged.extend(verified.filter_map(|(verified, seq)| Some((seq, verified.err()?.to_string()))));
        forged
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

    fn record(&mut self, logged: Logged<'_>, forged: &BTreeMap<Seq, String>) -> Result<(), Error> {
        self.audit(logged.record)?;
        for (seq, entry, extent) in logged.record.numbered() {
            self.report.entries += 1;
            self.lasting(seq, &entry.lasting)?;
            let Some(filed) = entry.body.filed() else { continue };
            if let Some(why) = forged.get(&seq) {
                self.problem(Problem::Forged { seq, why: why.clone() });
            }
            if !self.removals.contain(seq, &filed.event) {
                self.live(seq, filed, logged.position(filed, extent))?;
            }
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use towpath_policy::{Policy, Source, Write, plan};
    use towpath_protocol::{Limits, VerifiedEvent, wire};

    use super::*;
    use crate::tests::fixture::{Folder, accept, commit, note};

    fn genuine(at: u64) -> Write {
        note(1 + (at % 3) as u8, at)
    }

    /// With the signature of another.
    fn forged(at: u64) -> Write {
        let (event, other) = (genuine(at), genuine(at + 3));
        let (event, other) = (event.event().as_str(), other.event().as_str());
        // 128 digits, a quotation mark and a brace.
        let json = event[..event.len() - 130].to_owned() + &other[other.len() - 130..];
        let event = wire::event(&json, &Limits::default()).unwrap();
        plan(VerifiedEvent::trusted(event), Source::Client, &Policy::default())
    }

    /// Wherever an event is among those it is checked with: in a record of many, or in one of its own.
    #[test]
    fn what_is_wrong_is_told_in_the_order_of_the_log() {
        let wrong = [1, 70, 71, 100, 250, 260];
        let event = |at| if wrong.contains(&at) { forged(at) } else { genuine(at) };
        let folder = Folder::new();
        let store = folder.open();
        commit(&store, (1..=100).map(event).collect());
        for at in 101..=300 {
            accept(&store, &event(at));
        }
        drop(store);
        let file = folder.config.tree_dir().join("1");
        let mut hashes = std::fs::read(&file).unwrap();
        hashes[0] ^= 1;
        std::fs::write(&file, hashes).unwrap();
        let mut told = Vec::new();
        let report = check(folder.config.clone(), &mut |done, of| told.push((done, of))).unwrap();
        let mut expected = wrong.map(|seq| Problem::Forged { seq: Seq(seq), why: "bad signature".into() }).to_vec();
        // Completed by the 256th leaf.
        expected.insert(5, Problem::TreeHash { level: 1, index: 0 });
        assert_eq!(report.problems, expected);
        assert_eq!((report.entries, report.events, report.live), (300, 300, 300));
        assert_eq!(told, (100..=300).map(|done| (done, 300)).collect::<Vec<_>>());
    }

    #[test]
    fn a_group_is_full_of_entries_or_of_bytes() {
        let folder = Folder::new();
        let store = folder.open();
        accept(&store, &genuine(1));
        let files = store.shared().log.files();
        let mut walk = Walk::new(Arc::clone(files.iter().next().unwrap()), 0);
        let (at, record) = walk.next().unwrap().unwrap();
        let mut group = Group::default();
        for _ in 1..GROUP_ENTRIES {
            group.push(at, record.clone());
        }
        assert!(!group.is_full());
        group.push(at, record);
        assert!(group.is_full());
        assert!(Group { bytes: GROUP_BYTES, ..Group::default() }.is_full());
    }
}
