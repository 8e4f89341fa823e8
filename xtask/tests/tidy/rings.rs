//! Dependencies point inwards. The ring of every package is written here; a package that is not listed fails.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{assert_none, output};

const RINGS: [&[&str]; 5] = [
    &["towpath-schnorr", "towpath-protocol", "towpath-policy", "towpath-promises"],
    &["towpath-audit", "towpath-store", "towpath-bus", "towpath-runtime"],
    &["towpath-session", "towpath-ingest", "towpath-query", "towpath-deliver", "towpath-followers"],
    &["towpath-store-embedded", "towpath-store-postgres", "towpath-bus-redis", "towpath-gateway"],
    &[
        "towpath-relay",
        "towpath",
        "towpath-bench",
        "xtask",
        "towpath-harness",
        "towpath-model",
        "towpath-servers",
        "towpath-cluster",
        "towpath-conformance",
        "towpath-clients",
        "towpath-operations",
        "towpath-stages",
    ],
];

/// Crates of the outside world that start at a ring: an inner one must not know them.
const OUTSIDE: [(usize, &[&str]); 3] = [
    (1, &["tokio", "tracing", "prometheus-client", "parking_lot"]),
    (
        3,
        &[
            "heed",
            "postgres",
            "redis",
            "tokio-tungstenite",
            "tokio-websockets",
            "yawc",
            "hyper",
            "axum",
            "rustls",
            "tokio-rustls",
        ],
    ),
    (4, &["anyhow", "clap", "toml", "tracing-subscriber"]),
];

/// Who may all the same: the verifier keeps what it found out about authors behind a lock, and its verdicts are the same.
const EXCEPTED: [(&str, &str); 1] = [("towpath-protocol", "parking_lot")];

const WORK: usize = 2;
const ADAPTERS: usize = 3;

/// Each package of the workspace with the names it depends on; what only its tests need does not ship and is left out.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let metadata = output("cargo", &["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.map(|package| (text(&package["name"]), shipped(package))).collect()
}

fn shipped(package: &Value) -> Vec<String> {
    let all = package["dependencies"].as_array().unwrap().iter();
    all.filter(|dependency| dependency["kind"] != "dev").map(|dependency| text(&dependency["name"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn ring(package: &str) -> Option<usize> {
    RINGS.iter().position(|ring| ring.contains(&package))
}

/// Why `from` may not depend on `to`, both packages of the workspace.
fn objection(from: &str, to: &str) -> Option<&'static str> {
    let (from_ring, to_ring) = (ring(from)?, ring(to)?);
    match (from_ring, to_ring) {
        _ if to_ring > from_ring => Some("points outwards"),
        (WORK, WORK) => Some("ring 2 crates meet only through the types of rings 0 and 1"),
        (ADAPTERS, WORK) => Some("an adapter knows no rules and no subscriptions"),
        (ADAPTERS, ADAPTERS) => Some("adapters do not know each other"),
        (_, ADAPTERS) if from != "towpath-relay" => Some("only `relay` names concrete adapters"),
        _ => None,
    }
}

#[test]
fn every_package_has_a_ring() {
    let unlisted: Vec<_> = dependencies().into_keys().filter(|package| ring(package).is_none()).collect();
    assert_none("packages without a ring", &unlisted);
}

#[test]
fn dependencies_point_inwards() {
    let mut offences = Vec::new();
    for (from, all) in dependencies() {
        let objections = all.iter().filter_map(|to| Some(format!("{from} -> {to}: {}", objection(&from, to)?)));
        offences.extend(objections);
    }
    assert_none("dependencies against the rings", &offences);
}

#[test]
fn inner_rings_do_not_know_the_outside_world() {
    let mut offences = Vec::new();
    for (from, all) in dependencies() {
        let known = |first: usize| ring(&from).is_some_and(|ring| ring < first);
        let forbidden = OUTSIDE.iter().filter(|(first, _)| known(*first)).flat_map(|(_, names)| names.iter());
        let known = forbidden.filter(|name| all.iter().any(|to| to == *name) && !EXCEPTED.contains(&(&*from, **name)));
        offences.extend(known.map(|name| format!("{from} -> {name}")));
    }
    assert_none("dependencies that start further out", &offences);
}

#[test]
fn the_rule_objects_to_each_kind_of_wrong_edge() {
    let wrong = [
        ("towpath-protocol", "towpath-store"),
        ("towpath-ingest", "towpath-deliver"),
        ("towpath-gateway", "towpath-session"),
        ("towpath-gateway", "towpath-store-embedded"),
        ("towpath-bench", "towpath-store-embedded"),
    ];
    assert!(wrong.iter().all(|(from, to)| objection(from, to).is_some()));
    assert!(objection("towpath-relay", "towpath-store-embedded").is_none());
}
