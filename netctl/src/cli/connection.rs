//! Flags that say how the daemon is reached. Reads no file.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::address::Address;

/// How the daemon is reached.
#[derive(Args, Clone, Debug)]
pub struct Connection {
    /// Where netd listens: its socket, or TLS over TCP.
    #[arg(
        long,
        short = 'H',
        visible_alias = "host",
        env = "NETD_ADDRESS",
        default_value = "unix:///run/netd/netd.sock",
        global = true,
        value_name = "unix://PATH|https://HOST:PORT"
    )]
    pub address: Address,
    /// Directory that holds ca.pem, cert.pem and key.pem for https://.
    #[arg(long, env = "NETD_CERT_PATH", global = true, value_name = "DIRECTORY")]
    pub tls_path: Option<PathBuf>,
    /// The authority of netd's certificate, PEM.
    #[arg(long, env = "NETD_TLS_CA", global = true, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// This client's certificate, PEM.
    #[arg(long, env = "NETD_TLS_CERT", global = true, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// The key of that certificate, PEM.
    #[arg(long, env = "NETD_TLS_KEY", global = true, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// How long netd may give no sign of life, seconds. A request that takes longer is waited for as long as netd lives.
    #[arg(
        long,
        env = "NETD_TIMEOUT",
        default_value = "15",
        global = true,
        value_name = "SECONDS",
        value_parser = seconds
    )]
    pub timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=86400) => Ok(Duration::from_secs(seconds)),
        _ => Err("1 to 86400 seconds".into()),
    }
}

impl Connection {
    /// The files of TLS, as flags name them or in the directory: authority, certificate, key.
    pub fn files(&self) -> [Option<PathBuf>; 3] {
        let named = [&self.tls_ca, &self.tls_cert, &self.tls_key];
        let mut names = ["ca.pem", "cert.pem", "key.pem"].into_iter();
        named.map(|flag| {
            let name = names.next().unwrap_or_default();
            let below = self.tls_path.as_ref().map(|directory| directory.join(name));
            flag.clone().or(below)
        })
    }
}
