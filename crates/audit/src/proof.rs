//! Inclusion and consistency proofs (RFC 9162, sections 2.1.3 and 2.1.4; the hashes are those of RFC 6962).
//!
//! Making one reads some hundred stored hashes a level; checking one needs a hash for each bit of the size, and no store.

use crate::tree::subtree;
use crate::{Hash, HashSource, Head};

/// The hashes that lead from leaf `index` to the root over the first `size` leaves. Empty if there is no such leaf.
pub fn prove_inclusion<S: HashSource + ?Sized>(source: &S, index: u64, size: u64) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    let (mut from, mut to) = (0, size);
    if index >= size {
        return Ok(path);
    }
    while to - from > 1 {
        let middle = from + left_of(to - from);
        if index < middle {
            path.push(root_of(source, middle, to)?);
            to = middle;
        } else {
            path.push(root_of(source, from, middle)?);
            from = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` leads from this leaf, at `index`, to the root of `head`.
pub fn check_inclusion(leaf: Hash, index: u64, head: Head, path: &[Hash]) -> bool {
    if index >= head.size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, head.size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = Hash::of_node(sibling, &hash);
            // On the right edge, levels without a sibling are skipped.
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            hash = Hash::of_node(&hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && hash == head.root
}

/// The hashes that show the tree of `old` leaves to be the beginning of that of `new` leaves. Empty if there is nothing to show: the
/// old tree is empty, the same, or larger.
pub fn prove_consistency<S: HashSource + ?Sized>(source: &S, old: u64, new: u64) -> Result<Vec<Hash>, S::Error> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut from, mut to) = (0, new);
    // Down to the subtree that ends where the old tree does.
    while old != to {
        let middle = from + left_of(to - from);
        if old <= middle {
            path.push(root_of(source, middle, to)?);
            to = middle;
        } else {
            path.push(root_of(source, from, middle)?);
            from = middle;
        }
    }
    // Whoever knows the old root knows this one, unless the old tree is more than it.
    if from != 0 {
        path.push(root_of(source, from, to)?);
    }
    path.reverse();
    Ok(path)
}

/// Whether `path` shows `old` to be the beginning of `new`.
pub fn check_consistency(old: Head, new: Head, path: &[Hash]) -> bool {
    if old.size == 0 || old.size >= new.size {
        let starts = old.size == 0 && old.root == Hash::of_nothing();
        return path.is_empty() && (starts || old == new);
    }
    // A complete old tree is its own subtree, and the proof leaves it out.
    let own = [old.root];
    let mut path = if old.size.is_power_of_two() { own.iter().chain(path) } else { [].iter().chain(path) };
    let Some(first) = path.next() else { return false };
    let (mut node, mut last) = (old.size - 1, new.size - 1);
    let shift = node.trailing_ones();
    (node, last) = (node >> shift, last >> shift);
    let (mut old_hash, mut new_hash) = (*first, *first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            old_hash = Hash::of_node(sibling, &old_hash);
            new_hash = Hash::of_node(sibling, &new_hash);
            while node & 1 == 0 && node != 0 {
                (node, last) = (node >> 1, last >> 1);
            }
        } else {
            new_hash = Hash::of_node(&new_hash, sibling);
        }
        (node, last) = (node >> 1, last >> 1);
    }
    last == 0 && old_hash == old.root && new_hash == new.root
}

/// The root over the first `size` leaves.
pub fn root_at<S: HashSource + ?Sized>(source: &S, size: u64) -> Result<Hash, S::Error> {
    if size == 0 { Ok(Hash::of_nothing()) } else { root_of(source, 0, size) }
}

/// Of the leaves from `from`, a multiple of the power of two that holds them, up to `to`; at least one.
fn root_of<S: HashSource + ?Sized>(source: &S, mut from: u64, to: u64) -> Result<Hash, S::Error> {
    let mut row = Vec::new();
    while from < to {
        let count = largest_power(to - from);
        let height = count.trailing_zeros();
        row.push(subtree(source, height, from >> height)?);
        from += count;
    }
    let mut row = row.into_iter().rev();
    let last = row.next().unwrap_or_else(Hash::of_nothing);
    Ok(row.fold(last, |right, left| Hash::of_node(&left, &right)))
}

/// How many of `leaves`, at least two, are left of the root: the largest power of two below.
fn left_of(leaves: u64) -> u64 {
    largest_power(leaves - 1)
}

/// The largest power of two that is at most `n`, which is not 0.
fn largest_power(n: u64) -> u64 {
    1 << n.ilog2()
}

#[cfg(test)]
mod tests;
