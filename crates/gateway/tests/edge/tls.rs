//! TLS and its renewal.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use towpath_gateway::{Config, Gateway, Metrics, Tls};
use towpath_runtime::SystemClock;

use crate::support::{Client, Edge, config};

/// Writes a new certificate for `localhost` into the folder.
fn renew(folder: &Path) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    std::fs::write(folder.join("cert.pem"), made.cert.pem()).expect("to write");
    std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("to write");
    made.cert.der().clone()
}

fn files(folder: &Path) -> Tls {
    Tls { certificate: folder.join("cert.pem"), key: folder.join("key.pem") }
}

async fn connect(edge: &Edge, trust: &CertificateDer<'static>) -> std::io::Result<TlsStream<tokio::net::TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trust.clone()).expect("a root");
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    TlsConnector::from(Arc::new(config)).connect(name, edge.socket().await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificate = renew(folder.path());
    let edge = Edge::with(Config { tls: Some(files(folder.path())), ..config() });
    let (_, mut client) = Client::open(connect(&edge, &certificate).await.expect("TLS"), "").await;
    client.text("quietly").await;
    assert_eq!(client.get_text().await, "quietly");
    client.text("flood 100 10000").await;
    for _ in 0..100 {
        assert_eq!(client.get_text().await.len(), 10_000);
    }
    // By the short way, and what the socket has no room for by the task.
    client.text("now 20000").await;
    for number in 0..20_000 {
        assert_eq!(client.get_text().await.split(' ').next(), Some(number.to_string().as_str()));
    }
    client.text("close").await;
    assert_eq!(client.get_text().await, "last words");
    assert_eq!(client.get_close().await.0, 4000);
}

#[tokio::test]
async fn a_renewed_certificate_is_served_to_new_connections() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = renew(folder.path());
    let edge = Edge::with(Config { tls: Some(files(folder.path())), ..config() });
    let (_, mut open) = Client::open(connect(&edge, &first).await.expect("TLS"), "").await;
    let second = renew(folder.path());
    edge.handle.reload_tls().expect("a usable certificate");
    assert!(connect(&edge, &first).await.is_err());
    connect(&edge, &second).await.expect("TLS");
    open.text("undisturbed").await;
    assert_eq!(open.get_text().await, "undisturbed");
    std::fs::write(folder.path().join("key.pem"), "half a k").expect("to write");
    assert!(edge.handle.reload_tls().is_err());
    connect(&edge, &second).await.expect("the old one stays");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_is_named_at_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = Config { tls: Some(files(folder.path())), ..config() };
    let Err(error) = Gateway::bind(config, Metrics::default(), Arc::new(SystemClock)) else {
        panic!("there is no certificate")
    };
    assert!(error.to_string().contains("cert.pem"), "{error}");
}
