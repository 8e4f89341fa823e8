//! The audit log, pure: what is said of every entry of the commit log, and the Merkle tree over it (RFC 6962).
//!
//! Owns: the leaf and its encoding, the growing tree, inclusion and consistency proofs, checkpoints, and the verification of a
//! whole log.
//! Must not know: I/O, clocks, how leaves and hashes are kept, who may see them.
//!
//! There is one tree a stream and one leaf an entry: the leaf of entry `seq` has the index `seq - 1`.

mod hash;
mod leaf;
mod tree;

pub use hash::{Hash, Head};
pub use leaf::{Action, AuthFailure, Group, Leaf, LeafState, NotALeaf, REMOVED_MAX, source_name};
pub use tree::{HashSource, Node, Tree};
