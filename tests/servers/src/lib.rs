//! Private servers for the tests: PostgreSQL and Redis, each on a free port of loopback, in a folder of its own.
//!
//! A server ends with its owner: when the handle is dropped, and by the kernel's hand when the process dies otherwise
//! (`setpriv --pdeathsig`). Must not know: what is tested.

mod postgres;
mod process;
mod redis;

pub use postgres::{Postgres, postgres_program};
pub use redis::Redis;
