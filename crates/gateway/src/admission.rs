//! Who may come in: room for sockets in total and by client address. It counts; it does not answer.
//!
//! A socket takes a place when it is accepted and gives it back when it is dropped. Sockets of an address that is full
//! still get an HTTP answer, but from a small number of places of their own, so they take nobody else's room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{Config, Network, Peer, address};

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
    proxies: Vec<Network>,
    trusted_addresses: Vec<Network>,
    by_address: Mutex<HashMap<IpAddr, usize>>,
}

/// The place of an accepted socket.
pub(crate) struct Place {
    socket: OwnedSemaphorePermit,
    standing: Standing,
}

/// The places of an upgraded connection, held until it ends.
pub(crate) struct Seat {
    _socket: OwnedSemaphorePermit,
    _websocket: OwnedSemaphorePermit,
    _counted: Option<Counted>,
}

/// Why there is no seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoSeat {
    Full,
    AddressFull,
}

/// How one more connection of an address is seen.
enum Standing {
    NoRoom,
    /// Limits by address do not apply.
    Exempt,
    Counted(Counted),
}

/// One connection counted for an address.
struct Counted {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    pub(crate) fn new(config: &Config) -> Self {
        Admission {
            sockets: Arc::new(Semaphore::new(config.connections_max + HTTP_SOCKETS)),
            refused: Arc::new(Semaphore::new(REFUSED_SOCKETS)),
            websockets: Arc::new(Semaphore::new(config.connections_max)),
            websockets_max: config.connections_max,
            per_address_max: config.connections_per_address_max,
            proxies: config.trusted_proxies.clone(),
            trusted_addresses: config.trusted_addresses.clone(),
            by_address: Mutex::default(),
        }
    }

    /// A place for a socket that was just accepted; none if it can only be dropped.
    pub(crate) fn place(self: &Arc<Self>, socket: IpAddr) -> Option<Place> {
        let standing = self.standing(socket, address::is_trusted(socket, &self.proxies));
        let room = if matches!(standing, Standing::NoRoom) { &self.refused } else { &self.sockets };
        Some(Place { socket: room.clone().try_acquire_owned().ok()?, standing })
    }

    /// Turns a socket's place into the seat of the WebSocket client behind it.
    pub(crate) fn seat(self: &Arc<Self>, place: Place, client: &Peer) -> Result<Seat, NoSeat> {
        let standing = match place.standing {
            // Of a proxy, maybe, and then it is its client that counts.
            Standing::Exempt => self.standing(client.address, client.trusted),
            own => own,
        };
        let counted = match standing {
            Standing::NoRoom => return Err(NoSeat::AddressFull),
            Standing::Exempt => None,
            Standing::Counted(counted) => Some(counted),
        };
        let websocket = self.websockets.clone().try_acquire_owned().map_err(|_| NoSeat::Full)?;
        Ok(Seat { _socket: place.socket, _websocket: websocket, _counted: counted })
    }

    /// Seats taken at this moment.
    pub(crate) fn seated(&self) -> usize {
        self.websockets_max - self.websockets.available_permits()
    }

    /// One more connection of `address`, which is `trusted` as a [`Peer`] is.
    fn standing(self: &Arc<Self>, address: IpAddr, trusted: bool) -> Standing {
        if trusted || address::is_in(&self.trusted_addresses, address) {
            return Standing::Exempt;
        }
        let address = address::counted_as(address);
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(address).or_insert(0);
        if *count >= self.per_address_max {
            return Standing::NoRoom;
        }
        *count += 1;
        Standing::Counted(Counted { admission: self.clone(), address })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut by_address = self.admission.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
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
        admission.seat(place, &Peer { address: parse(client), trusted: false })
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
