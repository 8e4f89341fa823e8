//! The configuration as an operator meets it: what is accepted, and what a mistake is answered with.

use std::path::Path;
use std::time::Duration;

use super::*;

fn file(text: &str) -> Sources {
    Sources::default().text("towpath.toml", text)
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn config(sources: &Sources) -> Config {
    match resolve(sources) {
        Ok(resolved) => resolved.config,
        Err(problems) => panic!("{problems}"),
    }
}

/// The problems as lines, without the summary above them.
fn problems(sources: &Sources) -> Vec<String> {
    match resolve(sources) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(config(&Sources::default()), Config::default());
    assert_eq!(config(&file("")), Config::default());
}

#[test]
fn the_example_is_the_default() {
    assert_eq!(config(&file(&Config::example())), Config::default());
}

#[test]
fn the_example_mentions_every_key_once() {
    let resolved = resolve(&file(&Config::example())).expect("the example is valid");
    for setting in settings() {
        assert_ne!(resolved.place(&setting.path()), Place::Default, "{}", setting.path());
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "whether to update the example is asked of whoever runs the test")]
fn the_example_in_deploy_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/towpath.example.toml");
    if std::env::var_os("UPDATE_EXAMPLE").is_some() {
        std::fs::write(&path, Config::example()).expect("the example can be written");
    }
    let pinned = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(pinned == Config::example(), "run this test with UPDATE_EXAMPLE=1 and review the change");
}

#[test]
fn what_is_shown_reads_back_as_the_same_configuration() {
    let sources = file(
        "relay.name = \"a \\\"quoted\\\" näme \\\\ \\u0007\"\n\
         auth.private_kinds = [1059, 4]\n\
         server.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n\
         server.workers = 3\n\
         limits.created_at_behind_max_s = 86_400\n",
    );
    let resolved = resolve(&sources).expect("valid");
    assert_eq!(config(&file(&resolved.show())), resolved.config);
    assert!(resolved.show().contains("workers = 3 # towpath.toml:4:18"), "{}", resolved.show());
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let sources = file("[server]\nlisten = \"0.0.0.0:1\"\nping_interval_s = 11\nworkers = 1\n")
        .environment(variables(&[("TOWPATH_SERVER_LISTEN", "0.0.0.0:2"), ("TOWPATH_SERVER_PING_INTERVAL_S", "12")]))
        .flag("--listen", "server.listen", "0.0.0.0:3");
    let config = config(&sources);
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.server.ping_interval, Duration::from_secs(12));
    assert_eq!(config.server.workers.map(|count| count.get()), Some(1));
}

#[test]
fn a_variable_takes_the_type_of_its_key() {
    let config = config(&Sources::default().environment(variables(&[
        ("TOWPATH_STORE_SYNC", "false"),
        ("TOWPATH_LIMITS_MESSAGE_BYTES_MAX", "600_000"),
        ("TOWPATH_AUTH_PRIVATE_KINDS", "4, 14"),
        ("TOWPATH_SERVER_TRUSTED_PROXIES", ""),
        ("TOWPATH_RELAY_NAME", "1984"),
        ("TOWPATH_RELAY_CONTACT", ""),
        ("TOWPATH_LOG_FORMAT", "json"),
    ])));
    assert!(!config.store.sync);
    assert_eq!(config.limits.message_bytes_max, 600_000);
    assert_eq!(config.auth.private_kinds, [4, 14].into());
    assert_eq!(config.server.trusted_proxies, []);
    assert_eq!(config.relay.name, "1984");
    assert_eq!(config.relay.contact, None);
    assert_eq!(config.log.format, Format::Json);
}

