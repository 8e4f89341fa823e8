//! The event store on PostgreSQL, shared by any number of pods.
//!
//! ```text
//! commit ─▶ one call of one function: decisions, rows, log entries, the stream's last place; one transaction
//! scan   ─▶ a query a filter and slice, each from one index; as of a cursor over all streams
//! log    ─▶ a stream a pod; owned by lease, fenced in every commit
//! ```
//! PostgreSQL 15 or newer. Calls block; nothing here is kept that another pod could change, but the tree of the own stream.
//!
//! Owns: the tables and the statements, the lease, the pool. Must not know: sockets, subscriptions, who may read what, the bus.

mod columns;
mod config;
mod connect;
mod health;
mod heartbeat;
mod metrics;
mod migrate;
mod parts;
mod pool;
mod read;
mod row;
mod scan;
mod statements;
mod terms;
mod tree;
mod upkeep;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use std::time::Duration;
use towpath_audit::{Hash, Head};
use towpath_protocol::{EventId, PublicKey};
use towpath_runtime::Clock;
use towpath_store::{Batch, Committed, Cursor, Entry, Error, EventStore, Page, Query, Scan, Seq, Stats, StreamId};

pub use config::Config;
pub use metrics::Metrics;

use connect::{Connector, check_settings};
use health::Health;
use heartbeat::Pulse;
use pool::{Pool, Session};
use postgres::config::TargetSessionAttrs;
use statements::Statements;
use writer::Writer;

/// One stream of the cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct PodStream {
    /// Which.
    pub stream: StreamId,
    /// The pod that commits to it; `None` if it is sealed.
    pub owner: Option<String>,
    /// How often it has changed hands.
    pub fence: i64,
    /// Its last entry.
    pub last: Seq,
    /// Seconds that are left of the lease.
    pub lease_s: f64,
    /// Its audit tree, as far as it has been written down.
    pub head: Option<Head>,
}

/// A pod's store. Clones share it; its stream is given back with the last of them.
#[derive(Clone)]
pub struct PostgresStore(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    heartbeat: Option<JoinHandle<()>>,
}

pub(crate) struct Shared {
    config: Config,
    clock: Arc<dyn Clock>,
    sql: Statements,
    pool: Pool,
    /// Whether the server waits for its disk.
    synced: bool,
    /// Behind the first, by as much as it may be.
    replica: Option<Pool>,
    /// It did not answer lately.
    replica_away_until: Mutex<Option<Instant>>,
    writer: Mutex<Writer>,
    /// The stream of this pod and its fence.
    lease: Mutex<Option<(StreamId, i64)>>,
    own: Mutex<Option<(StreamId, Head)>>,
    /// How far the streams that were this pod's are known to have come.
    ends: Mutex<BTreeMap<StreamId, Seq>>,
    others: Mutex<Vec<(StreamId, Head)>>,
    health: Mutex<Health>,
    parts_seen: Mutex<Option<Instant>>,
    stopping: Mutex<bool>,
    stop: Condvar,
    metrics: Metrics,
}

impl Shared {
    fn note_lease(&self, lease: Option<(StreamId, i64)>) {
        *self.lease.lock() = lease;
    }

    /// A stream ends at `last`, where it never was before unless commits were lost: then an error, and nothing may go on from there.
    fn note_end(&self, stream: StreamId, last: Seq) -> Result<(), Error> {
        let mut ends = self.ends.lock();
        let known = ends.entry(stream).or_insert(last);
        if last < *known {
            return Err(lost(stream, last, *known));
        }
        *known = last;
        Ok(())
    }

    /// Another pod has taken the stream, or sealed it.
    fn lost_stream(&self, stream: StreamId, fence: i64) {
        let mut lease = self.lease.lock();
        // It may have been taken again meanwhile.
        if *lease == Some((stream, fence)) {
            *lease = None;
            self.metrics.leases_lost.inc();
            tracing::warn!(stream = stream.0, "this pod lost its stream; it commits to another from now on");
        }
    }

