//! The bus of pods in one process: for tests of everything that uses a bus.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::{Bus, Listener, Message, PodId, Unreachable};

/// A bus in memory. Clones are the same bus.
#[derive(Clone, Default)]
pub struct Loopback(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listeners: Vec<(PodId, Arc<dyn Listener>)>,
    down: bool,
}

impl Loopback {
    /// Nobody listens yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `listener` hears what other pods than `pod` send.
    pub fn listen(&self, pod: PodId, listener: Arc<dyn Listener>) {
        self.0.lock().listeners.push((pod, Arc::clone(&listener)));
        listener.resumed();
    }

    /// The sending end of `pod`.
    pub fn sender(&self, pod: PodId) -> impl Bus + use<> {
        Sender { bus: self.clone(), pod }
    }

    /// Takes the bus down, or up again.
    pub fn set_down(&self, down: bool) {
        let mut state = self.0.lock();
        state.down = down;
        for (_, listener) in &state.listeners {
            if down {
                listener.lost(&Unreachable("taken down".into()));
            } else {
                listener.resumed();
            }
        }
    }
}

struct Sender {
    bus: Loopback,
    pod: PodId,
}

impl Bus for Sender {
    fn send(&mut self, message: &Message) -> Result<(), Unreachable> {
        let bytes = Bytes::from(message.to_bytes(&self.pod));
        let state = self.bus.0.lock();
        if state.down {
            return Err(Unreachable("taken down".into()));
        }
        for (_, listener) in state.listeners.iter().filter(|(pod, _)| *pod != self.pod) {
            if let Ok((_, message)) = Message::from_bytes(&bytes) {
                listener.heard(message);
            }
        }
        Ok(())
    }
}
