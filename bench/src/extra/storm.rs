//! The reconnect herd: every client is cut off and comes back at the same moment, while somebody publishes; and once more because
//! the relay itself went away. Measures how long until each has its subscription back.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow, ensure};
use clap::Args;

use super::corpus::Dice;
use super::crowd::{self, Crowd};
use super::named;
use super::site::{Bench, Found, Limits, Site};
use super::steady::{Steady, ack_ratio};
use crate::artifact::{Distribution, Outcome};
use crate::client::{Connection, Pool, Target};
use crate::measure::{Busy, Clock, too_busy};
use crate::message::Message;
use crate::schedule::Nanos;

/// How many times everybody is cut off while somebody publishes.
const HERDS: u32 = 4;
/// A client that is refused comes again after so long, and up to as much longer, as polite clients do.
const AGAIN_NANOS: u64 = 100_000_000;
const GLANCE: Duration = Duration::from_millis(5);
const HERD_NANOS_MAX: Nanos = 60_000_000_000;

#[derive(Args)]
pub(crate) struct Options {
    /// Connections with one subscription each that are cut off at once.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    clients: u32,
    #[command(flatten)]
    steady: Steady,
    #[command(flatten)]
    bench: Bench,
}

pub(crate) fn run(options: &Options) -> Result<bool> {
    // A client may be there twice until the relay has noticed that it left.
    let limits: Limits = vec![
        ("TOWPATH_SERVER_CONNECTIONS_MAX", 2 * u64::from(options.clients) + 2_000),
        ("TOWPATH_RATES_QUERY_PER_CONNECTION_PER_S", 0),
    ];
    let setting = BTreeMap::from([
        ("clients".to_owned(), options.clients.into()),
        ("herds".to_owned(), HERDS.into()),
        ("steady".to_owned(), serde_json::to_value(options.steady)?),
    ]);
    options.bench.take_turns("storm", &limits, setting, |site, _| turn(options, site))
}

pub(super) fn turn(options: &Options, site: &mut Site) -> Result<Found> {
    let method = &options.bench.method;
    let arm = site.fresh()?;
    let target = &arm.pods[0].target;
    let mut crowd = Crowd::gather(target, options.clients as usize)?;
    let subscribed = crowd.subscribe(|client, nth| (nth == 0).then(|| request(client)))?;
    let (mut calm, heard) = crowd.listen_while(|_| options.steady.publish(arm, method, "calm"))?;
    crowd::void(&mut calm, subscribed.objection().or_else(|| heard.objection()));
    let (mut stormy, herds) = thread::scope(|scope| {
        let publishing = scope.spawn(|| options.steady.publish_once(arm, method, "storm"));
        let herds = herds(options, &mut crowd, target);
        let stormy = publishing.join().unwrap_or_else(|_| Err(anyhow!("a publishing thread panicked")))?;
        anyhow::Ok((stormy, herds?))
    })?;
    herds.add_to(&mut stormy)?;
    let ratios = named([
        ("ack-p50-ratio", ack_ratio(&stormy, &[&calm], |ack| ack.p50)),
        ("ack-p99-ratio", ack_ratio(&stormy, &[&calm], |ack| ack.p99)),
    ]);
    stormy.figures.extend(ratios);
    let mut found = vec![("storm-before", calm), ("storm", stormy)];
    if let Some(start) = site.restart()? {
        let target = &site.arm()?.pods[0].target;
        let mut outcome =
            Outcome { figures: named([("relay-start-s", Some(start.as_secs_f64()))]), ..Outcome::default() };
        herd(&mut crowd.pool, target, options.bench.method.seed)?.add_to(&mut outcome)?;
        found.push(("storm-restart", outcome));
    }
    Ok(found)
}

fn herds(options: &Options, crowd: &mut Crowd, target: &Target) -> Result<Herd> {
    let pause = Duration::from_secs(options.bench.method.seconds.into()) / (HERDS + 1);
    let mut all = Herd::default();
    all.rest(crowd, pause)?;
    for number in 0..HERDS {
        let one = herd(&mut crowd.pool, target, options.bench.method.seed + u64::from(number))?;
        all.back.extend(one.back);
        all.refused += one.refused;
        all.busy = all.busy.max(one.busy);
        all.objection = all.objection.or(one.objection);
        all.complaint = all.complaint.or(one.complaint);
        all.rest(crowd, pause)?;
    }
    Ok(all)
}

