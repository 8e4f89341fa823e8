//! Who may come in: room for sockets in total and by client address. It counts; it does not answer.
//!
//! A socket takes a place when it is accepted and gives it back when it is dropped. Sockets of an address that is full
//! still get an HTTP answer, but from a small number of places of their own, so they take nobody else's room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Config, Network, address};

/// Sockets beyond `connections_max`: health checks and pages must answer when the relay is full.
const HTTP_SOCKETS: usize = 256;
/// Sockets of addresses that are full, which only wait to be told so.
const REFUSED_SOCKETS: usize = 64;

/// Counts places.
pub(crate) struct Admission {
    sockets: Arc<Semaphore>,
    refused: Arc<Semaphore>,
    websockets: Arc<Semaphore>,
    websockets_max: usize,
    per_address_max: usize,
    exempt: Vec<Network>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of an accepted socket.
pub(crate) struct Place {
    _socket: OwnedSemaphorePermit,
    /// None if the address had no room: such a socket may not upgrade.
    address: Option<Counted>,
}

impl Place {
    /// Whether its address has room.
    pub(crate) fn may_upgrade(&self) -> bool {
        self.address.is_some()
    }
}

/// The places of an upgraded connection, held until it ends.
pub(crate) struct Seat {
    _place: Place,
    _websocket: OwnedSemaphorePermit,
    _client: Counted,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    Full,
    AddressFull,
}

/// One connection counted for an address; exempt addresses are not counted.
struct Counted {
    admission: Arc<Admission>,
    address: Option<IpAddr>,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Admission {
            sockets: Arc::new(Semaphore::new(config.connections_max + HTTP_SOCKETS)),
            refused: Arc::new(Semaphore::new(REFUSED_SOCKETS)),
            websockets: Arc::new(Semaphore::new(config.connections_max)),
            websockets_max: config.connections_max,
            per_address_max: config.connections_per_address_max,
            exempt: config.trusted_proxies.iter().chain(&config.trusted_addresses).cloned().collect(),
            by_address: Mutex::default(),
        }
    }

    /// A place for a socket that was just accepted; none if it can only be dropped.
    pub(crate) fn place(self: &Arc<Self>, socket: IpAddr) -> Option<Place> {
        let address = self.count(socket);
        let room = if address.is_some() { &self.sockets } else { &self.refused };
        Some(Place { _socket: room.clone().try_acquire_owned().ok()?, address })
    }

    /// Turns the place of `socket` into the seat of a WebSocket client at `client`.
    pub(crate) fn seat(self: &Arc<Self>, mut place: Place, socket: IpAddr, client: IpAddr) -> Result<Seat, NoSeat> {
        let own = place.address.take().ok_or(NoSeat::AddressFull)?;
        let websocket = self.websockets.clone().try_acquire_owned().map_err(|_| NoSeat::Full)?;
        let same = address::counted_as(socket) == address::counted_as(client);
        let counted = if same { Some(own) } else { self.count(client) };
        let client = counted.ok_or(NoSeat::AddressFull)?;
        Ok(Seat { _place: place, _websocket: websocket, _client: client })
    }

    /// Upgraded connections at this moment.
    pub(crate) fn seated(&self) -> usize {
        self.websockets_max - self.websockets.available_permits()
    }

    fn count(self: &Arc<Self>, address: IpAddr) -> Option<Counted> {
        if address::is_trusted(address.to_canonical(), &self.exempt) {
            return Some(Counted { admission: self.clone(), address: None });
        }
        let key = address::counted_as(address);
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(key).or_insert(0);
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Counted { admission: self.clone(), address: Some(key) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut by_address = self.admission.by_address.lock();
        if let Some(count) = by_address.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "192.0.2.1";
    const B: &str = "192.0.2.2";

    fn admission(connections_max: usize, per_address_max: usize) -> Arc<Admission> {
        let config = Config { connections_max, connections_per_address_max: per_address_max, ..Config::default() };
        Arc::new(Admission::new(&config))
    }

    fn enter(admission: &Arc<Admission>, socket: &str, client: &str) -> Result<Seat, NoSeat> {
        let parse = |text: &str| text.parse().expect("an address");
        let place = admission.place(parse(socket)).expect("a place");
        admission.seat(place, parse(socket), parse(client))
    }

    #[test]
    fn an_address_without_room_gets_an_answer_but_no_seat() {
        let admission = admission(10, 1);
        let first = enter(&admission, A, A);
        assert!(first.is_ok());
        assert!(matches!(enter(&admission, A, A), Err(NoSeat::AddressFull)));
        assert!(enter(&admission, B, B).is_ok());
        drop(first);
        assert!(enter(&admission, A, A).is_ok());
    }

    #[test]
    fn refused_sockets_take_nobody_elses_place() {
        let admission = admission(10, 1);
        let address = A.parse().expect("an address");
        let places: Vec<Place> = (0..200).map_while(|_| admission.place(address)).collect();
        assert_eq!(places.len(), 1 + REFUSED_SOCKETS);
        assert!(enter(&admission, B, B).is_ok());
    }

    #[test]
    fn everything_is_given_back() {
        let admission = admission(2, 2);
        let seats = [enter(&admission, A, A), enter(&admission, "127.0.0.1", B)];
        assert!(seats.iter().all(Result::is_ok));
        assert!(matches!(enter(&admission, B, B), Err(NoSeat::Full)));
        assert_eq!(admission.seated(), 2);
        drop(seats);
        assert_eq!(admission.seated(), 0);
        assert!(admission.by_address.lock().is_empty());
        assert_eq!(admission.sockets.available_permits(), 2 + HTTP_SOCKETS);
    }
}
