//! Proofs against RFC 6962's own definition, against another implementation, and against every small lie.

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;
use crate::Tree;
use crate::tree::tests::{Kept, root_of as root_by_definition};

fn grown(leaves: u64) -> (Kept, Vec<Head>, Vec<Hash>) {
    let (mut tree, mut kept) = (Tree::new(), Kept::default());
    let (mut heads, mut hashes) = (vec![tree.head()], Vec::new());
    for n in 0..leaves {
        let leaf = Hash::of_leaf(&n.to_be_bytes());
        tree.append(leaf, |node| kept.keep(node));
        heads.push(tree.head());
        hashes.push(leaf);
    }
    (kept, heads, hashes)
}

#[test]
fn every_leaf_of_every_small_tree_is_proved_and_nothing_else() {
    let (kept, heads, leaves) = grown(70);
    for head in &heads {
        for index in 0..head.size {
            let path = prove_inclusion(&kept, index, head.size).unwrap();
            let leaf = leaves[index as usize];
            assert!(check_inclusion(leaf, index, *head, &path), "{index} of {}", head.size);
            assert!(!check_inclusion(Hash([1; 32]), index, *head, &path));
            for other in (0..head.size + 2).filter(|other| *other != index) {
                assert!(!check_inclusion(leaf, other, *head, &path), "{index} as {other} of {}", head.size);
            }
            for (at, _) in path.iter().enumerate() {
                let mut lie = path.clone();
                lie[at].0[0] ^= 1;
                assert!(!check_inclusion(leaf, index, *head, &lie));
                lie.remove(at);
                assert!(!check_inclusion(leaf, index, *head, &lie));
            }
            assert!(!check_inclusion(leaf, index, *head, &[&path[..], &[leaf]].concat()));
        }
        assert_eq!(prove_inclusion(&kept, head.size, head.size).unwrap(), []);
        assert!(!check_inclusion(head.root, head.size, *head, &[]));
    }
}

#[test]
fn every_beginning_of_every_small_tree_is_proved_and_nothing_else() {
    let (kept, heads, leaves) = grown(70);
    for new in &heads {
        for old in &heads[..=new.size as usize] {
            let path = prove_consistency(&kept, old.size, new.size).unwrap();
            assert!(check_consistency(*old, *new, &path), "{} of {}", old.size, new.size);
            for other in heads.iter().filter(|other| other.size != old.size && other.size > 0) {
                assert!(!check_consistency(*other, *new, &path) || other == new && path.is_empty());
            }
            let forged = Head { root: Hash([1; 32]), ..*old };
            assert!(!check_consistency(forged, *new, &path));
            assert!(
                old == new || !check_consistency(*old, Head { root: Hash([1; 32]), ..*new }, &path) || old.size == 0
            );
            for (at, _) in path.iter().enumerate() {
                let mut lie = path.clone();
                lie[at].0[0] ^= 1;
                assert!(!check_consistency(*old, *new, &lie));
                lie.remove(at);
                assert!(!check_consistency(*old, *new, &lie));
            }
            assert!(!check_consistency(*old, *new, &[&path[..], &[leaves[0]]].concat()));
        }
    }
}

#[test]
fn the_root_at_every_size_is_that_of_the_definition() {
    let (kept, heads, leaves) = grown(600);
    for head in heads {
        assert_eq!(root_at(&kept, head.size), Ok(head.root));
        assert_eq!(head.root, root_by_definition(&leaves[..head.size as usize]));
    }
}

/// The trees of <https://github.com/google/certificate-transparency>, which every implementation of RFC 6962 is tried on.
#[test]
fn the_well_known_vectors_hold() {
    let leaves = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut tree = Tree::new();
    assert_eq!(tree.root().to_string(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for (leaf, root) in leaves.iter().zip(roots) {
        tree.append(Hash::of_leaf(&const_hex::decode(leaf).unwrap()), |_| ());
        assert_eq!(tree.root().to_string(), root);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// In both directions: its proofs convince us, ours convince it, and the roots are the same.
    #[test]
    fn another_implementation_agrees(size in 2_u64..1_500, index in any::<u64>(), old in any::<u64>()) {
        let (index, old) = (index % size, 1 + old % (size - 1));
        let (kept, heads, leaves) = grown(size);
        let mut other = MemoryBackedTree::<Sha256, [u8; 8]>::new();
        let mut old_root = None;
        for n in 0..size {
            other.push(n.to_be_bytes());
            if n + 1 == old {
                old_root = Some(other.root());
            }
        }
        let (root, old_root) = (other.root(), old_root.unwrap());
        let (head, old_head) = (heads[size as usize], heads[old as usize]);
        prop_assert_eq!(root.as_bytes().as_slice(), &head.root.0);
        let bytes = |path: Vec<Hash>| path.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
        let hashes = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|hash| Hash(*hash)).collect::<Vec<_>>();

        let theirs = other.prove_inclusion(index as usize);
        prop_assert!(check_inclusion(leaves[index as usize], index, head, &hashes(theirs.as_bytes())));
        let ours = bytes(prove_inclusion(&kept, index, size).unwrap());
        let ours = InclusionProof::<Sha256>::from_bytes(ours);
        prop_assert!(root.verify_inclusion(&index.to_be_bytes(), index, &ours).is_ok());

        let theirs = other.prove_consistency((size - old) as usize);
        prop_assert!(check_consistency(old_head, head, &hashes(theirs.as_bytes())));
        let ours = ConsistencyProof::<Sha256>::try_from_bytes(bytes(prove_consistency(&kept, old, size).unwrap()));
        prop_assert!(root.verify_consistency(&old_root, &ours.unwrap()).is_ok());
        let _: &RootHash<Sha256> = &root;
    }
}
