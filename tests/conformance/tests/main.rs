//! The conformance suite: one module for each NIP, one test for each statement of it.
//!
//! `RELAY_UNDER_TEST=ws://…` runs the tests that need no special configuration against that relay.
//! `RELAY_STORE=postgres://…` and `RELAY_BUS=redis://…` run all of them on pods; `pods` does so for those to which a store matters.

mod audit;
mod edge;
mod isolation;
mod lifecycle;
mod nip01;
mod nip09;
mod nip11;
mod nip13;
mod nip40;
mod nip42;
mod nip45;
mod nip59;
mod nip62;
mod nip67;
mod nip70;
mod pods;
mod rates;
