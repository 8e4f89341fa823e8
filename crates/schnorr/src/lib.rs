//! BIP-340 signatures, many checked at once or one alone, eight numbers at a time.
//!
//! A signature `(R, s)` by the key `P` is genuine if `s·G = R + e·P`. Many are genuine if the sum of their equations holds, each
//! multiplied by a random number of 128 bits that whoever signed cannot know: one sum of many points, which shares what a check alone
//! has to do for itself, and eight parts of which are added up side by side (AVX-512 IFMA: AMD since Zen 4, Intel's servers since Ice
//! Lake).
//!
//! A wrong sum says that not all are genuine, never which: then they are looked at one by one, and only libsecp256k1 refuses. So a mistake in the
//! arithmetic can cost time, and can hardly let a forgery in: it would have to bring about the one point that is zero, for numbers that
//! are drawn after the signatures are known. What must be right is short: how those numbers are drawn, what a challenge hashes, that a
//! point is on the curve, and which point is zero.
//!
//! One signature alone is its own equation, in eight parts. Nothing is drawn, but a mistake is of hardly more use: `e` is a hash of `R`, so
//! who knew for which `e` and `s` the sum is wrong would have to find an `R` that has this hash and is that wrong sum, and the wrong
//! `e·P` would have to be a multiple of `G` that they know.
//!
//! Owns: the equations, and the arithmetic they need. Must not know: events, who signed what before.
//!
//! ```text
//! equation: challenges, random factors, one term a point ┐
//! alone: one signature in eight parts                    ┴ straus: their sum ─ point: eight at a time ─ field: eight numbers at a time
//! ```

#[cfg(target_arch = "x86_64")]
mod alone;
#[cfg(target_arch = "x86_64")]
mod equation;
#[cfg(target_arch = "x86_64")]
mod field;
#[cfg(all(target_arch = "x86_64", any(test, feature = "fuzzing")))]
pub mod fuzzing;
#[cfg(target_arch = "x86_64")]
mod halves;
#[cfg(target_arch = "x86_64")]
mod key;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod limbs;
#[cfg(target_arch = "x86_64")]
mod point;
#[cfg(target_arch = "x86_64")]
mod straus;

#[cfg(not(target_arch = "x86_64"))]
mod elsewhere;

#[cfg(not(target_arch = "x86_64"))]
pub use elsewhere::{Key, Lanes};
#[cfg(target_arch = "x86_64")]
pub use key::Key;
#[cfg(target_arch = "x86_64")]
pub use lanes::Lanes;

/// One signature to be checked.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// Whose it should be.
    pub key: &'a Key,
    /// What was signed.
    pub message: [u8; 32],
    /// The 64 bytes of BIP-340.
    pub signature: [u8; 64],
}
