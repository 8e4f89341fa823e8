//! HTTP/1.1 by hand: odd methods, odd headers, handshakes that arrive byte by byte.

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::relay::Relay;
use crate::wait::within;

/// A request in the making.
#[derive(Debug, Clone)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, names in lowercase.
    pub headers: Vec<(String, String)>,
    /// The body as text, without its transfer coding.
    pub body: String,
    /// The body as it came, without its transfer coding.
    pub bytes: Vec<u8>,
}

/// A request for a path.
pub fn request(method: &str, target: &str) -> Request {
    Request { method: method.to_owned(), target: target.to_owned(), headers: Vec::new() }
}

/// `GET` of a path.
pub fn get(target: &str) -> Request {
    request("GET", target)
}

/// `GET` of the relay information document.
pub fn information() -> Request {
    get("/").header("Accept", "application/nostr+json")
}

/// A WebSocket handshake for a path.
pub fn handshake(target: &str) -> Request {
    get(target)
        .header("Connection", "Upgrade")
        .header("Upgrade", "websocket")
        .header("Sec-WebSocket-Version", "13")
        .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

impl Request {
    /// One more header, or another value for one that is already there.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The request as it is written to the socket.
    pub fn bytes(&self, relay: &Relay) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.target, relay.authority());
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// Sends the request on a connection of its own and reads the whole answer.
    pub async fn send(&self, relay: &Relay) -> Result<Response> {
        let request = match self.headers.iter().any(|(name, _)| name == "Connection") {
            true => self.clone(),
            false => self.clone().header("Connection", "close"),
        };
        within("an HTTP answer", async {
            let mut socket = TcpStream::connect(relay.authority()).await?;
            socket.write_all(&request.bytes(relay)).await?;
            read_response(&mut socket, self.method != "HEAD").await
        })
        .await
    }

    /// Sends the request one byte at a time and reads the head of the answer.
    pub async fn send_slowly(&self, relay: &Relay) -> Result<Response> {
        within("an HTTP answer", async {
            let mut socket = TcpStream::connect(relay.authority()).await?;
            socket.set_nodelay(true)?;
            for byte in self.bytes(relay) {
                socket.write_all(&[byte]).await?;
                tokio::task::yield_now().await;
            }
            read_response(&mut socket, false).await
        })
        .await
    }
}

impl Response {
    /// A header's value, or nothing.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("not JSON: {self:?}"))
    }
}

async fn read_response(socket: &mut TcpStream, with_body: bool) -> Result<Response> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            break at;
        }
        let read = socket.read_buf(&mut bytes).await?;
        anyhow::ensure!(read > 0, "hung up before the end of the headers");
    };
    let head = String::from_utf8(bytes[..head_end].to_vec())?;
    let mut response = parse_head(&head)?;
    if with_body && response.status != 101 {
        read_body(socket, &mut response, bytes.split_off(head_end + 4)).await?;
    }
    Ok(response)
}

fn parse_head(head: &str) -> Result<Response> {
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("no status line")?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    Ok(Response { status: status.parse()?, headers, body: String::new(), bytes: Vec::new() })
}

async fn read_body(socket: &mut TcpStream, into: &mut Response, mut bytes: Vec<u8>) -> Result<()> {
    if let Ok(length) = into.header("content-length").parse::<usize>() {
        while bytes.len() < length && socket.read_buf(&mut bytes).await? > 0 {}
    } else if into.header("transfer-encoding") == "chunked" {
        while !bytes.ends_with(b"0\r\n\r\n") && socket.read_buf(&mut bytes).await? > 0 {}
        bytes = dechunk(&bytes)?;
    } else if !matches!(into.status, 204 | 304) {
        socket.read_to_end(&mut bytes).await?;
    }
    into.body = String::from_utf8_lossy(&bytes).into_owned();
    into.bytes = bytes;
    Ok(())
}

fn dechunk(mut bytes: &[u8]) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|end| end == b"\r\n").context("a chunk without end")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line])?, 16)?;
        if size == 0 {
            return Ok(body);
        }
        let chunk = bytes.get(line + 2..line + 2 + size).context("a chunk cut short")?;
        body.extend_from_slice(chunk);
        bytes = bytes.get(line + 4 + size..).context("a chunk cut short")?;
    }
}