    /// Waits, but not for a store that stops.
    fn pause(&self, pause: Duration) {
        let mut stopping = self.stopping.lock();
        if !*stopping {
            self.stop.wait_for(&mut stopping, pause);
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.lock()
    }

    fn set_stopping(&self) {
        *self.stopping.lock() = true;
        self.stop.notify_all();
    }
}

/// A stream that is known to have had more entries than it has.
fn lost(stream: StreamId, last: Seq, known: Seq) -> Error {
    let stream = stream.0;
    Error::Corrupt(format!(
        "the database lost what it had committed: stream {stream} ends at {last} and was at {known}"
    ))
}

/// Brings the tables in the database up to this program's version, before pods of this version start. Returns the versions before and
/// after. `now` in seconds since 1970.
pub fn migrate(config: &Config, now: u64) -> Result<(i32, i32), Error> {
    let mut client = Connector::new(config, &config.url, TargetSessionAttrs::ReadWrite)?.connect()?;
    migrate::migrate(&mut client, &config.schema, now)
}

impl PostgresStore {
    /// Connects and takes a stream, with tables that are brought up to date if they have to be. Who takes none must find them so.
    pub fn open(config: Config, clock: Arc<dyn Clock>, metrics: Metrics) -> Result<Self, Error> {
        let connector = Connector::new(&config, &config.url, TargetSessionAttrs::ReadWrite)?;
        let replica =
            config.replica_url.as_ref().map(|url| Connector::new(&config, url, TargetSessionAttrs::Any)).transpose()?;
        let mut client = connector.connect()?;
        let synced = if config.takes_stream {
            let synced = check_settings(&mut client)?;
            migrate::migrate(&mut client, &config.schema, clock.unix_s())?;
            synced
        } else {
            migrate::check(&mut client, &config.schema)?;
            // Who only reads gets no `OK`.
            true
        };
        let readers = match config.readers {
            Some(readers) => readers,
            None => readers_of(&mut Session::new(client))?,
        };
        let shared = Arc::new(Shared {
            sql: Statements::new(&config.schema),
            pool: Pool::new(connector, readers, Arc::clone(&clock), metrics.clone()),
            synced,
            replica_away_until: Mutex::new(None),
            replica: replica.map(|connector| Pool::new(connector, readers, Arc::clone(&clock), metrics.clone())),
            config,
            clock,
            writer: Mutex::default(),
            lease: Mutex::default(),
            own: Mutex::default(),
            ends: Mutex::default(),
            others: Mutex::default(),
            health: Mutex::default(),
            parts_seen: Mutex::default(),
            stopping: Mutex::default(),
            stop: Condvar::new(),
            metrics,
        });
        if shared.config.takes_stream {
            shared.writer.lock().ensure(&shared)?;
        }
        heartbeat::beat(&shared, &mut Pulse::default())?;
        let (weak, lease) = (Arc::downgrade(&shared), shared.config.lease);
        let thread = std::thread::Builder::new().name("lease".into()).spawn(move || heartbeat::run(&weak, lease));
        let heartbeat = Some(thread.map_err(|error| Error::io("start the heartbeat", error))?);
        Ok(Self(Arc::new(Inner { shared, heartbeat })))
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }

    /// Ties the database to a relay's key the first time, and says whether it is that relay's. With it comes the cluster's own id.
    pub fn claim(&self, relay: &PublicKey) -> Result<(bool, String), Error> {
        let shared = self.shared();
        let key = &relay.as_bytes()[..];
        let rows = shared.pool.with(|session| session.query("claim the database", &shared.sql.claim, &[&key]))?;
        let row = rows.first().ok_or_else(|| row::malformed("cluster"))?;
        Ok((row.get::<_, &[u8]>(0) == key, row.get(1)))
    }

    /// All streams of the cluster.
    pub fn streams(&self) -> Result<Vec<PodStream>, Error> {
        heartbeat::look(self.shared())
    }

    /// How many connections for reading there may be.
    pub fn connections(&self) -> usize {
        self.shared().pool.size()
    }

    /// Whether the server waits for its disk, as of when this was opened.
    pub fn is_synced(&self) -> bool {
        self.shared().synced
    }

    /// Waits for the server no more: what fails now fails for good, and the lease is not renewed. For a process that has to end.
    pub fn give_up(&self) {
        self.shared().set_stopping();
    }
}

/// Of what the server allows, a tenth is a pod's, and one more to commit by: eight pods and the tools of an operator fit.
fn readers_of(session: &mut Session) -> Result<usize, Error> {
    let rows = session.query("ask for the connection limit", "select current_setting('max_connections')::int", &[])?;
    let max = rows.first().map_or(100, |row| row.get::<_, i32>(0));
    Ok(usize::try_from(max / 10).unwrap_or(8).clamp(3, 16))
}

impl Inner {
    fn close(&mut self) {
        self.shared.set_stopping();
        if let Some(heartbeat) = self.heartbeat.take()
            && heartbeat.join().is_err()
        {
            tracing::error!("the heartbeat's thread panicked");
        }
        let kept = upkeep::keep_tree(&self.shared);
        let released = self.shared.writer.lock().release(&self.shared);
        if let Err(error) = kept.and(released) {
            tracing::warn!(%error, "the stream was not given back; it is free when its lease has run out");
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        outside(|| self.close());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        outside(|| {
            self.pool.close();
            self.replica.iter().for_each(Pool::close);
            *self.writer.lock() = Writer::default();
        });
    }
}

/// On a thread of its own: the driver blocks, and the last owner of a store may be a task.
fn outside(act: impl FnOnce() + Send) {
    std::thread::scope(|scope| drop(scope.spawn(act).join()));
}

impl EventStore for PostgresStore {
    fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let shared = self.shared();
        shared.health.lock().commit_begins(shared.clock.instant());
        let result = shared.writer.lock().commit(shared, &batch);
        shared.health.lock().commit_ends(shared.clock.instant(), &result);
        result
    }

