//! `netd pki`: an authority of one's own, and certificates for the API over TCP: one for the server, one for each client.
//!
//! Keys are made here, have mode 0600, and nothing that exists is ever overwritten.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use clap::{Args, Subcommand};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};

use crate::error::{Error, Result};

/// What is made.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Makes an authority (ca.pem, ca-key.pem), the server's certificate (server/) and a client's (clients/NAME/).
    Init {
        /// A directory for all of it, made if it does not exist.
        directory: PathBuf,
        /// The server's names.
        #[command(flatten)]
        server: ServerNames,
        /// The first client's name, as in [[access]] of the configuration.
        #[arg(long, default_value = "admin")]
        client: String,
        /// How long certificates count.
        #[command(flatten)]
        age: Age,
    },
    /// Makes another certificate for a server, of the authority that `init` made.
    Server {
        /// The directory that `init` made.
        directory: PathBuf,
        /// The server's names.
        #[command(flatten)]
        server: ServerNames,
        /// Where to put it: below the directory.
        #[arg(long, default_value = "server")]
        name: String,
        /// How long certificates count.
        #[command(flatten)]
        age: Age,
    },
    /// Makes another client's certificate, of the authority that `init` made.
    Client {
        /// The directory that `init` made.
        directory: PathBuf,
        /// The client's name, as in [[access]] of the configuration.
        name: String,
        /// How long certificates count.
        #[command(flatten)]
        age: Age,
    },
}

/// A server's names.
#[derive(Args, Debug)]
pub struct ServerNames {
    /// A DNS name or IP address that clients reach the server by; may be repeated. This host's name, localhost, 127.0.0.1 and
    /// ::1 are among them always.
    #[arg(long = "host", value_name = "NAME|IP")]
    hosts: Vec<String>,
}

/// How long certificates count.
#[derive(Args, Debug)]
pub struct Age {
    /// Days that certificates of servers and clients count; the authority's own counts ten years.
    #[arg(long, default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// Days that an authority counts.
const AUTHORITY: u32 = 3650;

/// Does it; what was made, a line for each file.
///
/// # Errors
/// What exists already, cannot be written or is no authority.
pub fn run(command: &Command) -> Result<String> {
    match command {
        Command::Init {
            directory,
            server,
            client,
            age,
        } => {
            check_client(client)?;
            // Of names that cannot be used nothing shall remain.
            server_params(&server.hosts, age.days)?;
            let client_place = client_directory(directory, client);
            absent(&[
                directory.join("ca.pem"),
                directory.join("ca-key.pem"),
                directory.join("server"),
                client_place,
            ])?;
            let mut made = Made::default();
            made.authority(directory)?;
            made.server(directory, "server", &server.hosts, age.days)?;
            made.client(directory, client, age.days)?;
            Ok(made.0)
        }
        Command::Server {
            directory,
            server,
            name,
            age,
        } => {
            check_client(name)?;
            let mut made = Made::default();
            made.server(directory, name, &server.hosts, age.days)?;
            Ok(made.0)
        }
        Command::Client {
            directory,
            name,
            age,
        } => {
            check_client(name)?;
            let mut made = Made::default();
            made.client(directory, name, age.days)?;
            Ok(made.0)
        }
    }
}

/// A name becomes a directory and stands in a certificate as a DNS name.
fn check_client(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 63 || name.starts_with(['.', '-']) || !name.chars().all(fits)
    {
        return Err(Error::invalid(format!("{name:?} cannot be a name here"))
            .hint("at most 63 of a-z, 0-9, '-', '_' and '.', not beginning with '.' or '-'"));
    }
    Ok(())
}

fn client_directory(directory: &Path, name: &str) -> PathBuf {
    directory.join("clients").join(name)
}

fn absent(paths: &[PathBuf]) -> Result<()> {
    match paths.iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        None => Ok(()),
        Some(path) => Err(Error::conflict(format!(
            "{} exists and is not overwritten",
            path.display()
        ))
        .hint("another directory or name; or move it away first")),
    }
}

fn failed(what: &str) -> impl Fn(rcgen::Error) -> Error {
    move |e| Error::internal(what, e)
}

