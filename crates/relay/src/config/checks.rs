//! What must hold between two settings, and whether the files that they name are there.

use std::path::PathBuf;

use super::place::{Place, Problem};
use super::{Config, Resolved, settings};

/// Every pair that contradicts itself, at the place of the value that someone set.
pub(super) fn problems(resolved: &Resolved) -> Vec<Problem> {
    let config = &resolved.config;
    let mut problems: Vec<Problem> =
        orders(config).into_iter().filter(Order::is_broken).map(|order| order.problem(resolved)).collect();
    problems.extend(tls_half_set(resolved));
    problems.extend(bus_without_database(resolved));
    problems
}

/// One setting that must not exceed another.
struct Order {
    small: (&'static str, u64),
    large: (&'static str, u64),
    why: &'static str,
}

/// What a running relay would contradict itself in.
pub(super) fn contradiction(config: &Config) -> Option<String> {
    let Order { small, large, why } = orders(config).into_iter().find(Order::is_broken)?;
    Some(format!(
        "without a restart {} would be {}, which is more than {}, {}: {why}",
        small.0, small.1, large.0, large.1
    ))
}

impl Order {
    fn is_broken(&self) -> bool {
        self.small.1 > self.large.1
    }

    fn problem(&self, resolved: &Resolved) -> Problem {
        let (small, large) = (self.small.0, self.large.0);
        // Point at a value that was set: changing a default means setting it.
        let (blamed, other) = match resolved.place(small) {
            Place::Default => (large, small),
            _ => (small, large),
        };
        let relation = if blamed == small { "is more than" } else { "is less than" };
        Problem {
            place: resolved.place(blamed),
            key: Some(blamed.to_owned()),
            message: format!(
                "{} {relation} {other}, which is {} ({}): {}",
                shown(resolved, blamed),
                shown(resolved, other),
                resolved.place(other),
                self.why,
            ),
        }
    }
}

fn orders(config: &Config) -> Vec<Order> {
    let Config { limits, queues, store, .. } = config;
    let message = ("limits.message_bytes_max", limits.message_bytes_max as u64);
    let order = |small, large, why| Order { small, large, why };
    vec![
        order(
            ("limits.limit_default", limits.limit_default.get() as u64),
            ("limits.limit_max", limits.limit_max.get() as u64),
            "a filter without a limit would get more than one with a limit",
        ),
        order(
            ("limits.content_chars_max", limits.content_chars_max.get() as u64),
            message,
            "NIP-11 would announce a content that no message has room for",
        ),
        order(
            message,
            ("queues.batch_bytes_max", queues.batch_bytes_max as u64),
            "the largest event must fit in a commit",
        ),
        order(
            message,
            ("queues.inbound_total_bytes_max", queues.inbound_total_bytes_max as u64),
            "the longest message must fit while it comes in",
        ),
        order(
            message,
            ("queues.outbox_bytes_max", queues.outbox_bytes_max as u64),
            "the largest event must fit in an outbox",
        ),
        order(
            message,
            ("store.segment_bytes", u64::from(store.segment_bytes)),
            "the largest event must fit in a log file",
        ),
        order(
            ("queues.batch_events_max", queues.batch_events_max.get() as u64),
            ("queues.commit_events_max", queues.commit_events_max.get() as u64),
            "a commit cannot take more than may wait",
        ),
        order(
            ("queues.batch_bytes_max", queues.batch_bytes_max as u64),
            ("queues.commit_bytes_max", queues.commit_bytes_max as u64),
            "a commit cannot take more than may wait",
        ),
        order(
            ("queues.outbox_bytes_max", queues.outbox_bytes_max as u64),
            ("queues.outbox_total_bytes_max", queues.outbox_total_bytes_max as u64),
            "one client cannot be promised more than all together",
        ),
    ]
}

fn tls_half_set(resolved: &Resolved) -> Option<Problem> {
    let server = &resolved.config.server;
    let (set, missing) = match (&server.tls_certificate, &server.tls_key) {
        (Some(_), None) => ("server.tls_certificate", "server.tls_key"),
        (None, Some(_)) => ("server.tls_key", "server.tls_certificate"),
        _ => return None,
    };
    Some(Problem { place: resolved.place(set), key: Some(set.to_owned()), message: format!("TLS needs {missing} too") })
}

fn bus_without_database(resolved: &Resolved) -> Option<Problem> {
    let Config { cluster, store, .. } = &resolved.config;
    let is_alone = cluster.bus.is_some() && store.url.is_none();
    is_alone.then(|| Problem {
        place: resolved.place("cluster.bus"),
        key: Some("cluster.bus".to_owned()),
        message: "pods share a database: without store.url each of them is another relay".to_owned(),
    })
}

/// The files that cannot be read. A start would name the first of them.
pub(super) fn unreadable_files(resolved: &Resolved) -> Vec<Problem> {
    let Config { relay, server, postgres, cluster, audit, .. } = &resolved.config;
    let files = [
        ("relay.key_file", &relay.key_file),
        ("server.tls_certificate", &server.tls_certificate),
        ("server.tls_key", &server.tls_key),
        ("postgres.password_file", &postgres.password_file),
        ("cluster.bus_password_file", &cluster.bus_password_file),
        ("audit.note_key_file", &audit.note_key_file),
    ];
    let problem = |(key, path): (&str, &Option<PathBuf>)| {
        let path = path.as_deref()?;
        let message = format!("{} cannot be read: {}", path.display(), std::fs::read(path).err()?);
        Some(Problem { place: resolved.place(key), key: Some(key.to_owned()), message })
    };
    files.into_iter().filter_map(problem).collect()
}

fn shown(resolved: &Resolved, path: &str) -> String {
    let setting = settings().find(|setting| setting.path() == path);
    setting.map_or_else(String::new, |setting| setting.value(&resolved.config))
}
