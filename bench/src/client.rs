//! Client connections to one relay and the wait for whichever has something to say.
//!
//! One thread owns a pool: no executor stands between the socket and the clock, and a timer with
//! nanosecond resolution wakes the thread when an event is due. Knows messages, but not what a
//! workload makes of them.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

use crate::frame;
use crate::message::Message;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const INBOX_BYTES: usize = 64 << 10;
/// Of one among thousands that come at once; it grows as it must.
const INBOX_BYTES_FIRST: usize = 4 << 10;
const HANDSHAKE_BYTES_MAX: usize = 16 << 10;
/// The nonce of RFC 6455's example and the answer it calls for: a generator needs no secrecy.
const NONCE: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const NONCE_ANSWER: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Requests and pongs are masked alike; events bring their own mask.
const MASK: [u8; 4] = [0x17, 0x2A, 0x3D, 0x51];

/// RFC 6455 section 7.4.1.
const NORMAL_CLOSURE: u16 = 1000;

/// A relay to load, resolved once.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    host: String,
    path: String,
    address: SocketAddr,
}

impl Target {
    /// Reads a `ws://` address; a load generator aimed elsewhere than at this machine is refused
    /// unless it is meant.
    pub(crate) fn parse(url: &str, allow_remote: bool) -> Result<Self> {
        let rest = url.strip_prefix("ws://").with_context(|| format!("{url} is not a ws:// address"))?;
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let with_port = if host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok()) {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = with_port
            .to_socket_addrs()
            .with_context(|| format!("cannot resolve {host}"))?
            .next()
            .with_context(|| format!("{host} has no address"))?;
        ensure!(
            allow_remote || is_loopback(address.ip()),
            "{url} is not on this machine; load on others needs --allow-remote and their consent"
        );
        Ok(Self { host: host.to_owned(), path: format!("/{path}"), address })
    }

    /// The same place over HTTP, where a relay describes itself.
    pub(crate) fn http_url(&self, path: Option<&str>) -> String {
        format!("http://{}{}", self.host, path.unwrap_or(&self.path))
    }
}

fn handshake(target: &Target) -> String {
    format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {NONCE}\r\n\r\n",
        target.path, target.host
    )
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

/// One WebSocket connection, non-blocking after its handshake.
pub(crate) struct Connection {
    stream: TcpStream,
    /// Bytes not yet understood: at most one unfinished frame survives `receive`.
    inbox: Vec<u8>,
    inbox_len: usize,
    /// The parts of a fragmented message so far.
    fragments: Vec<u8>,
    outbox: Vec<u8>,
    /// Whether the handshake is done.
    is_greeted: bool,
    is_open: bool,
}