fn request(client: usize) -> String {
    format!(r#"["REQ","herd",{{"kinds":[1],"authors":["{client:064x}"],"limit":20}}]"#)
}

/// How everybody came back.
#[derive(Debug, Default)]
pub(super) struct Herd {
    /// From the first being cut off to each one's EOSE.
    pub(super) back: Vec<Nanos>,
    /// Attempts that came to nothing. Each client comes again and its time counts on, so they void nothing.
    pub(super) refused: usize,
    /// How much of its time the thread of all of them was at work.
    pub(super) busy: f64,
    /// What the relay said or did against clients that it had let in.
    pub(super) objection: Option<String>,
    /// The first refusal or notice.
    pub(super) complaint: Option<String>,
}

impl Herd {
    /// For so long everybody only listens.
    fn rest(&mut self, crowd: &mut Crowd, pause: Duration) -> Result<()> {
        let ((), heard) = crowd.listen_while(|_| {
            thread::sleep(pause);
            Ok(())
        })?;
        self.objection = self.objection.take().or_else(|| heard.objection());
        Ok(())
    }

    pub(super) fn add_to(self, outcome: &mut Outcome) -> Result<()> {
        outcome.latencies.extend(Distribution::of(self.back)?.map(|back| ("reconnect".to_owned(), back)));
        outcome.figures.insert("refused-connections".into(), self.refused as f64);
        outcome.figures.insert("herd-busy-share".into(), self.busy);
        crowd::void(outcome, self.objection);
        outcome.void = outcome.void.take().or_else(|| too_busy("reconnects", self.busy));
        outcome.complaint = outcome.complaint.take().or(self.complaint);
        Ok(())
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Client {
    /// Refused; comes again then.
    Away(Nanos),
    Knocking,
    Asking,
    Back,
}

/// Cuts everybody off, has everybody come at once, and waits until everybody is back.
pub(super) fn herd(pool: &mut Pool, target: &Target, seed: u64) -> Result<Herd> {
    let (clock, busy) = (Clock::start(), Busy::start());
    let mut dice = Dice::new(seed, 0);
    let mut clients = vec![Client::Away(0); pool.connections.len()];
    let mut herd = Herd::default();
    let mut readable = Vec::new();
    let mut next_look = 0;
    while herd.back.len() < clients.len() {
        let now = clock.now();
        ensure!(
            now < HERD_NANOS_MAX,
            "{} of {} clients are not back after a minute; {} attempts failed: {}",
            clients.len() - herd.back.len(),
            clients.len(),
            herd.refused,
            herd.complaint.unwrap_or_default()
        );
        if now >= next_look {
            next_look = now + GLANCE.as_nanos() as Nanos;
            for (at, client) in clients.iter_mut().enumerate() {
                match *client {
                    Client::Away(until) if until <= now => {
                        pool.replace(at, Connection::begin(target)?)?;
                        *client = Client::Knocking;
                    }
                    Client::Knocking | Client::Asking if !pool.connections[at].is_open() => {
                        herd.refused += 1;
                        *client = Client::Away(now + AGAIN_NANOS + dice.below(AGAIN_NANOS as usize) as Nanos);
                    }
                    _ => {}
                }
            }
        }
        pool.wait(GLANCE, &mut readable)?;
        for &at in &readable {
            hear(pool, at, &mut clients[at], &mut herd, &clock)?;
        }
    }
    herd.busy = busy.share();
    Ok(herd)
}

fn hear(pool: &mut Pool, at: usize, client: &mut Client, herd: &mut Herd, clock: &Clock) -> Result<()> {
    let mut is_back = false;
    let heard = pool.connections[at].receive(|message| match message {
        Message::Eose => is_back = true,
        Message::Closed(text) | Message::Notice(text) => {
            herd.complaint.get_or_insert_with(|| text.to_owned());
            herd.objection.get_or_insert_with(|| format!("the relay said: {text}"));
        }
        _ => {}
    });
    if let Err(refusal) = heard {
        herd.complaint.get_or_insert_with(|| refusal.to_string());
        pool.connections[at].close();
    }
    if *client == Client::Knocking && pool.connections[at].is_greeted() {
        pool.connections[at].push_text(&request(at));
        *client = Client::Asking;
    }
    if is_back && *client == Client::Asking {
        *client = Client::Back;
        herd.back.push(clock.now());
    }
    Ok(pool.flush(at)?)
}
