//! A tree of a million leaves of 120 bytes, its root taken after every 32: the work of a commit, with hashes kept in memory.
//!
//! Rounds are interleaved and the median is printed: `cargo run --release --manifest-path bench/trees/Cargo.toml`.

use std::hint::black_box;
use std::time::Instant;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use tlog_tiles::tlog::{self, HashReader};

const LEAVES: u64 = 1_000_000;
const BATCH: u64 = 32;
const ROUNDS: usize = 5;

fn leaf(n: u64) -> [u8; 120] {
    let mut leaf = [7; 120];
    leaf[..8].copy_from_slice(&n.to_be_bytes());
    leaf
}

/// Roots, folded into one so that nothing is left out, and the hashes that have to be kept.
type Outcome = (u8, usize);

fn towpath() -> Outcome {
    let (mut tree, mut kept, mut folded) = (towpath_audit::Tree::new(), Vec::new(), 0);
    for n in 0..LEAVES {
        tree.append(towpath_audit::Hash::of_leaf(&leaf(n)), |node| kept.push(node.hash));
        if n % BATCH == BATCH - 1 {
            folded ^= tree.root().0[0];
        }
    }
    (folded, black_box(kept).len())
}

struct Stored(Vec<tlog::Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog_tiles::tlog::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn tlog_tiles_crate() -> Outcome {
    let (mut stored, mut folded) = (Stored(Vec::new()), 0);
    for n in 0..LEAVES {
        let hashes = tlog::stored_hashes(n, &leaf(n), &stored).expect("the hashes are there");
        stored.0.extend(hashes);
        if n % BATCH == BATCH - 1 {
            folded ^= tlog::tree_hash(n + 1, &stored).expect("the hashes are there").0[0];
        }
    }
    (folded, stored.0.len())
}

fn ct_merkle_crate() -> Outcome {
    let (mut tree, mut folded) = (MemoryBackedTree::<Sha256, [u8; 120]>::new(), 0);
    for n in 0..LEAVES {
        tree.push(leaf(n));
        if n % BATCH == BATCH - 1 {
            folded ^= tree.root().as_bytes()[0];
        }
    }
    // It keeps all inner hashes and the leaves themselves.
    (folded, 2 * LEAVES as usize)
}

fn main() {
    let libraries: [(&str, fn() -> Outcome); 3] =
        [("towpath-audit", towpath), ("tlog_tiles 0.2", tlog_tiles_crate), ("ct-merkle 0.2", ct_merkle_crate)];
    let mut times = [const { Vec::new() }; 3];
    let mut outcomes = [(0, 0); 3];
    for _ in 0..ROUNDS {
        for (index, (_, run)) in libraries.iter().enumerate() {
            let start = Instant::now();
            outcomes[index] = run();
            times[index].push(start.elapsed().as_nanos() as f64 / LEAVES as f64);
        }
    }
    assert!(outcomes.iter().all(|(folded, _)| *folded == outcomes[0].0), "the roots differ");
    for (index, (name, _)) in libraries.iter().enumerate() {
        times[index].sort_by(f64::total_cmp);
        let [least, median, most] = [0, ROUNDS / 2, ROUNDS - 1].map(|at| times[index][at]);
        let kept = outcomes[index].1 as f64 * 32.0 / LEAVES as f64;
        println!("{name:15} {median:6.0} ns a leaf ({least:.0} - {most:.0}), {kept:.1} bytes of hashes a leaf");
    }
}
