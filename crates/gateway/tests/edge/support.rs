//! An echo relay behind a real gateway on a free port, and a client that can misbehave.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use towpath_gateway::{
    Close, Config, Drained, Frame, Gateway, Handle, Inbound, Metrics, Origin, Outbound, Peer, Refused, Relay, Resource,
    ResourceRequest, SendNow,
};
use towpath_runtime::{Clock, SystemClock};

/// Echoes. `close` makes it close with 4000; `flood N B` sends N messages of B bytes; `now N` sends N numbered messages by the short
/// way; `event` sends an event frame.
#[derive(Default)]
pub struct Echo {
    pub peers: Mutex<Vec<Peer>>,
    pub refuse: Mutex<Option<Refused>>,
    pub warning: Mutex<Option<String>>,
    pub shutdown: Arc<Notify>,
}

/// With the echoes that it puts off until it has caught up.
pub struct EchoIn(Arc<Echoes>, Vec<Echoed>);

pub struct EchoOut(Arc<Echoes>);

/// A frame of its own.
enum Echoed {
    Text(String),
    Event(Origin),
}

impl Echoed {
    fn frame(&self) -> Frame<'_> {
        match self {
            Echoed::Text(text) => Frame::Text(text),
            Echoed::Event(origin) => {
                Frame::Event { head: b"[\"EVENT\",\"s\",", json: b"{\"id\":1}", origin: Some(*origin) }
            }
        }
    }
}

/// What one connection is to hear.
struct Echoes {
    frames: Mutex<VecDeque<Echoed>>,
    arrived: Notify,
    shutdown: Arc<Notify>,
    close: Mutex<Option<Close>>,
    wire: OnceLock<Weak<dyn SendNow>>,
}

impl Echoes {
    fn push(&self, frame: Echoed) {
        self.frames.lock().push_back(frame);
        self.arrived.notify_one();
    }

    /// As a relay does on a thread that has a frame.
    fn push_now(&self, frame: Echoed) {
        self.frames.lock().push_back(frame);
        let wire = self.wire.get().and_then(Weak::upgrade);
        if !wire.is_some_and(|wire| wire.send_now(2 * 1024)) || !self.frames.lock().is_empty() {
            self.arrived.notify_one();
        }
    }
}

impl Echo {
    fn unless_refused<T>(&self, answer: T) -> Result<T, Refused> {
        self.refuse.lock().clone().map_or(Ok(answer), Err)
    }
}

impl Relay for Echo {
    type Inbound = EchoIn;
    type Outbound = EchoOut;

    fn connect(&self, peer: Peer) -> Result<(EchoIn, EchoOut), Refused> {
        self.peers.lock().push(peer);
        let echoes = Arc::new(Echoes {
            frames: Mutex::default(),
            arrived: Notify::new(),
            shutdown: self.shutdown.clone(),
            close: Mutex::default(),
            wire: OnceLock::new(),
        });
        self.unless_refused((EchoIn(echoes.clone(), Vec::new()), EchoOut(echoes)))
    }

    fn information(&self) -> Result<Bytes, Refused> {
        self.unless_refused(Bytes::from_static(b"{\"name\":\"echo\"}"))
    }

    fn landing(&self) -> Result<Bytes, Refused> {
        self.unless_refused(Bytes::from_static(b"<title>echo</title>"))
    }

    fn readiness(&self) -> Result<Option<String>, String> {
        Ok(self.warning.lock().clone())
    }

    fn metrics(&self) -> Result<String, Refused> {
        self.unless_refused("# EOF\n".to_owned())
    }

    async fn resource(&self, request: ResourceRequest) -> Result<Option<Resource>, Refused> {
        let content = format!("{}?{} {:?}", request.path, request.query, request.authorization).into();
        let (status, immutable) = (203, request.query == "for-ever");
        let found = Resource { status, kind: "text/x-echo", immutable, content };
        self.unless_refused(request.path.starts_with("/echo/").then_some(found))
    }
}

impl Inbound for EchoIn {
    async fn message(&mut self, text: &str) {
        let words: Vec<&str> = text.split(' ').collect();
        match words[..] {
            ["close"] => {
                *self.0.close.lock() = Some(Close::new(4000, "as you wish"));
                self.0.push(Echoed::Text("last words".into()));
            }
            ["flood", count, bytes] => {
                let text = "x".repeat(bytes.parse().expect("a number"));
                for _ in 0..count.parse().expect("a number") {
                    self.0.push(Echoed::Text(text.clone()));
                }
            }
            ["now", count] => {
                for number in 0..count.parse().expect("a number") {
                    let number: u32 = number;
                    self.0.push_now(Echoed::Text(format!("{number} {}", "x".repeat(1_000))));
                }
            }
            ["event"] => {
                self.0.push(Echoed::Event(Origin { at: SystemClock.instant(), here: true }));
            }
            _ => self.1.push(Echoed::Text(text.to_owned())),
        }
    }

    async fn caught_up(&mut self) {
        self.1.drain(..).for_each(|frame| self.0.push(frame));
    }
}

impl Outbound for EchoOut {
    async fn ready(&self) {
        loop {
            let arrived = self.0.arrived.notified();
            if !self.0.frames.lock().is_empty() || self.0.close.lock().is_some() {
                return;
            }
            tokio::select! {
                () = arrived => {}
                () = self.0.shutdown.notified() => {
                    self.0.close.lock().get_or_insert(Close::new(1012, "the relay restarts"));
                }
            }
        }
    }

