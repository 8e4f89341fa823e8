//! The growing end of the tree: what appending needs to know, and no more.
//!
//! The tree over `n` leaves is a row of complete subtrees, one for each bit of `n`, the largest first. Their hashes are all that a
//! further leaf changes or needs. What readers need besides, the hashes of all complete subtrees of 256^level leaves, is handed
//! out as it is completed, and kept by the store.

use crate::{Hash, Head};

/// Tree levels between two levels of stored hashes, as in C2SP tlog-tiles.
pub(crate) const TILE_HEIGHT: u32 = 8;

/// Hashes in a full tile (C2SP tlog-tiles).
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;

/// The right edge of a growing tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Of the complete subtrees, the largest first: one for each bit of `size`.
    edge: Vec<Hash>,
}

/// A hash that readers need: that of a complete subtree of `256^level` leaves, the `index`-th of its level.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// 0 for leaves.
    pub level: u8,
    /// From 0 on.
    pub index: u64,
    /// Its hash.
    pub hash: Hash,
}

/// Where the hashes of complete subtrees of `256^level` leaves are kept.
pub trait HashSource {
    /// What reading them can come to.
    type Error;

    /// `count` hashes of `level` from `first` on; an error if they are not all there.
    fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Self::Error>;
}

impl Tree {
    /// Without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Size and root.
    pub fn head(&self) -> Head {
        Head { size: self.size, root: self.root() }
    }

    /// The hash over all leaves. Costs a hash for each bit of the size.
    pub fn root(&self) -> Hash {
        let mut edge = self.edge.iter().rev();
        let Some(last) = edge.next() else { return Hash::of_nothing() };
        edge.fold(*last, |right, left| Hash::of_node(left, &right))
    }

    /// Appends a leaf, and hands every hash that readers will need to `completed`.
    pub fn append(&mut self, leaf: Hash, mut completed: impl FnMut(Node)) {
        let index = self.size;
        completed(Node { level: 0, index, hash: leaf });
        let mut hash = leaf;
        for height in 1..=index.trailing_ones() {
            let left = self.edge.pop().unwrap_or(hash);
            hash = Hash::of_node(&left, &hash);
            if height % TILE_HEIGHT == 0 {
                // At most eight levels: a size has 64 bits.
                completed(Node { level: (height / TILE_HEIGHT) as u8, index: index >> height, hash });
            }
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// The tree of `size` leaves, from the hashes kept of it.
    pub fn resume<S: HashSource + ?Sized>(size: u64, source: &S) -> Result<Self, S::Error> {
        let mut edge = Vec::new();
        let mut first = 0;
        for height in (0..u64::BITS).rev().filter(|height| size >> height & 1 == 1) {
            edge.push(subtree(source, height, first >> height)?);
            first += 1 << height;
        }
        Ok(Self { size, edge })
    }
}

/// The hash of the complete subtree of `2^height` leaves that is the `index`-th of its height.
pub(crate) fn subtree<S: HashSource + ?Sized>(source: &S, height: u32, index: u64) -> Result<Hash, S::Error> {
    let (level, rest) = (height / TILE_HEIGHT, height % TILE_HEIGHT);
    let mut row = source.hashes(level as u8, index << rest, 1 << rest)?;
    while row.len() > 1 {
        row = row.chunks(2).map(|pair| Hash::of_node(&pair[0], &pair[pair.len() - 1])).collect();
    }
    Ok(row.first().copied().unwrap_or_else(Hash::of_nothing))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::convert::Infallible;

    use super::*;

    /// Keeps all hashes.
    #[derive(Default)]
    pub(crate) struct Kept(pub(crate) Vec<Vec<Hash>>);

    impl HashSource for Kept {
        type Error = Infallible;

        fn hashes(&self, level: u8, first: u64, count: usize) -> Result<Vec<Hash>, Infallible> {
            Ok(self.0[usize::from(level)][first as usize..][..count].to_vec())
        }
    }

    impl Kept {
        pub(crate) fn keep(&mut self, node: Node) {
            let level = usize::from(node.level);
            self.0.resize_with(self.0.len().max(level + 1), Vec::new);
            assert_eq!(self.0[level].len() as u64, node.index, "hashes of a level are completed in order");
            self.0[level].push(node.hash);
        }
    }

    /// RFC 6962, section 2.1, as it is written.
    pub(crate) fn root_of(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of_nothing(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                Hash::of_node(&root_of(left), &root_of(right))
            }
        }
    }

    #[test]
    fn a_tree_has_the_root_of_the_definition_and_can_be_taken_up_again_at_every_size() {
        let leaves: Vec<Hash> = (0..700_u32).map(|n| Hash::of_leaf(&n.to_be_bytes())).collect();
        let (mut tree, mut kept) = (Tree::new(), Kept::default());
        for (n, leaf) in leaves.iter().enumerate() {
            assert_eq!(tree.root(), root_of(&leaves[..n]), "{n}");
            assert_eq!(Tree::resume(n as u64, &kept), Ok(tree.clone()), "{n}");
            tree.append(*leaf, |node| kept.keep(node));
        }
        assert_eq!(kept.0[1].len(), 2);
        assert_eq!(kept.0[1][1], root_of(&leaves[256..512]));
    }
}
