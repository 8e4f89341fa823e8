//! The subscribers: a thread of their own, so that reading deliveries never delays a publisher.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::Plan;
use crate::account::Deliveries;
use crate::client::Pool;
use crate::measure::Clock;
use crate::message::Message;

/// How often a silent thread looks whether it should stop.
const GLANCE: Duration = Duration::from_millis(20);
const SUBSCRIBE_NANOS_MAX: u64 = 30_000_000_000;

/// What the publishing thread may know of the listening one.
#[derive(Default)]
pub(super) struct Watch {
    is_over: AtomicBool,
    delivered: AtomicU64,
}

impl Watch {
    pub(super) fn stop(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Returns once there were so many deliveries, or after `patience`.
    pub(super) fn wait_for(&self, deliveries: u64, patience: Duration) {
        let glances = patience.as_nanos() / GLANCE.as_nanos();
        for _ in 0..glances {
            if self.delivered.load(Ordering::Relaxed) >= deliveries {
                return;
            }
            thread::sleep(GLANCE);
        }
    }
}

/// Subscribes on every connection, says so, and records deliveries until told to stop.
pub(super) fn listen(plan: &Plan<'_>, clock: Clock, watch: &Watch, ready: &SyncSender<()>) -> Result<Deliveries> {
    let mut pool = Pool::open(plan.heard_at, plan.subscribers)?;
    subscribe(&mut pool, plan.since, clock)?;
    let mut deliveries = Deliveries::new(plan.subscribers, plan.notes.len());
    let _ = ready.send(());
    let mut readable = Vec::new();
    while !watch.is_over.load(Ordering::Relaxed) {
        pool.wait(GLANCE, &mut readable)?;
        for &subscriber in &readable {
            pool.connections[subscriber].receive(|message| {
                if let Message::Event { id } = message
                    && let Some(event) = plan.notes.number(id)
                {
                    deliveries.record(subscriber, event, clock.now());
                }
            })?;
            pool.flush(subscriber)?;
        }
        watch.delivered.store(deliveries.total - deliveries.repeated, Ordering::Relaxed);
    }
    Ok(deliveries)
}

/// Opens one subscription a connection and waits for the end of what is stored.
fn subscribe(pool: &mut Pool, since: u64, clock: Clock) -> Result<()> {
    let request = format!(r#"["REQ","live",{{"kinds":[1],"since":{since},"limit":1}}]"#);
    for subscriber in 0..pool.connections.len() {
        pool.connections[subscriber].push_text(&request);
        pool.flush(subscriber)?;
    }
    let deadline = clock.now() + SUBSCRIBE_NANOS_MAX;
    let mut waiting = vec![true; pool.connections.len()];
    let mut readable = Vec::new();
    while waiting.contains(&true) {
        ensure!(clock.now() < deadline, "not every subscription got its EOSE");
        ensure!(pool.open_connections() == pool.connections.len(), "the relay closed a subscriber's connection");
        pool.wait(GLANCE, &mut readable)?;
        for &subscriber in &readable {
            let mut refusal = None;
            pool.connections[subscriber].receive(|message| match message {
                Message::Eose => waiting[subscriber] = false,
                Message::Closed(text) => refusal = Some(text.to_owned()),
                _ => {}
            })?;
            pool.flush(subscriber)?;
            if let Some(refusal) = refusal {
                bail!("the relay refused a subscription: {refusal}");
            }
        }
    }
    Ok(())
}
