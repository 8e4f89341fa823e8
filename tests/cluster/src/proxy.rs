//! A TCP proxy that fails on demand: delays, loses, cuts, and holds its breath.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to bytes on their way, either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// They arrive later.
    Delay(Duration),
    /// They are held until this is over; connections stay open and new ones are not answered.
    BlackHole,
    /// New connections are closed at once.
    Refuse,
    /// Each connection is cut after so many more bytes, wherever that is.
    CutAfter(u64),
}

/// Listens on a free port and passes everything on. Ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    fault: Arc<watch::Sender<Fault>>,
    cut: Arc<watch::Sender<u64>>,
    accepting: JoinHandle<()>,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

impl Proxy {
    /// To `port` on this machine.
    pub async fn to(port: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let own = listener.local_addr()?.port();
        let (fault, cut) = (Arc::new(watch::Sender::new(Fault::None)), Arc::new(watch::Sender::new(0)));
        let connections: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let accepting = {
            let (fault, cut, connections) = (Arc::clone(&fault), Arc::clone(&cut), Arc::clone(&connections));
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (faults, cuts) = (fault.subscribe(), cut.subscribe());
                    let mut connections = connections.lock();
                    connections.retain(|connection| !connection.is_finished());
                    connections.push(tokio::spawn(async move {
                        let _ = pass(client, port, faults, cuts).await;
                    }));
                }
            })
        };
        Ok(Self { port: own, fault, cut, accepting, connections })
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on this happens.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Cuts every connection there is.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.connections.lock().iter().for_each(JoinHandle::abort);
    }
}

async fn pass(
    client: TcpStream,
    port: u16,
    faults: watch::Receiver<Fault>,
    mut cuts: watch::Receiver<u64>,
) -> Result<()> {
    let mut first = faults.clone();
    if *first.borrow() == Fault::Refuse {
        return Ok(());
    }
    first.wait_for(|fault| *fault != Fault::BlackHole).await?;
    let server = TcpStream::connect(("127.0.0.1", port)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let passed = Arc::new(AtomicU64::new(0));
    cuts.mark_unchanged();
    // Either end, or the knife, ends both ways.
    tokio::select! {
        _ = one_way(from_client, to_server, faults.clone(), Arc::clone(&passed)) => {}
        _ = one_way(from_server, to_client, faults, passed) => {}
        _ = cuts.changed() => {}
    }
    Ok(())
}

async fn one_way(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    passed: Arc<AtomicU64>,
) -> Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    let mut limit = None;
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        faults.wait_for(|fault| *fault != Fault::BlackHole).await?;
        let fault = *faults.borrow_and_update();
        if let Fault::Delay(delay) = fault {
            tokio::time::sleep(delay).await;
        }
        let before = passed.fetch_add(count as u64, Ordering::Relaxed);
        if let Fault::CutAfter(bytes) = fault {
            let end = *limit.get_or_insert(before + bytes);
            if before + count as u64 > end {
                let rest = usize::try_from(end.saturating_sub(before)).unwrap_or(0);
                to.write_all(&buffer[..rest]).await?;
                return Ok(());
            }
        } else {
            limit = None;
        }
        to.write_all(&buffer[..count]).await?;
    }
}
