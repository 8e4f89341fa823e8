//! Connections for reading: as many as there may be, made when they are needed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use postgres::{Client, Statement};
use towpath_runtime::Clock;
use towpath_store::Error;

use crate::connect::{Connector, is_conflict, is_lost, unavailable};
use crate::metrics::Metrics;

/// Nobody waits longer for a connection.
const WAIT_MAX: Duration = Duration::from_secs(10);
/// Statements kept ready on one connection.
const PREPARED_MAX: usize = 64;
/// Statements that were in another's way are tried again so often.
const CONFLICTS_MAX: u32 = 5;

/// A connection and what is prepared on it.
pub(crate) struct Session {
    client: Client,
    prepared: HashMap<String, Statement>,
    /// Whether the next statement finds the connection as the server left it.
    sound: bool,
    /// Whether a statement since failed because another was in its way.
    hindered: bool,
}

impl Session {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, prepared: HashMap::new(), sound: true, hindered: false }
    }

    /// The rows of `sql`, which is prepared the first time.
    pub(crate) fn query(
        &mut self,
        context: &'static str,
        sql: &str,
        parameters: &[&(dyn postgres::types::ToSql + Sync)],
    ) -> Result<Vec<postgres::Row>, Error> {
        let rows = self.try_query(sql, parameters);
        rows.map_err(|error| {
            self.sound &= !is_lost(&error);
            self.hindered |= is_conflict(&error);
            unavailable(context, &error)
        })
    }

    /// The same, with the driver's error.
    pub(crate) fn try_query(
        &mut self,
        sql: &str,
        parameters: &[&(dyn postgres::types::ToSql + Sync)],
    ) -> Result<Vec<postgres::Row>, postgres::Error> {
        let statement = match self.prepared.get(sql) {
            Some(statement) => statement.clone(),
            None => {
                if self.prepared.len() >= PREPARED_MAX {
                    self.prepared.clear();
                }
                let statement = self.client.prepare(sql)?;
                self.prepared.insert(sql.to_owned(), statement.clone());
                statement
            }
        };
        self.client.query(&statement, parameters)
    }

    /// Whether the next statement may have an answer here.
    pub(crate) fn is_sound(&self) -> bool {
        self.sound && !self.client.is_closed()
    }
}

/// A connection of the pool's, for what must be asked of the server behind it and of no other. Given back when it is dropped.
pub(crate) struct Held<'a> {
    pool: &'a Pool,
    session: Option<Session>,
}

impl Held<'_> {
    /// Has `act`, which only reads, use the connection; again if the server ended a statement for another's sake.
    pub(crate) fn with<T>(&mut self, mut act: impl FnMut(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        let given_back = || Error::Closed("the connection was given back".into());
        let session = self.session.as_mut().ok_or_else(given_back)?;
        let mut conflicts = 0;
        loop {
            let result = act(session);
            let hindered = std::mem::take(&mut session.hindered);
            conflicts += u32::from(hindered);
            if result.is_ok() || !hindered || conflicts > CONFLICTS_MAX {
                return result;
            }
        }
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.pool.give_back(session);
        }
    }
}

/// See the module.
pub(crate) struct Pool {
    connector: Connector,
    state: Mutex<State>,
    freed: Condvar,
    size: usize,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

#[derive(Default)]
struct State {
    idle: Vec<Session>,
    open: usize,
}

impl Pool {
    pub(crate) fn new(connector: Connector, size: usize, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        metrics.pool_size.set(i64::try_from(size).unwrap_or(i64::MAX));
        Self { connector, state: Mutex::default(), freed: Condvar::new(), size: size.max(1), clock, metrics }
    }

    /// Has `act` use a connection. `act` only reads, or does once what it does again: it is tried again if the server had cut the
    /// connection, or ended a statement for another's sake.
    pub(crate) fn with<T>(&self, act: impl FnMut(&mut Session) -> Result<T, Error>) -> Result<T, Error> {
        self.hold(act).map(|(_, done)| done)
    }

    /// The same, and the connection that it was done on.
    pub(crate) fn hold<T>(
        &self,
        mut act: impl FnMut(&mut Session) -> Result<T, Error>,
    ) -> Result<(Held<'_>, T), Error> {
        let mut conflicts = 0;
        loop {
            let (mut session, used) = self.take()?;
            let result = act(&mut session);
            let (lost, hindered) = (!session.is_sound(), std::mem::take(&mut session.hindered));
            let held = Held { pool: self, session: Some(session) };
            conflicts += u32::from(hindered);
            match result {
                Ok(done) => return Ok((held, done)),
                Err(error) if !(lost && used || hindered && conflicts <= CONFLICTS_MAX) => return Err(error),
                Err(_) => {}
            }
        }
    }

    /// How many connections there may be.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Drops the connections that nobody uses.
    pub(crate) fn close(&self) {
        self.state.lock().idle.clear();
    }

    /// One more connection, beside the pool's.
    pub(crate) fn connect(&self) -> Result<Session, Error> {
        self.connector.connect().map(Session::new)
    }

    /// A session, and whether it was used before.
    fn take(&self) -> Result<(Session, bool), Error> {
        let mut state = self.state.lock();
        let since = self.clock.instant();
        loop {
            if let Some(session) = state.idle.pop() {
                return Ok((session, true));
            }
            if state.open < self.size {
                break;
            }
            self.metrics.pool_waits.inc();
            if self.freed.wait_until(&mut state, since + WAIT_MAX).timed_out() {
                return Err(Error::Unavailable("every connection to the database is in use".into()));
            }
        }
        state.open += 1;
        drop(state);
        self.metrics.pool_open.inc();
        let session = self.connect();
        if session.is_err() {
            self.forget();
        }
        session.map(|session| (session, false))
    }

    fn give_back(&self, session: Session) {
        if !session.is_sound() {
            return self.forget();
        }
        self.state.lock().idle.push(session);
        self.freed.notify_one();
    }

    fn forget(&self) {
        self.state.lock().open -= 1;
        self.metrics.pool_open.dec();
        self.freed.notify_one();
    }
}
