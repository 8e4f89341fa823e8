//! Tests of the store as a whole.

mod basics;
pub(crate) mod fixture;
