//! One WebSocket: a reading and a writing task, joined by what the reader owes the client.
//!
//! Invariants: an idle connection holds no buffer; every wait has a limit (pings for the reader, `write_timeout` for
//! the writer, [`CLOSE_WAIT`] after the close frame); what the relay queued before its close is written before it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::server::TlsStream;

use crate::decode::{Decoder, Item};
use crate::http::Upgraded;
use crate::server::Shared;
use crate::{Close, Frame, Inbound, Outbound, Relay, Taken, encode};

/// About how much is taken from the relay for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// One buffer a thread, not one a connection.
const READ_BYTES: usize = 64 * 1024;
/// Room for frames that is kept between writes; more is given back.
const FRAMES_KEPT: usize = 4;
/// How long the client may take to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// A socket whose directions can be used by two tasks.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    type Read: AsyncRead + Unpin + Send;
    type Write: AsyncWrite + Unpin + Send + 'static;

    fn split(self) -> (Self::Read, Self::Write);
}

impl Socket for TcpStream {
    type Read = OwnedReadHalf;
    type Write = OwnedWriteHalf;

    fn split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.into_split()
    }
}

/// One TLS session serves both directions, so they take turns behind a lock.
impl Socket for TlsStream<TcpStream> {
    type Read = ReadHalf<Self>;
    type Write = WriteHalf<Self>;

    fn split(self) -> (ReadHalf<Self>, WriteHalf<Self>) {
        tokio::io::split(self)
    }
}

/// What the reader leaves for the writer. Holds one pong and one close, however many were asked for.
#[derive(Default)]
struct Link {
    owed: Mutex<Owed>,
    changed: Notify,
    /// Set by the reader when anything arrives, cleared by the writer with every ping.
    heard: AtomicBool,
    /// The relay is at a message of this client, so the reader does not listen: silence is not the client's.
    busy: AtomicBool,
}

#[derive(Default)]
struct Owed {
    pong: Option<Vec<u8>>,
    close: Option<Closing>,
}

/// A close and whether what the relay has queued goes before it.
struct Closing {
    close: Close,
    flush: bool,
}

impl Link {
    fn pong(&self, body: &[u8]) {
        // An answer to the latest ping is enough (RFC 6455, section 5.5.3), so a flood of pings costs one body.
        self.owed.lock().pong = Some(body.to_vec());
        self.changed.notify_one();
    }

    fn close(&self, closing: Closing) {
        self.owed.lock().close = Some(closing);
        self.changed.notify_one();
    }
}

/// How reading ended.
enum ReadEnd {
    /// The socket is gone.
    Lost,
    /// The client closed.
    Client(Option<u16>),
    /// The client broke the protocol.
    Protocol(Close),
    /// The relay wants to close.
    Relay(Close),
}

/// How writing ended.
enum WriteEnd {
    Lost,
    /// The client did not answer a ping.
    Silent,
    /// The client did not take its bytes.
    Stuck,
    /// A close frame was written, with this code.
    Closed(u16),
}

/// A task that ends with its owner.
struct Owned<T>(JoinHandle<T>);

