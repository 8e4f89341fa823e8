//! Where events wait to be looked up and to have their signatures checked, and who of them is checked together.
//!
//! Owns: the bound on signature work, the line in front of it, and what a connection's signatures were like. Must not know: the rules, the
//! queue behind, what is answered.
//!
//! Many signatures are checked at once for a fraction of what each costs alone, but if one of them is forged all of them are looked at again, one
//! by one. So what waits is checked together across connections, but only of those whose signatures were genuine so far: a connection's first
//! burst is checked alone, and whatever one sends that has sent a forged one. To make others' checks dear takes a new connection each time.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{Semaphore, oneshot};
use towpath_protocol::{SubmittedEvent, VerifiedEvent, Verifier};
use towpath_store::EventStore;

use crate::metrics::Metrics;
use crate::reply::{Answer, Reply};

/// What came from one connection, one right behind the other.
pub(crate) type Burst = Vec<(SubmittedEvent, Reply)>;

/// In the burst's order, but what is stored already or could not be looked up comes last.
pub(crate) type Checked = Vec<(Result<VerifiedEvent, Answer>, Reply)>;

/// What a connection's signatures were like so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Repute {
    /// None was checked yet.
    #[default]
    Unknown,
    /// All of them.
    Genuine,
    /// Not all of them. No client has to pass on what it has not checked.
    Forged,
}

impl Repute {
    fn after(self, checked: &Checked) -> Self {
        let is_forged = |(result, _): &(Result<_, Answer>, Reply)| matches!(result, Err(Answer::BadSignature));
        match self {
            Self::Forged => Self::Forged,
            _ if checked.iter().any(is_forged) => Self::Forged,
            _ if checked.iter().any(|(result, _)| result.is_ok()) => Self::Genuine,
            unchanged => unchanged,
        }
    }
}

/// See the module.
pub(crate) struct Checks {
    verifier: Verifier,
    store: Arc<dyn EventStore>,
    metrics: Metrics,
    slots: Semaphore,
    slots_max: usize,
    /// Events that are checked together at most.
    together_max: usize,
    /// At most one burst of each connection, as it waits for that one before it reads on.
    line: Mutex<VecDeque<Waiting>>,
}

struct Waiting {
    burst: Burst,
    done: oneshot::Sender<Checked>,
}

/// A burst's place in line, given up when its connection goes.
struct Place<'a> {
    line: &'a Mutex<VecDeque<Waiting>>,
    answered: oneshot::Receiver<Checked>,
}

impl Place<'_> {
    /// What became of the burst.
    fn left(self, checked: Result<Checked, RecvError>) -> Checked {
        // Unanswered, its connection would wait forever; so it ends, as that of whoever was checking.
        checked.expect("whoever checks does not panic")
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.answered.close();
        // Its answer is here, or it goes unanswered.
        if self.answered.is_terminated() {
            return;
        }
        self.line.lock().retain(|waiting| !waiting.done.is_closed());
    }
}

impl Checks {
    /// So many threads check at the same time.
    pub(crate) fn new(slots: usize, store: Arc<dyn EventStore>, metrics: Metrics) -> Self {
        let slots_max = slots.max(1);
        let (verifier, slots) = (Verifier::new(), Semaphore::new(slots_max));
        let together_max = verifier.burst_events_max();
        Self { verifier, store, metrics, slots, slots_max, together_max, line: Mutex::default() }
    }

    pub(crate) fn burst_events_max(&self) -> usize {
        self.together_max
    }

    /// Waits for a slot, and in it looks the events up and checks the signatures of those that are new. Runs where it is, on a runtime worker,
    /// but never on more at once than there are slots: the runtime has more workers than that, so that reading and writing sockets goes on.
    pub(crate) async fn check(&self, burst: Burst, repute: &mut Repute) -> Checked {
        let together = *repute == Repute::Genuine && self.together_max > 1;
        let checked = if together { self.in_line(burst).await } else { self.alone(burst).await };
        *repute = repute.after(&checked);
        checked
    }

    async fn alone(&self, burst: Burst) -> Checked {
        // They are never closed.
        let _slot = self.slots.acquire().await;
        self.look_at(burst)
    }

    /// If others are at work: whoever gets a slot first checks what waits in front, its own and others'.
    async fn in_line(&self, burst: Burst) -> Checked {
        if self.slots.available_permits() == self.slots_max
            && let Ok(_slot) = self.slots.try_acquire()
        {
            return self.look_at(burst);
        }
        let (done, answered) = oneshot::channel();
        self.line.lock().push_back(Waiting { burst, done });
        let mut place = Place { line: &self.line, answered };
        // Else a worker would check what it has just read: those whose events have arrived, too, come into line first.
        tokio::task::yield_now().await;
        loop {
            let somebody_waited = tokio::select! {
                biased;
                checked = &mut place.answered => return place.left(checked),
                _slot = self.slots.acquire() => self.look_at_front(),
            };
            if !somebody_waited {
                // It is being checked.
                let checked = (&mut place.answered).await;
                return place.left(checked);
            }
        }
    }

    /// Checks the bursts in front that are few enough to be checked at once, but at least one. False if there is none.
    fn look_at_front(&self) -> bool {
        let (mut events, mut bursts) = (Vec::new(), Vec::new());
        {
            let mut line = self.line.lock();
            while let Some(next) = line.front()
                && (events.is_empty() || events.len() + next.burst.len() <= self.together_max)
                && let Some(Waiting { burst, done }) = line.pop_front()
            {
                let at = bursts.len();
                events.extend(burst.into_iter().map(|(event, reply)| (event, (at, reply))));
                bursts.push((done, Vec::new()));
            }
        }
        for (result, (at, reply)) in self.look_at(events) {
            bursts[at].1.push((result, reply));
        }
        let somebody_waited = !bursts.is_empty();
        for (done, checked) in bursts {
            // Whose connection is gone gets nothing.
            let _ = done.send(checked);
        }
        somebody_waited
    }

    fn look_at<T>(&self, events: Vec<(SubmittedEvent, T)>) -> Vec<(Result<VerifiedEvent, Answer>, T)> {
        let mut refused = Vec::new();
        let is_new = |(event, of): (SubmittedEvent, T)| match self.store.is_known(&event.unverified().id()) {
            Ok(false) => Some((event, of)),
            Ok(true) => {
                refused.push((Err(Answer::Known), of));
                None
            }
            Err(error) => {
                refused.push((Err(Answer::Failed(error)), of));
                None
            }
        };
        let new: Vec<_> = events.into_iter().filter_map(is_new).collect();
        if !new.is_empty() {
            self.metrics.burst_events.observe(new.len() as f64);
        }
        let verified = self.verifier.verify_all(new).into_iter();
        let mut looked_at: Vec<_> =
            verified.map(|(result, of)| (result.map_err(|_| Answer::BadSignature), of)).collect();
        looked_at.append(&mut refused);
        looked_at
    }

    /// One signature, alone. `None` if it is not genuine. Cancel-safe.
    pub(crate) async fn one(&self, event: SubmittedEvent) -> Option<VerifiedEvent> {
        let _slot = self.slots.acquire().await;
        self.verifier.verify(event).ok()
    }
}

#[cfg(test)]
mod tests;
