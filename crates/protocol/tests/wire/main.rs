//! What the wire's types promise, told in tables and by comparison with another implementation.
#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod filters;
mod fuzz_smoke;
mod hyperloglog;
mod messages;
mod oracle;
mod parts;
mod refusals;
