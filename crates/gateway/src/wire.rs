//! The sending half of a socket, shared by the connection's writing task and whoever has frames for it.
//!
//! Most frames are small and find an idle socket. Waking a task to write them costs more than writing them: the thread that made a
//! frame may hand it to the socket itself ([`SendNow`]). What the socket does not take at once is left to the task.
//!
//! Invariants: bytes leave in the order they were encoded, whoever encoded them; nothing waits under the lock; an idle connection
//! holds no buffer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::relay::SendNow;
use crate::server::Shared;
use crate::{Close, Frame, Outbound, Taken, encode};

/// About how much is taken from the relay for one write of the task.
const WRITE_BYTES: usize = 64 * 1024;

/// See the module.
pub(crate) struct Wire<W, O> {
    sending: Mutex<Sending<W>>,
    outbound: O,
    /// Bytes were left to the task.
    left_over: Notify,
    deflate: bool,
    shared: Arc<Shared>,
}

struct Sending<W> {
    io: W,
    /// Encoded; the first `sent` bytes are the socket's already.
    unsent: Vec<u8>,
    sent: usize,
    /// The frames among them.
    frames: Vec<Frame>,
    /// A close frame is among them: nothing may follow.
    closed: bool,
}

/// What the connection itself has to say, besides the relay's frames.
pub(crate) struct Extra {
    pub(crate) pong: Option<Vec<u8>>,
    pub(crate) ping: bool,
    pub(crate) close: Option<Closing>,
}

/// A close and whether what the relay has queued goes before it.
pub(crate) struct Closing {
    pub(crate) close: Close,
    pub(crate) flush: bool,
}

impl<W: AsyncWrite + Unpin + Send + 'static, O: Outbound> Wire<W, O> {
    pub(crate) fn open(io: W, outbound: O, deflate: bool, shared: Arc<Shared>) -> Arc<Self> {
        let sending = Sending { io, unsent: Vec::new(), sent: 0, frames: Vec::new(), closed: false };
        let wire = Arc::new(Self { sending: Mutex::new(sending), outbound, left_over: Notify::new(), deflate, shared });
        let weak: Weak<Self> = Arc::downgrade(&wire);
        wire.outbound.attach(weak);
        wire
    }
}

impl<W: AsyncWrite + Unpin + Send, O: Outbound> Wire<W, O> {
    /// Waits until there is something to write. Cancel-safe.
    pub(crate) async fn ready(&self) {
        tokio::select! {
            () = self.outbound.ready() => {}
            () = self.left_over.notified() => {}
        }
    }

    /// Encodes what the relay has queued and `extra`. Returns the code of a close frame, once there is one: the relay's own goes
    /// before the connection's.
    pub(crate) fn encode(&self, extra: Extra) -> Option<u16> {
        let mut sending = self.sending.lock();
        let Extra { pong, ping, close } = extra;
        if let Some(body) = pong {
            encode::pong(&body, &mut sending.unsent);
        }
        if ping {
            encode::ping(&mut sending.unsent);
        }
        let taken = match &close {
            Some(Closing { flush: false, .. }) => None,
            _ => self.take(&mut sending, WRITE_BYTES),
        };
        let close = match taken {
            Some(Taken::Close(close)) => Some(close),
            _ => close.map(|closing| closing.close),
        };
        if let Some(close) = &close {
            encode::close(close, &mut sending.unsent);
            sending.closed = true;
        }
        close.map(|close| close.code)
    }

    /// Encodes frames of about `bytes_max` bytes.
    fn take(&self, sending: &mut Sending<W>, bytes_max: usize) -> Option<Taken> {
        let Sending { unsent, frames, .. } = sending;
        let before = frames.len();
        let taken = self.outbound.take(frames, bytes_max);
        let payload = |frame: &Frame| frame.payload_len() + encode::HEADER_BYTES_MAX;
        unsent.reserve(frames[before..].iter().map(payload).sum());
        for frame in &frames[before..] {
            encode::message(frame, self.deflate, unsent);
        }
        taken
    }

    /// Writes all that is encoded. Progress, not completion, is what the timeout is for: a slow line may take long for a large page
    /// of events.
    pub(crate) async fn flush(&self, write_timeout: Duration) -> io::Result<()> {
        while !self.sending.lock().is_sent() {
            let step = poll_fn(|cx| self.sending.lock().poll_write(cx));
            timeout(write_timeout, step).await.map_err(|_| io::ErrorKind::TimedOut)??;
        }
        let flushed = poll_fn(|cx| Pin::new(&mut self.sending.lock().io).poll_flush(cx));
        timeout(write_timeout, flushed).await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.finish(&mut self.sending.lock());
        Ok(())
    }

    pub(crate) async fn shutdown(&self, within: Duration) -> io::Result<()> {
        let shut = poll_fn(|cx| Pin::new(&mut self.sending.lock().io).poll_shutdown(cx));
        timeout(within, shut).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// All is written: counts it and gives the memory back.
    fn finish(&self, sending: &mut Sending<W>) {
        let Sending { unsent, sent, frames, .. } = sending;
        if *sent == 0 {
            return;
        }
        let metrics = &self.shared.metrics;
        metrics.writes.inc();
        metrics.bytes_out.inc_by(*sent as u64);
        metrics.frames_out.inc_by(frames.len() as u64);
        let mut now = None;
        for frame in &*frames {
            if let Frame::Event { origin: Some(origin), .. } = frame {
                let now = *now.get_or_insert_with(|| self.shared.clock.instant());
                metrics.delivery.took(now.saturating_duration_since(origin.at), origin.here);
            }
        }
        (*unsent, *sent, *frames) = (Vec::new(), 0, Vec::new());
    }
}

impl<W: AsyncWrite + Unpin> Sending<W> {
    fn is_sent(&self) -> bool {
        self.sent == self.unsent.len()
    }

    /// One write of what is left.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { io, unsent, sent, .. } = self;
        match ready!(Pin::new(io).poll_write(cx, &unsent[*sent..]))? {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            written => {
                *sent += written;
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Whether the socket has taken everything, without waiting.
    fn send_all(&mut self) -> bool {
        // The task registers its own waker when it finds what is left here.
        let mut cx = Context::from_waker(Waker::noop());
        while !self.is_sent() {
            if !matches!(self.poll_write(&mut cx), Poll::Ready(Ok(()))) {
                return false;
            }
        }
        matches!(Pin::new(&mut self.io).poll_flush(&mut cx), Poll::Ready(Ok(())))
    }
}

impl<W: AsyncWrite + Unpin + Send, O: Outbound> SendNow for Wire<W, O> {
    fn send_now(&self, bytes_max: usize) -> bool {
        let Some(mut sending) = self.sending.try_lock() else { return false };
        // The task is at it, and what it has goes first.
        if !sending.unsent.is_empty() {
            return false;
        }
        if sending.closed {
            return true;
        }
        // A close that is due stays due: the task comes to it.
        if self.take(&mut sending, bytes_max).is_some_and(|taken| matches!(taken, Taken::Close(_))) {
            self.left_over.notify_one();
        }
        if !sending.send_all() {
            self.left_over.notify_one();
            return false;
        }
        self.finish(&mut sending);
        true
    }
}
