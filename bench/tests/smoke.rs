//! The programme as a process against the relay itself: a short run of what no other test starts, a cluster and the query mix. Nothing
//! here is about time: figures may be void because this machine is busy, but no event may be missing and no answer wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Nobody is too late, and answers may take their time.
const PATIENT: &str = "--seconds 1 --warm-up-seconds 0 --lag-max-us 4000000000 --drain-seconds 60";

/// What the programme leaves behind when it is told to do this to a relay of ours.
fn artifact(words: &str) -> Value {
    let programme = Path::new(env!("CARGO_BIN_EXE_towpath-bench"));
    let relay = programme.with_file_name("towpath");
    assert!(relay.is_file(), "{} is missing: cargo build", relay.display());
    let data = TempDir::new().expect("a folder");
    // Where this is root's, PostgreSQL runs as nobody and must get through to its own folder.
    fs::set_permissions(data.path(), PermissionsExt::from_mode(0o711)).expect("ours");
    let out = data.path().join("out");
    let mut command = Command::new(programme);
    command.args(words.split(' ')).args(PATIENT.split(' ')).arg("--relay").arg(format!("towpath={}", relay.display()));
    command.arg("--data").arg(data.path()).arg("--out").arg(&out).stdin(Stdio::null());
    let output = command.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {said}", output.status);
    let artifact = fs::read(out.join("artifact.json")).unwrap_or_else(|_| panic!("no artifact: {said}"));
    serde_json::from_slice(&artifact).expect("JSON")
}

/// What each protocol found.
fn outcomes<'a>(artifact: &'a Value, protocols: &[&str]) -> Vec<&'a Value> {
    let runs = artifact["runs"].as_array().expect("runs");
    assert!(runs.iter().map(|run| run["protocol"].as_str().expect("a name")).eq(protocols.iter().copied()), "{runs:?}");
    let outcome = |run: &'a Value| {
        assert_eq!(run["failure"], Value::Null);
        &run["outcome"]
    };
    runs.iter().map(outcome).collect()
}

#[test]
fn a_cluster_accounts_for_every_event() {
    let load = "--rate 50 --fanout-rate 50 --connections 4 --subscribers 6";
    let artifact = artifact(&format!("run --protocol cross-pod,mixed {load}"));
    for outcome in outcomes(&artifact, &["cross-pod", "mixed"]) {
        let accounts = &outcome["accounts"];
        for all in ["planned", "sent", "acked", "stored"] {
            assert_eq!(accounts[all], 50, "{all}: {outcome}");
        }
        assert_eq!(accounts["delivered"], 50 * 6, "{outcome}");
        for none in ["lost", "undelivered", "stored_twice", "answered_twice", "delivered_twice"] {
            assert_eq!(accounts[none], 0, "{none}: {outcome}");
        }
    }
}

#[test]
fn answers_cold_and_warm_are_right() {
    let artifact = artifact("query --events 2000 --rounds 1 --connections 3 --query-rate 100");
    for outcome in outcomes(&artifact, &["query-cold", "query", "query-open"]) {
        let figures = &outcome["figures"];
        assert!(figures["answers-checked"].as_f64().is_some_and(|checked| checked > 0.0), "{outcome}");
        for none in ["answers-wrong", "unanswered", "refused"] {
            assert_eq!(figures[none], 0.0, "{none}: {outcome}");
        }
    }
}
