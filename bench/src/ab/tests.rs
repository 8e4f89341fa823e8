//! A session against the relay itself, short and with nothing timed: what it leaves behind is whole and can be judged again.

use super::*;
use crate::artifact::{Distribution, SCHEMA};
use clap::Parser;
use tempfile::TempDir;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    options: Options,
}

/// The relay's binary, in the build folder this test is in.
fn relay() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let binary = test.ancestors().nth(2).expect("a build folder").join("towpath");
    assert!(binary.is_file(), "{} is missing: cargo build", binary.display());
    binary
}

/// The generator may be as late as it likes: nothing here is about time.
fn options(folder: &Path, more: &[&str]) -> Options {
    let (relay, folder) = (relay().display().to_string(), folder.display().to_string());
    let out = format!("{folder}/out");
    let (a, b) = (format!("towpath-a={relay}"), format!("towpath-b={relay}"));
    let mut arguments = vec!["ab", "--a", &a, "--b", &b, "--data", &folder, "--out", &out];
    arguments.extend(["--lag-max-us", "4000000000", "--seconds", "1", "--warm-up-seconds", "0", "--rounds", "2"]);
    arguments.extend(["--fanout-rate", "100", "--rate", "100", "--subscribers", "3", "--peak-events", "300"]);
    Cli::parse_from(arguments.into_iter().chain(more.iter().copied())).options
}

fn no_floors() -> Result<Floors> {
    let latency = Distribution::of([1_000])?.context("a sample")?;
    let [verify, sync, echo, echo_back_to_back, send] = [(); 5].map(|()| latency.clone());
    Ok(Floors { verify, verifies_per_second_all_cores: 1.0, sync, echo, echo_back_to_back, send: Some(send) })
}

/// How many rounds of the protocol have both arms, each of them in its turn and the second one only after a first that counts.
fn rounds_in_turns(artifact: &Artifact, protocol: &str) -> usize {
    let mut rounds: BTreeMap<usize, Vec<&Run>> = BTreeMap::new();
    for run in artifact.runs.iter().filter(|run| run.protocol == protocol) {
        rounds.entry(run.round).or_default().push(run);
    }
    let counts = |run: &&Run| verdict::objection(artifact, run).is_none();
    let mut counted: usize = 0;
    for (round, runs) in &rounds {
        let turns = if counted.is_multiple_of(2) { ["towpath-a", "towpath-b"] } else { ["towpath-b", "towpath-a"] };
        assert!(runs.iter().map(|run| run.arm.as_str()).eq(turns.into_iter().take(runs.len())), "round {round}");
        counted += usize::from(runs.iter().all(&counts));
    }
    let (whole, void): (Vec<_>, Vec<_>) = rounds.values().partition(|runs| runs.iter().all(&counts));
    assert!(whole.iter().all(|runs| runs.len() == 2));
    assert!(void.iter().all(|runs| runs.last().is_some_and(|last| !counts(last))), "nothing follows a void run");
    whole.len()
}

#[test]
fn a_session_takes_turns_accounts_for_every_event_and_is_judged() {
    let data = TempDir::new().expect("a folder");
    let options = options(data.path(), &["--protocol", "same-pod,peak", "--commit-b", "abc"]);
    let folder = Session::open(&options).and_then(|session| session.run(no_floors)).expect("a session");
    let artifact = folder::read(&folder).expect("an artifact");

    for protocol in ["same-pod", "peak"] {
        assert_eq!(rounds_in_turns(&artifact, protocol), 2, "{protocol}");
    }
    assert!(artifact.floors.len() >= 2 && artifact.setting["rounds"] == 2);
    assert_eq!(artifact.arms[1].commit.as_deref(), Some("abc"));
    assert_eq!(artifact.guardrail, Guardrail::text(None).ok());
    assert!(artifact.arms[0].software.as_ref().is_some_and(|software| software.contains("towpath")));
    for run in &artifact.runs {
        let outcome = run.outcome.as_ref().unwrap_or_else(|| panic!("{:?}", run.failure));
        let accounts = outcome.accounts.as_ref().expect("accounts");
        assert!(accounts.sent > 0 && accounts.is_clean(), "{accounts:?}");
        assert_eq!((accounts.acked, accounts.stored), (accounts.sent, accounts.sent), "{accounts:?}");
        assert_eq!(accounts.delivered, if run.protocol == "same-pod" { 3 * accounts.acked as u64 } else { 0 });
    }
    let guardrail = Guardrail::load(None).expect("sound");
    assert_eq!(conclude(&folder, &guardrail).expect("judged"), Verdict::Inconclusive, "two rounds decide nothing");
    for log in ["towpath-a.same-pod.ack.hlog", "towpath-b.same-pod.first-delivery.hlog", "towpath-b.peak.ack.hlog"] {
        let text = fs::read_to_string(folder.join(log)).expect("a log");
        assert!(text.lines().filter(|line| line.starts_with("Tag=round-")).count() >= 2, "{log}: {text}");
    }
    let table = fs::read_to_string(folder.join(VERDICT)).expect("a verdict");
    assert!(table.contains("INCONCLUSIVE  same-pod: first delivery p99"), "{table}");
    assert!(table.contains("Not asked for: publish: ack p99"), "{table}");
    assert!(table.contains("A broke it 0 times, B 0 times in "), "{table}");
    assert!(fs::read_to_string(folder.join("report.html")).expect("a page").contains("towpath-b"));
    let again = judge(&JudgeOptions { artifacts: vec![folder.clone()], guardrail: None }).expect("judged");
    assert_eq!(again, Verdict::Inconclusive);
}

