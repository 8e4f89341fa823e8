//! TLS: the certificate, and reading it again when it is renewed. Everything else is rustls.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::Tls;

/// Why a certificate cannot be used. Never contains the key.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("cannot read {0}: {1}")]
    Io(PathBuf, io::Error),
    /// A file is not the PEM that is expected.
    #[error("{0} is not usable PEM: {1}")]
    Pem(PathBuf, pem::Error),
    /// Certificate and key do not go together, or are of a kind that is not understood.
    #[error("the certificate in {0} cannot be served: {1}")]
    Unusable(PathBuf, rustls::Error),
}

/// The certificate in use.
pub(crate) struct Certificate {
    files: Tls,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    modified: [SystemTime; 2],
}

impl Certificate {
    pub(crate) fn load(files: &Tls) -> Result<Self, CertificateError> {
        Ok(Certificate { files: files.clone(), current: Mutex::new(Current::read(files)?) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current.lock().acceptor.clone()
    }

    /// On an error the certificate in use stays.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        let read = Current::read(&self.files)?;
        *self.current.lock() = read;
        Ok(())
    }

    /// True if there was something new. A pair that is half written fails now and is read at the next look.
    pub(crate) fn reload_if_changed(&self) -> Result<bool, CertificateError> {
        if modified(&self.files)? == self.current.lock().modified {
            return Ok(false);
        }
        self.reload().map(|()| true)
    }
}

impl Current {
    fn read(files: &Tls) -> Result<Self, CertificateError> {
        // Times first: what is written while we read is noticed at the next look.
        let modified = modified(files)?;
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |error| CertificateError::Pem(path, error)
        };
        let chain = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(pem(&files.certificate))?;
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(pem(&files.key))?;
        let unusable = |error| CertificateError::Unusable(files.certificate.clone(), error);
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(unusable)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Current { acceptor: TlsAcceptor::from(Arc::new(config)), modified })
    }
}

fn modified(files: &Tls) -> Result<[SystemTime; 2], CertificateError> {
    let of = |path: &Path| {
        let time = std::fs::metadata(path).and_then(|metadata| metadata.modified());
        time.map_err(|error| CertificateError::Io(path.to_owned(), error))
    };
    Ok([of(&files.certificate)?, of(&files.key)?])
}
