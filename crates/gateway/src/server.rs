//! The listening socket: accepts, places, drains. Every task it starts ends before [`Bound::serve`] returns.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use towpath_runtime::Clock;

use crate::admission::{Admission, Place};
use crate::connection;
use crate::ramp::Ramp;
use crate::socket::Socket;
use crate::tls::{self, Certificate};
use crate::unfinished::Budget;
use crate::{Config, Metrics, Relay, http};

/// Connections the kernel completes before we accept them: a reconnecting herd must not be refused.
const BACKLOG: u32 = 4096;
/// After an error of accept (no file descriptors left, usually): ending connections need a moment to free some.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// And the log need not say so more often than this.
const ACCEPT_TOLD: Duration = Duration::from_secs(60);
/// File descriptors for all but clients: the store's files, a database's connections, pages while the relay is full.
const OTHER_DESCRIPTORS: u64 = 512;
/// How often the certificate's files are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(30);

/// Why the edge cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The certificate or its key cannot be used.
    #[error(transparent)]
    Certificate(#[from] tls::CertificateError),
}

/// The edge, before it has a port.
#[derive(Debug)]
pub struct Gateway;

/// The edge with its port, not yet accepting.
#[must_use = "the port is open, but nobody accepts before `serve`"]
pub struct Bound {
    shared: Arc<Shared>,
    listener: TcpListener,
    address: SocketAddr,
    admission: Arc<Admission>,
    certificate: Option<Arc<Certificate>>,
}

/// Looks at and steers a running edge.
#[derive(Clone)]
pub struct Handle {
    admission: Arc<Admission>,
    certificate: Option<Arc<Certificate>>,
}

/// How the connections ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections that were cut because the drain timeout passed.
    pub cut: usize,
}

/// What the tasks of all connections share and do not change.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) metrics: Metrics,
    pub(crate) unfinished: Arc<Budget>,
    pub(crate) ramp: Ramp,
    pub(crate) clock: Arc<dyn Clock>,
}

/// The edge while it serves.
pub(crate) struct Edge<R> {
    pub(crate) relay: Arc<R>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) admission: Arc<Admission>,
    draining: AtomicBool,
}

impl<R: Relay> Edge<R> {
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    pub(crate) fn readiness(&self) -> Result<Option<String>, String> {
        if self.is_draining() {
            return Err("shutting down".to_owned());
        }
        self.relay.readiness()
    }
}

impl Gateway {
    /// Opens the port, without accepting yet, and has the process allowed the files it takes. Must be called inside a tokio runtime.
    pub fn bind(config: Config, metrics: Metrics, clock: Arc<dyn Clock>) -> Result<Bound, Error> {
        ask_for_descriptors(config.connections_max as u64 + OTHER_DESCRIPTORS);
        let certificate = config.tls.as_ref().map(Certificate::load).transpose()?.map(Arc::new);
        let listener = listen(config.listen, config.share_port).map_err(|error| Error::Listen(config.listen, error))?;
        let address = listener.local_addr().map_err(|error| Error::Listen(config.listen, error))?;
        let admission = Arc::new(Admission::new(&config));
        let unfinished = Budget::new(config.inbound_total_bytes_max, metrics.unfinished_bytes.clone());
        let ramp = Ramp::new(config.upgrades_per_second, config.handshake_timeout / 2);
        let shared = Arc::new(Shared { config, metrics, unfinished, ramp, clock });
        Ok(Bound { shared, listener, address, admission, certificate })
    }
}

fn ask_for_descriptors(wanted: u64) {
    let limit = raise_descriptors();
    if limit.is_some_and(|limit| limit < wanted) {
        tracing::warn!(limit, wanted, "server.connections_max takes more open files than are allowed (`ulimit -n`)");
    }
}

/// Every socket and every file of a log is a file descriptor, and a shell allows a process few of them unless it asks for what it may
/// have. How many that is; `None` is any number.
pub fn raise_descriptors() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

