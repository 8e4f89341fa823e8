//! Tests of the store as a whole.

mod audit;
mod backup;
mod basics;
mod compaction;
mod concurrency;
mod crash;
mod damage;
mod failures;
pub(crate) mod fixture;
mod overload;
mod vanish;