#[test]
fn all_problems_are_reported_at_once_each_with_its_place() {
    let sources = file(
        "[server]\n\
         listen = \"localhost\"\n\
         lisen = \"127.0.0.1:1\"\n\
         [limits]\n\
         subscriptions_max = 0\n\
         message_bytes_max = \"big\"\n\
         [relay]\n\
         pubkey = \"npub1\"\n",
    )
    .environment(variables(&[("TOWPATH_STORE_SYNC", "maybe"), ("TOWPATH_SERVER_LISTN", "x")]))
    .flag("--data", "store.data", "");
    assert_eq!(
        problems(&sources),
        [
            "towpath.toml:2:10: server.listen: expected an IP address with a port, such as \
             \"127.0.0.1:7777\", got \"localhost\"",
            "towpath.toml:3:1: unknown key \"lisen\" in [server]: did you mean server.listen?",
            "towpath.toml:5:21: limits.subscriptions_max: expected a whole number from 1 to 100_000, got 0",
            "towpath.toml:6:21: limits.message_bytes_max: expected a whole number from 1024 to \
             16_777_216, got \"big\"",
            "towpath.toml:8:10: relay.pubkey: expected a public key as 64 lowercase hexadecimal \
             characters, got \"npub1\"",
            "TOWPATH_SERVER_LISTN: sets no key: did you mean TOWPATH_SERVER_LISTEN?",
            "TOWPATH_STORE_SYNC: store.sync: expected true or false, got \"maybe\"",
            "--data: store.data: expected the path of a folder, got \"\"",
        ]
    );
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let check = |text: &str, expected: &str| {
        let problems = problems(&file(text));
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].ends_with(expected), "{} should end with {expected}", problems[0]);
    };
    check("[server]\nping_interval = 30", "did you mean server.ping_interval_s?");
    check("[server]\ndata = \"x\"", "it belongs to [store]");
    check("[sever]\nlisten = \"x\"", "did you mean [server]?");
    check("listen = \"x\"", "listen is a key of [server]");
    check("[limits]\nmax_subscriptions = 1", "unknown key \"max_subscriptions\" in [limits]");
    check("server = 1", "[server] is a table");
}

#[test]
fn broken_toml_is_reported_beside_wrong_values() {
    let problems = problems(&file("[server]\nworkers = \n[store]\nsync = 1\n[log]\nlevel = \"loud\"\n"));
    assert!(problems.iter().any(|p| p.starts_with("towpath.toml:2:") && p.contains("not TOML")), "{problems:?}");
    assert!(problems.iter().any(|p| p.starts_with("towpath.toml:4:8: store.sync")), "{problems:?}");
    assert!(problems.iter().any(|p| p.contains("log.level: expected one of \"error\"")), "{problems:?}");
}

#[test]
fn a_key_given_twice_is_a_problem() {
    let problems = problems(&file("[server]\nworkers = 1\nworkers = 2\n"));
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("towpath.toml:3:1: not TOML"), "{problems:?}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_problem_like_any_other() {
    let sources =
        Sources::default().file(Path::new("/nonexistent/towpath.toml")).flag("--listen", "server.listen", "x");
    let problems = problems(&sources);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].starts_with("/nonexistent/towpath.toml:1:1: cannot be read"), "{problems:?}");
}

#[test]
fn settings_that_contradict_each_other_are_reported_at_the_one_that_was_set() {
    assert_eq!(
        problems(&file("[limits]\nlimit_max = 100\n")),
        ["towpath.toml:2:13: limits.limit_max: 100 is less than limits.limit_default, which is 500 \
          (default): a filter without a limit would get more than one with a limit"]
    );
    assert_eq!(
        problems(&file("[queues]\nbatch_events_max = 20_000\n")),
        ["towpath.toml:2:20: queues.batch_events_max: 20_000 is more than queues.commit_events_max, \
          which is 16_384 (default): a commit cannot take more than may wait"]
    );
    assert_eq!(
        problems(&file("[queues]\ninbound_total_bytes_max = 500_000\n")),
        ["towpath.toml:2:27: queues.inbound_total_bytes_max: 500_000 is less than limits.message_bytes_max, \
          which is 524_288 (default): the longest message must fit while it comes in"]
    );
    assert_eq!(
        problems(&file("[server]\ntls_key = \"key.pem\"\n")),
        ["towpath.toml:2:11: server.tls_key: TLS needs server.tls_certificate too"]
    );
    assert_eq!(
        problems(&Sources::default().flag("--bus", "cluster.bus", "redis://h:6379")),
        ["--bus: cluster.bus: pods share a database: without store.url each of them is another relay"]
    );
}

#[test]
fn a_database_is_named_with_ports_and_an_sslmode_that_there_are() {
    for (url, good) in [
        ("postgres://towpath@db/towpath", true),
        ("postgresql://u:a:b/c@h1:5432,h2,[::1],[::1]:5433/db?sslmode=verify-full&sslrootcert=ca.crt", true),
        ("postgres://u:7@%2Frun%2Fpostgresql/db?application_name=x", true),
        ("postgres://u@db:99999/towpath", false),
        ("postgres://u@db:/towpath", false),
        ("postgres://u@db/towpath?sslrootcert=x&sslmode=bogus", false),
    ] {
        let found = problems(&Sources::default().flag("--store", "store.url", url));
        assert_eq!(found.is_empty(), good, "{url}: {found:?}");
        assert!(!found.concat().contains(url), "it may hold a password");
    }
}

