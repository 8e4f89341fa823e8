//! `towpath health`: is a running relay ready?

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use ureq::tls::TlsConfig;

use crate::args::{HealthArgs, ServeArgs, StoreArgs};
use crate::settings::{self, Environment};

/// A relay that takes longer to say so is not.
const TIMEOUT: Duration = Duration::from_secs(2);

pub(crate) fn run(args: &HealthArgs, environment: &Environment) -> anyhow::Result<ExitCode> {
    // The certificate is for the name that clients know, not for this machine's own address.
    let (relay, any_certificate) = match &args.url {
        Some(url) => (url.clone(), false),
        None => (own_url(args, environment)?, true),
    };
    let url = format!("{}/readyz", relay.trim_end_matches('/'));
    let tls = TlsConfig::builder().disable_verification(any_certificate).build();
    let request = ureq::get(&url).config().timeout_global(Some(TIMEOUT)).http_status_as_error(false).tls_config(tls);
    let mut response = request.build().call().with_context(|| format!("cannot ask {url}"))?;
    println!("{}", response.body_mut().read_to_string()?.trim_end());
    Ok(if response.status().is_success() { ExitCode::SUCCESS } else { ExitCode::from(crate::FAILURE) })
}

/// Where the relay of this configuration listens, from this machine.
fn own_url(args: &HealthArgs, environment: &Environment) -> anyhow::Result<String> {
    let store = StoreArgs { config: args.config.clone(), ..StoreArgs::default() };
    let resolved = settings::of_relay(&ServeArgs { store, ..ServeArgs::default() }, environment);
    // There may be a mistake in the file since the relay read it, which runs on all the same.
    let server = resolved.or_else(|mistake| settings::of_server(environment).map_err(|_| mistake))?.config.server;
    let ip = match server.listen.ip() {
        IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let scheme = if server.tls_certificate.is_some() { "https" } else { "http" };
    Ok(format!("{scheme}://{}", SocketAddr::new(ip, server.listen.port())))
}
