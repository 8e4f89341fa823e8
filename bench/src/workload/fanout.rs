//! The subscribers: a thread of their own, so that reading deliveries never delays a publisher.

use std::sync::mpsc::SyncSender;

use anyhow::{Result, bail, ensure};

use super::{GLANCE, Over, Plan, spread};
use crate::account::Deliveries;
use crate::client::Pool;
use crate::measure::{Busy, Clock};
use crate::message::Message;
use crate::progress::Progress;

const SUBSCRIBE_NANOS_MAX: u64 = 30_000_000_000;

/// What all subscribers heard.
pub(super) struct Heard {
    pub(super) deliveries: Deliveries,
    /// Connections that the relay ended.
    pub(super) cut: usize,
    /// The first CLOSED or NOTICE.
    pub(super) complaint: Option<String>,
    /// How much of its time this thread was at work.
    pub(super) busy: f64,
}

/// Subscribes on every connection, says so, and records deliveries until told to stop.
pub(super) fn listen(
    plan: &Plan<'_>,
    clock: Clock,
    over: &Over,
    progress: &Progress,
    ready: &SyncSender<()>,
) -> Result<Heard> {
    let mut pool = Pool::open(spread(plan.subscribers_at, plan.subscribers))?;
    subscribe(&mut pool, plan.since, clock)?;
    let deliveries = Deliveries::new(plan.subscribers, plan.notes.len());
    let mut heard = Heard { deliveries, cut: 0, complaint: None, busy: 0.0 };
    let busy = Busy::start();
    let _ = ready.send(());
    let mut readable = Vec::new();
    while !over.is_over() {
        pool.wait(GLANCE, &mut readable)?;
        for &subscriber in &readable {
            pool.connections[subscriber].receive(|message| match message {
                Message::Event { id } => {
                    if let Some(event) = plan.notes.number(id) {
                        heard.deliveries.record(subscriber, event, clock.now());
                    }
                }
                Message::Closed(text) | Message::Notice(text) => {
                    heard.complaint.get_or_insert_with(|| text.to_owned());
                }
                _ => {}
            })?;
            pool.flush(subscriber)?;
        }
        progress.delivered(heard.deliveries.total - heard.deliveries.repeated);
    }
    heard.busy = busy.share();
    heard.cut = plan.subscribers - pool.open_connections();
    Ok(heard)
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
