//! One relay in this process, and a client that publishes over a socket: what an event costs all of the relay's threads together.
//!
//! `cargo bench -p towpath-relay` prints allocations an event. With a row's number and how many events, that is all that is done, for
//! `cargo xtask instructions` to count instructions by thread: the client is the first.

use std::alloc::System;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use alloc_tracker::{Allocator, Session};
use tempfile::TempDir;
use towpath_protocol::SecretKey;
use towpath_relay::config::{ClassRates, Config, Rate};

#[global_allocator]
static ALLOCATOR: Allocator<System> = Allocator::system();

/// How a client publishes.
struct Row {
    name: &'static str,
    /// Sent at once; then all answers are waited for.
    burst: usize,
    /// Whether somebody listens.
    listened_to: bool,
}

const ROWS: [Row; 3] = [
    Row { name: "one at a time", burst: 1, listened_to: false },
    Row { name: "one at a time, to one subscriber", burst: 1, listened_to: true },
    Row { name: "in bursts of 32", burst: 32, listened_to: false },
];

const WARM_UP: usize = 512;
const EVENTS: usize = 4_096;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let folder = tempfile::tempdir().expect("a folder");
    let address = start(&folder);
    let mut author = Author { key: SecretKey::from_bytes([7; 32]).expect("a key"), signed: 0 };
    match numbers[..] {
        [row, events] => publish(&ROWS[row], &mut author, address, events, |run| run()),
        _ => ROWS.iter().for_each(|row| publish(row, &mut author, address, EVENTS, |run| count(row, run))),
    }
    drop(folder);
    // The relay would go on.
    std::process::exit(0);
}

/// Starts the relay on a thread of its own; returns where it is.
fn start(folder: &TempDir) -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut config = Config::default();
    config.server.listen = free;
    config.auth.challenge_on_connect = false;
    config.store.data = folder.path().into();
    // Under valgrind there is little address space.
    config.store.index_bytes_max = 1 << 30;
    // What stands in the log already is no cost of the next event.
    config.audit.verify_per_second = 0;
    let off = Rate { per_s: 0, burst: 1 };
    config.rates.publish = ClassRates { per_address: off, per_key: off, per_connection: off };
    thread::spawn(move || towpath_relay::serve(config, Box::new(|| Ok(Config::default()))).expect("served"));
    free
}

/// Has `measure` run the row over so many events, after a warm-up.
fn publish(row: &Row, author: &mut Author, address: SocketAddr, events: usize, measure: impl Fn(&mut dyn FnMut())) {
    let mut publisher = Client::connect(address);
    let mut subscriber = row.listened_to.then(|| Client::connect(address));
    if let Some(subscriber) = &mut subscriber {
        subscriber.send(&frame(r#"["REQ","feed",{"kinds":[1],"limit":0}]"#));
        subscriber.hear(1, r#"["EOSE","#);
    }
    let mut run = |bursts: &[Vec<u8>]| {
        for burst in bursts {
            publisher.send(burst);
            publisher.hear(row.burst, r#"["OK","#);
            if let Some(subscriber) = &mut subscriber {
                subscriber.hear(row.burst, r#"["EVENT","#);
            }
        }
    };
    run(&author.bursts(WARM_UP, row.burst));
    let bursts = author.bursts(events, row.burst);
    measure(&mut || run(&bursts));
}

/// Prints the allocations of all threads but this one.
fn count(row: &Row, run: &mut dyn FnMut()) {
    let session = Session::new().no_stdout().no_file();
    let (all, own) = (session.operation("all"), session.operation("own"));
    let spans = (all.measure_process().iterations(EVENTS as u64), own.measure_thread().iterations(EVENTS as u64));
    run();
    drop(spans);
    let report = session.to_report();
    let figure = |name: &str| {
        let of_name = report.operations().find(|(operation, _)| *operation == name);
        of_name.and_then(|(_, counts)| Some((counts.allocations()?, counts.bytes()?))).expect("one run")
    };
    let ((all, all_bytes), (own, own_bytes)) = (figure("all"), figure("own"));
    println!("{:<40} {:>6.1} allocations, {:>6.0} bytes an event", row.name, all - own, all_bytes - own_bytes);
}

/// Signs notes of 200 bytes of content, each its own.
struct Author {
    key: SecretKey,
    signed: usize,
}

impl Author {
    /// The frames that publish so many new notes, `burst` of them together.
    fn bursts(&mut self, events: usize, burst: usize) -> Vec<Vec<u8>> {
        let mut note = || {
            self.signed += 1;
            let event = self.key.sign(1_700_000_000, 1, &[], &format!("{:<200}", self.signed), &[0; 32]);
            frame(&format!(r#"["EVENT",{}]"#, event.event().as_str()))
        };
        (0..events / burst).map(|_| (0..burst).flat_map(|_| note()).collect()).collect()
    }
}

/// A client's text frame.
fn frame(text: &str) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![0x81];
    match u8::try_from(text.len()) {
        Ok(short) if short < 126 => bytes.push(0x80 | short),
        _ => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(text.len()).expect("a short message").to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(text.bytes().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// A WebSocket client that understands as much as it needs to.
struct Client {
    socket: TcpStream,
    buffer: Box<[u8]>,
    /// What of the buffer was read and not yet understood.
    filled: usize,
}

impl Client {
    /// Tries until the relay is there.
    fn connect(address: SocketAddr) -> Self {
        let attempts = std::iter::repeat_with(|| Self::try_connect(address)).take(1_000);
        let connected = attempts.map(|client| client.inspect_err(|_| thread::park_timeout(Duration::from_millis(10))));
        connected.flatten().next().expect("a relay")
    }

    fn try_connect(address: SocketAddr) -> std::io::Result<Self> {
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(60)))?;
        write!(
            socket,
            "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte)?;
            head.extend(byte);
        }
        if !head.starts_with(b"HTTP/1.1 101") {
            return Err(std::io::Error::other("not yet"));
        }
        Ok(Self { socket, buffer: vec![0; 1 << 17].into(), filled: 0 })
    }

    fn send(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("written");
    }

    /// Waits for so many texts, which begin like this.
    fn hear(&mut self, texts: usize, like: &str) {
        let mut heard = 0;
        while heard < texts {
            let read = self.socket.read(&mut self.buffer[self.filled..]).expect("an answer in time");
            assert!(read > 0, "the relay closed the connection");
            self.filled += read;
            let mut at = 0;
            while let Some((text, end)) = first_frame(&self.buffer[at..self.filled]) {
                let text = &self.buffer[at..][text..end];
                assert!(text.starts_with(like.as_bytes()), "{}", String::from_utf8_lossy(text));
                at += end;
                heard += 1;
            }
            self.buffer.copy_within(at..self.filled, 0);
            self.filled -= at;
        }
    }
}

/// Where the text of the first frame begins and ends, if it is there in full. The relay's are short and not masked.
fn first_frame(bytes: &[u8]) -> Option<(usize, usize)> {
    let (start, length) = match *bytes {
        [_, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        [_, length, ..] if length < 126 => (2, usize::from(length)),
        _ => return None,
    };
    (bytes.len() >= start + length).then_some((start, start + length))
}
