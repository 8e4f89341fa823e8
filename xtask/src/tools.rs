//! What the recipes need on the machine beside the Rust toolchain, and how each missing piece is installed.
//!
//! A piece that is present is left as it is, whatever its version; nothing is installed that no test uses.

use std::env;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step::{cargo, command, run, succeeds};

/// Programs that come from the system: the binary looked for, and the Debian package that holds it.
const SYSTEM: &[(&str, &str)] = &[
    ("cc", "build-essential"), // libsecp256k1 and LMDB are C
    ("curl", "curl"),          // the tour of the README
    ("node", "nodejs"),        // the nostr-tools client lane
    ("npm", "npm"),
];

/// A cargo subcommand, pinned so that a new release cannot change what passes.
pub(crate) struct CargoTool {
    name: &'static str,
    version: &'static str,
}

/// Runs the tests, each in a process of its own.
pub(crate) const NEXTEST: CargoTool = CargoTool { name: "nextest", version: "0.9.143" };
/// Judges the dependency tree.
pub(crate) const DENY: CargoTool = CargoTool { name: "deny", version: "0.20.2" };
/// Builds and runs the fuzz targets.
pub(crate) const FUZZ: CargoTool = CargoTool { name: "fuzz", version: "0.13.2" };

impl CargoTool {
    /// Installs the subcommand unless the machine has it.
    pub(crate) fn ensure(&self) -> Result<()> {
        if succeeds(cargo(&[self.name, "--version"])) {
            return Ok(());
        }
        let package = format!("cargo-{}@{}", self.name, self.version);
        // The tools wait for other processes, so an optimised build of them would cost more than it returns.
        run(&format!("install {package}"), cargo(&["install", "--locked", "--debug", &package]))
    }
}

/// Installs every system package whose binary is missing.
pub(crate) fn ensure_system() -> Result<()> {
    let missing: Vec<&str> =
        SYSTEM.iter().filter(|(binary, _)| !on_path(binary)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if !on_path("apt-get") {
        bail!("the tests need these programs, named here as Debian packages: {}", missing.join(" "));
    }
    run("refresh the package lists", as_root("apt-get", &["update", "--quiet"]))?;
    let mut install = as_root("apt-get", &["install", "--yes", "--quiet", "--no-install-recommends"]);
    install.args(&missing).env("DEBIAN_FRONTEND", "noninteractive");
    run(&format!("install {}", missing.join(" ")), install)
}

fn on_path(binary: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(binary).is_file()))
}

fn as_root(program: &str, arguments: &[&str]) -> Command {
    if !on_path("sudo") {
        return command(program, arguments);
    }
    let mut sudo = command("sudo", &["--non-interactive", "--preserve-env=DEBIAN_FRONTEND", program]);
    sudo.args(arguments);
    sudo
}
