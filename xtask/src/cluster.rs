//! `cargo xtask cluster-figures`: a cluster of two pods on this machine, loaded and accounted for.
//!
//! PostgreSQL at its default durability, Redis, two pods and the load programme share the cores. Every figure has its floor beside it,
//! measured in the same run.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use towpath_servers::{Postgres, Redis};

use crate::step::{cargo, root, run as step};

const PORTS: [u16; 2] = [17_801, 17_802];
const START_MAX: Duration = Duration::from_secs(20);
/// A void run is repeated: on a shared machine generators lag.
const ATTEMPTS: usize = 3;
/// About what the pods tell each other of an event.
const HINT_BYTES: usize = 600;
const HINTS_PER_SECOND: u32 = 200;

/// What the load programme printed, and whether it stands by it.
struct Loaded {
    text: String,
    is_sound: bool,
}

struct Pod(Child);

impl Drop for Pod {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(seconds: u32) -> Result<()> {
    let build = ["build", "--release", "--package", "towpath", "--package", "towpath-bench"];
    step("build for release", cargo(&build))?;
    let home = root().join("target/cluster-figures");
    std::fs::create_dir_all(&home)?;
    let (postgres, redis) = (Postgres::durable_in(&home)?, Redis::start()?);
    let key = home.join("relay.key");
    std::fs::write(&key, "01".repeat(32))?;
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let pods = PORTS.map(|port| start(&postgres, &redis, &home, port));
    let pods: Vec<Pod> = pods.into_iter().collect::<Result<_>>()?;
    let servers = || (postgres.cpu_s(), redis.cpu_s());

