//! A client's socket, plain or TLS, in two halves. Owns how bytes are handed to the kernel; must not know what they say.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::server::TlsStream;

/// A socket whose directions can be used by two tasks.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    type Read: AsyncRead + Unpin + Send;
    type Write: Sink;

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

/// The writing half.
pub(crate) trait Sink: AsyncWrite + Unpin + Send + 'static {
    /// Hands over what it takes of `bytes` without waiting: how many, and whether all are on their way. Why not is found out by whoever
    /// waits for room then.
    fn send(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut sent = 0;
        let all = poll_fn(|cx| {
            while sent < bytes.len() {
                match ready!(Pin::new(&mut *self).poll_write(cx, &bytes[sent..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => sent += written,
                }
            }
            Pin::new(&mut *self).poll_flush(cx)
        });
        // The socket's own task registers its waker when it finds what is left here. A task that sends for many is not cut short.
        let all = pin!(tokio::task::unconstrained(all));
        let are_all = matches!(all.poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(Ok(())));
        (sent, are_all)
    }
}

impl Sink for OwnedWriteHalf {
    /// By the system call alone: what the runtime knows of the socket is for those who wait.
    fn send(&mut self, bytes: &[u8]) -> (usize, bool) {
        if bytes.is_empty() {
            return (0, true);
        }
        let sent = send(self.as_ref(), bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap_or(0);
        (sent, sent == bytes.len())
    }
}

impl Sink for WriteHalf<TlsStream<TcpStream>> {}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_plain_socket_says_how_much_it_took() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("it listens");
        let (server, _) = listener.accept().await.expect("a client");
        let (_reading, mut writing) = server.split();
        assert_eq!(writing.send(b"little"), (6, true));
        assert_eq!(writing.send(b""), (0, true));
        // More than any socket has room for.
        let much = vec![0; 64 << 20];
        let (sent, are_all) = writing.send(&much);
        assert!(0 < sent && sent < much.len() && !are_all, "{sent}");
        while writing.send(&much).0 > 0 {}
        assert_eq!(writing.send(b"one more"), (0, false));
        drop((client, listener));
    }
}
