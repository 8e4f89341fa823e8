//! The two ends: one that sends, one that hears.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use redis::{ErrorKind, RedisError};
use towpath_bus::{Bus, Listener, Message, Metrics, PodId, Unreachable};
use towpath_runtime::{Clock, Thread};

use crate::Server;
use crate::sentinels::Sentinels;
use crate::server::Link;

/// A bus that takes longer is not there.
const SEND_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two tries to reach a bus that is away.
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// A silent connection is asked whether it lives, so that one that died without a word is noticed.
const PING_AFTER: Duration = Duration::from_secs(2);
/// How often the hearing end looks whether it is to stop.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often Sentinels are asked which server is the master.
const ASK_EVERY: Duration = Duration::from_secs(1);

fn unreachable(error: &RedisError) -> Unreachable {
    Unreachable(error.to_string())
}

/// The sending end of one pod. Blocks its caller for half a second at most, twice if it has to connect.
pub struct RedisBus {
    server: Server,
    topic: String,
    pod: PodId,
    link: Option<Link>,
    /// Not tried again before.
    not_before: Option<Instant>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl RedisBus {
    /// Sends to `topic` as `pod`. Connects when there is something to send.
    pub fn new(server: Server, topic: String, pod: PodId, clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { server, topic, pod, link: None, not_before: None, clock, metrics }
    }

    fn link(&mut self) -> Result<&mut Link, Unreachable> {
        if self.link.as_ref().is_none_or(|link| self.server.has_left(link.master.as_ref())) {
            let now = self.clock.instant();
            if self.not_before.is_some_and(|at| now < at) {
                return Err(Unreachable("it was away a moment ago".into()));
            }
            let link = connect(&self.server);
            if link.is_err() {
                self.rest();
            }
            self.link = Some(link.map_err(|error| unreachable(&error))?);
        }
        self.link.as_mut().ok_or_else(|| Unreachable("there is no connection".into()))
    }

    /// From now on, not from when the attempt began, which may have taken longer: else every message would cost another.
    fn rest(&mut self) {
        self.not_before = Some(self.clock.instant() + RETRY_PAUSE);
    }
}

fn connect(server: &Server) -> Result<Link, RedisError> {
    let link = server.link()?;
    link.connection.set_write_timeout(Some(SEND_TIMEOUT))?;
    link.connection.set_read_timeout(Some(SEND_TIMEOUT))?;
    Ok(link)
}

impl Bus for RedisBus {
    fn send(&mut self, message: &Message) -> Result<(), Unreachable> {
        let bytes = message.to_bytes(&self.pod);
        let (topic, length) = (self.topic.clone(), bytes.len() as u64);
        let sent = self.link().and_then(|link| {
            let publish = redis::cmd("PUBLISH").arg(topic).arg(bytes).exec(&mut link.connection);
            publish.map_err(|error| unreachable(&error))
        });
        match &sent {
            Ok(()) => {
                self.metrics.sent.inc();
                self.metrics.sent_bytes.inc_by(length);
            }
            Err(_) => {
                self.metrics.unsent.inc();
                if self.link.take().is_some() {
                    self.rest();
                }
            }
        }
        sent
    }
}

/// The hearing end of one pod: a thread of its own, until it is dropped; and one that asks the Sentinels, if there are any.
pub struct RedisEar {
    stop: Arc<Stop>,
    threads: Vec<Thread>,
}

#[derive(Default)]
struct Stop {
    stopping: AtomicBool,
    lock: Mutex<()>,
    stopped: Condvar,
}

impl Stop {
    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn wait(&self, pause: Duration) {
        let mut lock = self.lock.lock();
        if !self.is_stopping() {
            self.stopped.wait_for(&mut lock, pause);
        }
    }
}

impl RedisEar {
    /// Hears what others than `pod` send to `topic`.
    pub fn start(
        server: Server,
        topic: String,
        pod: PodId,
        listener: Arc<dyn Listener>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let mut threads = Vec::new();
        if server.sentinels().is_some() {
            let (server, stop) = (server.clone(), Arc::clone(&stop));
            threads.push(Thread::start("bus-sentinels", move || watch(&server, &stop))?);
        }
        let ear = Ear { server, topic, pod, listener, clock, metrics, stop: Arc::clone(&stop) };
        threads.push(Thread::start("bus", move || ear.run())?);
        Ok(Self { stop, threads })
    }
}

impl Drop for RedisEar {
    fn drop(&mut self) {
        {
            let _lock = self.stop.lock.lock();
            self.stop.stopping.store(true, Ordering::Release);
        }
        self.stop.stopped.notify_all();
        self.threads.drain(..).for_each(Thread::join);
    }
}

/// Keeps known who the master is. Where nobody can be asked, both ends stay where they are.
fn watch(server: &Server, stop: &Stop) {
    while !stop.is_stopping() {
        if let Some(Err(error)) = server.sentinels().map(Sentinels::look) {
            tracing::debug!(%error, "no Sentinel names the master");
        }
        stop.wait(ASK_EVERY);
    }
}

struct Ear {
    server: Server,
    topic: String,
    pod: PodId,
    listener: Arc<dyn Listener>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    stop: Arc<Stop>,
}

impl Ear {
    fn run(&self) {
        while !self.stop.is_stopping() {
            if let Err(error) = self.listen() {
                self.metrics.up.set(0);
                self.listener.lost(&unreachable(&error));
                self.stop.wait(RETRY_PAUSE);
            }
        }
        self.metrics.up.set(0);
    }

    /// Until the connection is lost.
    fn listen(&self) -> Result<(), RedisError> {
        let Link { mut connection, master } = connect(&self.server)?;
        // As a question, because only the answer to one can be a refusal.
        redis::cmd("SUBSCRIBE").arg(&self.topic).query::<redis::Value>(&mut connection)?;
        let mut topic = connection.as_pubsub();
        topic.set_read_timeout(Some(LOOK_EVERY))?;
        // The server has said that the topic is heard from here on.
        self.metrics.up.set(1);
        self.metrics.resumed.inc();
        self.listener.resumed();
        let mut last_heard = self.clock.instant();
        while !self.stop.is_stopping() {
            if self.server.has_left(master.as_ref()) {
                return Err(RedisError::from((ErrorKind::MasterNameNotFoundBySentinel, "another is the master now")));
            }
            match topic.get_message() {
                Ok(message) => {
                    last_heard = self.clock.instant();
                    self.take(Bytes::from(message.get_payload::<Vec<u8>>()?));
                }
                Err(error) if error.is_timeout() => {
                    if self.clock.instant().saturating_duration_since(last_heard) >= PING_AFTER {
                        // Subscribing again is answered, and changes nothing.
                        topic.set_read_timeout(Some(SEND_TIMEOUT))?;
                        topic.subscribe(&self.topic)?;
                        topic.set_read_timeout(Some(LOOK_EVERY))?;
                        last_heard = self.clock.instant();
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn take(&self, bytes: Bytes) {
        // What was said here need not be taken apart.
        if Message::is_from(&self.pod, &bytes) {
            return;
        }
        match Message::from_bytes(&bytes) {
            Ok((_, message)) => {
                self.metrics.heard.inc();
                self.listener.heard(message);
            }
            Err(_) => drop(self.metrics.malformed.inc()),
        }
    }
}
