//! The sending half of a socket, shared by the connection's writing task and whoever has frames for it.
//!
//! Most frames are small and find an idle socket. Waking a task to write them costs more than writing them: the thread that made a
//! frame may hand it to the socket itself ([`SendNow`]). What the socket does not take at once is left to the task.
//!
//! Invariants: bytes leave in the order they were encoded, whoever encoded them; nothing waits under the lock; an idle connection
//! holds no buffer: a thread lends its own to whom it sends for, as long as the socket takes everything at once.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::relay::SendNow;
use crate::server::Shared;
use crate::socket::Sink;
use crate::{Close, Frame, Origin, Outbound, encode};

/// About how much is taken from the relay for one write of the task.
const WRITE_BYTES: usize = 64 * 1024;
/// Of its buffers a thread keeps those that are no larger.
const KEPT_BYTES: usize = 2 * WRITE_BYTES;

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
    /// The first `sent` bytes are the socket's already.
    encoded: Encoded,
    sent: usize,
    /// A close frame is among them: nothing may follow.
    closed: bool,
}

/// Frames as bytes.
#[derive(Default)]
struct Encoded {
    bytes: Vec<u8>,
    frames: u64,
    /// Of the live events among them.
    origins: Vec<Origin>,
}

impl Encoded {
    fn push(&mut self, frame: &Frame<'_>, deflate: bool) {
        self.bytes.reserve(frame.payload_len() + encode::HEADER_BYTES_MAX);
        encode::message(frame, deflate, &mut self.bytes);
        self.frames += 1;
        if let Frame::Event { origin: Some(origin), .. } = frame {
            self.origins.push(*origin);
        }
    }

    /// Leaves its memory to the thread, unless it is much, or that has more.
    fn give_back(mut self) {
        let kept = BUFFER.take();
        let is_better = (kept.bytes.capacity()..=KEPT_BYTES).contains(&self.bytes.capacity());
        self.bytes.clear();
        self.origins.clear();
        BUFFER.set(if is_better { Self { frames: 0, ..self } } else { kept });
    }

    /// It has to wait, which may be long and of many connections: in no more memory than it needs.
    fn hold(&mut self) {
        self.bytes.shrink_to_fit();
        self.origins.shrink_to_fit();
    }
}

thread_local! {
    /// Of no bytes: its memory is what counts.
    static BUFFER: Cell<Encoded> = Cell::default();
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

impl<W: Sink, O: Outbound> Wire<W, O> {
    pub(crate) fn open(io: W, outbound: O, deflate: bool, shared: Arc<Shared>) -> Arc<Self> {
        let sending = Sending { io, encoded: Encoded::default(), sent: 0, closed: false };
        let wire = Arc::new(Self { sending: Mutex::new(sending), outbound, left_over: Notify::new(), deflate, shared });
        let weak: Weak<Self> = Arc::downgrade(&wire);
        wire.outbound.attach(weak);
        wire
    }

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
        if sending.encoded.bytes.is_empty() {
            sending.encoded = BUFFER.take();
        }
        let Extra { pong, ping, close } = extra;
        if let Some(body) = pong {
            encode::pong(&body, &mut sending.encoded.bytes);
        }
        if ping {
            encode::ping(&mut sending.encoded.bytes);
        }
        let due = match &close {
            Some(Closing { flush: false, .. }) => None,
            // What is queued goes before the close, however much that is.
            Some(_) => self.take(&mut sending, usize::MAX),
            None => self.take(&mut sending, WRITE_BYTES),
        };
        let close = due.or(close.map(|closing| closing.close));
        if let Some(close) = &close {
            encode::close(close, &mut sending.encoded.bytes);
            sending.closed = true;
        }
        close.map(|close| close.code)
    }

    /// Encodes frames of about `bytes_max` bytes. Returns the close that is due behind them.
    fn take(&self, sending: &mut Sending<W>, bytes_max: usize) -> Option<Close> {
        let Sending { encoded, .. } = sending;
        self.outbound.take(bytes_max, |frame| encoded.push(&frame, self.deflate))
    }

    /// Writes all that is encoded. Progress, not completion, is what the timeout is for: a slow line may take long for a large page
    /// of events.
    pub(crate) async fn flush(&self, write_timeout: Duration) -> io::Result<()> {
        while !self.sending.lock().is_sent() {
            let step = poll_fn(|cx| self.sending.lock().poll_write(cx));
            let written = timeout(write_timeout, step).await.map_err(|_| io::ErrorKind::TimedOut)??;
            self.outbound.sent(written);
        }
        let flushed = poll_fn(|cx| self.sending.lock().poll_flush(cx));
        timeout(write_timeout, flushed).await.map_err(|_| io::ErrorKind::TimedOut)??;
        self.finish(&mut self.sending.lock());
        Ok(())
    }

    pub(crate) async fn shutdown(&self, within: Duration) -> io::Result<()> {
        let shut = poll_fn(|cx| Pin::new(&mut self.sending.lock().io).poll_shutdown(cx));
        timeout(within, shut).await.map_err(|_| io::ErrorKind::TimedOut)?
    }

    /// Counts what is written and gives its memory back, once that is all. What is not stays: between two of the task's locks another
    /// thread may have encoded frames of which the socket took a part. Whether the relay has more.
    fn finish(&self, sending: &mut Sending<W>) -> bool {
        if !sending.is_sent() {
            return false;
        }
        let encoded = mem::take(&mut sending.encoded);
        sending.sent = 0;
        let is_something = !encoded.bytes.is_empty();
        if is_something {
            self.count(&encoded);
        }
        encoded.give_back();
        is_something && self.outbound.sent(usize::MAX)
    }

    /// Of what the socket has taken.
    fn count(&self, sent: &Encoded) {
        let metrics = &self.shared.metrics;
        metrics.writes.inc();
        metrics.bytes_out.inc_by(sent.bytes.len() as u64);
        metrics.frames_out.inc_by(sent.frames);
        if !sent.origins.is_empty() {
            let now = self.shared.clock.instant();
            for origin in &sent.origins {
                metrics.delivery.took(now.saturating_duration_since(origin.at), origin.here);
            }
        }
    }
}

