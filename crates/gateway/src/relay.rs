//! What the edge asks of the relay behind it. Implemented by the composition, never here.

use std::borrow::Cow;
use std::future::Future;
use std::sync::Weak;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::Peer;

/// The relay as the edge sees it: somebody to hand sockets to, and the text of a few pages. A relay that is still starting
/// refuses all of it, and says in its readiness how far it is.
pub trait Relay: Send + Sync + 'static {
    /// The receiving side of a connection.
    type Inbound: Inbound;
    /// The sending side of a connection.
    type Outbound: Outbound;

    /// A client asks to upgrade. Called once the request is known to be a valid WebSocket handshake.
    fn connect(&self, peer: Peer) -> Result<(Self::Inbound, Self::Outbound), Refused>;
    /// The NIP-11 document, as JSON.
    fn information(&self) -> Result<Bytes, Refused>;
    /// The page a browser gets, as HTML.
    fn landing(&self) -> Result<Bytes, Refused>;
    /// Whether the relay can serve; the reason if it cannot, and a warning if it can but something is wrong.
    fn readiness(&self) -> Result<Option<String>, String>;
    /// Every metric in the OpenMetrics text format.
    fn metrics(&self) -> Result<String, Refused>;
    /// Anything else; `None` if there is nothing at that path. A dropped call means that the client is gone.
    fn resource(&self, request: ResourceRequest) -> impl Future<Output = Result<Option<Resource>, Refused>> + Send;
}

/// A GET for something that is no page of every relay.
#[derive(Debug, Clone)]
pub struct ResourceRequest {
    /// `GET` or `HEAD`.
    pub method: String,
    /// Who asks.
    pub peer: Peer,
    /// From the first slash on, not decoded.
    pub path: String,
    /// Behind the question mark, not decoded; empty if there is none.
    pub query: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

/// What is at a path.
#[derive(Debug, Clone)]
pub struct Resource {
    /// The HTTP status.
    pub status: u16,
    /// The media type.
    pub kind: &'static str,
    /// Whether it never changes, so that caches may keep it.
    pub immutable: bool,
    /// The body.
    pub content: Bytes,
}

/// Takes a connection's messages. Dropped when the connection ends, whichever side ended it.
pub trait Inbound: Send + 'static {
    /// One whole text message: valid UTF-8, at most `message_bytes_max` bytes. The next one is read after this call
    /// returns, so waiting here is back-pressure on the client. The future may be dropped when the socket dies.
    fn message(&mut self, text: &str) -> impl Future<Output = ()> + Send;
    /// Whatever has arrived was given to [`Inbound::message`]: what was put off there, to be dealt with together, is due. Called after the
    /// last message before each wait for the client, and before the end. The future may be dropped when the socket dies.
    fn caught_up(&mut self) -> impl Future<Output = ()> + Send;
}

/// Gives a connection its frames, to its writing task and to whoever calls [`SendNow`]. Dropped when the connection ends.
pub trait Outbound: Send + Sync + 'static {
    /// Waits until [`Outbound::take`] has something. Cancel-safe.
    fn ready(&self) -> impl Future<Output = ()> + Send;
    /// Gives `taker` frames of up to about `bytes_max` bytes; [`Outbound::sent`] follows when they have left. Returns the close that is due
    /// behind them, once nothing else will come. Never blocks.
    fn take(&self, bytes_max: usize, taker: impl FnMut(Frame<'_>)) -> Option<Close>;
    /// The socket has taken so many bytes of what was taken from here, or all of it: `usize::MAX`. Whether more waits.
    fn sent(&self, bytes: usize) -> bool;
    /// So many bytes of a frame that was never here wait for the socket, as if they had been taken from here.
    fn left(&self, bytes: usize);
    /// Called once, before the first [`Outbound::take`]: a short way to the socket, for as long as it is open.
    fn attach(&self, wire: Weak<dyn SendNow>);
}

/// The short way to a socket: sending on the thread that has something to send, without waking the writing task.
pub trait SendNow: Send + Sync {
    /// Takes frames of about `bytes_max` bytes from the [`Outbound`] and hands them to the socket if it has room at once. Never blocks.
    /// False if the writing task must be woken, because it is at work itself, or a part is left to it, or more waits.
    fn send_now(&self, bytes_max: usize) -> bool;
    /// Hands `frame` to the socket, past the [`Outbound`], if nothing is before it: here nothing waits, and what waits there `is_next`
    /// says, asked at most once and when no other frame can come between. What the socket does not take at once is left to the writing
    /// task, and counted by [`Outbound::left`]. Never blocks. False if the frame is still the caller's.
    fn send_frame(&self, frame: &Frame<'_>, is_next: &dyn Fn() -> bool) -> bool;
}

/// One text message to the client, lent until it is copied into what the socket gets.
#[derive(Debug, Clone, Copy)]
pub enum Frame<'a> {
    /// A message of its own.
    Text(&'a str),
    /// A message whose payload is `head`, then `json`, then `]`.
    Event {
        /// The opening of the array, up to and including the comma before the shared part.
        head: &'a [u8],
        /// The part that every receiver shares.
        json: &'a [u8],
        /// Of the event's commit, if the delay from there to the socket shall be measured.
        origin: Option<Origin>,
    },
}

/// When and where the event of a frame was committed.
#[derive(Debug, Clone, Copy)]
pub struct Origin {
    /// By this process's steady clock.
    pub at: Instant,
    /// By this pod.
    pub here: bool,
}

impl Frame<'_> {
    /// Length of the message in bytes.
    pub fn payload_len(&self) -> usize {
        match self {
            Frame::Text(text) => text.len(),
            Frame::Event { head, json, .. } => head.len() + json.len() + 1,
        }
    }

    /// The message in the order it is sent.
    pub(crate) fn parts(&self) -> [&[u8]; 3] {
        match self {
            Frame::Text(text) => [text.as_bytes(), b"", b""],
            Frame::Event { head, json, .. } => [head, json, b"]"],
        }
    }
}

/// Why a connection is closed: what the client reads in the close frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    /// A close code of RFC 6455, section 7.4.
    pub code: u16,
    /// Text for people; cut to the 123 bytes a close frame has room for.
    pub reason: Cow<'static, str>,
}

impl Close {
    /// A close with a code and a reason.
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>) -> Self {
        Close { code, reason: reason.into() }
    }
}

/// Why an upgrade or a page was refused; the client may try again after `retry_after`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// True if this client asks too much (HTTP 429), false if the relay has no room for anybody (HTTP 503).
    pub too_many: bool,
    /// Text for people.
    pub reason: Cow<'static, str>,
    /// How long to wait, told in whole seconds.
    pub retry_after: Duration,
}
