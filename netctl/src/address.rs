//! Where the daemon listens, as `--address` and `NETD_ADDRESS` say it. Opens nothing.

use std::{fmt, path::PathBuf, str::FromStr};

use tonic::transport::Uri;

/// The daemon's address.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    /// Absolute path of a Unix socket.
    Unix(PathBuf),
    /// TLS over TCP: https://HOST:PORT.
    Tls(Uri),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("https://") {
            let uri = text.trim_end_matches('/').parse::<Uri>();
            let uri = uri.map_err(|error| format!("{text:?} is no address: {error}"))?;
            return match (uri.host(), uri.port_u16(), uri.path_and_query()) {
                (Some(host), Some(_), path)
                    if !host.is_empty() && path.is_none_or(|path| path == "/") =>
                {
                    Ok(Self::Tls(uri))
                }
                _ => Err(format!(
                    "{text:?} is not https://, a host and a port, as in https://netd.example:7433"
                )),
            };
        }
        let path = text.strip_prefix("unix://").unwrap_or(text);
        if !path.starts_with('/') {
            return Err(format!(
                "{text:?} is neither unix:// and an absolute path, as in unix:///run/netd/netd.sock, nor https://HOST:PORT"
            ));
        }
        Ok(Self::Unix(path.into()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tls(uri) => f.write_str(uri.to_string().trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p02_addresses() {
        for text in ["unix:///run/netd/netd.sock", "/run/netd/netd.sock"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), "unix:///run/netd/netd.sock");
        }
        for text in ["https://netd.example:7433", "https://[2001:db8::1]:7433"] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert!(matches!(address, Address::Tls(_)));
        }
        for text in [
            "",
            "unix://",
            "unix://run/x",
            "tcp://127.0.0.1:1",
            "http://127.0.0.1:1",
            "https://",
            "https://netd.example",
            "https://netd.example:99999",
            "https://netd.example:7433/path",
            "netd.sock",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
