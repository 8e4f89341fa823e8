//! The load protocols: who publishes where and who listens where, at what pace. Knows pods by their number and nothing of
//! how they were started or of what is good.

use std::fmt;

use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::artifact::Outcome;
use crate::launch::{Contender, Pod, RunningArm, Topology};
use crate::notes::{Notes, Recipe};
use crate::options::Method;
use crate::progress::Progress;
use crate::workload::{self, Pacing, Plan};

/// What a relay is put through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    /// Publishers and subscribers on the first pod.
    SamePod,
    /// Publishers on the first pod, subscribers on the second.
    CrossPod,
    /// Publishers and subscribers spread over all pods, while others ask, count, come and go.
    Mixed,
    /// Open loop, nobody listening.
    Publish,
    /// Closed loop: a fixed number of unanswered events on every connection.
    Peak,
}

impl Protocol {
    /// What it needs running of each of `relays`. `Mixed` spreads over all pods there are, and there is one where not all of them can
    /// be a cluster.
    pub(crate) fn topology(self, relays: &[&Contender]) -> Topology {
        let are_clusters = || relays.iter().all(|relay| relay.can_run(Topology::TwoPods).is_ok());
        match self {
            Self::CrossPod => Topology::TwoPods,
            Self::Mixed if are_clusters() => Topology::TwoPods,
            Self::Mixed | Self::SamePod | Self::Publish | Self::Peak => Topology::Alone,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::SamePod => "same-pod",
            Self::CrossPod => "cross-pod",
            Self::Mixed => "mixed",
            Self::Publish => "publish",
            Self::Peak => "peak",
        })
    }
}

/// How much of it.
#[derive(Args, Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Setting {
    /// Events a second where nobody listens.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Events a second where subscribers listen.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) fanout_rate: u32,
    /// Connections that publish.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) connections: u32,
    /// Connections with one subscription each.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) subscribers: u32,
    /// Peak: unanswered events on every connection.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub(crate) in_flight: u32,
    /// Peak: at most so many events, signed before. A relay that is through with them sooner has a shorter run.
    #[arg(long, default_value_t = 400_000)]
    pub(crate) peak_events: usize,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) method: Method,
}

/// One protocol's load, signed before any clock starts. Every relay of a comparison can be given the same.
pub(crate) struct Load {
    protocol: Protocol,
    setting: Setting,
    pacing: Pacing,
    recipe: Recipe,
    pub(crate) notes: Notes,
}

impl Load {
    /// `label` tells the loads of one process apart.
    pub(crate) fn prepare(protocol: Protocol, setting: &Setting, label: &str) -> Result<Self> {
        setting.method.check()?;
        let (pacing, events) = pacing(protocol, setting);
        let recipe = setting.method.recipe(label)?;
        let notes = Notes::sign(&recipe, events)?;
        Ok(Self { protocol, setting: setting.clone(), pacing, recipe, notes })
    }

    /// Loads `arm`, to which these notes must be new; `progress` tells how it is going.
    pub(crate) fn run_watched(&self, arm: &RunningArm, progress: &Progress) -> Result<Outcome> {
        let (publishers_at, subscribers_at) = places(self.protocol, arm)?;
        let subscribers = match self.protocol {
            Protocol::Publish | Protocol::Peak => 0,
            Protocol::SamePod | Protocol::CrossPod | Protocol::Mixed => self.setting.subscribers as usize,
        };
        let plan = Plan {
            arm,
            publishers_at,
            subscribers_at,
            notes: &self.notes,
            since: self.recipe.created_at,
            pacing: self.pacing,
            connections: self.setting.connections as usize,
            subscribers,
            has_background: self.protocol == Protocol::Mixed,
            method: &self.setting.method,
        };
        workload::run(&plan, progress)
    }
}

/// The pods that are published to and those that are listened to.
fn places(protocol: Protocol, arm: &RunningArm) -> Result<(&[Pod], &[Pod])> {
    ensure!(!arm.pods.is_empty(), "{} has no pod", arm.name);
    let first = &arm.pods[..1];
    Ok(match protocol {
        Protocol::SamePod | Protocol::Publish | Protocol::Peak => (first, first),
        Protocol::CrossPod => {
            ensure!(arm.pods.len() > 1, "cross-pod needs a second pod, and {} has one", arm.name);
            (first, &arm.pods[1..2])
        }
        Protocol::Mixed => (&arm.pods, &arm.pods),
    })
}

