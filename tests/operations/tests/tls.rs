//! TLS of the relay's own, and a certificate that is renewed under it.

use std::path::Path;

use tokio::process::Command;
use towpath_operations::*;

/// Writes a new certificate for `localhost` and its key.
fn renew(folder: &Path) -> Result<()> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(folder.join("certificate.pem"), made.cert.pem())?;
    Ok(std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?)
}

/// Whether a client that trusts `authority` alone gets an answer.
async fn is_trusted(relay: &Relay, authority: &Path) -> Result<bool> {
    let port = relay.authority().rsplit_once(':').context("no port")?.1;
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--fail", "--output", "/dev/null", "--resolve", &format!("localhost:{port}:127.0.0.1")]);
    curl.arg("--cacert").arg(authority).arg(format!("https://localhost:{port}/healthz"));
    Ok(curl.status().await?.success())
}

#[tokio::test]
async fn a_certificate_is_served_and_a_renewed_one_without_a_restart() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let folder = folder.path();
    let (certificate, first) = (folder.join("certificate.pem"), folder.join("first.pem"));
    renew(folder)?;
    std::fs::copy(&certificate, &first)?;
    let config = format!("[server]\ntls_certificate = {certificate:?}\ntls_key = {:?}", folder.join("key.pem"));
    let mut relay = Relay::builder().config_toml(&config).start().await?;
    assert!(relay.url().starts_with("wss://"), "{}", relay.url());
    assert!(is_trusted(&relay, &certificate).await?);

    renew(folder)?;
    assert!(!is_trusted(&relay, &certificate).await?, "nobody has told the relay yet");
    relay.reload(&config).await?;
    eventually("the new certificate is served", async || is_trusted(&relay, &certificate).await).await?;
    assert!(!is_trusted(&relay, &first).await?);

    std::fs::copy(&certificate, &first)?;
    std::fs::write(&certificate, "half written")?;
    relay.reload(&config).await?;
    eventually("the mistake is logged", async || Ok(relay.log()?.contains("certificate.pem"))).await?;
    assert!(is_trusted(&relay, &first).await?, "the one that works is kept");
    Ok(())
}