    fn take(&self, bytes_max: usize, mut taker: impl FnMut(Frame<'_>)) -> Option<Close> {
        let mut frames = self.0.frames.lock();
        let mut bytes = 0;
        while bytes < bytes_max
            && let Some(frame) = frames.pop_front()
        {
            bytes += frame.frame().payload_len();
            taker(frame.frame());
        }
        if frames.is_empty() { self.0.close.lock().clone() } else { None }
    }

    fn sent(&self, _: usize) -> bool {
        !self.0.frames.lock().is_empty()
    }

    fn left(&self, _: usize) {}

    fn attach(&self, wire: Weak<dyn SendNow>) {
        let _ = self.0.wire.set(wire);
    }
}

/// A running edge.
pub struct Edge {
    pub relay: Arc<Echo>,
    pub metrics: Metrics,
    pub handle: Handle,
    pub port: u16,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinSet<(Drained, ())>,
}

pub fn config() -> Config {
    Config { listen: ([127, 0, 0, 1], 0).into(), ..Config::default() }
}

impl Edge {
    pub fn start() -> Edge {
        Edge::with(config())
    }

    pub fn with(config: Config) -> Edge {
        let (relay, metrics) = (Arc::new(Echo::default()), Metrics::default());
        let bound = Gateway::bind(config, metrics.clone(), Arc::new(SystemClock)).expect("a free port");
        let (handle, port) = (bound.handle(), bound.address().port());
        let (stop, stopped) = oneshot::channel();
        let mut serving = JoinSet::new();
        serving.spawn(bound.serve(relay.clone(), async move {
            let _ = stopped.await;
        }));
        Edge { relay, metrics, handle, port, stop: Some(stop), serving }
    }

    pub async fn socket(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).await.expect("a connection")
    }

    pub async fn client(&self) -> Client {
        self.client_with("").await.1
    }

    /// A WebSocket with more headers in its request; the answer's head comes with it.
    pub async fn client_with(&self, headers: &str) -> (String, Client) {
        Client::open(self.socket().await, headers).await
    }

    /// Sends a request as it is and reads the whole answer.
    pub async fn http(&self, request: &str) -> String {
        let mut socket = self.socket().await;
        socket.write_all(request.as_bytes()).await.expect("to send");
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer)).await.expect("an answer");
        answer
    }

    pub fn stop(&mut self) {
        self.stop.take().expect("stopped once").send(()).expect("a running edge");
    }

    pub async fn drained(mut self) -> Drained {
        soon(self.serving.join_next()).await.expect("one task").expect("an end").0
    }
}

/// Nothing in these tests may take long.
pub async fn soon<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("something within ten seconds")
}

pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A WebSocket client that sends what it is told to.
pub struct Client {
    pub io: Box<dyn Io>,
}

/// A frame from the server.
#[derive(Debug, PartialEq, Eq)]
pub struct Got {
    pub first: u8,
    pub body: Vec<u8>,
}

pub const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: relay.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

impl Client {
    pub async fn open(io: impl Io + 'static, headers: &str) -> (String, Client) {
        let mut io: Box<dyn Io> = Box::new(io);
        io.write_all(format!("{UPGRADE}{headers}\r\n").as_bytes()).await.expect("to send");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(io.read_u8()).await.expect("a byte"));
        }
        (String::from_utf8(head).expect("text"), Client { io })
    }

    /// Sends a frame: its first byte, the body masked.
    pub async fn send(&mut self, first: u8, body: &[u8]) {
        self.io.write_all(&frame(first, body)).await.expect("to send");
    }

    pub async fn text(&mut self, text: &str) {
        self.send(0x81, text.as_bytes()).await;
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("to send");
    }

    pub async fn get(&mut self) -> Got {
        soon(async {
            let first = self.io.read_u8().await.expect("a frame");
            let length = match self.io.read_u8().await.expect("a length") {
                126 => u64::from(self.io.read_u16().await.expect("a length")),
                127 => self.io.read_u64().await.expect("a length"),
                short => u64::from(short),
            };
            let mut body = vec![0; usize::try_from(length).expect("a length")];
            self.io.read_exact(&mut body).await.expect("a body");
            Got { first, body }
        })
        .await
    }

    pub async fn get_text(&mut self) -> String {
        let got = self.get().await;
        assert_eq!(got.first, 0x81, "{got:?}");
        String::from_utf8(got.body).expect("text")
    }

    /// The close frame, which must come next, and the end of the socket after it.
    pub async fn get_close(&mut self) -> (u16, String) {
        let got = self.get().await;
        assert_eq!(got.first, 0x88, "{got:?}");
        let code = u16::from_be_bytes([got.body[0], got.body[1]]);
        let rest = soon(self.io.read_u8()).await;
        assert!(rest.is_err(), "there is something after the close frame");
        (code, String::from_utf8(got.body[2..].to_vec()).expect("text"))
    }
}

/// A client's frame as bytes.
pub fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match body.len() {
        short @ ..126 => bytes.push(0x80 | short as u8),
        medium @ 126..65_536 => {
            bytes.push(0x80 | 126);
            bytes.extend((medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    bytes.extend(mask);
    bytes.extend(body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}
