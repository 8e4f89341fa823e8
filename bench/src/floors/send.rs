//! What handing an event to each of many sockets costs whoever sends, with nothing around the system calls: in a fan-out no relay
//! that sends to each subscriber at once can undercut it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use super::MESSAGE_BYTES;
use crate::artifact::Distribution;
use crate::measure::thread_cpu;
use crate::schedule::Schedule;

/// As many as a fan-out has subscribers unless it is told otherwise, as often, and long enough for steady figures.
const SOCKETS: usize = 100;
const RATE_PER_SECOND: u32 = 200;
const SECONDS: u32 = 3;

/// Processor time of a send, from rounds to all sockets; a thread of its own receives, as in a fan-out.
pub(super) fn cost() -> Result<Distribution> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut pairs = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        let receiver = TcpStream::connect(listener.local_addr()?)?;
        let sender = listener.accept()?.0;
        sender.set_nodelay(true)?;
        receiver.set_nonblocking(true)?;
        pairs.push((sender, receiver));
    }
    let (mut senders, receivers): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let receiving = thread::spawn(move || receive(receivers));
    let rounds = rounds(&mut senders, Schedule::new(RATE_PER_SECOND, SECONDS));
    drop(senders);
    let received = receiving.join().map_err(|_| anyhow!("the receiver panicked"))??;
    let rounds = rounds?;
    anyhow::ensure!(received == rounds.len() * SOCKETS * MESSAGE_BYTES, "a send was lost");
    Distribution::of(rounds)?.context("nothing was sent")
}

/// The nanoseconds of each round's sends, on average.
fn rounds(sockets: &mut [TcpStream], schedule: Schedule) -> Result<Vec<u64>> {
    let message = [b'x'; MESSAGE_BYTES];
    let start = Instant::now();
    let mut rounds = Vec::with_capacity(schedule.events());
    for number in 0..schedule.events() {
        thread::sleep(Duration::from_nanos(schedule.due(number)).saturating_sub(start.elapsed()));
        let before = thread_cpu();
        for socket in &mut *sockets {
            socket.write_all(&message)?;
        }
        rounds.push((thread_cpu() - before).as_nanos() as u64 / SOCKETS as u64);
    }
    Ok(rounds)
}

/// Reads until all sockets are closed; how many bytes.
fn receive(mut sockets: Vec<TcpStream>) -> Result<usize> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    for (index, socket) in sockets.iter().enumerate() {
        epoll::add(&epoll, socket, EventData::new_u64(index as u64), EventFlags::IN)?;
    }
    let (mut open, mut received, mut bytes) = (sockets.len(), 0, [0; 4096]);
    let mut ready = Vec::with_capacity(SOCKETS);
    while open > 0 {
        ready.clear();
        match epoll::wait(&epoll, spare_capacity(&mut ready), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(failure) => return Err(failure.into()),
        }
        for event in &ready {
            let socket = &mut sockets[event.data.u64() as usize];
            match socket.read(&mut bytes) {
                Ok(0) => {
                    epoll::delete(&epoll, &*socket)?;
                    open -= 1;
                }
                Ok(read) => received += read,
                Err(failure) if matches!(failure.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_send_arrives_and_costs_something() {
        let cost = cost().expect("sent");
        assert_eq!(cost.count, u64::from(RATE_PER_SECOND * SECONDS));
        assert!(cost.p50 > 0.0 && cost.p50 <= cost.p99);
    }
}
