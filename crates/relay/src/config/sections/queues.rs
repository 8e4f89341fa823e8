//! How much may wait, and where.

use std::num::NonZeroUsize;
use std::time::Duration;

use super::count;
use crate::config::codec::{Bytes, Count, CountOrAuto, Microseconds};
use crate::config::setting::{Section, setting};

/// `[queues]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Queues {
    pub commit_events_max: NonZeroUsize,
    pub commit_bytes_max: usize,
    pub batch_events_max: NonZeroUsize,
    pub batch_bytes_max: usize,
    pub in_flight_per_connection_max: NonZeroUsize,
    pub inbound_total_bytes_max: usize,
    pub outbox_bytes_max: usize,
    pub outbox_total_bytes_max: usize,
    /// Bursts whose signatures are checked at the same time; `None` is cores + 2.
    pub verify_parallel: Option<NonZeroUsize>,
    /// Scans at one time; `None` is one per core.
    pub scan_parallel: Option<NonZeroUsize>,
    pub scan_slice: Duration,
}

impl Default for Queues {
    fn default() -> Self {
        Self {
            commit_events_max: count(16_384),
            commit_bytes_max: 64 << 20,
            batch_events_max: count(1024),
            batch_bytes_max: 8 << 20,
            in_flight_per_connection_max: count(1024),
            inbound_total_bytes_max: 256 << 20,
            outbox_bytes_max: 4 << 20,
            outbox_total_bytes_max: 256 << 20,
            verify_parallel: None,
            scan_parallel: None,
            scan_slice: Duration::from_micros(2000),
        }
    }
}

pub(super) const SECTION: Section = Section {
    name: "queues",
    what: "How much may wait, and where. These bound the relay's memory under overload.",
    settings: &[
        setting!(
            queues.commit_events_max,
            Count<1_048_576>,
            "commit_events_max",
            Restart,
            "Verified events that wait to be committed. When full, further events are refused with \"rate-limited:\".",
            "A sixth of a second to a second of work at full speed; more would only be a longer wait.",
        ),
        setting!(
            queues.commit_bytes_max, Bytes<1_048_576, 17_179_869_184>, "commit_bytes_max", Restart,
            "Bytes of the events that wait to be committed.",
            "64 MiB: large events must not take the memory small ones would not.",
        ),
        setting!(
            queues.batch_events_max,
            Count<65_536>,
            "batch_events_max",
            Restart,
            "Events of one commit.",
            "Past a thousand, the sync is already shared by so many that more gains nothing.",
        ),
        setting!(
            queues.batch_bytes_max, Bytes<65_536, 1_073_741_824>, "batch_bytes_max", Restart,
            "Bytes of one commit.",
            "8 MiB: written in the time of a few syncs, so that large events do not delay small ones.",
        ),
        setting!(
            queues.in_flight_per_connection_max,
            Count<65_536>,
            "in_flight_per_connection_max",
            Restart,
            "Events of one connection that have no OK yet. When reached, the relay reads on when one is answered.",
            "Enough to keep the committer busy from one connection.",
        ),
        setting!(
            queues.inbound_total_bytes_max, Bytes<1024, 1_099_511_627_776>, "inbound_total_bytes_max", Restart,
            "Bytes held of messages that have not come in full, of all clients together. A client whose bytes do not fit is \
             closed with 1013, \"try again later\"; one that holds no more than 64 KiB is served all the same.",
            "256 MiB: five hundred clients may be amid the longest message at once.",
        ),
        setting!(
            queues.outbox_bytes_max, Bytes<65_536, 1_073_741_824>, "outbox_bytes_max", Restart,
            "Bytes that wait to be sent to one client. A subscription that would need more is closed with a reason.",
            "4 MiB: a slow phone is ahead by thousands of notes before it is called slow.",
        ),
        setting!(
            queues.outbox_total_bytes_max, Bytes<1_048_576, 1_099_511_627_776>, "outbox_total_bytes_max", Restart,
            "Bytes that wait to be sent to all clients together.",
            "256 MiB: an event that waits for many is counted for each. When all is used, whoever has nothing \
             waiting is still sent one event at a time, and whoever holds less than 64 KiB what fits that.",
        ),
        setting!(
            queues.verify_parallel,
            CountOrAuto<1024>,
            "verify_parallel",
            Restart,
            "Threads that check signatures at the same time, up to 32 events at once where the processor can. \
             0 is the number of cores, and two more where it cannot.",
            "A check is pure computation; but of checks one by one, with no more than cores, some stand idle while the next is \
             on its way.",
        ),
        setting!(
            queues.scan_parallel,
            CountOrAuto<1024>,
            "scan_parallel",
            Restart,
            "Scans of stored events at one time. 0 is the number of cores; with a database at most its connections less two.",
            "Scans of recent events run from memory, where more than cores gains nothing.",
        ),
        setting!(
            queues.scan_slice, Microseconds<100, 1_000_000>, "scan_slice_us", Restart,
            "A scan that has run for this long lets the next one run before it goes on.",
            "2 ms: most scans end within one slice, and a huge one delays them by little.",
        ),
    ],
};
