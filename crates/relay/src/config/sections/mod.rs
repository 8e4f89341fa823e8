//! The sections of the file, one module each: the typed settings, their defaults, their rows.

mod audit;
mod auth;
mod cluster;
mod limits;
mod log;
mod postgres;
mod protocol;
mod queues;
mod rates;
mod relay;
mod server;
mod store;

pub use audit::Audit;
pub use auth::Auth;
pub use cluster::Cluster;
pub use limits::Limits;
pub use log::{Format, Level, Log};
pub use postgres::Postgres;
pub use protocol::Protocol;
pub use queues::Queues;
pub use rates::{ClassRates, Rate, Rates};
pub use relay::Relay;
pub use server::Server;
pub use store::Store;

use super::setting::Section;

/// A count that is known to be positive when it is compiled.
const fn count(number: usize) -> std::num::NonZeroUsize {
    match std::num::NonZeroUsize::new(number) {
        Some(count) => count,
        None => panic!("a default count is zero"),
    }
}

/// Every section, in the order of the documented file.
pub(super) const SECTIONS: &[Section] = &[
    relay::SECTION,
    server::SECTION,
    store::SECTION,
    postgres::SECTION,
    cluster::SECTION,
    audit::SECTION,
    auth::SECTION,
    limits::SECTION,
    rates::SECTION,
    queues::SECTION,
    protocol::SECTION,
    log::SECTION,
];