impl<W: Sink> Sending<W> {
    fn is_sent(&self) -> bool {
        self.sent == self.encoded.bytes.len()
    }

    /// One write of what is left; how much of it.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Self { io, encoded, sent, .. } = self;
        let written = match Pin::new(io).poll_write(cx, &encoded.bytes[*sent..]) {
            Poll::Pending => 0,
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            Poll::Ready(written) => written?,
        };
        *sent += written;
        if *sent < encoded.bytes.len() {
            encoded.hold();
        }
        if written > 0 { Poll::Ready(Ok(written)) } else { Poll::Pending }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        if flushed.is_pending() {
            self.encoded.hold();
        }
        flushed
    }

    /// Whether the socket has taken everything, without waiting.
    fn send_all(&mut self) -> bool {
        let (sent, are_all) = self.io.send(&self.encoded.bytes[self.sent..]);
        self.sent += sent;
        are_all
    }
}

impl<W: Sink, O: Outbound> SendNow for Wire<W, O> {
    fn send_now(&self, bytes_max: usize) -> bool {
        let Some(mut sending) = self.sending.try_lock() else { return false };
        // The task is at it, and what it has goes first.
        if !sending.encoded.bytes.is_empty() {
            return false;
        }
        if sending.closed {
            return true;
        }
        sending.encoded = BUFFER.take();
        // A close that is due stays due: the task comes to it.
        if self.take(&mut sending, bytes_max).is_some() {
            self.left_over.notify_one();
        }
        if !sending.send_all() {
            sending.encoded.hold();
            self.outbound.sent(sending.sent);
            self.left_over.notify_one();
            return false;
        }
        !self.finish(&mut sending)
    }

