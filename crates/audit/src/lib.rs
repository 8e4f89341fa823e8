//! The audit log, pure: what is said of every entry of the commit log, and the Merkle tree over it (RFC 6962).
//!
//! Owns: the leaf and its encoding, the growing tree, inclusion and consistency proofs, checkpoints, and the verification of a
//! whole log.
//! Must not know: I/O, clocks, how leaves and hashes are kept, who may see them.
//!
//! There is one tree a stream and one leaf an entry: the leaf of entry `seq` has the index `seq - 1`.

mod checkpoint;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod hash;
mod leaf;
mod note;
mod proof;
mod proof_file;
mod tree;
mod verification;

pub use checkpoint::{Checkpoint, KIND_CHECKPOINT, NotACheckpoint, Scope};
pub use hash::{Hash, Head, NotAHash};
pub use leaf::{Action, AuthFailure, Group, Leaf, LeafState, NotALeaf, REMOVED_MAX, source_name};
pub use note::{NoteSigner, is_signed_by};
pub use proof::{check_consistency, check_inclusion, prove_consistency, prove_inclusion, root_at};
pub use proof_file::{Lie, ProofFile, Proved};
pub use tree::{HashSource, Node, TILE_WIDTH, Tree};
pub use verification::{Problem, Report, Seen, Verification};