/// It may mean something else there by what it says.
#[test]
fn a_session_of_a_later_schema_is_not_judged() {
    let folder = TempDir::new().expect("a folder");
    let later = Artifact::begin(&serde_json::json!({}), None).expect("an artifact");
    folder::keep(folder.path(), &Artifact { schema: SCHEMA + 1, ..later }).expect("kept");
    let options = JudgeOptions { artifacts: vec![folder.path().to_owned()], guardrail: None };
    let refusal = format!("{:#}", judge(&options).expect_err("refused"));
    assert!(refusal.contains("is of schema 2"), "{refusal}");
}

#[test]
fn a_relay_that_does_not_start_ends_the_session_before_anything_is_measured() {
    let data = TempDir::new().expect("a folder");
    let mut options = options(data.path(), &[]);
    options.b = Contender::parse("towpath-b=/bin/false").expect("known");
    let failure = format!("{:#}", Session::open(&options).err().expect("it does not start"));
    assert!(failure.contains("towpath-b did not come up"), "{failure}");
    options.b = options.a.clone();
    assert!(Session::open(&options).err().expect("refused").to_string().contains("different names"));
}

#[test]
fn a_relay_that_is_no_cluster_ends_the_session_before_it_is_asked_to_be_one() {
    let data = TempDir::new().expect("a folder");
    let mut options = options(data.path(), &["--protocol", "same-pod,cross-pod"]);
    options.b = Contender::parse("rnostr=/bin/false").expect("known");
    let failure = format!("{:#}", Session::open(&options).err().expect("one pod"));
    assert!(failure.contains("cross-pod is in --protocol") && failure.contains("rnostr cannot be two"), "{failure}");
    options.protocol = Protocols::parse("same-pod,mixed,publish,peak").expect("known");
    let failure = format!("{:#}", Session::open(&options).err().expect("it does not start"));
    assert!(failure.contains("rnostr did not come up"), "{failure}");
}

/// The loads of a session of Towpath and another relay.
fn loads(protocols: &str, other: &str) -> Result<Vec<String>> {
    let (towpath, other) = (Contender::parse("towpath=towpath")?, Contender::parse(other)?);
    let protocols = Protocols::parse(protocols).map_err(anyhow::Error::msg)?;
    Ok(protocols.of(&[&towpath, &other])?.iter().map(Protocol::to_string).collect())
}

#[test]
fn protocols_are_named_or_all() {
    let names = |protocols| loads(protocols, "x=ws://127.0.0.1:1,ws://127.0.0.1:2");
    assert_eq!(names("all").expect("known"), ["same-pod", "cross-pod", "mixed", "publish", "peak"]);
    assert_eq!(names("peak,same-pod").expect("known"), ["peak", "same-pod"]);
    assert!(names("peek").is_err());
}

#[test]
fn all_is_what_both_relays_can_run() {
    for other in ["rnostr=rnostr", "x=x --port {port}", "x=ws://127.0.0.1:1"] {
        assert_eq!(loads("all", other).expect("the rest"), ["same-pod", "mixed", "publish", "peak"], "{other}");
        assert!(loads("cross-pod", other).is_err(), "{other}: it was asked for");
    }
}

#[test]
fn a_session_records_only_the_loads_that_it_runs() {
    let data = TempDir::new().expect("a folder");
    let mut options = options(data.path(), &[]);
    // A relay of one address; nobody needs to be there to be recorded.
    options.b = Contender::parse("x=ws://127.0.0.1:1").expect("an address");
    let session = Session::open(&options).expect("opened");
    assert_eq!(session.artifact.setting["protocols"], serde_json::json!(["same-pod", "mixed", "publish", "peak"]));
}