#[test]
fn a_relay_is_named_by_what_clients_can_authenticate_to() {
    for (url, good) in [
        ("wss://relay.example.com", true),
        ("ws://relay.example.com:8080/", true),
        ("wss://user@relay.example.com", false),
        ("wss://:443", false),
        ("https://relay.example.com", false),
        ("wss://relay.example.com/?x", false),
    ] {
        let found = problems(&file(&format!("relay.url = \"{url}\"")));
        assert_eq!(found.is_empty(), good, "{url}: {found:?}");
    }
}

#[test]
fn passwords_in_urls_are_not_shown() {
    for (url, expected) in [
        ("postgres://u:se@k/ret@db:5432/towpath?sslmode=require", "postgres://u:***@db:5432/towpath?sslmode=require"),
        ("postgres://db/towpath?password=sekret&sslmode=disable", "postgres://db/towpath?password=***&sslmode=disable"),
        ("postgres://u@db:5432/towpath?password=sekret", "postgres://u@db:5432/towpath?password=***"),
        ("postgres://u@db:5432/towpath", "postgres://u@db:5432/towpath"),
    ] {
        let shown = resolve(&Sources::default().flag("--store", "store.url", url)).expect("valid").show();
        assert!(shown.contains(&format!("url = \"{expected}\" # --store\n")), "{shown}");
    }
    let picture = "https://pictures.example.com:8080/towpath@2x.png";
    let shown = resolve(&file(&format!("relay.icon = \"{picture}\""))).expect("valid").show();
    assert!(shown.contains(picture), "{shown}");
}

#[test]
fn service_links_of_a_cluster_are_not_taken_for_keys() {
    let sources = Sources::default().environment(variables(&[
        ("TOWPATH_SERVICE_HOST", "10.0.0.1"),
        ("TOWPATH_SERVICE_PORT", "7777"),
        ("TOWPATH_PORT_7777_TCP_ADDR", "10.0.0.1"),
        ("TOWPATH_SERVER_PORT", "tcp://10.0.0.1:7777"),
        ("TOWPATH_CONFIG", "towpath.toml"),
        ("PATH", "/bin"),
    ]));
    assert_eq!(problems(&sources), Vec::<String>::new());
}

#[test]
fn no_key_reads_like_a_service_link() {
    for setting in settings() {
        let taken = Sources::default().environment(variables(&[(&setting.variable(), "?\n")]));
        let (assignments, _) = taken.assignments();
        assert_eq!(assignments.len(), 1, "{} is ignored", setting.variable());
    }
}

#[test]
fn every_key_is_spelt_with_its_unit() {
    for setting in settings() {
        let name = setting.key;
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        if ["interval", "timeout", "deadline", "grace", "skew"].iter().any(|word| name.contains(word)) {
            assert!(name.ends_with("_s") || name.ends_with("_us"), "{name} has no unit");
        }
    }
}

#[test]
fn a_difference_tells_what_is_live_from_what_waits() {
    let old = Config::default();
    let new = config(&file("relay.name = \"Lock\"\nlimits.limit_max = 900\nserver.workers = 7\n"));
    let difference = Config::reloadable_difference(&old, &new);
    assert_eq!(difference.live, ["relay.name", "limits.limit_max"]);
    assert_eq!(difference.restart, ["server.workers"]);
    assert_eq!(Config::reloadable_difference(&old, &old), Difference::default());

    let merged = old.with_live_values_of(&new).expect("nothing contradicts");
    assert_eq!(merged.relay.name, "Lock");
    assert_eq!(merged.server.workers, None);
}

/// NIP-11 announced a content that no message had room for: the longer messages were for the next start.
#[test]
fn a_reload_that_contradicts_what_waits_for_the_next_start_is_refused() {
    let new = config(&file("limits.message_bytes_max = 1_000_000\nlimits.content_chars_max = 900_000\n"));
    let refused = Config::default().with_live_values_of(&new).expect_err("messages stay short");
    assert!(refused.contains("limits.content_chars_max would be 900000"), "{refused}");
}
