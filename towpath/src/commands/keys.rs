//! `towpath keys`: the relay's own key. The secret is printed only when asked for by name.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use rand::TryRngCore;
use rand::rngs::OsRng;
use towpath_relay::identity::{self, Identity};

use crate::args::{KeysAction, KeysArgs, KeysShowArgs, StoreArgs};
use crate::bech32;
use crate::settings::{self, Environment};

pub(crate) fn run(args: &KeysArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    let text = match &args.action {
        None => show(&args.show, environment)?,
        Some(KeysAction::Show(args)) => show(args, environment)?,
        Some(KeysAction::Generate(args)) => generate(args, environment)?,
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &KeysShowArgs, environment: &Environment) -> anyhow::Result<String> {
    let config = settings::of_store(&args.store, environment)?.config;
    let identity = match &config.relay.key_file {
        Some(path) => {
            Identity::at(path)?.with_context(|| format!("relay.key_file: {} is not there", path.display()))?
        }
        None => {
            let data = config.store.data.display();
            let missing = || {
                format!("there is no key in {data} yet: `towpath keys generate` makes one, and so does the first start")
            };
            Identity::load(&config.store.data)?.with_context(missing)?
        }
    };
    let mut text = public(&identity);
    if args.reveal {
        let secret = identity.secret().to_bytes();
        text.push_str(&format!("nsec  {}\n", bech32::encode("nsec", &secret)));
    }
    Ok(text)
}

fn generate(args: &StoreArgs, environment: &Environment) -> anyhow::Result<String> {
    let config = settings::of_store(args, environment)?.config;
    if let Some(path) = &config.relay.key_file {
        bail!("relay.key_file names {} as the relay's key: none in the data folder would be used", path.display());
    }
    let data = config.store.data;
    if Identity::load(&data)?.is_some() {
        bail!("{} exists: a relay keeps its key, or clients would not know it again", key_file(&data));
    }
    let mut seed = [0; 32];
    OsRng.try_fill_bytes(&mut seed).context("the system gives no randomness")?;
    let identity = Identity::create(&data, seed)?;
    Ok(format!("made {}\n{}", key_file(&data), public(&identity)))
}

fn public(identity: &Identity) -> String {
    let key = identity.public_key();
    format!("hex   {}\nnpub  {}\n", key.to_hex(), bech32::encode("npub", key.as_bytes()))
}

fn key_file(data: &Path) -> String {
    data.join(identity::FILE_NAME).display().to_string()
}
