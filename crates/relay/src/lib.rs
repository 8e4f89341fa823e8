//! The relay as a whole: configuration tree, build → run → drain.
//!
//! Owns: which backends are used, how the pieces are wired, one connection's way through them, and the order of starting and
//! stopping. Must not know: business rules (they are `policy`'s) or formats (they are `protocol`'s).

mod answers;
mod audit_pages;
mod build;
mod checkpoints;
mod cluster;
pub mod config;
mod connection;
mod connections;
mod edge;
mod handover;
pub mod identity;
mod information;
mod landing;
mod limiter;
mod logging;
mod metrics;
mod node;
mod opening;
mod outbound;
mod outlets;
mod own_events;
mod proofs;
mod reverify;
mod run;
mod scans;
mod start;

pub use towpath_store_postgres::PodStream;

pub use towpath_store_embedded::BackupReport;

pub use towpath_gateway::raise_descriptors;

pub use build::{
    backup_store, check_config, check_store, cluster_streams, migrate_database, open_store, restore_store,
};
pub use information::SUPPORTED_NIPS;
pub use logging::log_failure;
pub use proofs::{NoProof, prove};
pub use run::{Reread, serve};