/// Between an hour ago, for clocks that differ, and so many days on.
fn params(name: &str, days: u32) -> CertificateParams {
    let mut params = CertificateParams::default();
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + Duration::from_secs(86400) * days).into();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.use_authority_key_identifier_extension = true;
    params
}

fn leaf(name: &str, days: u32, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = params(name, days);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params
}

fn dns_name(name: &str) -> Result<SanType> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let refused = || Error::invalid(format!("{name:?} is neither a DNS name nor an IP address"));
    if name.is_empty() || !name.chars().all(fits) {
        return Err(refused());
    }
    Ok(SanType::DnsName(name.try_into().map_err(|_| refused())?))
}

fn server_params(hosts: &[String], days: u32) -> Result<CertificateParams> {
    let mut params = leaf("netd", days, ExtendedKeyUsagePurpose::ServerAuth);
    let own = nix::unistd::gethostname().ok();
    let own = own.and_then(|name| name.into_string().ok());
    let known = own.iter().filter(|name| dns_name(name).is_ok());
    let always = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    for host in known.chain(&always).chain(hosts) {
        let name = match host.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => dns_name(host)?,
        };
        if !params.subject_alt_names.contains(&name) {
            params.subject_alt_names.push(name);
        }
    }
    Ok(params)
}

/// What was made, a line for each file.
#[derive(Default)]
struct Made(String);

impl Made {
    fn directory(&mut self, path: &Path) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|e| Error::internal(format!("making {}", path.display()), e))
    }

    fn file(&mut self, path: &Path, text: &str, mode: u32) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(mode);
        let written = options
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and(file.sync_all()));
        written.map_err(|e| Error::internal(format!("writing {}", path.display()), e))?;
        self.0.push_str(&format!("{}\n", path.display()));
        Ok(())
    }

    fn authority(&mut self, directory: &Path) -> Result<()> {
        let mut params = params("netd private authority", AUTHORITY);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().map_err(failed("making a key"))?;
        let certificate = params
            .self_signed(&key)
            .map_err(failed("signing the authority"))?;
        self.directory(directory)?;
        self.file(&directory.join("ca-key.pem"), &key.serialize_pem(), 0o600)?;
        self.file(&directory.join("ca.pem"), &certificate.pem(), 0o644)
    }

    fn server(&mut self, directory: &Path, name: &str, hosts: &[String], days: u32) -> Result<()> {
        let params = server_params(hosts, days)?;
        self.signed(directory, &directory.join(name), &params)
    }

    fn client(&mut self, directory: &Path, name: &str, days: u32) -> Result<()> {
        let mut params = leaf(name, days, ExtendedKeyUsagePurpose::ClientAuth);
        params.subject_alt_names = vec![dns_name(name)?];
        self.signed(directory, &client_directory(directory, name), &params)
    }

    /// cert.pem and key.pem, with the authority's certificate beside them: all that one side needs.
    fn signed(&mut self, directory: &Path, to: &Path, params: &CertificateParams) -> Result<()> {
        let files = ["ca.pem", "cert.pem", "key.pem"].map(|name| to.join(name));
        absent(&files)?;
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read_to_string(&path).map_err(|e| {
                Error::invalid(format!("the authority's {}: {e}", path.display()))
                    .hint("`netd pki init DIRECTORY` makes one")
            })
        };
        let (authority, authority_key) = (read("ca.pem")?, read("ca-key.pem")?);
        let issuer_key =
            KeyPair::from_pem(&authority_key).map_err(failed("the authority's key"))?;
        let issuer = Issuer::from_ca_cert_pem(&authority, issuer_key)
            .map_err(failed("the authority's certificate"))?;
        let key = KeyPair::generate().map_err(failed("making a key"))?;
        let certificate = params
            .signed_by(&key, &issuer)
            .map_err(failed("signing a certificate"))?;
        self.directory(to)?;
        let [ca, cert, secret] = files;
        self.file(&secret, &key.serialize_pem(), 0o600)?;
        self.file(&cert, &certificate.pem(), 0o644)?;
        self.file(&ca, &authority, 0o644)
    }
}

#[cfg(test)]
#[path = "pki_tests.rs"]
mod tests;
