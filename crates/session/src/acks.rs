//! The order of a connection's `OK`s: as its events came in (`CommitOrder`), however they are decided.

use std::collections::VecDeque;

use parking_lot::Mutex;
use towpath_protocol::relay_message;

/// Answers waiting for those before them.
#[derive(Debug, Default)]
pub struct Acks(Mutex<Slots>);

#[derive(Debug, Default)]
struct Slots {
    /// The slot of the front.
    first: u64,
    waiting: VecDeque<Slot>,
}

#[derive(Debug)]
struct Slot {
    id: String,
    message: Option<String>,
}

impl Acks {
    /// Makes room for the answer about the event that calls itself `id`, behind all made before.
    pub fn reserve(&self, id: String) -> u64 {
        let mut slots = self.0.lock();
        slots.waiting.push_back(Slot { id, message: None });
        slots.first + slots.waiting.len() as u64 - 1
    }

    /// Fills a slot, and sends every answer that has none missing before it.
    pub fn answer(&self, slot: u64, accepted: bool, text: &str, mut send: impl FnMut(String)) {
        let mut slots = self.0.lock();
        let Some(at) = slot.checked_sub(slots.first).and_then(|at| usize::try_from(at).ok()) else { return };
        let Some(waiting) = slots.waiting.get_mut(at) else { return };
        waiting.message = Some(relay_message::ok(&waiting.id, accepted, text));
        while let Some(message) = slots.waiting.front_mut().and_then(|slot| slot.message.take()) {
            slots.waiting.pop_front();
            slots.first += 1;
            send(message);
        }
    }

    /// Events that are not answered yet.
    pub fn unanswered(&self) -> usize {
        self.0.lock().waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_leave_in_the_order_of_their_events() {
        let acks = Acks::default();
        let ids: Vec<String> = (0..4).map(|n| n.to_string()).collect();
        let slots: Vec<u64> = ids.iter().map(|id| acks.reserve(id.clone())).collect();
        let sent = Mutex::new(Vec::new());
        for at in [2, 1, 3, 0] {
            acks.answer(slots[at], true, "", |message| sent.lock().push(message));
        }
        let expected: Vec<String> = ids.iter().map(|id| relay_message::ok(id, true, "")).collect();
        assert_eq!(*sent.lock(), expected);
        assert_eq!(acks.unanswered(), 0);
        acks.answer(slots[0], true, "", |_| panic!("answered twice"));
    }
}