fn pacing(protocol: Protocol, setting: &Setting) -> (Pacing, usize) {
    let rate = match protocol {
        Protocol::Peak => {
            let in_flight = setting.in_flight as usize;
            return (Pacing::Closed { in_flight, duration: setting.method.duration() }, setting.peak_events);
        }
        Protocol::Publish => setting.rate,
        Protocol::SamePod | Protocol::CrossPod | Protocol::Mixed => setting.fanout_rate,
    };
    let schedule = setting.method.schedule(rate);
    (Pacing::Open(schedule), schedule.events())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::artifact::Artifact;
    use crate::client::Target;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        setting: Setting,
    }

    fn setting(arguments: &[&str]) -> Setting {
        Cli::try_parse_from(["test"].iter().chain(arguments)).expect("a setting").setting
    }

    fn arm(pods: u16) -> RunningArm {
        let target = |port| Target::parse(&format!("ws://127.0.0.1:{port}"), false).expect("loopback");
        RunningArm::at((0..pods).map(|pod| (target(7_000 + pod), Some(u32::from(pod)))))
    }

    #[test]
    fn each_protocol_has_its_places() {
        let arm = arm(2);
        let pids = |pods: &[Pod]| pods.iter().filter_map(|pod| pod.pid).collect::<Vec<_>>();
        let places = |protocol| places(protocol, &arm).map(|(to, from)| (pids(to), pids(from))).expect("two pods");
        assert_eq!(places(Protocol::SamePod), (vec![0], vec![0]));
        assert_eq!(places(Protocol::CrossPod), (vec![0], vec![1]));
        assert_eq!(places(Protocol::Mixed), (vec![0, 1], vec![0, 1]));
        assert_eq!(places(Protocol::Peak), (vec![0], vec![0]));
    }

    #[test]
    fn mixed_runs_on_two_pods_only_where_every_relay_has_them() {
        let relay = |text| Contender::parse(text).expect("known");
        let (cluster, peer) = (&relay("towpath=towpath"), &relay("rnostr=rnostr"));
        let two_addresses = &relay("x=ws://127.0.0.1:1,ws://127.0.0.1:2");
        assert_eq!(Protocol::Mixed.topology(&[cluster, two_addresses]), Topology::TwoPods);
        assert_eq!(Protocol::Mixed.topology(&[cluster, peer]), Topology::Alone);
        assert_eq!(Protocol::CrossPod.topology(&[cluster, peer]), Topology::TwoPods, "which is refused");
        assert_eq!(Protocol::SamePod.topology(&[cluster, two_addresses]), Topology::Alone);
    }

    #[test]
    fn a_second_pod_is_not_made_up() {
        let refusal = places(Protocol::CrossPod, &arm(1)).map(|_| ()).expect_err("one pod");
        assert!(refusal.to_string().contains("second pod"), "{refusal}");
        assert!(places(Protocol::Mixed, &arm(1)).is_ok(), "spread over all there is");
        assert!(places(Protocol::SamePod, &arm(0)).is_err());
    }

    #[test]
    fn each_protocol_has_its_pace() {
        let setting = setting(&["--rate", "500", "--fanout-rate", "20", "--seconds", "3", "--peak-events", "7"]);
        assert_eq!(pacing(Protocol::Publish, &setting).1, 1_500);
        assert_eq!(pacing(Protocol::SamePod, &setting).1, 60);
        assert_eq!(pacing(Protocol::Peak, &setting).1, 7);
        assert!(matches!(pacing(Protocol::Peak, &setting).0, Pacing::Closed { in_flight: 32, .. }));
    }

    #[test]
    fn nothing_is_measured_when_all_of_it_is_warm_up() {
        let setting = setting(&["--seconds", "2", "--warm-up-seconds", "2"]);
        assert!(Load::prepare(Protocol::SamePod, &setting, "test").is_err());
    }

    #[test]
    fn an_artifact_keeps_its_setting() {
        let setting = setting(&["--rate", "123", "--seed", "9"]);
        let kept = Artifact::begin(&setting, None).expect("an artifact").setting;
        let read: Setting =
            serde_json::from_value(serde_json::Value::Object(kept.into_iter().collect())).expect("kept");
        assert_eq!((read.rate, read.method.seed, read.subscribers), (123, 9, setting.subscribers));
    }
}
