//! One module per command.

pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod check;
pub(crate) mod cluster;
pub(crate) mod config;
pub(crate) mod copy;
pub(crate) mod export;
pub(crate) mod health;
pub(crate) mod import;
pub(crate) mod keys;
pub(crate) mod migrate;
pub(crate) mod query;
pub(crate) mod serve;
pub(crate) mod stats;
#[cfg(test)]
mod tests;