impl<T: Send + 'static> Owned<T> {
    #[expect(clippy::disallowed_methods, reason = "the connection's task owns it, and a connection is many of these")]
    fn start(task: impl Future<Output = T> + Send + 'static) -> Self {
        Owned(tokio::spawn(task))
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a connection to its end. `early` is what the client sent right behind its request.
pub(crate) async fn run<R: Relay, S: Socket>(io: S, early: Bytes, upgraded: Upgraded<R>, shared: Arc<Shared>) {
    let Upgraded { mut inbound, outbound, deflate, seat } = upgraded;
    let (read, write) = io.split();
    let link = Arc::new(Link::default());
    let mut decoder = Decoder::new(shared.config.message_bytes_max, deflate);
    decoder.receive(&early);
    drop(early);
    let mut reader = Reader { io: read, decoder, link: link.clone(), shared: shared.clone() };
    let writer = Writer {
        io: write,
        outbound,
        link: link.clone(),
        shared: shared.clone(),
        deflate,
        frames: Vec::new(),
        awaiting_pong: false,
    };
    shared.metrics.connections.inc();
    let mut writing = Owned::start(writer.run());
    let ended = tokio::select! {
        biased;
        end = &mut writing.0 => Err(end.unwrap_or(WriteEnd::Lost)),
        end = reader.run(&mut inbound) => Ok(end),
    };
    drop(inbound);
    let (code, by) = match ended {
        Ok(end) => finish_writing(end, &link, &mut writing, &mut reader).await,
        Err(WriteEnd::Closed(code)) => {
            reader.discard().await;
            (code, "relay")
        }
        Err(WriteEnd::Lost) => (1006, "lost"),
        Err(WriteEnd::Silent) => (1006, "silent"),
        Err(WriteEnd::Stuck) => (1006, "stuck"),
    };
    shared.metrics.closed(code, by);
    shared.metrics.connections.dec();
    drop(seat);
}

/// Reading has ended: has the writer send the close frame, and hears the client out.
async fn finish_writing<R: AsyncRead + Unpin>(
    end: ReadEnd,
    link: &Link,
    writing: &mut Owned<WriteEnd>,
    reader: &mut Reader<R>,
) -> (u16, &'static str) {
    let (close, flush, by) = match end {
        ReadEnd::Lost => return (1006, "lost"),
        ReadEnd::Client(code) => (Close::new(code.unwrap_or(1000), ""), false, "client"),
        ReadEnd::Protocol(close) => (close, true, "protocol"),
        ReadEnd::Relay(close) => (close, true, "relay"),
    };
    let code = close.code;
    link.close(Closing { close, flush });
    let written = (&mut writing.0).await;
    if matches!(written, Ok(WriteEnd::Closed(_))) && by != "client" {
        reader.discard().await;
    }
    (code, by)
}

struct Reader<R> {
    io: R,
    decoder: Decoder,
    link: Arc<Link>,
    shared: Arc<Shared>,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    async fn run(&mut self, inbound: &mut impl Inbound) -> ReadEnd {
        loop {
            match self.decoder.next() {
                Ok(Some(Item::Text(text))) => {
                    self.shared.metrics.frames_in.inc();
                    self.link.busy.store(true, Ordering::Relaxed);
                    if let ControlFlow::Break(close) = inbound.message(text).await {
                        return ReadEnd::Relay(close);
                    }
                    self.link.busy.store(false, Ordering::Relaxed);
                }
                Ok(Some(Item::Ping(body))) => self.link.pong(body),
                Ok(Some(Item::Pong)) => {}
                Ok(Some(Item::Close(code))) => return ReadEnd::Client(code),
                Ok(None) => match self.receive().await {
                    Ok(0) | Err(_) => return ReadEnd::Lost,
                    Ok(bytes) => {
                        self.shared.metrics.bytes_in.inc_by(bytes as u64);
                        self.link.heard.store(true, Ordering::Relaxed);
                    }
                },
                Err(close) => return ReadEnd::Protocol(close),
            }
        }
    }

    /// Waits for bytes with no buffer of its own: the thread's is filled once there are some.
    async fn receive(&mut self) -> io::Result<usize> {
        let Reader { io, decoder, .. } = self;
        read_with(io, |bytes| decoder.receive(bytes)).await
    }

    /// After the close frame: until the client's end of the socket, so that it can read the frame before a reset.
    async fn discard(&mut self) {
        let until_end = async { while matches!(read_with(&mut self.io, |_| ()).await, Ok(1..)) {} };
        let _ = timeout(CLOSE_WAIT, until_end).await;
    }
}

async fn read_with<R: AsyncRead + Unpin>(io: &mut R, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
    poll_fn(|cx| {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer))?;
            take(buffer.filled());
            Ok(buffer.filled().len()).into()
        })
    })
    .await
}

struct Writer<W, O> {
    io: W,
    outbound: O,
    link: Arc<Link>,
    shared: Arc<Shared>,
    deflate: bool,
    frames: Vec<Frame>,
    /// Between two pings, or between a ping and the time by which it must be answered.
    awaiting_pong: bool,
}

