//! The relay and real clients, one module for each library.

mod nostr_sdk;
mod nostr_tools;
