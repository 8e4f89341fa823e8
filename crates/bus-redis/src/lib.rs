//! The bus on Redis 7 or Valkey: one topic a cluster, by `PUBLISH` and `SUBSCRIBE`.
//!
//! Both ends come back by themselves. Whatever was said meanwhile is lost here and found in the store.
//!
//! Owns: the two connections. Must not know: what becomes of a message.

mod end;
mod server;

pub use end::{RedisBus, RedisEar};
pub use server::{BadUrl, Server};
