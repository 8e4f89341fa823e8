//! What a workload does to a relay of ours between two of its lives: stop it, start it again with the data it had, and have it
//! import events meanwhile.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Contender, LOOK_AGAIN, Launcher, Pod, RunningArm};

/// What a relay may take to finish what it has begun; then it is killed.
const STOP_MAX: Duration = Duration::from_secs(30);

impl Contender {
    /// Starts the relay of a stopped `arm` again, with the data it had.
    pub(crate) fn start_again(&self, arm: &mut RunningArm) -> Result<()> {
        ensure!(arm.pods.is_empty(), "{} runs still", self.name);
        let folder = arm.folder()?.to_owned();
        let pod = self.start_pod(&folder, 1, arm.servers.as_ref())?;
        arm.pods.push(pod);
        Ok(())
    }

    /// The command that reads `lines`, one event each, into the store of a stopped `arm`; `None` for relays that have none.
    pub(crate) fn import_command(
        &self,
        arm: &RunningArm,
        lines: &Path,
        trusts_signatures: bool,
    ) -> Result<Option<Command>> {
        if self.launcher != Launcher::Towpath {
            return Ok(None);
        }
        let mut words = self.command.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("import").arg(lines).arg("--data").arg(arm.folder()?.join("data"));
        if trusts_signatures {
            command.arg("--no-verify");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Ok(Some(command))
    }
}

impl RunningArm {
    /// Ends what we started of it, in order; its data stay.
    pub(crate) fn stop(&mut self) {
        for pod in &mut self.pods {
            pod.stop();
        }
        self.pods.clear();
    }

    /// The folder of a relay we started.
    pub(crate) fn folder(&self) -> Result<&Path> {
        self.folder
            .as_ref()
            .map(|folder| folder.path())
            .with_context(|| format!("{} was started by somebody else", self.name))
    }
}

impl Pod {
    /// A process that does not heed is killed when the pod is dropped.
    fn stop(&mut self) {
        let Some(process) = &mut self.process else { return };
        // A process that has ended by itself needs no telling.
        let _ = kill_process(Pid::from_child(&process.leader), Signal::TERM);
        let start = Instant::now();
        while start.elapsed() < STOP_MAX && has_not_ended(&mut process.leader) {
            thread::sleep(LOOK_AGAIN);
        }
    }
}

fn has_not_ended(process: &mut Child) -> bool {
    process.try_wait().is_ok_and(|status| status.is_none())
}
