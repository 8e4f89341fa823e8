//! The `towpath` binary as an operator meets it, without a relay running.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use towpath_protocol::SecretKey;

/// The binary in an environment of its own, so that the machine's variables are no part of the test.
fn towpath(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_towpath"));
    command.args(arguments).env_clear();
    command
}

fn run(command: &mut Command) -> (i32, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the binary runs");
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    (status.code().expect("an exit code"), text(stdout), text(stderr))
}

fn path(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

#[test]
fn help_teaches_by_example() {
    let (code, help, _) = run(&mut towpath(&["--help"]));
    assert_eq!(code, 0);
    for command in ["serve", "import", "export", "query", "stats", "check", "audit", "config", "keys"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} is not in:\n{help}");
        let (code, help, _) = run(&mut towpath(&["help", command]));
        assert_eq!(code, 0);
        assert!(help.contains("Examples:\n  towpath"), "{command} has no examples:\n{help}");
    }
}

#[test]
fn config_example_is_a_file_that_config_check_accepts() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("towpath.toml");
    let (code, example, _) = run(&mut towpath(&["config", "example"]));
    assert_eq!(code, 0);
    fs::write(&file, example).expect("the file is written");
    let (code, stdout, stderr) = run(&mut towpath(&["config", "check", "--config", path(&file)]));
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("the configuration is good"), "{stdout}");
}

