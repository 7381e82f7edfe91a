//! TLS 1.3 with client certificates: files into settings, read anew when they change; names out of certificates.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::{
    config::TlsFiles,
    error::{Error, Result, chain},
};

/// Names of one certificate that count; more are nobody's.
const NAMES: usize = 32;

/// What tells that a file has changed: device, inode, size, and the times of content and inode in nanoseconds.
type Stamp = [Option<(u64, u64, u64, i128, i128)>; 3];

/// The settings of TLS in force, and the files they came from.
#[derive(Debug)]
pub struct Tls {
    now: Mutex<Now>,
}

#[derive(Debug)]
struct Now {
    files: TlsFiles,
    /// The files as they were read last, also when they were bad.
    stamp: Stamp,
    config: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn new(files: TlsFiles) -> Result<Self> {
        let stamp = stamp(&files);
        let config = load(&files)?;
        Ok(Self {
            now: Mutex::new(Now {
                files,
                stamp,
                config,
            }),
        })
    }

    /// The settings for a new connection. Files that have changed are read; bad ones leave what was, with a warning.
    pub fn current(&self) -> Arc<ServerConfig> {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let stamp = stamp(&now.files);
        if stamp != now.stamp {
            now.stamp = stamp;
            match load(&now.files) {
                Ok(config) => {
                    now.config = config;
                    tracing::info!(
                        "the TLS files have changed: new connections use {}",
                        now.files.cert.display()
                    );
                }
                Err(e) => tracing::warn!(
                    "the TLS files have changed, but new connections use what was read before: {e}"
                ),
            }
        }
        Arc::clone(&now.config)
    }

    /// Uses the same files, read anew, or others; nothing changes if they are bad.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn replace(&self, files: TlsFiles) -> Result<()> {
        let new = Self::new(files)?;
        let new = new.now.into_inner().unwrap_or_else(PoisonError::into_inner);
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }
}

fn stamp(files: &TlsFiles) -> Stamp {
    [&files.cert, &files.key, &files.client_ca].map(|path| {
        let data = fs::metadata(path).ok()?;
        let time =
            |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Some((
            data.dev(),
            data.ino(),
            data.size(),
            time(data.mtime(), data.mtime_nsec()),
            time(data.ctime(), data.ctime_nsec()),
        ))
    })
}

fn bad(what: &str, path: &Path, e: &dyn std::error::Error) -> Error {
    Error::invalid(format!("{what} {}: {}", path.display(), chain(e)))
        .hint("PEM files, as `netd pki init DIRECTORY` makes them")
}

/// A file of at most a mebibyte, so that a wrong path does no harm.
fn read(what: &str, path: &Path) -> Result<Vec<u8>> {
    let data = fs::metadata(path).map_err(|e| bad(what, path, &e))?;
    if !data.is_file() || data.len() > 1 << 20 {
        return Err(
            Error::invalid(format!("{what} {}: not a PEM file", path.display()))
                .hint("PEM files, as `netd pki init DIRECTORY` makes them"),
        );
    }
    fs::read(path).map_err(|e| bad(what, path, &e))
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let text = read(what, path)?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| bad(what, path, &e))?;
    if certificates.is_empty() {
        return Err(
            Error::invalid(format!("{what} {}: no certificate in it", path.display()))
                .hint("PEM files, as `netd pki init DIRECTORY` makes them"),
        );
    }
    Ok(certificates)
}

fn load(files: &TlsFiles) -> Result<Arc<ServerConfig>> {
    let provider = Arc::new(ring::default_provider());
    let (cert, key, ca) = ("TLS certificate", "TLS key", "TLS client authority");
    let mut roots = RootCertStore::empty();
    for authority in certificates(ca, &files.client_ca)? {
        roots
            .add(authority)
            .map_err(|e| bad(ca, &files.client_ca, &e))?;
    }
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|e| bad(ca, &files.client_ca, &e))?;
    let certificates = certificates(cert, &files.cert)?;
    let secret = PrivateKeyDer::from_pem_slice(&read(key, &files.key)?)
        .map_err(|e| bad(key, &files.key, &e))?;
    let open = fs::metadata(&files.key).is_ok_and(|data| data.mode() & 0o077 != 0);
    if open {
        tracing::warn!(
            "the TLS key {} is open to others than its owner: chmod 600",
            files.key.display()
        );
    }
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(|e| Error::internal("TLS 1.3", e))?
        .with_client_cert_verifier(clients)
        .with_single_cert(certificates, secret)
        .map_err(|e| bad(cert, &files.cert, &e))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // No resumption: each connection shows a certificate that is good now.
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The names of a client's certificate: DNS names and URIs of the alternative names; the common name if there are none.
pub fn names(certificate: &[u8]) -> Vec<String> {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let mut names: Vec<String> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        })
        .take(NAMES)
        .collect();
    if names.is_empty() {
        let common = certificate.subject().iter_common_name();
        names.extend(
            common
                .filter_map(|name| name.as_str().ok())
                .take(1)
                .map(str::to_owned),
        );
    }
    names.retain(|name| !name.is_empty());
    names
}
