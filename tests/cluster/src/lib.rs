//! Three pods of one relay as processes, over a real PostgreSQL and a real Redis, each behind a proxy of its own that can fail.
//!
//! The tests are in `tests/`. It must not know how a pod works inside.

mod load;
mod pods;
mod proxy;

pub use anyhow::{Context, Result, bail, ensure};
pub use load::{Load, Report};
pub use pods::Cluster;
pub use proxy::{Fault, Proxy};
pub use towpath_harness::*;
