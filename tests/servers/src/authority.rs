//! A certificate authority of a test's own.

use std::path::{Path, PathBuf};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

use crate::process::hand_over;

/// Issues certificates for servers. Nobody trusts it who was not given its root.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    home: TempDir,
}

/// What a server shows, as files that only the server may read.
#[derive(Debug)]
pub(crate) struct Certificate {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// Who issued it.
    pub(crate) root: PathBuf,
}

impl Authority {
    /// A new one, with a key of its own.
    pub fn new() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let mut params = CertificateParams::default();
        // Two of one name would be taken for each other.
        params.distinguished_name.push(DnType::CommonName, home.path().display().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        std::fs::write(home.path().join("root.pem"), issuer.pem())?;
        Ok(Self { issuer, home })
    }

    /// The file to trust.
    pub fn root(&self) -> PathBuf {
        self.home.path().join("root.pem")
    }

    /// A certificate for `host` in a server's folder.
    pub(crate) fn issue(&self, folder: &Path, host: &str) -> Result<Certificate> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_owned()])?.signed_by(&key, &self.issuer)?;
        let written = |name: &str, pem: String| -> Result<PathBuf> {
            let file = folder.join(name);
            std::fs::write(&file, pem)?;
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            hand_over(&file)?;
            Ok(file)
        };
        Ok(Certificate {
            certificate: written("server.crt", certificate.pem())?,
            key: written("server.key", key.serialize_pem())?,
            root: written("root.crt", self.issuer.pem())?,
        })
    }
}
