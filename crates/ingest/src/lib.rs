//! The way of an event from a connection to its commit.
//!
//! ```text
//! SubmittedEvent ─ screen ─ verify ─ authorise ─▶ Write ─▶ [commit queue] ─▶ committer ─┬─▶ answers
//!   (well-formed,   (cheap   (known id, (policy)     │                       (one thread, ├─▶ delivery
//!    id correct)    rules)    BIP-340,               └ ephemeral: delivered,  one batch   └─▶ (log followers)
//!                             bounded CPU)             answered, never stored  a time)
//! ```
//!
//! Owns: the order of the stages, the bound on signature work, the commit queue, the committer.
//! Must not know: sockets, subscriptions, wording, which store it is.

mod admission;
mod checks;
mod commit;
mod metrics;
mod queue;
mod reply;
mod submit;
#[cfg(test)]
mod tests;

pub use checks::Repute;
pub use commit::Committer;
pub use metrics::Metrics;
pub use queue::CommitLimits;
pub use reply::{Answer, Answers, Reply, Way};
pub use submit::Ingest;