impl<W: AsyncWrite + Unpin, O: Outbound> Writer<W, O> {
    async fn run(mut self) -> WriteEnd {
        let mut timer = pin!(sleep(self.shared.config.ping_interval));
        loop {
            let mut ping = false;
            let mut close = None;
            tokio::select! {
                () = self.link.changed.notified() => {}
                () = &mut timer => match self.beat() {
                    Beat::Silent => return WriteEnd::Silent,
                    Beat::Heard => timer.set(sleep(self.shared.config.ping_interval)),
                    Beat::Ping => {
                        ping = true;
                        timer.set(sleep(self.shared.config.pong_timeout));
                    }
                },
                taken = self.outbound.take(&mut self.frames, WRITE_BYTES) => if let Taken::Close(wanted) = taken {
                    close = Some(wanted);
                },
            }
            let owed = std::mem::take(&mut *self.link.owed.lock());
            let close = self.last_words(close, owed.close).await;
            match self.write(owed.pong, ping, close.as_ref()).await {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return WriteEnd::Stuck,
                Err(_) => return WriteEnd::Lost,
            }
            if let Some(close) = close {
                // The client reads our frame, then our end; a failure here means it is gone.
                let _ = timeout(self.shared.config.write_timeout, self.io.shutdown()).await;
                return WriteEnd::Closed(close.code);
            }
        }
    }

    /// Which close is due: the relay's own goes before what the reader asks for. Takes what is to be sent before it.
    async fn last_words(&mut self, taken: Option<Close>, owed: Option<Closing>) -> Option<Close> {
        match (taken, owed) {
            (Some(taken), _) => Some(taken),
            (None, Some(Closing { close, flush })) => {
                if flush {
                    self.take_waiting().await;
                }
                Some(close)
            }
            (None, None) => None,
        }
    }

    /// What happens when the timer ends.
    fn beat(&mut self) -> Beat {
        let heard = self.link.heard.load(Ordering::Relaxed) || self.link.busy.load(Ordering::Relaxed);
        match (self.awaiting_pong, heard) {
            (true, false) => Beat::Silent,
            (true, true) => {
                self.awaiting_pong = false;
                Beat::Heard
            }
            (false, _) => {
                self.awaiting_pong = true;
                self.link.heard.store(false, Ordering::Relaxed);
                Beat::Ping
            }
        }
    }

    /// Takes what the relay has queued by now, without waiting for more.
    async fn take_waiting(&mut self) {
        let _ = timeout(Duration::ZERO, self.outbound.take(&mut self.frames, WRITE_BYTES)).await;
    }

    /// Everything there is to send, in one write. The buffer lives only as long as the write.
    async fn write(&mut self, pong: Option<Vec<u8>>, ping: bool, close: Option<&Close>) -> io::Result<()> {
        let payload: usize = self.frames.iter().map(|frame| frame.payload_len() + encode::HEADER_BYTES_MAX).sum();
        let mut buffer = Vec::with_capacity(payload + 3 * 128);
        if let Some(body) = pong {
            encode::pong(&body, &mut buffer);
        }
        if ping {
            encode::ping(&mut buffer);
        }
        for frame in &self.frames {
            encode::message(frame, self.deflate, &mut buffer);
        }
        if let Some(close) = close {
            encode::close(close, &mut buffer);
        }
        if buffer.is_empty() {
            return Ok(());
        }
        self.write_all(&buffer).await?;
        self.count(buffer.len());
        if !self.frames.is_empty() {
            self.outbound.written(&mut self.frames);
            self.frames.clear();
            self.frames.shrink_to(FRAMES_KEPT);
        }
        Ok(())
    }

    /// Progress, not completion, is what the timeout is for: a slow line may take long for a large page of events.
    async fn write_all(&mut self, mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            match timeout(self.shared.config.write_timeout, self.io.write(rest)).await {
                Ok(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written?..],
                Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            }
        }
        timeout(self.shared.config.write_timeout, self.io.flush()).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    fn count(&self, bytes: usize) {
        self.shared.metrics.writes.inc();
        self.shared.metrics.bytes_out.inc_by(bytes as u64);
        self.shared.metrics.frames_out.inc_by(self.frames.len() as u64);
        let mut now = None;
        for frame in &self.frames {
            if let Frame::Event { committed_at: Some(committed_at), .. } = frame {
                let now = *now.get_or_insert_with(|| self.shared.clock.instant());
                self.shared.metrics.delivery.observe(now.saturating_duration_since(*committed_at).as_secs_f64());
            }
        }
    }
}

enum Beat {
    Ping,
    Heard,
    Silent,
}