/// The port can be shared, so that the next process can take over from this one; but only a process that takes over may use
/// that, else two relays that were given one port by mistake would each get half of the clients.
fn listen(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    if !share {
        socket(address)?.bind(address)?;
    }
    let socket = socket(address)?;
    socket.set_reuseport(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn socket(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    Ok(socket)
}

impl Handle {
    /// WebSocket connections open now, and those that wait for their turn.
    pub fn connections(&self) -> usize {
        self.admission.seated()
    }

    /// Reads the certificate again. On an error the one in use stays.
    pub fn reload_tls(&self) -> Result<(), Error> {
        match &self.certificate {
            Some(certificate) => Ok(certificate.reload()?),
            None => Ok(()),
        }
    }
}

impl Bound {
    /// Where the edge listens: the real port if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle that stays valid while the edge runs.
    pub fn handle(&self) -> Handle {
        Handle { admission: self.admission.clone(), certificate: self.certificate.clone() }
    }

    /// Serves until `shutdown` completes, then waits for the connections to end; those left after `drain_timeout` are
    /// cut. Ending connections is the relay's part: each [`Outbound`](crate::Outbound) has to yield its close. What `shutdown` gave
    /// is given back.
    pub async fn serve<R: Relay, T>(self, relay: Arc<R>, shutdown: impl Future<Output = T>) -> (Drained, T) {
        let Bound { shared, listener, admission, certificate, .. } = self;
        let drain_timeout = shared.config.drain_timeout;
        let edge = Arc::new(Edge { relay, shared, admission, draining: AtomicBool::new(false) });
        let mut tasks = JoinSet::new();
        let accepting = Accepting { edge: &edge, listener, certificate };
        let told = tokio::select! {
            never = accepting.run(&mut tasks) => match never {},
            told = shutdown => told,
        };
        edge.draining.store(true, Ordering::Relaxed);
        accepting.last(&mut tasks);
        (drain(tasks, drain_timeout).await, told)
    }
}

async fn drain(mut tasks: JoinSet<()>, within: Duration) -> Drained {
    let all_ended = async { while tasks.join_next().await.is_some() {} };
    // Who has not ended by then is cut below.
    let _ = timeout(within, all_ended).await;
    let cut = tasks.len();
    if cut > 0 {
        tracing::warn!(connections = cut, "cut off what did not end in time");
    }
    tasks.shutdown().await;
    Drained { cut }
}

struct Accepting<'a, R> {
    edge: &'a Arc<Edge<R>>,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
}

impl<R: Relay> Accepting<'_, R> {
    async fn run(&self, tasks: &mut JoinSet<()>) -> Infallible {
        let mut certificate_check = tokio::time::interval(CERTIFICATE_CHECK);
        let mut told: Option<Instant> = None;
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, address)) => start(self.edge, self.certificate.as_deref(), stream, address.ip(), tasks),
                    Err(error) => {
                        let now = self.edge.shared.clock.instant();
                        if told.is_none_or(|told| now.duration_since(told) >= ACCEPT_TOLD) {
                            told = Some(now);
                            tracing::warn!(%error, "cannot accept connections, for now");
                        }
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
                _ = certificate_check.tick(), if self.certificate.is_some() => self.check_certificate(),
            }
        }
    }

    /// What the kernel accepted for us already would be reset when the listener closes: it is answered instead.
    /// The kernel is asked itself, because the runtime may not have heard of the newest connections yet.
    fn last(self, tasks: &mut JoinSet<()>) {
        let Accepting { edge, listener, certificate } = self;
        let Ok(listener) = listener.into_std() else { return };
        while let Ok((stream, address)) = listener.accept() {
            if stream.set_nonblocking(true).is_ok()
                && let Ok(stream) = TcpStream::from_std(stream)
            {
                start(edge, certificate.as_deref(), stream, address.ip(), tasks);
            }
        }
    }

    fn check_certificate(&self) {
        let Some(certificate) = &self.certificate else { return };
        match certificate.reload_if_changed() {
            Ok(false) => {}
            Ok(true) => tracing::info!("the certificate was renewed"),
            Err(error) => tracing::error!(%error, "the changed certificate is not usable; the old one stays"),
        }
    }
}

/// Gives a socket its place and its task.
fn start<R: Relay>(
    edge: &Arc<Edge<R>>,
    certificate: Option<&Certificate>,
    stream: TcpStream,
    address: IpAddr,
    tasks: &mut JoinSet<()>,
) {
    let Some(place) = edge.admission.place(address) else {
        edge.shared.metrics.refused("full");
        return;
    };
    // Frames are already gathered into whole writes; waiting for more would only cost time.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let edge = edge.clone();
    match certificate {
        Some(certificate) => tasks.spawn(serve_tls(stream, certificate.acceptor(), edge, place, address)),
        None => tasks.spawn(serve(stream, edge, place, address)),
    };
}

async fn serve_tls<R: Relay>(
    stream: TcpStream,
    acceptor: tokio_rustls::TlsAcceptor,
    edge: Arc<Edge<R>>,
    place: Place,
    address: IpAddr,
) {
    let handshake = Box::pin(timeout(edge.shared.config.handshake_timeout, acceptor.accept(stream)));
    match handshake.await {
        Ok(Ok(stream)) => serve(stream, edge, place, address).await,
        Ok(Err(error)) => tracing::debug!(%address, %error, "no TLS"),
        Err(_) => tracing::debug!(%address, "TLS took too long"),
    }
}

/// One socket, from its request to its end. The HTTP part is boxed so that an idle WebSocket does not carry its size.
fn serve<R: Relay, S: Socket>(
    io: S,
    edge: Arc<Edge<R>>,
    place: Place,
    address: IpAddr,
) -> impl Future<Output = ()> + Send {
    let upgrade = Box::pin(upgrade(io, edge, place, address));
    async move {
        let Some(connection) = upgrade.await else { return };
        connection.await;
    }
}

/// `None` if the socket did not become a WebSocket.
async fn upgrade<R: Relay, S: Socket>(
    io: S,
    edge: Arc<Edge<R>>,
    place: Place,
    address: IpAddr,
) -> Option<impl Future<Output = ()> + Send> {
    let shared = edge.shared.clone();
    let request = http::serve(io, edge, place, address);
    let (upgraded, io, early) = timeout(shared.config.handshake_timeout, request).await.ok()??;
    Some(connection::open(io, early, upgraded, shared))
}
