//! The bus on Redis 7 or Valkey: one topic a cluster, by `PUBLISH` and `SUBSCRIBE`.
//!
//! Both ends come back by themselves, and go where the Sentinels point, if there are any. Whatever was said meanwhile is lost here and
//! found in the store.
//!
//! Owns: the two connections. Must not know: what becomes of a message.

mod end;
mod sentinels;
mod server;

pub use end::{RedisBus, RedisEar};
pub use server::{BadUrl, Server};
