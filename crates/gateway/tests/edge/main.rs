//! The edge as a black box over real sockets, with an echo relay behind it.
#![allow(missing_docs, unreachable_pub)]

mod admission;
mod life;
mod pages;
mod support;
mod tls;
mod unfinished;
mod websocket;
