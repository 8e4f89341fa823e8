//! The way of an event from a connection to its commit.
//!
//! ```text
//! SubmittedEvent ─ screen ─ verify ─ authorise ─▶ Write ─▶ [commit queue] ─▶ committer ─┬─▶ answers
//!   (well-formed,   (cheap   (BIP-340, (policy)      │                       (one thread, ├─▶ delivery
//!    id correct)    rules,    bounded                └ ephemeral: delivered,  one batch   └─▶ (log followers)
//!                   known id) CPU)                     answered, never stored  a time)
//! ```
//!
//! Owns: the order of the stages, the bound on signature work, the commit queue, the committer.
//! Must not know: sockets, subscriptions, wording, which store it is.

mod authors;
mod commit;
mod metrics;
mod submit;
#[cfg(test)]
mod tests;

pub use commit::{CommitLimits, Committer};
pub use metrics::Metrics;
pub use submit::{Answer, Answers, Ingest, Reply, Way};