#[test]
fn config_check_reports_everything_at_once_and_exits_with_2() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("towpath.toml");
    fs::write(&file, "[server]\nlisen = \"x\"\n[store]\nsync = 1\n").expect("the file is written");
    let mut check = towpath(&["config", "check", "--listen", "nowhere"]);
    let (code, stdout, stderr) = run(check.env("TOWPATH_CONFIG", &file).env("TOWPATH_LOG_LEVEL", "loud"));
    assert_eq!((code, stdout.as_str()), (2, ""));
    let expected = [
        "towpath: the configuration has 4 problems:".to_owned(),
        format!("  {}:2:1: unknown key \"lisen\" in [server]: did you mean server.listen?", path(&file)),
        format!("  {}:4:8: store.sync: expected true or false, got 1", path(&file)),
        "  TOWPATH_LOG_LEVEL: log.level: expected one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", \
         got \"loud\""
            .to_owned(),
        "  --listen: server.listen: expected an IP address with a port, such as \"127.0.0.1:7777\", got \"nowhere\""
            .to_owned(),
    ];
    assert_eq!(stderr.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn config_check_looks_for_files_and_reads_urls() {
    let check = ["config", "check", "--store", "postgres://u@db/towpath", "--bus"];
    let (code, _, stderr) = run(&mut towpath(&[&check[..], &["redis://h:99999"]].concat()));
    assert!(code == 2 && stderr.contains("--bus: cluster.bus: "), "{stderr}");

    let files = [
        "TOWPATH_RELAY_KEY_FILE",
        "TOWPATH_SERVER_TLS_CERTIFICATE",
        "TOWPATH_SERVER_TLS_KEY",
        "TOWPATH_POSTGRES_PASSWORD_FILE",
        "TOWPATH_CLUSTER_BUS_PASSWORD_FILE",
        "TOWPATH_AUDIT_NOTE_KEY_FILE",
    ];
    let mut missing = towpath(&[&check[..], &["redis://h"]].concat());
    missing.envs(files.map(|variable| (variable, "/nonexistent/file")));
    let (code, _, stderr) = run(&mut missing);
    let named = stderr.matches("/nonexistent/file cannot be read: ").count();
    assert_eq!((code, named), (2, files.len()), "{stderr}");
}

#[test]
fn serve_needs_no_name() {
    let (code, _, stderr) = run(&mut towpath(&["--listen", "nowhere"]));
    assert!(code == 2 && stderr.contains("--listen: server.listen: expected"), "{stderr}");
}

/// It asked 127.0.0.1:7777, whatever was configured, and did not say so.
#[test]
fn health_asks_the_relay_of_this_configuration() {
    for (listen, tls, asked) in [
        ("127.0.0.1:1", "", "http://127.0.0.1:1/readyz"),
        ("0.0.0.0:1", "", "http://127.0.0.1:1/readyz"),
        ("[::]:1", "cert.pem", "https://[::1]:1/readyz"),
    ] {
        let mut health = towpath(&["health"]);
        health.env("TOWPATH_SERVER_LISTEN", listen);
        health.env("TOWPATH_SERVER_TLS_CERTIFICATE", tls).env("TOWPATH_SERVER_TLS_KEY", tls);
        let (code, _, stderr) = run(&mut health);
        assert!(code == 1 && stderr.contains(&format!("cannot ask {asked}")), "{listen}: {stderr}");
    }
    // A file that has got a mistake says nothing of a relay that read it before.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("towpath.toml");
    std::fs::write(&file, "[limits]\nlimit_max = -1").expect("written");
    let mut health = towpath(&["health", "--config", path(&file)]);
    let (code, _, stderr) = run(health.env("TOWPATH_SERVER_LISTEN", "127.0.0.1:1"));
    assert!(code == 1 && stderr.contains("cannot ask http://127.0.0.1:1/readyz"), "{stderr}");
}

#[test]
fn config_show_names_who_set_what() {
    let (code, stdout, _) =
        run(towpath(&["config", "show", "--data", "/srv/towpath"]).env("TOWPATH_LIMITS_LIMIT_MAX", "900"));
    assert_eq!(code, 0);
    assert!(stdout.contains("data = \"/srv/towpath\" # --data\n"), "{stdout}");
    assert!(stdout.contains("limit_max = 900 # TOWPATH_LIMITS_LIMIT_MAX\n"), "{stdout}");
    assert!(stdout.contains("limit_default = 500\n"), "{stdout}");
}

#[test]
fn the_key_is_made_once_and_its_secret_shown_only_when_asked_for() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let keys = |arguments: &[&str]| run(&mut towpath(&[&["keys"], arguments, &["--data", path(&data)]].concat()));

    let (code, _, stderr) = keys(&[]);
    assert_eq!(code, 1);
    assert!(stderr.contains("`towpath keys generate` makes one"), "{stderr}");

    let (code, made, _) = keys(&["generate"]);
    assert_eq!(code, 0);
    let (code, shown, _) = keys(&[]);
    assert_eq!(code, 0);
    assert!(made.ends_with(&shown), "{made} should end with {shown}");
    assert!(shown.starts_with("hex   ") && shown.contains("\nnpub  npub1"), "{shown}");
    assert!(!shown.contains("nsec"), "{shown}");

    let (_, revealed, _) = keys(&["--reveal"]);
    assert!(revealed.starts_with(&shown) && revealed.contains("\nnsec  nsec1"), "{revealed}");

    let (code, _, stderr) = keys(&["generate"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("exists: a relay keeps its key"), "{stderr}");
}

#[test]
fn a_key_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let (code, _, _) = run(&mut towpath(&["keys", "generate", "--data", path(folder.path())]));
    assert_eq!(code, 0);
    let file = folder.path().join("relay.key");
    let mode = fs::metadata(&file).expect("the key is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("the mode changes");
    let (code, _, stderr) = run(&mut towpath(&["keys", "--data", path(folder.path())]));
    assert_eq!(code, 1);
    assert!(stderr.contains("other users can read it"), "{stderr}");
}

#[test]
fn a_folder_that_does_not_exist_is_named() {
    let (code, _, stderr) = run(&mut towpath(&["stats", "--data", "/nonexistent/towpath"]));
    assert_eq!(code, 1);
    assert!(stderr.contains("there is no data folder /nonexistent/towpath"), "{stderr}");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = path(folder.path());
    let (code, _, stderr) = run(towpath(&["import", "--data", data]).stdin(Stdio::null()));
    assert_eq!(code, 0, "{stderr}");

    let (code, stdout, stderr) = run(&mut towpath(&["export", "--data", data, "--filter", "{\"limit\":1}"]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("`towpath query` takes a limit"), "{stderr}");

    for (from, to) in [(data, "postgress://u:sekret@h/db"), ("Postgres://u:sekret@h/db", data)] {
        let mut copy = towpath(&["copy", "--from", from, "--to", to]);
        let (code, _, stderr) = run(copy.current_dir(folder.path()));
        assert!(code == 1 && stderr.contains(":// is no store") && !stderr.contains("sekret"), "{stderr}");
    }
    assert!(!folder.path().join("postgress:").exists());

    let audit = ["audit", "verify", "--url", "http://127.0.0.1:1", "--store", "postgres://h/db"];
    let (code, _, stderr) = run(&mut towpath(&audit));
    assert!(code == 2 && stderr.contains("cannot be used with"), "{stderr}");
}

#[test]
fn an_export_is_for_its_owner_alone_and_a_backup_says_that_it_lacks_the_key() {
    use std::os::unix::fs::PermissionsExt;

    let folder = tempfile::tempdir().expect("a temporary folder");
    let within = |name| folder.path().join(name);
    let (data, backup, dump, events) = (within("data"), within("backup"), within("dump"), within("events"));
    fs::write(&dump, notes(1)).expect("the dump is written");
    for arguments in [
        &["keys", "generate", "--data", path(folder.path())][..],
        &["import", path(&dump), "--data", path(&data)],
        &["export", "--data", path(&data), "--output", path(&events)],
    ] {
        let (code, _, stderr) = run(&mut towpath(arguments));
        assert_eq!(code, 0, "{stderr}");
    }
    let mode = fs::metadata(&events).expect("the events are there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let key = folder.path().join("relay.key");
    let mut lacking = towpath(&["backup", "--data", path(&data), "--to", path(&backup)]);
    let (code, _, stderr) = run(lacking.env("TOWPATH_RELAY_KEY_FILE", &key));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains(&format!("the relay's key in {} is not in the backup", path(&key))), "{stderr}");
}

fn notes(count: u64) -> String {
    let alice = SecretKey::from_bytes([1; 32]).expect("a key");
    let note = |at| alice.sign(1_700_000_000 + at, 1, &[&["t", "towpath"]], "hello", &[7; 32]);
    (0..count).map(|at| note(at).event().as_str().to_owned() + "\n").collect()
}

#[test]
fn what_is_imported_can_be_exported_queried_counted_and_checked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (data, dump) = (folder.path().join("data"), folder.path().join("events.jsonl"));
    let lines = notes(300);
    fs::write(&dump, format!("{lines}not JSON\n")).expect("the dump is written");
    let on_data = |arguments: &[&str]| run(&mut towpath(&[arguments, &["--data", path(&data)]].concat()));

    let (code, _, stderr) = on_data(&["import", path(&dump)]);
    assert_eq!(code, 1, "one line is no event: {stderr}");
    assert!(stderr.contains("300 stored\n") && stderr.contains("1 not an event (first on line 301"), "{stderr}");
    let (code, _, stderr) = on_data(&["import", path(&dump), "--resume"]);
    assert_eq!((code, stderr.as_str()), (0, "         0 stored\n"));

    let (code, exported, stderr) = on_data(&["export"]);
    assert_eq!((code, exported == lines), (0, true), "{stderr}");
    assert_eq!(stderr, "300 events exported; go on from here with --since-seq 300\n");
    let (_, newest, _) = on_data(&["query", "{\"#t\":[\"towpath\"],\"limit\":1}"]);
    assert_eq!(Some(newest.trim_end()), lines.lines().last());
    let (_, stats, _) = on_data(&["stats"]);
    assert!(stats.starts_with("events         300\nlast sequence  300\n"), "{stats}");
    let (code, problems, stderr) = on_data(&["check"]);
    assert_eq!((code, problems.as_str()), (0, ""), "{stderr}");
    assert_eq!(stderr, "300 log entries, 300 stored events, 0 problems\n");
}

#[test]
#[expect(clippy::disallowed_methods, reason = "waits for another process, in a thread of its own")]
fn a_store_that_another_process_has_open_is_said_to_be_in_use() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = path(folder.path());
    let mut holder = towpath(&["import", "--data", data]);
    let mut holder = holder.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary runs");
    let mut input = holder.stdin.take().expect("a pipe");
    input.write_all(notes(1).as_bytes()).expect("the line is taken");
    // The index is made after the lock is taken.
    let index = folder.path().join("index");
    let opened = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        index.exists()
    });
    assert!(opened, "the first process does not open the store");

    let (code, _, stderr) = run(&mut towpath(&["stats", "--data", data]));
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot open the store in") && stderr.contains("in use by another process"), "{stderr}");
    assert!(stderr.contains("stop the relay"), "{stderr}");
    drop(input);
    assert!(holder.wait().expect("the first process ends").success());
}
