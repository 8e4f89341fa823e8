//! A server that speaks TLS, with a certificate of a private authority, and lets pods do no more than they need.

use std::path::Path;
use std::sync::Arc;

use towpath_bus::suite::Fixture;
use towpath_bus::{Bus, Listener, Message, Metrics, PodId, bus_suite};
use towpath_bus_redis::{RedisBus, Server};
use towpath_runtime::SystemClock;
use towpath_servers::{Authority, Redis};
use towpath_store::{Seq, StreamId};

use crate::{Pods, cut};

const HOST: &str = "localhost";

struct Guarded {
    redis: Redis,
    authority: Authority,
    pods: Pods,
}

impl Guarded {
    fn start() -> Self {
        let authority = Authority::new().expect("an authority");
        let redis = Redis::guarded(Some((&authority, HOST))).expect("a server");
        let pods = Pods::on(server(&redis, HOST, Some(&authority.root())));
        Self { redis, authority, pods }
    }

    /// Why a pod is refused that looks for the server at `host` and trusts `root`.
    fn refusal(&self, host: &str, root: Option<&Path>) -> String {
        let refused = server(&self.redis, host, root).connect();
        refused.err().expect("the connection is refused").to_string()
    }
}

/// As a pod's configuration names it: the password is in a file.
fn server(redis: &Redis, host: &str, root: Option<&Path>) -> Server {
    let url = format!("rediss://{}@{host}:{}{}", Redis::USER, redis.port(), trusting(root));
    Server::parse(&url, Some(Redis::PASSWORD)).expect("it is a URL")
}

fn trusting(root: Option<&Path>) -> String {
    root.map_or_else(String::new, |root| format!("?sslrootcert={}", root.display()))
}

impl Fixture for Guarded {
    fn open() -> Self {
        Self::start()
    }

    fn join(&self, pod: PodId, listener: Arc<dyn Listener>) -> Box<dyn Bus> {
        self.pods.join(pod, listener)
    }

    fn cut(&self) {
        let url =
            format!("rediss://admin:admin@{HOST}:{}{}", self.redis.port(), trusting(Some(&self.authority.root())));
        cut(&Server::parse(&url, None).expect("it is a URL"));
    }
}

bus_suite!(Guarded);

#[test]
fn a_certificate_is_accepted_from_the_authority_that_was_named_and_no_other() {
    let guarded = Guarded::start();
    let other = Authority::new().unwrap();
    for root in [None, Some(other.root())] {
        let refusal = guarded.refusal(HOST, root.as_deref());
        assert!(refusal.contains("UnknownIssuer"), "{refusal}");
    }
    server(&guarded.redis, HOST, Some(&guarded.authority.root())).connect().expect("it is trusted");
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let guarded = Guarded::start();
    let refusal = guarded.refusal("127.0.0.1", Some(&guarded.authority.root()));
    assert!(refusal.contains("not valid for name"), "{refusal}");
}

#[test]
fn what_the_server_does_not_permit_is_named() {
    let guarded = Guarded::start();
    let root = guarded.authority.root();
    let url = format!("rediss://{}:guessed@{HOST}:{}{}", Redis::USER, guarded.redis.port(), trusting(Some(&root)));
    let refusal = Server::parse(&url, None).unwrap().connect().err().expect("the password is wrong").to_string();
    assert!(refusal.contains("authentication failed"), "{refusal}");

    let server = server(&guarded.redis, HOST, Some(&root));
    let mut bus = RedisBus::new(server, "elsewhere".into(), [1; 16], Arc::new(SystemClock), Metrics::default());
    let refusal = bus.send(&Message::Place { stream: StreamId(1), last: Seq(1) }).expect_err("not this topic");
    assert!(refusal.0.contains("NoPerm"), "{refusal:?}");
}