    fn place_of(&self, id: &EventId) -> Result<Option<(StreamId, Seq)>, Error> {
        read::place_of(self.shared(), id)
    }

    /// Asking would cost a round trip; the commit finds out.
    fn is_known(&self, _: &EventId) -> Result<bool, Error> {
        Ok(false)
    }

    fn snapshot(&self) -> Result<Cursor, Error> {
        read::snapshot(self.shared())
    }

    fn scan(&self, query: Query) -> Result<Box<dyn Scan>, Error> {
        Ok(Box::new(scan::PostgresScan::new(Arc::clone(self.shared()), query)))
    }

    fn since(&self, cursor: &Cursor, page: Page) -> Result<Vec<Entry>, Error> {
        read::page(self.shared(), cursor, page, None)
    }

    fn since_in(&self, stream: StreamId, after: Seq, page: Page) -> Result<Vec<Entry>, Error> {
        read::page(self.shared(), &Cursor::at(stream, after), page, Some(stream))
    }

    fn own_stream(&self) -> Option<StreamId> {
        self.shared().lease.lock().map(|(stream, _)| stream)
    }

    /// This pod's as of its last commit, the others' as they last wrote it down.
    fn heads(&self) -> Vec<(StreamId, Head)> {
        let own = *self.shared().own.lock();
        let others = self.shared().others.lock();
        // They were looked at before this stream was taken, perhaps.
        let others = others.iter().filter(|(stream, _)| own.is_none_or(|(own, _)| own != *stream));
        let mut heads: Vec<_> = own.into_iter().chain(others.copied()).collect();
        heads.sort_unstable_by_key(|(stream, _)| stream.0);
        heads
    }

    fn tree_hashes(&self, stream: StreamId, level: u8, first: u64, count: usize) -> Result<Option<Vec<Hash>>, Error> {
        let size = self.heads().iter().find(|(id, _)| *id == stream).map_or(0, |(_, head)| head.size);
        let shared = self.shared();
        shared.pool.with(|session| tree::hashes(shared, session, (stream, size), level, first, count))
    }

    fn follower(&self, name: &str) -> Result<Option<Cursor>, Error> {
        let shared = self.shared();
        let rows =
            shared.pool.with(|session| session.query("read a follower's place", &shared.sql.follower, &[&name]))?;
        Ok((!rows.is_empty()).then(|| row::cursor(&rows)))
    }

    fn keep_follower(&self, name: &str, cursor: &Cursor) -> Result<(), Error> {
        let shared = self.shared();
        let streams: Vec<i32> = cursor.places().map(|(stream, _)| stream.0 as i32).collect();
        let seqs: Vec<i64> = cursor.places().map(|(_, seq)| seq.0 as i64).collect();
        let kept = shared.pool.with(|session| {
            session.query("keep a follower's place", &shared.sql.keep_follower, &[&name, &streams, &seqs])
        });
        kept.map(drop)
    }

    fn maintain(&self, now: u64) -> Result<bool, Error> {
        upkeep::maintain(self.shared(), now)
    }

    fn health(&self) -> Result<(), Error> {
        let (shared, config) = (self.shared(), &self.shared().config);
        shared.health.lock().check(shared.clock.instant(), config.lease, config.commit_patience)
    }

    fn stats(&self) -> Result<Stats, Error> {
        let shared = self.shared();
        let stream = self.own_stream().map_or(-1, |stream| stream.0 as i32);
        let rows = shared.pool.with(|session| session.query("ask for figures", &shared.sql.stats, &[&stream]))?;
        let row = rows.first().ok_or_else(|| row::malformed("figures"))?;
        let number = |column: usize| row.get::<_, i64>(column) as u64;
        Ok(Stats {
            events: number(0),
            last_seq: Seq(number(1)),
            log_bytes: number(2) + number(3),
            live_bytes: number(3),
            index_bytes: number(4),
        })
    }
}
