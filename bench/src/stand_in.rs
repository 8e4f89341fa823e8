//! The WebSocket side of a relay of a few lines, for tests. What it answers is its player's business.

mod keeper;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use secp256k1::{Secp256k1, VerifyOnly};
use serde_json::Value;

use crate::client::Target;
use crate::floors;
use crate::frame;
use crate::notes::Note;
pub(crate) use keeper::{Vice, keeper};

/// Who asks for no WebSocket gets nothing, unless the player has something.
const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const HANDSHAKE: &[u8] = b"Sec-WebSocket-Key";

/// A relay that errs on purpose, or not.
pub(crate) trait Play: Send + 'static {
    /// What opens a connection: a request for the metrics, or a handshake. The whole answer, after which the connection ends, or
    /// `None` to shake hands.
    fn turn_away(&mut self, is_metrics: bool) -> Option<String>;

    /// Answers one message of a client.
    fn hear(&mut self, stream: &TcpStream, message: &[Value]);
}

/// On a free port, until the tests end.
pub(crate) fn start(relay: impl Play) -> Target {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let relay = Arc::new(Mutex::new(relay));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_nodelay(true).expect("a TCP socket");
            let relay = Arc::clone(&relay);
            thread::spawn(move || serve(stream, &*relay));
        }
    });
    Target::parse(&format!("ws://{address}"), false).expect("loopback")
}

/// Whether an event's signature is its author's over its id.
pub(crate) fn is_signed(event: &Value) -> bool {
    static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);
    let mut note = Note { id: [0; 32], author: [0; 32], signature: [0; 64], frame: Box::default() };
    let decode = |field: &str, bytes: &mut [u8]| {
        const_hex::decode_to_slice(event[field].as_str().expect("a text"), bytes).expect("hex");
    };
    decode("id", &mut note.id);
    decode("pubkey", &mut note.author);
    decode("sig", &mut note.signature);
    floors::verify(&SECP, &note).is_ok()
}

/// Sends a text. A client that has left is no fault of the relay's.
pub(crate) fn say(stream: &TcpStream, text: &str) {
    say_all(stream, &[text]);
}

/// Sends texts, so that they arrive together.
pub(crate) fn say_all(stream: &TcpStream, texts: &[&str]) {
    let mut bytes = Vec::new();
    for text in texts {
        frame::append(&mut bytes, frame::TEXT, text.as_bytes(), None);
    }
    let _ = (&*stream).write_all(&bytes);
}

fn serve(mut stream: TcpStream, relay: &Mutex<impl Play>) {
    let mut inbox = Vec::new();
    let mut chunk = [0; 65_536];
    let mut is_greeted = false;
    while let Ok(received @ 1..) = stream.read(&mut chunk) {
        inbox.extend_from_slice(&chunk[..received]);
        if !is_greeted {
            assert!(inbox.ends_with(b"\r\n\r\n"), "the request comes in one piece");
            let is_handshake = inbox.windows(HANDSHAKE.len()).any(|bytes| bytes == HANDSHAKE);
            let refusal = relay.lock().expect("no thread panicked").turn_away(inbox.starts_with(b"GET /metrics "));
            let refusal = refusal.or_else(|| (!is_handshake).then(|| NOTHING.to_owned()));
            let answer = refusal.as_deref().unwrap_or(
                "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            );
            if stream.write_all(answer.as_bytes()).is_err() || refusal.is_some() {
                return;
            }
            inbox.clear();
            is_greeted = true;
        }
        while let Some(found) = frame::first(&inbox).expect("sound frames") {
            let mut payload = inbox[found.payload.clone()].to_vec();
            frame::unmask(&mut payload, found.mask.expect("a client masks"));
            inbox.drain(..found.payload.end);
            if found.opcode == frame::CLOSE {
                return;
            }
            let message: Vec<Value> = serde_json::from_slice(&payload).expect("JSON");
            relay.lock().expect("no thread panicked").hear(&stream, &message);
        }
    }
}
