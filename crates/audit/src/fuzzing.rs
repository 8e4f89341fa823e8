//! What the fuzz target runs: whatever the bytes, nothing panics, and what is accepted has one form.

use towpath_protocol::{PublicKey, Verifier};

use crate::{Checkpoint, Leaf, ProofFile, is_signed_by};

/// A leaf; a checkpoint's text, plain or signed; a proof file.
pub fn audit(data: &[u8]) {
    if let Ok(leaf) = Leaf::from_bytes(data) {
        assert_eq!(leaf.to_bytes(), data);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(Checkpoint::parse(&checkpoint.text()), Ok(checkpoint));
    }
    if let Some((note, key)) = text.split_once('\0') {
        is_signed_by(note, key);
    }
    if let Ok(file) = ProofFile::parse(text) {
        let proved = file.check(&PublicKey::from_bytes([1; 32]), &Verifier::new());
        assert!(proved.is_err(), "nobody has the secret of this key");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proof_file::tests::file;
    use crate::{Head, NoteSigner};

    fn texts() -> Vec<Vec<u8>> {
        let checkpoint = Checkpoint::of_cluster(
            PublicKey::from_bytes([3; 32]),
            vec![(0, Head { size: 7, root: crate::Hash([5; 32]) }), (9, Head { size: 1, root: crate::Hash([6; 32]) })],
        );
        let signer = NoteSigner::from_seed(&[9; 32]).unwrap();
        let note = format!("{}\0{}", signer.sign(&checkpoint), signer.verifier_key(&checkpoint.origin()));
        let proof = file().to_json().unwrap();
        [checkpoint.text(), note, proof].map(String::into_bytes).into()
    }

    proptest! {
        /// Bytes changed, taken out and put in, which leaves most of a text in its form.
        #[test]
        fn no_text_that_is_almost_good_panics(
            of in 0..3_usize,
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..6),
        ) {
            let mut text = texts().swap_remove(of);
            for (at, byte, how) in changes {
                let at = at.index(text.len());
                match how {
                    0 => text[at] = byte,
                    1 => text.insert(at, byte),
                    _ => drop(text.remove(at)),
                }
            }
            audit(&text);
        }
    }
}
