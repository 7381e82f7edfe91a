//! `[listen]` and `[[access]]`: where the API is served, and who may use it over TCP.

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use crate::error::{Error, Result};

/// What a client may do, and what an RPC takes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// Where the API is served, beside `RUN/netd.sock`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// TCP address and port; `None`: the socket alone. Always TLS with client certificates.
    pub address: Option<SocketAddr>,
    /// The server's certificate and those that lead to its authority, PEM.
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    pub tls_key: Option<PathBuf>,
    /// The authorities whose client certificates are accepted, PEM.
    pub tls_client_ca: Option<PathBuf>,
    /// Group of the socket, by name or number; `None`: netd's own.
    pub group: Option<String>,
}

/// The files of TLS, all of them PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// The server's certificate and those that lead to its authority.
    pub cert: PathBuf,
    /// The key of that certificate.
    pub key: PathBuf,
    /// The authorities whose client certificates are accepted.
    pub client_ca: PathBuf,
}

/// Where TLS is served, and with what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    /// TCP address and port.
    pub address: SocketAddr,
    /// Its files.
    pub files: TlsFiles,
}

/// A client of the API over TCP, known by its certificate.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// As it stands in the certificate: a DNS name or URI of the subject's alternative names, else the common name.
    pub name: String,
    /// What it may do.
    pub role: Role,
}

impl Listen {
    /// Where TLS is served; `None`: nowhere.
    ///
    /// # Errors
    /// When part of what it takes is missing.
    pub fn tls(&self) -> Result<Option<Tls>> {
        let files = [
            ("tls_cert", &self.tls_cert),
            ("tls_key", &self.tls_key),
            ("tls_client_ca", &self.tls_client_ca),
        ];
        let Some(address) = self.address else {
            return match files.iter().find(|(_, path)| path.is_some()) {
                None => Ok(None),
                Some((key, _)) => Err(Error::invalid(format!(
                    "listen: {key} is given, but no address to listen on"
                ))
                .hint("address = \"ADDRESS:PORT\", or --listen ADDRESS:PORT")),
            };
        };
        let [cert, key, client_ca] = files.map(|(key, path)| {
            path.clone().ok_or_else(|| {
                let flag = key.replace('_', "-");
                Error::invalid(format!(
                    "listen: {address} without {key}: netd serves TCP by mutual TLS only"
                ))
                .hint(format!(
                    "{key} = \"FILE\" or --{flag} FILE; `netd pki init DIRECTORY` makes the files"
                ))
            })
        });
        Ok(Some(Tls {
            address,
            files: TlsFiles {
                cert: cert?,
                key: key?,
                client_ca: client_ca?,
            },
        }))
    }

    /// Refuses what could not work.
    pub(super) fn check(&self) -> Result<()> {
        self.tls().map(drop)
    }
}

/// Refuses names that nobody can have, and two roles for one name.
pub(super) fn check_access(clients: &[Client]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for client in clients {
        if client.name.is_empty() {
            return Err(Error::invalid("access: an empty name is nobody's")
                .hint("the name that stands in the client's certificate"));
        }
        if !seen.insert(&client.name) {
            return Err(
                Error::invalid(format!("access: {:?} has two roles", client.name))
                    .hint("one [[access]] for each name; write includes read"),
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn read(text: &str) -> Result<(), String> {
        let config: Config = toml::from_str(text).map_err(|e| e.to_string())?;
        config.check().map_err(|e| e.to_string())
    }

    #[test]
    fn p01_tcp_takes_every_file_of_tls_and_each_name_one_role() {
        let files = "tls_cert = \"c\"\ntls_key = \"k\"\n";
        let whole = format!("[listen]\naddress = \"[::1]:7433\"\n{files}tls_client_ca = \"a\"\n");
        assert_eq!(read(&whole), Ok(()));
        let said = read(&format!("[listen]\naddress = \"[::1]:7433\"\n{files}")).unwrap_err();
        assert!(
            said.contains("tls_client_ca") && said.contains("pki init"),
            "{said}"
        );
        let said = read(&format!("[listen]\n{files}")).unwrap_err();
        assert!(said.contains("no address"), "{said}");
        let twice = "[[access]]\nname = \"ci\"\nrole = \"read\"\n".repeat(2);
        assert!(read(&twice).unwrap_err().contains("two roles"));
        let unknown = "[[access]]\nname = \"ci\"\nrole = \"admin\"\n";
        assert!(read(unknown).unwrap_err().contains("write"));
    }
}
