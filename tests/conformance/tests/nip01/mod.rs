//! NIP-01: events, filters, subscriptions and the messages that carry them.

mod canonical;
mod ephemeral;
mod events;
mod filters;
mod limits;
mod messages;
mod replaceable;
mod subscriptions;