impl Connection {
    pub(crate) fn open(target: &Target) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&target.address, CONNECT_TIMEOUT)
            .with_context(|| format!("cannot connect to {}", target.address))?;
        stream.set_read_timeout(Some(CONNECT_TIMEOUT))?;
        stream.set_write_timeout(Some(CONNECT_TIMEOUT))?;
        let mut connection = Self::over(stream, INBOX_BYTES)?;
        connection.shake_hands(target).context("the WebSocket handshake failed")?;
        connection.stream.set_nonblocking(true)?;
        Ok(connection)
    }

    /// Begins to connect and waits for nothing: a pool sends the request, and the first `receive` reads its answer.
    pub(crate) fn begin(target: &Target) -> Result<Self> {
        let family = if target.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        match connect(&socket, &target.address) {
            Ok(()) | Err(rustix::io::Errno::INPROGRESS) => {}
            Err(failure) => bail!("cannot connect to {}: {failure}", target.address),
        }
        let mut connection = Self::over(TcpStream::from(socket), INBOX_BYTES_FIRST)?;
        connection.outbox = handshake(target).into_bytes();
        Ok(connection)
    }

    fn over(stream: TcpStream, inbox_bytes: usize) -> Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            inbox: vec![0; inbox_bytes],
            inbox_len: 0,
            fragments: Vec::new(),
            outbox: Vec::new(),
            is_greeted: false,
            is_open: true,
        })
    }

    fn shake_hands(&mut self, target: &Target) -> Result<()> {
        self.stream.write_all(handshake(target).as_bytes())?;
        while !self.is_greeted {
            let received = self.stream.read(&mut self.inbox[self.inbox_len..HANDSHAKE_BYTES_MAX])?;
            ensure!(received > 0, "the relay closed the connection or its answer is too long");
            self.inbox_len += received;
            self.read_greeting()?;
        }
        Ok(())
    }

    /// Takes the answer to the handshake once all of it is there.
    fn read_greeting(&mut self) -> Result<()> {
        let answer = &self.inbox[..self.inbox_len];
        if let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&answer[..end]);
            ensure!(head.starts_with("HTTP/1.1 101"), "{}", head.lines().next().unwrap_or_default());
            ensure!(head.contains(NONCE_ANSWER), "the relay did not answer the nonce");
            self.consume(end + 4);
            self.is_greeted = true;
        }
        Ok(())
    }

    /// Whether the relay has answered the handshake.
    pub(crate) fn is_greeted(&self) -> bool {
        self.is_greeted
    }

    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Counts as closed from now on; the socket is when it is replaced or dropped.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
    }

    /// Queues a frame; nothing leaves before the flush.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.outbox.extend_from_slice(frame);
    }

    pub(crate) fn push_text(&mut self, text: &str) {
        frame::append(&mut self.outbox, frame::TEXT, text.as_bytes(), Some(MASK));
    }

    /// A frame that says goodbye.
    pub(crate) fn push_close(&mut self) {
        frame::append(&mut self.outbox, frame::CLOSE, &NORMAL_CLOSURE.to_be_bytes(), Some(MASK));
    }

    /// For a connection that is in no pool and says little: what the socket does not take stays queued.
    pub(crate) fn flush_now(&mut self) {
        self.flush();
    }

    /// Sends what is queued, in one write where the socket takes it; true when some is left.
    fn flush(&mut self) -> bool {
        while self.is_open && !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(sent) => drop(self.outbox.drain(..sent)),
                Err(failure) if failure.kind() == ErrorKind::WouldBlock => return true,
                Err(failure) if failure.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.is_open = false,
            }
        }
        false
    }

    /// Takes one read's worth of messages; the pool reports the rest as still readable.
    pub(crate) fn receive(&mut self, mut each: impl FnMut(Message<'_>)) -> Result<()> {
        self.receive_texts(|text| each(Message::read(text)))
    }

    /// As `receive`, for those who need less of a message than reading it costs.
    pub(crate) fn receive_texts(&mut self, mut each: impl FnMut(&[u8])) -> Result<()> {
        if self.inbox_len == self.inbox.len() {
            self.inbox.resize(self.inbox.len() * 2, 0);
        }
        match self.stream.read(&mut self.inbox[self.inbox_len..]) {
            Ok(0) => self.is_open = false,
            Ok(received) => self.inbox_len += received,
            Err(failure) if matches!(failure.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(_) => self.is_open = false,
        }
        if !self.is_greeted {
            self.read_greeting()?;
        }
        let mut understood = 0;
        while self.is_greeted
            && let Some(frame) = frame::first(&self.inbox[understood..self.inbox_len])?
        {
            let start = understood + frame.payload.start;
            let end = understood + frame.payload.end;
            let payload = &self.inbox[start..end];
            understood = end;
            match frame.opcode {
                frame::TEXT if frame.last => each(payload),
                frame::TEXT | frame::CONTINUATION => {
                    self.fragments.extend_from_slice(payload);
                    if frame.last {
                        each(&std::mem::take(&mut self.fragments));
                    }
                }
                frame::PING => frame::append(&mut self.outbox, frame::PONG, payload, Some(MASK)),
                frame::CLOSE => self.is_open = false,
                _ => {}
            }
        }
        self.consume(understood);
        Ok(())
    }

    fn consume(&mut self, bytes: usize) {
        self.inbox.copy_within(bytes..self.inbox_len, 0);
        self.inbox_len -= bytes;
    }
}

/// Taken of what the kernel has to say at one time.
const READY_MAX: usize = 1_024;
/// The timer's token; connections have their index.
const TIMER: u64 = u64::MAX;

/// A thread's connections and its alarm clock.
pub(crate) struct Pool {
    pub(crate) connections: Vec<Connection>,
    epoll: OwnedFd,
    timer: OwnedFd,
}

impl Pool {
    /// One connection to each target.
    pub(crate) fn open<'a>(targets: impl IntoIterator<Item = &'a Target>) -> Result<Self> {
        let connections = targets.into_iter().map(Connection::open).collect::<Result<Vec<_>>>()?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        for (index, connection) in connections.iter().enumerate() {
            epoll::add(&epoll, &connection.stream, EventData::new_u64(index as u64), EventFlags::IN)?;
        }
        Ok(Self { connections, epoll, timer })
    }

    /// Puts a connection that has only begun in the place of another, which it closes.
    pub(crate) fn replace(&mut self, index: usize, connection: Connection) -> io::Result<()> {
        self.connections[index] = connection;
        let stream = &self.connections[index].stream;
        Ok(epoll::add(&self.epoll, stream, EventData::new_u64(index as u64), EventFlags::IN | EventFlags::OUT)?)
    }

    pub(crate) fn open_connections(&self) -> usize {
        self.connections.iter().filter(|connection| connection.is_open).count()
    }

    /// Sends what `connection` has queued, now or when its socket takes it again.
    pub(crate) fn flush(&mut self, index: usize) -> io::Result<()> {
        let connection = &mut self.connections[index];
        if connection.flush() {
            self.watch(index, EventFlags::IN | EventFlags::OUT)?;
        }
        Ok(())
    }

    fn watch(&self, index: usize, flags: EventFlags) -> io::Result<()> {
        let stream = &self.connections[index].stream;
        Ok(epoll::modify(&self.epoll, stream, EventData::new_u64(index as u64), flags)?)
    }

    /// Waits until a connection is readable or `timeout` has passed; fills `readable`.
    pub(crate) fn wait(&mut self, timeout: Duration, readable: &mut Vec<usize>) -> Result<()> {
        // A timer of zero would be a timer switched off.
        let timeout = timeout.max(Duration::from_nanos(1));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let value = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        // Setting the timer anew also makes it unreadable again, so it is never read.
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: zero, it_value: value })?;
        self.collect(None, readable)
    }

    /// Looks which connections are readable and waits for none.
    pub(crate) fn look(&mut self, readable: &mut Vec<usize>) -> Result<()> {
        self.collect(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }), readable)
    }

    fn collect(&mut self, timeout: Option<&Timespec>, readable: &mut Vec<usize>) -> Result<()> {
        readable.clear();
        let mut ready = Vec::with_capacity(READY_MAX.min(self.connections.len() + 1));
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), timeout) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(failure) => bail!("waiting for the relay failed: {failure}"),
        }
        for event in ready {
            let (token, flags) = (event.data.u64(), event.flags);
            if token == TIMER {
                continue;
            }
            let index = token as usize;
            if flags.contains(EventFlags::OUT) && !self.connections[index].flush() {
                self.watch(index, EventFlags::IN)?;
            }
            if !self.connections[index].is_open {
                epoll::delete(&self.epoll, &self.connections[index].stream)?;
            } else if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
                readable.push(index);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_loaded_unless_told_otherwise() {
        assert!(Target::parse("ws://127.0.0.1:7777", false).is_ok());
        assert!(Target::parse("ws://[::1]:7777/path", false).is_ok());
        assert!(Target::parse("ws://192.0.2.1:7777", false).is_err());
        assert!(Target::parse("ws://192.0.2.1:7777", true).is_ok());
        assert!(Target::parse("wss://127.0.0.1", true).is_err());
    }
}
