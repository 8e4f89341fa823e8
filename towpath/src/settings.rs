//! From arguments and environment to the configuration, the same way for every command.

use std::path::PathBuf;

use towpath_relay::config::{Problems, Resolved, Sources, resolve};

use crate::args::{ServeArgs, StoreArgs};

const CONFIG_VARIABLE: &str = "TOWPATH_CONFIG";

/// The environment of the process, read once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Environment {
    variables: Vec<(String, String)>,
}

impl Environment {
    pub(crate) fn of_process() -> Self {
        // A variable that is no Unicode cannot be one of ours with a value that any key accepts;
        // the replacement characters make the refusal name it.
        let lossy = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
        let variables = std::env::vars_os().map(|(name, value)| (lossy(name), lossy(value)));
        Self { variables: variables.collect() }
    }

    fn config_file(&self) -> Option<PathBuf> {
        let named = self.variables.iter().find(|(name, _)| name == CONFIG_VARIABLE);
        named.map(|(_, path)| path).filter(|path| !path.is_empty()).map(PathBuf::from)
    }
}

/// The operator has to change something before any command can run.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct Misconfigured(#[from] Problems);

/// The configuration of the commands that only open the store. They speak to no bus, which without a database would be a mistake.
pub(crate) fn of_store(args: &StoreArgs, environment: &Environment) -> Result<Resolved, Misconfigured> {
    Ok(resolve(&store_sources(args, environment).flag("--bus", "cluster.bus", ""))?)
}

/// The configuration of the relay.
pub(crate) fn of_relay(args: &ServeArgs, environment: &Environment) -> Result<Resolved, Misconfigured> {
    let mut sources = store_sources(&args.store, environment);
    if let Some(listen) = &args.listen {
        sources = sources.flag("--listen", "server.listen", listen);
    }
    if let Some(bus) = &args.bus {
        sources = sources.flag("--bus", "cluster.bus", bus);
    }
    Ok(resolve(&sources)?)
}

/// Where the relay listens, by what does not change while it runs.
pub(crate) fn of_server(environment: &Environment) -> Result<Resolved, Misconfigured> {
    let mut variables = environment.variables.clone();
    variables.retain(|(name, _)| name.starts_with("TOWPATH_SERVER_"));
    Ok(resolve(&Sources::default().environment(variables))?)
}

fn store_sources(args: &StoreArgs, environment: &Environment) -> Sources {
    let mut sources = Sources::default();
    if let Some(path) = args.config.clone().or_else(|| environment.config_file()) {
        sources = sources.file(&path);
    }
    sources = sources.environment(environment.variables.clone());
    if let Some(data) = &args.data {
        sources = sources.flag("--data", "store.data", data);
    }
    if let Some(url) = &args.store {
        sources = sources.flag("--store", "store.url", url);
    }
    sources
}
