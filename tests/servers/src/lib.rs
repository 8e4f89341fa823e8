//! Private servers for the tests: PostgreSQL, Redis and its Sentinels, each on a free port of loopback, in a folder of its own.
//!
//! A server ends with its owner: when the handle is dropped, and by the kernel's hand when the process dies otherwise
//! (`setpriv --pdeathsig`). Must not know: what is tested.

mod authority;
mod postgres;
mod process;
mod redis;
mod sentinel;

pub use authority::Authority;
pub use postgres::{Postgres, postgres_program};
pub use redis::{Redis, Shown};
pub use sentinel::Sentinels;
