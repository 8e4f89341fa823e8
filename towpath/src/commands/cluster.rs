//! `towpath cluster`: the pods, as the database knows them.

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use towpath_relay::PodStream;

use crate::args::{ClusterAction, ClusterArgs};
use crate::settings::{self, Environment};

pub(crate) fn run(args: &ClusterArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let ClusterAction::Status(args) = &args.action;
    let config = settings::of_store(args, environment)?.config;
    let streams = towpath_relay::cluster_streams(&config)?.context("no database is named: say --store postgres://…")?;
    let mut output = std::io::stdout().lock();
    writeln!(output, "{:>6}  {:<28} {:>5}  {:>12}  {:>12}  lease", "stream", "pod", "fence", "last", "in tree")?;
    for stream in &streams {
        writeln!(output, "{}", line(stream))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(stream: &PodStream) -> String {
    let PodStream { stream, owner, fence, last, lease_s, head } = stream;
    let (pod, lease) = match owner {
        Some(pod) if *lease_s > 0.0 => (pod.as_str(), format!("{lease_s:.1} s left")),
        Some(pod) => (pod.as_str(), format!("ran out {:.1} s ago", -lease_s)),
        None => ("-", "sealed".to_owned()),
    };
    let in_tree = head.map_or(0, |head| head.size);
    format!("{:>6}  {pod:<28} {fence:>5}  {last:>12}  {in_tree:>12}  {lease}", stream.0)
}
