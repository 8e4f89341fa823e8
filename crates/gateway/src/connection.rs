//! One WebSocket: a reading and a writing task, joined by what the reader owes the client.
//!
//! Invariants: an idle connection holds no buffer; every wait has a limit (pings for the reader, `write_timeout` for
//! the writer, [`CLOSE_WAIT`] after the close frame); what the relay queued before its close is written before it.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::ready;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::decode::{Decoder, Item};
use crate::http::Upgraded;
use crate::liveness::{Beat, Liveness};
use crate::server::Shared;
use crate::socket::{Sink, Socket};
use crate::unfinished::is_refusal;
use crate::wire::{Closing, Extra, Wire};
use crate::{Close, Inbound, Outbound, Relay};

/// One buffer a thread, not one a connection.
const READ_BYTES: usize = 64 * 1024;
/// How long the client may take to answer our close frame.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
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

impl Link {
    fn pong(&self, body: &[u8]) {
        // An answer to the latest ping is enough (RFC 6455, section 5.5.3), so a flood of pings costs one body.
        self.owed.lock().pong = Some(body.to_vec());
        self.changed.notify_one();
    }

    /// Until `work` is done, silence is not the client's. In memory of its own: it is ten times what a connection needs to wait for a message.
    async fn busy_with(&self, work: Pin<Box<impl Future<Output = ()>>>) {
        self.busy.store(true, Ordering::Relaxed);
        work.await;
        self.busy.store(false, Ordering::Relaxed);
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

/// Starts a connection; the future runs it to its end. `early` is what the client sent right behind its request.
///
/// Not an `async fn`, which would keep a second copy of each argument for as long as the connection lasts.
pub(crate) fn open<R: Relay, S: Socket>(
    io: S,
    early: Bytes,
    upgraded: Upgraded<R>,
    shared: Arc<Shared>,
) -> impl Future<Output = ()> + Send {
    let Upgraded { mut inbound, outbound, deflate, seat } = upgraded;
    let (read, write) = io.split();
    let link = Arc::new(Link::default());
    let mut decoder = Decoder::new(shared.config.message_bytes_max, deflate, shared.unfinished.share());
    decoder.receive(&early);
    let mut reader = Reader { io: read, decoder, link: link.clone(), shared: shared.clone() };
    let wire = Wire::open(write, outbound, deflate, shared.clone());
    let writer = Writer { wire, link, shared: shared.clone(), liveness: Liveness::default() };
    shared.metrics.connections.inc();
    let mut writing = Owned::start(writer.run());
    async move {
        let ended = tokio::select! {
            biased;
            end = &mut writing.0 => Err(end.unwrap_or(WriteEnd::Lost)),
            end = reader.run(&mut inbound) => Ok(end),
        };
        drop(inbound);
        // Saying goodbye may take long, and nothing of what came is looked at any more.
        reader.decoder.forget();
        let (code, by) = match ended {
            Ok(end) => finish_writing(end, &mut writing, &mut reader).await,
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
}

/// Reading has ended: has the writer send the close frame, and hears the client out.
async fn finish_writing<R: AsyncRead + Unpin>(
    end: ReadEnd,
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
    reader.link.close(Closing { close, flush });
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
            if let Some(end) = self.take_in(inbound).await {
                return end;
            }
            match self.receive().await {
                Ok(0) | Err(_) => return ReadEnd::Lost,
                Ok(bytes) => {
                    self.shared.metrics.bytes_in.inc_by(bytes as u64);
                    self.link.heard.store(true, Ordering::Relaxed);
                }
            }
        }
    }

    /// Hands over all that has arrived whole, and says when that was all. Some if the end of reading is in it.
    async fn take_in(&mut self, inbound: &mut impl Inbound) -> Option<ReadEnd> {
        let mut handed_over = false;
        let end = loop {
            match self.decoder.next() {
                Ok(Some(Item::Text(text))) => {
                    self.shared.metrics.frames_in.inc();
                    handed_over = true;
                    self.link.busy_with(Box::pin(inbound.message(text))).await;
                }
                Ok(Some(Item::Ping(body))) => self.link.pong(body),
                Ok(Some(Item::Pong)) => {}
                Ok(Some(Item::Close(code))) => break Some(ReadEnd::Client(code)),
                Ok(None) => break None,
                Err(close) if is_refusal(&close) => break Some(ReadEnd::Relay(close)),
                Err(close) => break Some(ReadEnd::Protocol(close)),
            }
        };
        if handed_over {
            self.link.busy_with(Box::pin(inbound.caught_up())).await;
        }
        end
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

/// The task that writes whatever nobody wrote before it ([`crate::SendNow`]), and keeps the connection alive with pings.
struct Writer<W, O> {
    wire: Arc<Wire<W, O>>,
    link: Arc<Link>,
    shared: Arc<Shared>,
    liveness: Liveness,
}

impl<W: Sink, O: Outbound> Writer<W, O> {
    async fn run(mut self) -> WriteEnd {
        let mut timer = pin!(sleep(self.shared.config.ping_interval));
        loop {
            let mut ping = false;
            tokio::select! {
                () = self.link.changed.notified() => {}
                () = &mut timer => match self.beat() {
                    Beat::Silent => return WriteEnd::Silent,
                    Beat::Wait(next) => timer.set(sleep(next)),
                    Beat::Ping(next) => {
                        ping = true;
                        timer.set(sleep(next));
                    }
                },
                () = self.wire.ready() => {}
            }
            let owed = std::mem::take(&mut *self.link.owed.lock());
            let closed = self.wire.encode(Extra { pong: owed.pong, ping, close: owed.close });
            match self.wire.flush(self.shared.config.write_timeout).await {
                Ok(()) if ping => self.liveness.sent(self.shared.clock.instant()),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return WriteEnd::Stuck,
                Err(_) => return WriteEnd::Lost,
            }
            if let Some(code) = closed {
                // The client reads our frame, then our end; a failure here means it is gone.
                let _ = self.wire.shutdown(self.shared.config.write_timeout).await;
                return WriteEnd::Closed(code);
            }
        }
    }

    /// What happens when the timer ends.
    fn beat(&mut self) -> Beat {
        let heard = self.link.heard.load(Ordering::Relaxed) || self.link.busy.load(Ordering::Relaxed);
        let beat = self.liveness.tick(self.shared.clock.instant(), heard, &self.shared.config);
        if let Beat::Ping(_) = beat {
            self.link.heard.store(false, Ordering::Relaxed);
        }
        beat
    }
}