    fn send_frame(&self, frame: &Frame<'_>, is_next: &dyn Fn() -> bool) -> bool {
        let Some(mut sending) = self.sending.try_lock() else { return false };
        if !sending.encoded.bytes.is_empty() || sending.closed || !is_next() {
            return false;
        }
        let mut encoded = BUFFER.take();
        encoded.push(frame, self.deflate);
        let (sent, is_all) = sending.io.send(&encoded.bytes);
        if is_all {
            self.count(&encoded);
            encoded.give_back();
        } else {
            encoded.hold();
            self.outbound.left(encoded.bytes.len() - sent);
            (sending.encoded, sending.sent) = (encoded, sent);
            self.left_over.notify_one();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use futures_util::poll;
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::io::AsyncWrite;
    use towpath_runtime::{Clock, SystemClock};

    use super::*;
    use crate::ramp::Ramp;
    use crate::unfinished::Budget;
    use crate::{Config, Metrics};

    const LONG: Duration = Duration::from_secs(30);

    /// A socket that takes what it has room for, and may have something of its own to wait for.
    #[derive(Default)]
    struct Line {
        taken: Mutex<Vec<u8>>,
        room: AtomicUsize,
        is_busy: AtomicBool,
    }

    impl AsyncWrite for &'static Line {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            let taken = bytes.len().min(self.room.load(Ordering::Relaxed));
            if taken == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.room.fetch_sub(taken, Ordering::Relaxed);
            self.taken.lock().extend_from_slice(&bytes[..taken]);
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.is_busy.load(Ordering::Relaxed) {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Texts that wait.
    #[derive(Default)]
    struct Texts(Mutex<VecDeque<String>>, AtomicUsize);

    impl Outbound for &'static Texts {
        async fn ready(&self) {}

        fn take(&self, bytes_max: usize, mut taker: impl FnMut(Frame<'_>)) -> Option<Close> {
            let (mut texts, mut bytes) = (self.0.lock(), 0);
            while bytes < bytes_max
                && let Some(text) = texts.pop_front()
            {
                bytes += text.len();
                taker(Frame::Text(&text));
            }
            None
        }

        fn sent(&self, _: usize) -> bool {
            !self.0.lock().is_empty()
        }

        fn left(&self, bytes: usize) {
            self.1.fetch_add(bytes, Ordering::Relaxed);
        }

        fn attach(&self, _: Weak<dyn SendNow>) {}
    }

    impl Sink for &'static Line {}

    fn leaked<T: Default>() -> &'static T {
        Box::leak(Box::default())
    }

    fn wire(line: &'static Line, texts: &'static Texts) -> Arc<Wire<&'static Line, &'static Texts>> {
        let shared = Shared {
            config: Config::default(),
            metrics: Metrics::default(),
            unfinished: Budget::new(usize::MAX, Gauge::default()),
            ramp: Ramp::new(1, Duration::ZERO),
            clock: Arc::new(SystemClock),
        };
        Wire::open(line, texts, false, Arc::new(shared))
    }

    fn nothing() -> Extra {
        Extra { pong: None, ping: false, close: None }
    }

    #[test]
    fn the_task_is_wanted_for_what_is_more_than_was_asked_for() {
        let (line, texts) = (leaked::<Line>(), leaked::<Texts>());
        let wire = wire(line, texts);
        line.room.store(1_000, Ordering::Relaxed);
        texts.0.lock().extend(["one".into(), "two".into()]);
        assert!(!wire.send_now(1), "another waits");
        assert_eq!(&line.taken.lock()[2..], b"one");
        assert!(wire.send_now(1));
        assert_eq!(&line.taken.lock()[7..], b"two");
    }

    #[tokio::test]
    async fn a_frame_passes_if_nothing_is_before_it() {
        let (line, texts) = (leaked::<Line>(), leaked::<Texts>());
        let wire = wire(line, texts);
        line.room.store(8, Ordering::Relaxed);
        let is_asked = AtomicBool::new(false);
        let send = |text, is_next| {
            is_asked.store(false, Ordering::Relaxed);
            wire.send_frame(&Frame::Text(text), &|| {
                is_asked.store(true, Ordering::Relaxed);
                assert!(wire.sending.is_locked(), "no other frame can come between");
                is_next
            })
        };
        assert!(!send("later", false), "something waits in the relay");
        assert!(is_asked.load(Ordering::Relaxed) && line.taken.lock().is_empty());
        assert!(send("one", true));
        assert_eq!(&line.taken.lock()[2..], b"one");
        assert_eq!(wire.sending.lock().encoded.bytes.capacity(), 0, "nothing is kept");

        assert!(send("another", true), "it is the wire's, which leaves what is too much to its task");
        assert_eq!((line.taken.lock().len(), texts.1.load(Ordering::Relaxed)), (8, 6));
        assert!(!send("third", true), "a part is before it");
        assert!(!is_asked.load(Ordering::Relaxed));
        line.room.store(100, Ordering::Relaxed);
        assert!(poll!(std::pin::pin!(wire.left_over.notified())).is_ready(), "the task is told");
        wire.flush(LONG).await.expect("the socket is there");
        assert_eq!(&line.taken.lock()[7..], b"another");
        assert!(send("third", true));
        assert_eq!(&line.taken.lock()[16..], b"third");

        wire.encode(Extra { close: Some(Closing { close: Close::new(1000, ""), flush: true }), ..nothing() });
        wire.flush(LONG).await.expect("the socket is there");
        assert!(!send("too late", true), "behind a close frame");
        assert_eq!(wire.shared.metrics.frames_out.get(), 3);
    }

    #[tokio::test]
    async fn what_a_tls_session_has_taken_and_not_passed_on_is_left_to_the_task() {
        let (line, texts) = (leaked::<Line>(), leaked::<Texts>());
        let wire = wire(line, texts);
        line.room.store(1_000, Ordering::Relaxed);
        line.is_busy.store(true, Ordering::Relaxed);
        texts.0.lock().push_back("taken".into());
        assert!(!wire.send_now(1_000));
        assert_eq!(line.taken.lock().len(), "..taken".len());

        let (line, texts) = (leaked::<Line>(), leaked::<Texts>());
        let other = self::wire(line, texts);
        line.room.store(1_000, Ordering::Relaxed);
        line.is_busy.store(true, Ordering::Relaxed);
        assert!(other.send_frame(&Frame::Text("taken"), &|| true));
        assert_eq!(line.taken.lock().len(), "..taken".len());
        assert_eq!(other.shared.metrics.frames_out.get(), 0, "it is not on its way yet");
        assert!(!other.send_frame(&Frame::Text("behind it"), &|| true));
        assert!(poll!(std::pin::pin!(other.left_over.notified())).is_ready());
        line.is_busy.store(false, Ordering::Relaxed);
        other.flush(LONG).await.expect("the socket is there");
        assert_eq!(other.shared.metrics.frames_out.get(), 1);
    }

    #[test]
    fn a_buffer_that_is_given_back_is_empty_and_the_larger_is_kept() {
        let mut encoded = Encoded::default();
        let origin = Some(Origin { at: SystemClock.instant(), here: true });
        encoded.push(&Frame::Event { head: b"[", json: b"{}", origin }, false);
        let room = encoded.bytes.capacity();
        encoded.give_back();
        let kept = BUFFER.take();
        assert_eq!((kept.bytes.len(), kept.frames, kept.origins.len()), (0, 0, 0));
        assert_eq!(kept.bytes.capacity(), room);
        kept.give_back();
        Encoded { bytes: Vec::with_capacity(1), ..Encoded::default() }.give_back();
        Encoded { bytes: Vec::with_capacity(KEPT_BYTES + 1), ..Encoded::default() }.give_back();
        assert_eq!(BUFFER.take().bytes.capacity(), room);
    }

    #[tokio::test]
    async fn what_waits_for_a_socket_takes_no_more_memory_than_it_needs() {
        let (line, texts) = (leaked::<Line>(), leaked::<Texts>());
        let (wire, other) = (wire(line, texts), wire(leaked::<Line>(), leaked::<Texts>()));
        // The thread has a large buffer.
        line.room.store(100_000, Ordering::Relaxed);
        texts.0.lock().push_back("x".repeat(60_000));
        assert!(wire.send_now(100_000));
        let held = |wire: &Wire<_, &Texts>| wire.sending.lock().encoded.bytes.capacity();
        assert_eq!((held(&wire), held(&other)), (0, 0));

        other.outbound.0.lock().push_back("waits".into());
        other.encode(nothing());
        assert!(held(&other) >= 60_000, "the thread's, for now");
        assert!(poll!(std::pin::pin!(other.flush(LONG))).is_pending());
        assert_eq!(held(&other), "..waits".len());

        BUFFER.set(Encoded { bytes: Vec::with_capacity(60_000), ..Encoded::default() });
        line.room.store(0, Ordering::Relaxed);
        texts.0.lock().push_back("waits".into());
        assert!(!wire.send_now(1_000), "no room");
        assert_eq!(held(&wire), "..waits".len());

        BUFFER.set(Encoded { bytes: Vec::with_capacity(60_000), ..Encoded::default() });
        let third = self::wire(line, texts);
        assert!(third.send_frame(&Frame::Text("waits"), &|| true), "for the task");
        assert_eq!(held(&third), "..waits".len());
    }

    #[tokio::test]
    async fn what_another_thread_left_of_a_frame_is_not_thrown_away() {
        let (line, texts) = (leaked::<Line>(), leaked::<Texts>());
        let wire = wire(line, texts);
        // The task was woken for nothing, and is between two looks at the socket.
        line.is_busy.store(true, Ordering::Relaxed);
        wire.encode(nothing());
        let mut flushing = std::pin::pin!(wire.flush(LONG));
        assert!(poll!(&mut flushing).is_pending());

        texts.0.lock().push_back("an event that is longer than the socket has room for".into());
        line.room.store(10, Ordering::Relaxed);
        assert!(!wire.send_now(1_000), "a part is left to the task");
        line.is_busy.store(false, Ordering::Relaxed);
        flushing.await.expect("the socket is there");
        assert_eq!(line.taken.lock().len(), 10);

        line.room.store(1_000, Ordering::Relaxed);
        wire.ready().await;
        wire.encode(nothing());
        wire.flush(LONG).await.expect("the socket is there");
        let mut whole = Vec::new();
        encode::message(&Frame::Text("an event that is longer than the socket has room for"), false, &mut whole);
        assert_eq!(*line.taken.lock(), whole);
        assert_eq!(wire.sending.lock().encoded.bytes.capacity(), 0, "and what is sent is held no longer");
    }
}