    println!("floor: one prepared single-row INSERT a commit, 200/s: {}", inserts(&postgres, &home, seconds)?);
    println!("floor: Redis, publish to subscribe, 200/s: {}", hints(&redis, seconds)?);
    for (name, arguments) in [
        ("peak, 16 connections x 1 in flight", "publish --connections 16 --in-flight 1 --events 40000"),
        ("peak, 16 connections x 32 in flight", "publish --connections 16 --in-flight 32 --events 120000"),
        ("200 events/s", "publish --rate 200"),
        ("1 000 events/s", "publish --rate 1000"),
        ("200 events/s, 100 subscribers on the same pod", "fanout --rate 200 --subscribers 100"),
        ("200 events/s, 100 subscribers on the other pod", "fanout --rate 200 --subscribers 100 --other-pod"),
    ] {
        let mut before = servers();
        let mut run = load(arguments, &pods[0], seconds)?;
        for _ in 1..ATTEMPTS {
            if run.is_sound {
                break;
            }
            before = servers();
            run = load(arguments, &pods[0], seconds)?;
        }
        let after = servers();
        let Loaded { text, is_sound } = run;
        println!("\n## {name}{}\n\n{text}", if is_sound { "" } else { ": does not count" });
        let acked = text.split("stored: ").nth(1).and_then(|rest| rest.split(',').next()?.parse::<f64>().ok());
        let each = |spent: f64| acked.map_or(f64::NAN, |events| spent * 1e6 / events);
        println!(
            "CPU per event of the servers: PostgreSQL {:.0} us, Redis {:.0} us",
            each(after.0 - before.0),
            each(after.1 - before.1)
        );
    }
    Ok(())
}

fn start(postgres: &Postgres, redis: &Redis, home: &Path, port: u16) -> Result<Pod> {
    // It ends with this process, however that ends.
    let child = Command::new("setpriv")
        .arg("--pdeathsig=KILL")
        .arg(root().join("target/release/towpath"))
        .args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--store", &postgres.url(), "--bus", &redis.url()])
        .arg("--data")
        .arg(home)
        .env("TOWPATH_CLUSTER_POD", format!("pod-{port}"))
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start a pod")?;
    let pod = Pod(child);
    let begun = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        ensure!(begun.elapsed() < START_MAX, "a pod does not listen on port {port}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(pod)
}

fn load(arguments: &str, pod: &Pod, seconds: u32) -> Result<Loaded> {
    let mut bench = Command::new(root().join("target/release/towpath-bench"));
    for argument in arguments.split(' ') {
        match argument {
            "--other-pod" => bench.arg("--subscribe-url").arg(format!("ws://127.0.0.1:{}", PORTS[1])),
            other => bench.arg(other),
        };
    }
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_micros() as u64);
    bench.args(["--url", &format!("ws://127.0.0.1:{}", PORTS[0]), "--pid", &pod.0.id().to_string()]);
    bench.args(["--seconds", &seconds.to_string(), "--seed", &seed.to_string()]);
    let output = bench.output().context("cannot run the load programme")?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    let is_sound = output.status.success();
    if !is_sound {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        ensure!(may_be_repeated(&text), "a run failed or lost something:\n{text}");
    }
    Ok(Loaded { text, is_sound })
}

/// Whether a run is only void: one that broke a promise is no noise, and no second one may hide it.
fn may_be_repeated(text: &str) -> bool {
    text.contains("VOID: ") && text.contains("every acknowledged event accounted for")
}

/// Latency of one message through Redis, from the intended time.
fn hints(redis: &Redis, seconds: u32) -> Result<String> {
    let connect = || -> Result<TcpStream> {
        let stream = TcpStream::connect(("127.0.0.1", redis.port()))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let (mut publisher, subscriber) = (connect()?, connect()?);
    let mut heard = BufReader::new(subscriber.try_clone()?);
    (&subscriber).write_all(b"SUBSCRIBE floor\r\n")?;
    let hint = "x".repeat(HINT_BYTES);
    let mut line = String::new();
    while line != ":1\r\n" {
        line.clear();
        ensure!(heard.read_line(&mut line)? > 0, "Redis hung up");
    }
    let count = seconds * HINTS_PER_SECOND;
    let begun = Instant::now();
    let receiving = std::thread::spawn(move || -> std::io::Result<Vec<Instant>> {
        let mut line = String::new();
        let mut times = Vec::new();
        while times.len() < count as usize && heard.read_line(&mut line)? > 0 {
            if line.trim_end().len() == HINT_BYTES {
                times.push(Instant::now());
            }
            line.clear();
        }
        Ok(times)
    });
    let due = |number: u32| begun + Duration::from_secs(1) * number / HINTS_PER_SECOND;
    for number in 0..count {
        std::thread::sleep(due(number).saturating_duration_since(Instant::now()));
        write!(publisher, "PUBLISH floor {hint}\r\n")?;
    }
    let times = receiving.join().map_err(|_| anyhow!("the subscriber's thread panicked"))??;
    let late = |(number, at): (u32, Instant)| at.saturating_duration_since(due(number)).as_secs_f64() * 1e6;
    Ok(percentiles((0..count).zip(times).map(late).collect()))
}

/// Of microseconds.
fn percentiles(mut latencies: Vec<f64>) -> String {
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN) / 1e3;
    format!("p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms", at(0.5), at(0.99), at(0.999))
}

/// Latency of what a commit costs at least, from the intended time.
fn inserts(postgres: &Postgres, home: &Path, seconds: u32) -> Result<String> {
    postgres.psql("towpath", "create table if not exists floor (id bigserial primary key, body text)")?;
    let script = home.join("insert.sql");
    std::fs::write(&script, format!("insert into floor (body) values ('{}');\n", "x".repeat(200)))?;
    let log = home.join("floor");
    let status = Command::new(towpath_servers::postgres_program("pgbench")?)
        .args([
            "-h",
            "127.0.0.1",
            "-p",
            &postgres.port().to_string(),
            "-U",
            "towpath",
            "-n",
            "-M",
            "prepared",
            "-c",
            "1",
        ])
        .args(["-R", "200", "-T", &seconds.to_string(), "-l", "--log-prefix"])
        .arg(&log)
        .arg("-f")
        .arg(&script)
        .arg("towpath")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?;
    ensure!(status.success(), "pgbench failed");
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(home)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("floor.")) {
            let text = std::fs::read_to_string(&path)?;
            latencies.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok()));
            std::fs::remove_file(path)?;
        }
    }
    Ok(percentiles(latencies))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_void_run_that_kept_every_promise_is_repeated() {
        let void = "VOID: the generator was late\n";
        assert!(may_be_repeated(&format!("every acknowledged event accounted for: …\n{void}")));
        assert!(!may_be_repeated(&format!("PROMISES BROKEN: …\n{void}")));
        assert!(!may_be_repeated("every acknowledged event accounted for: …\ncannot connect"));
    }
}
