//! The programme as a process: what it lets its relays have, and what is left when somebody ends it.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

/// A session whose relay answers nobody, which leaves time to look at it. It may have few files open and take more.
struct Session(Child);

impl Session {
    fn begin(data: &Path) -> Self {
        let script = r#"ulimit -S -n 256; exec "$0" "$@""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, env!("CARGO_BIN_EXE_towpath-bench"), "ab", "--protocol", "publish"]);
        shell.args(["--a", "one=sleep 600 {port}", "--b", "two=sleep 600 {port}", "--data"]).arg(data);
        Self(shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a shell"))
    }

    /// The relay's process, once there is one.
    fn relay(&mut self) -> u32 {
        loop {
            assert!(self.0.try_wait().expect("a child").is_none(), "it ended before its relay began");
            let processes = fs::read_dir("/proc").expect("readable").flatten();
            let pids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
            if let Some(relay) = pids.into_iter().find(|pid| self.is_relay(*pid)) {
                return relay;
            }
            thread::yield_now();
        }
    }

    /// `pid (name) state parent …`
    fn is_relay(&self, pid: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let parent = || stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok();
        stat.contains("(sleep)") && parent() == Some(self.0.id())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that has ended and was not waited for has no command line.
fn is_running(pid: u32) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_programme_that_is_ended_leaves_no_relay_and_no_folder() {
    for signal in [Signal::TERM, Signal::KILL] {
        let data = tempfile::tempdir().expect("a folder");
        let mut session = Session::begin(data.path());
        let relay = session.relay();
        assert!(fs::read_dir(data.path()).expect("readable").count() > 0, "the relay has a folder");
        kill_process(Pid::from_child(&session.0), signal).expect("it runs");
        let status = session.0.wait().expect("a child");
        assert_eq!(status.signal(), Some(signal.as_raw()));
        while is_running(relay) || fs::read_dir(data.path()).expect("readable").count() > 0 {
            thread::yield_now();
        }
    }
}

#[test]
fn a_relay_may_open_as_many_files_as_the_system_allows() {
    let data = tempfile::tempdir().expect("a folder");
    let mut session = Session::begin(data.path());
    let relay = session.relay();
    let limits = fs::read_to_string(format!("/proc/{relay}/limits")).expect("it runs");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("known");
    let [soft, hard] = [0, 1].map(|field| files.split_whitespace().nth(field).expect("a number"));
    assert!(soft == hard && hard != "256", "{files}");
}
